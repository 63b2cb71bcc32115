"""A labelled folder becomes samples, or one line says what is wrong with it."""

import numpy as np
import pytest

from rescrnet.checking.check import load_dataset
from rescrnet.classes import ClassEntry
from rescrnet.datasets.synthetic import draw, write_dataset
from rescrnet.errors import DataError, UsageError
from rescrnet.masks.declared import DatasetFile
from tests.support.folders import labelled, noise, save, shared, stripes
from tests.support.reading import load


def declare(folder, text):
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    return folder


def test_samples_are_float_images_in_unit_range_and_index_masks(tmp_path):
    data = load(labelled(tmp_path, "abcd", mask=stripes(0, 255)))
    assert ([s.stem for s in data.train], [s.stem for s in data.val]) == (["a", "b", "c"], ["d"])
    assert data.channels == 1
    for sample in (*data.train, *data.val):
        assert (sample.image.shape, sample.image.dtype) == ((12, 16, 1), np.float32)
        np.testing.assert_allclose(sample.image[..., 0], noise() / 255, rtol=1e-6)
        assert sample.mask.dtype == np.uint8
        np.testing.assert_array_equal(sample.mask, stripes(0, 1))


@pytest.mark.parametrize("kind", ["em", "fm"])
def test_synthetic_samples_are_read_as_they_were_drawn(tmp_path, kind):
    write_dataset(kind, tmp_path / "samples", train=1, val=1, size=(64, 72), seed=3)
    data = load(tmp_path / "samples")
    image, mask = draw(kind, 64, 72, int(np.random.SeedSequence(3).generate_state(2)[0]))
    np.testing.assert_array_equal(data.train[0].mask, mask)
    np.testing.assert_allclose(data.train[0].image.squeeze(), image / 255, rtol=1e-6)


def test_images_of_different_sizes_and_depths_are_read_together(tmp_path):
    labelled(tmp_path, "a")
    save(tmp_path / "images/b.tif", noise((30, 5), np.uint16))
    save(tmp_path / "masks/b.png", stripes(0, 1, shape=(30, 5)))
    data = load(tmp_path)
    shapes = {sample.stem: sample.image.shape for sample in data.train + data.val}
    assert shapes == {"a": (12, 16, 1), "b": (30, 5, 1)}


def test_grey_images_and_grey_images_stored_as_rgb_mix(tmp_path):
    labelled(tmp_path, "a")
    labelled(tmp_path, "b", image=noise()[..., None].repeat(3, axis=-1))
    assert load(tmp_path).channels == 1


def test_grey_and_colour_images_do_not_mix(tmp_path):
    labelled(tmp_path, "a")
    labelled(tmp_path, "b", image=noise((12, 16, 3)))
    with pytest.raises(DataError, match=r"images/b\.png: has 3 channels, expected 1; convert the image"):
        load(tmp_path)


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    labelled(tmp_path, "ab")
    labelled(tmp_path, "c", mask=stripes(0, 1, shape=(12, 17)))
    with pytest.raises(DataError, match=r"masks/c\.png: is 12×17, its image 12×16: an export rounded its size"):
        load(tmp_path)


def test_a_mask_of_one_class_is_refused_with_the_class_and_the_remedy(tmp_path):
    labelled(tmp_path, "ab")
    labelled(tmp_path, "c", mask=stripes(1))
    with pytest.raises(DataError, match=r"masks/c\.png: .*one class only, 'class 1'; .*allow_single_class: true"):
        load_dataset(tmp_path)


def test_the_remedy_for_a_mask_of_one_class_works(tmp_path):
    labelled(tmp_path, "ab")
    labelled(tmp_path, "c", mask=stripes(1))
    declare(tmp_path, "allow_single_class: true\nclasses: [{name: x, value: 0}, {name: y, value: 1}]")
    assert np.unique(load(tmp_path).val[0].mask).tolist() == [1]


def test_a_class_that_only_validation_shows_is_refused_by_name(tmp_path):
    labelled(tmp_path, "ab")
    labelled(tmp_path, "c", mask=stripes(0, 1, 2))
    with pytest.raises(
        DataError, match=r"masks/c\.png: class 'class 2' is in validation masks but in no training mask.*--val"
    ):
        load_dataset(tmp_path)
    assert len(load(tmp_path, "a").classes) == 3


def test_a_declared_class_that_no_mask_shows_is_refused_by_name(tmp_path):
    declare(labelled(tmp_path), "classes: [{name: x, value: 0}, {name: y, value: 1}, {name: z, value: 2}]")
    with pytest.raises(DataError, match=r"class 'z' is in no mask; remove it from dataset\.yaml"):
        load_dataset(tmp_path)


def test_dataset_yaml_names_the_classes_in_its_order(tmp_path):
    declare(labelled(tmp_path), "classes: [{name: Zellkern µ, value: 1, color: '#00ff00'}, {name: rest, value: 0}]")
    data = load(tmp_path)
    assert [(entry.name, entry.color != "") for entry in data.classes] == [("Zellkern µ", True), ("rest", True)]
    np.testing.assert_array_equal(data.train[0].mask, stripes(1, 0))


def test_folders_of_binary_masks_are_a_dataset(tmp_path):
    for stem in "ab":
        save(tmp_path / f"images/{stem}.png", noise())
        save(tmp_path / f"masks/cell/{stem}.png", stripes(0, 255))
        save(
            tmp_path / f"masks/wall/{stem}.tif",
            stripes(True, False, False, False, dtype=bool),
            photometric="minisblack",
        )
    data = load(tmp_path)
    assert [entry.name for entry in data.classes] == ["background", "cell", "wall"]
    np.testing.assert_array_equal(data.train[0].mask, stripes(2, 0, 1, 1))


def test_a_val_argument_beside_val_local_is_wrong_usage(dataset):
    with pytest.raises(UsageError, match=r"--val 0\.5"):
        load(dataset, "0.5")


VALUES = {"outside": 0, "cell": 255, "rare": 7}
MODEL = DatasetFile(classes=[ClassEntry(name=name, value=value) for name, value in VALUES.items()])


def test_for_a_model_its_classes_decode_the_masks_and_need_not_all_be_there(tmp_path):
    data = load(labelled(tmp_path, "a", mask=stripes(0, 255)), trained=MODEL, channels=1)
    assert [entry.name for entry in data.classes] == ["outside", "cell", "rare"]
    assert (len(data.train), data.val) == (1, [])
    np.testing.assert_array_equal(data.train[0].mask, stripes(0, 1))


def test_for_a_model_dataset_yaml_may_give_other_values_to_the_same_names(tmp_path):
    labelled(tmp_path, "a", mask=stripes(3, 4, 5))
    text = "classes: [{name: outside, value: 3}, {name: cell, value: 4}, {name: rare, value: 5}]"
    np.testing.assert_array_equal(load(declare(tmp_path, text), trained=MODEL).train[0].mask, stripes(0, 1, 2))


def test_for_a_model_other_names_are_refused(tmp_path):
    declare(labelled(tmp_path, "a"), "classes: [{name: a, value: 0}, {name: b, value: 1}]")
    with pytest.raises(DataError, match=r"dataset\.yaml: names the classes a, b, the model outside, cell, rare"):
        load(tmp_path, trained=MODEL)


def test_for_a_model_values_that_it_does_not_know_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"belong to no class: 99 \(96 pixels\)"):
        load(labelled(tmp_path, "a", mask=stripes(0, 99)), trained=MODEL)


def test_for_a_model_images_of_other_channels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"images/a\.png: has 1 channel, expected 3"):
        load(labelled(tmp_path, "a", mask=stripes(0, 255)), trained=MODEL, channels=3)


@pytest.mark.parametrize(
    ("name", "train", "val", "channels"),
    [("em_vnc", 8, 4, 1), ("fm_nuclei", 10, 6, 3), ("em_vnc_native", 3, 1, 1), ("sem_axons", 6, 2, 1)],
)
def test_published_datasets_load_whole(name, train, val, channels):
    data = load_dataset(shared(name))
    assert (len(data.train), len(data.val), data.channels, len(data.classes)) == (train, val, channels, 3)
    assert all(set(np.unique(sample.mask)) <= {0, 1, 2} for sample in data.train)
