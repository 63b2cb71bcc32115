from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.ndimage import binary_erosion, label, standard_deviation

from rescrnet.datasets import synthetic as samples
from rescrnet.datasets.synthetic import CLASS_NAMES, SampleKind, draw, write_dataset
from rescrnet.errors import OutputError, UsageError

KINDS: tuple[SampleKind, ...] = get_args(SampleKind)
both_kinds = pytest.mark.parametrize("kind", KINDS)


def _intensity_codes(image: np.ndarray) -> np.ndarray:
    """One integer a pixel: the grey level, or RGB in 16 levels a channel."""
    if image.ndim == 2:
        return image.astype(int)
    return (image // 16).astype(int) @ (256, 16, 1)


def _mean_iou(predicted: np.ndarray, mask: np.ndarray) -> float:
    return float(
        np.mean([((predicted == c) & (mask == c)).sum() / ((predicted == c) | (mask == c)).sum() for c in range(3)])
    )


def _best_intensity_iou(codes: np.ndarray, mask: np.ndarray) -> float:
    """Best mean IoU of a Bayes classifier of intensity alone, for priors from the true to the uniform."""
    counts = np.stack([np.bincount(codes[mask == c], minlength=4096) for c in range(3)])
    sizes = counts.sum(axis=1, keepdims=True)
    return max(_mean_iou((counts / sizes**power).argmax(axis=0)[codes], mask) for power in (0, 0.25, 0.5, 0.75, 1))


@both_kinds
def test_one_seed_draws_one_image(kind: SampleKind) -> None:
    first_image, first_mask = draw(kind, 70, 90, seed=5)
    second_image, second_mask = draw(kind, 70, 90, seed=5)
    np.testing.assert_array_equal(first_image, second_image)
    np.testing.assert_array_equal(first_mask, second_mask)


@both_kinds
def test_two_seeds_draw_two_images_and_masks(kind: SampleKind) -> None:
    first_image, first_mask = draw(kind, 70, 90, seed=5)
    second_image, second_mask = draw(kind, 70, 90, seed=6)
    assert (first_image != second_image).mean() > 0.5
    assert (first_mask != second_mask).mean() > 0.1


@pytest.mark.parametrize("shape", [(64, 64), (65, 131), (97, 64), (64, 200)])
def test_an_em_image_is_grey_and_has_the_size_asked_for(shape: tuple[int, int]) -> None:
    image, mask = draw("em", *shape, seed=0)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == (shape, np.uint8, shape, np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (65, 131), (97, 64), (64, 200)])
def test_an_fm_image_is_rgb_and_has_the_size_asked_for(shape: tuple[int, int]) -> None:
    image, mask = draw("fm", *shape, seed=0)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((*shape, 3), np.uint8, shape, np.uint8)


@both_kinds
@pytest.mark.parametrize("shape", [(64, 64), (96, 128), (131, 65)])
@pytest.mark.parametrize("seed", range(10))
def test_every_class_is_in_every_mask(kind: SampleKind, shape: tuple[int, int], seed: int) -> None:
    _, mask = draw(kind, *shape, seed=seed)
    shares = np.bincount(mask.ravel()) / mask.size
    assert len(shares) == len(CLASS_NAMES[kind])
    assert shares.min() > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_an_em_image_of_published_size_shows_a_nucleus_and_4_to_12_mitochondria(seed: int) -> None:
    _, mask = draw("em", 262, 400, seed=seed)
    _, mitochondria = label(mask == 2)
    assert (mask == 1).mean() > 0.05
    assert 4 <= mitochondria <= 12


@both_kinds
def test_intensity_alone_does_not_tell_the_classes_apart(kind: SampleKind) -> None:
    images, masks = zip(*(draw(kind, 262, 400, seed=seed) for seed in range(4)), strict=True)
    codes = np.concatenate([_intensity_codes(image).ravel() for image in images])
    assert _best_intensity_iou(codes, np.concatenate([mask.ravel() for mask in masks])) < 0.6


def test_the_intensity_classifier_succeeds_where_intensity_tells_the_classes_apart() -> None:
    _, mask = draw("em", 64, 64, seed=0)
    assert _best_intensity_iou(_intensity_codes(mask * 100).ravel(), mask.ravel()) == 1


@pytest.mark.parametrize("organelle", [1, 2])
def test_an_em_mask_ends_on_the_dark_membrane(organelle: int) -> None:
    image, mask = draw("em", 262, 400, seed=1)
    inside = mask == organelle
    rim = inside & ~binary_erosion(inside, iterations=2, border_value=1)
    shifted_greys = [image[np.roll(rim, shift, axis)].mean() for shift in (-4, 4) for axis in (0, 1)]
    assert image[rim].mean() < min(shifted_greys) - 10


def test_an_fm_mask_outlines_fibres_of_one_colour_each() -> None:
    image, mask = draw("fm", 262, 400, seed=0)
    fibres, count = label(mask == 0)
    channel = image[..., 0].astype(float)

    def spread(numbers: np.ndarray) -> float:
        return float(np.mean(standard_deviation(channel, numbers, range(1, count + 1))))

    assert all(spread(fibres) < 0.8 * spread(np.roll(fibres, shift, axis)) for shift in (-5, 5) for axis in (0, 1))


@both_kinds
def test_a_dataset_has_the_authors_layout(kind: SampleKind, tmp_path: Path) -> None:
    write_dataset(kind, tmp_path / "sample", train=2, val=1, size=(64, 80))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "sample/dataset.yaml",
        "sample/train_local/images/img/00.png",
        "sample/train_local/images/img/01.png",
        "sample/train_local/masks/msk/00.png",
        "sample/train_local/masks/msk/01.png",
        "sample/val_local/images/img/02.png",
        "sample/val_local/masks/msk/02.png",
    ]


def test_an_em_mask_file_holds_the_grey_values_that_the_yaml_names(tmp_path: Path) -> None:
    write_dataset("em", tmp_path / "sample", train=1, val=1, size=(64, 80))
    mask = np.asarray(Image.open(tmp_path / "sample/train_local/masks/msk/00.png"))
    classes = yaml.safe_load((tmp_path / "sample/dataset.yaml").read_text())["classes"]
    assert mask.shape == (64, 80)
    assert np.unique(mask).tolist() == [0, 128, 255]
    assert {entry["name"]: entry["value"] for entry in classes} == {
        "cytoplasm": 0,
        "nucleus": 128,
        "mitochondrion": 255,
    }


def test_an_fm_mask_file_holds_the_colours_that_the_yaml_names(tmp_path: Path) -> None:
    write_dataset("fm", tmp_path / "sample", train=1, val=1, size=(64, 80))
    mask = np.asarray(Image.open(tmp_path / "sample/train_local/masks/msk/00.png"))
    classes = yaml.safe_load((tmp_path / "sample/dataset.yaml").read_text())["classes"]
    colours = {"#" + bytes(pixel).hex() for pixel in mask.reshape(-1, 3)}
    assert mask.shape == (64, 80, 3)
    assert colours == {"#ff0000", "#00ff00", "#0000ff"}
    assert {e["name"]: e["value"] for e in classes} == {"fibre": "#ff0000", "boundary": "#00ff00", "gap": "#0000ff"}


def test_the_em_yaml_is_written_as_documented(tmp_path: Path) -> None:
    write_dataset("em", tmp_path / "sample", train=1, val=1, size=(64, 64))
    assert (tmp_path / "sample/dataset.yaml").read_text() == (
        "classes:\n"
        '  - {name: cytoplasm, value: 0, color: "#4c8c4a"}\n'
        '  - {name: nucleus, value: 128, color: "#c0392b"}\n'
        '  - {name: mitochondrion, value: 255, color: "#2e6fb7"}\n'
    )


def test_no_two_images_of_neighbouring_seeds_are_the_same(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_dataset("em", tmp_path / str(seed), train=2, val=1, size=(64, 64), seed=seed)
    contents = [path.read_bytes() for path in tmp_path.rglob("images/img/*.png")]
    assert len(contents) == len(set(contents)) == 6


def test_one_seed_writes_one_dataset(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_dataset("fm", tmp_path / name, train=1, val=1, size=(64, 64), seed=3)
    first, second = (sorted((tmp_path / name).rglob("*.png")) for name in ("first", "second"))
    assert len(first) == 4
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    write_dataset("em", tmp_path / "sample", train=1, val=1, size=(64, 64))
    assert (tmp_path / "sample/dataset.yaml").is_file()


def test_a_folder_that_holds_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds files; choose a new folder"):
        write_dataset("em", tmp_path, train=1, val=1, size=(64, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(image: Image.Image, path: Path) -> None:
        path.write_bytes(b"half an image")
        raise OSError("No space left on device")

    monkeypatch.setattr(samples.Image.Image, "save", fill_the_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_dataset("em", tmp_path / "sample", train=1, val=1, size=(64, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(63, 64), (64, 63)])
def test_a_size_below_64_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{size[0]} × {size[1]}: is too small; choose at least 64"):
        write_dataset("em", tmp_path / "sample", size=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("train", "val"), [(0, 4), (8, 0), (-1, 1)])
def test_a_count_below_one_is_refused(train: int, val: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{train} train and {val} val images asked for; ask for at least 1"):
        write_dataset("em", tmp_path / "sample", train=train, val=val)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed -1: is negative"):
        draw("em", 64, 64, seed=-1)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="'xray': is unknown; choose one of: em, fm"):
        draw("xray", 64, 64, seed=0)  # type: ignore[arg-type]
