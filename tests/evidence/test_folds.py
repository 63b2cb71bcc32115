"""Nothing leaks from one fold into another."""

import numpy as np
import pytest
import yaml

from rescrnet.errors import DataError, RescrnetWarning, UsageError
from rescrnet.evidence.folds import divide, read_labelled
from tests.support.folders import labelled, noise, save, stripes


def folder(path, stems, same=()):
    for seed, stem in enumerate(stems):
        save(path / "images" / f"{stem}.png", noise((40, 48), seed=0 if stem in same else seed + 1))
        save(path / "masks" / f"{stem}.png", stripes(0, 1, shape=(40, 48)))
    return path


def disjoint(groups, folds):
    found = {}
    for stem, group in groups.items():
        found.setdefault(group, set()).add(folds[stem])
    return all(len(where) == 1 for where in found.values())


@pytest.mark.parametrize("seed", range(20))
def test_folds_are_disjoint_by_group_none_is_empty_and_neighbours_stay_together(seed):
    rng = np.random.default_rng(seed)
    groups = {f"image {n}": f"animal {n // rng.integers(1, 4)}" for n in range(int(rng.integers(6, 30)))}
    number = len(set(groups.values()))
    folds = int(rng.integers(2, min(number, 6) + 1))
    found = divide(groups, folds)
    assert found.keys() == groups.keys()
    assert set(found.values()) == set(range(1, folds + 1))
    assert disjoint(groups, found)


def test_single_images_are_divided_evenly_in_the_order_of_their_names():
    found = divide({str(n): str(n) for n in range(10)}, 4)
    assert list(found.values()) == sorted(found.values())
    assert [list(found.values()).count(fold) for fold in range(1, 5)] == [2, 3, 2, 3] or sorted(
        list(found.values()).count(fold) for fold in range(1, 5)
    ) == [2, 2, 3, 3]


def test_patches_of_one_image_and_animals_are_groups(tmp_path):
    stems = [f"mouse{mouse}_{n}" for mouse in (1, 2, 3) for n in (1, 2)]
    found = read_labelled(folder(tmp_path / "animals", stems))
    assert len(set(found.groups.values())) == 3


def test_groups_of_dataset_yaml_are_kept(tmp_path):
    data = folder(tmp_path / "data", "abcd")
    (data / "dataset.yaml").write_text(yaml.safe_dump({"groups": {"one": ["a", "d"]}}))
    found = read_labelled(data)
    assert found.groups["a"] == found.groups["d"] != found.groups["b"]


def test_copies_are_one_group(tmp_path):
    found = read_labelled(folder(tmp_path / "data", "abcde", same="bd"))
    assert found.groups["b"] == found.groups["d"]
    assert len(set(found.groups.values())) == 4
    assert any("'b' and 'd' show the same place" in note for note in found.notes)


def test_more_folds_than_images(tmp_path):
    found = read_labelled(folder(tmp_path / "data", "abc"))
    with pytest.raises(UsageError, match=r"--folds 4: .*data has 3 labelled images; expected at most 3"):
        divide(found.groups, 4, tmp_path / "data")


def test_more_folds_than_groups():
    with pytest.raises(UsageError, match=r"--folds 4: the set has images of 3 groups .*; expected at most 3"):
        divide({str(n): str(n % 3) for n in range(9)}, 4, "the set")


def test_one_fold_is_none():
    with pytest.raises(UsageError, match="expected at least 2"):
        divide({"a": "a", "b": "b"}, 1)


def test_patches_of_one_image_alone_cannot_be_divided():
    groups = {f"slide_x{n}_y0": "slide" for n in range(6)}
    with pytest.raises(DataError, match="all images are patches of one image, 'slide'"):
        divide(groups, 3, "the set")


def test_a_stack_is_divided_into_blocks_of_sections():
    found = divide({f"z{n:02}": "stack" for n in range(8)}, 4)
    assert list(found.values()) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_class_in_one_image_alone_is_warned_of_once(tmp_path):
    data = folder(tmp_path / "data", "abcd")
    save(data / "masks" / "c.png", stripes(0, 1, 2, shape=(40, 48)))
    with pytest.warns(RescrnetWarning, match=r"is in image c alone: the fold that tests it trains without it") as seen:
        read_labelled(data)
    assert len(seen) == 1


def test_images_that_train_would_refuse_are_refused(tmp_path):
    data = labelled(tmp_path / "data")
    (data / "masks" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        read_labelled(data)
