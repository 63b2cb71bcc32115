"""Masks that were resized smoothly or saved as JPEG: the classes that they mean, or a refusal, never a dozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rescrnet.checking.check import check
from rescrnet.errors import DataError
from rescrnet.masks.infer import mask_table
from tests.support.folders import noise, save

Resampling = Image.Resampling


def discs(seed: int, shape: tuple[int, int] = (96, 128), number: int = 8) -> NDArray[np.uint8]:
    """Discs that nearly touch, 0 and 1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(number):
        mask |= np.hypot(y - random.integers(shape[0]), x - random.integers(shape[1])) < random.integers(6, 14)
    return mask.astype(np.uint8)


def resized(mask: NDArray[Any], factor: float, how: Image.Resampling) -> NDArray[Any]:
    size = round(mask.shape[1] * factor), round(mask.shape[0] * factor)
    return np.asarray(Image.fromarray(mask).resize(size, how))


def decoded(folder: Path, masks: list[NDArray[Any]], suffix: str = "png") -> tuple[list[str], list[NDArray[np.uint8]]]:
    files = []
    for number, mask in enumerate(masks):
        files.append({"": folder / f"{number}.{suffix}"})
        Image.fromarray(mask).save(files[-1][""])
    table = mask_table(files, None, folder)
    assert table.notes()[0].startswith("stray values at antialiased edges")
    return [entry.name for entry in table.classes], [table.decode(file) for file in files]


@pytest.mark.parametrize("how", [Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS])
@pytest.mark.parametrize("factor", [1.37, 2, 3, 4, 8, 0.75, 0.5, 0.37])
@pytest.mark.parametrize("top", [255, 200, 20])
def test_a_mask_that_was_resized_smoothly_has_two_classes(
    tmp_path: Path, factor: float, how: Image.Resampling, top: int
) -> None:
    drawn = [discs(seed, (192, 256), 20) if factor < 1 else discs(seed) for seed in range(3)]
    names, found = decoded(tmp_path, [resized(mask * np.uint8(top), factor, how) for mask in drawn])
    assert len(names) == 2
    for mask, classes in zip(drawn, found, strict=True):
        meant = resized(mask.astype(np.float32), factor, how) > 0.5
        assert (classes != meant).mean() < 0.015


@pytest.mark.parametrize("as_rgb", [False, True])
def test_three_classes_keep_their_shares(tmp_path: Path, as_rgb: bool) -> None:
    drawn = [np.where(discs(seed), 255, 127 * discs(seed + 20)).astype(np.uint8) for seed in range(4)]
    masks = [resized(mask, 2, Resampling.BILINEAR) for mask in drawn]
    names, found = decoded(tmp_path, [np.stack([mask] * 3, -1) if as_rgb else mask for mask in masks])
    assert names == ["grey 0", "grey 127", "grey 255"]
    for mask, classes in zip(drawn, found, strict=True):
        assert (classes != np.searchsorted([0, 127, 255], resized(mask, 2, Resampling.NEAREST))).mean() < 0.01


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_masks_are_read_to_the_pixel(tmp_path: Path, quality: int) -> None:
    drawn = [discs(seed) for seed in range(4)]
    files = []
    for number, mask in enumerate(drawn):
        files.append({"": tmp_path / f"{number}.jpg"})
        Image.fromarray(255 * mask).save(files[-1][""], quality=quality)
    table = mask_table(files, None, tmp_path)
    for file, mask in zip(files, drawn, strict=True):
        np.testing.assert_array_equal(table.decode(file), mask)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_walls_that_no_pixel_shows_pure_are_refused_with_the_remedy(tmp_path: Path, factor: float) -> None:
    x = np.arange(128)
    walls = [np.tile(((x + seed) % 8 == 0).astype(np.uint8) * 255, (96, 1)) for seed in range(4)]
    with pytest.raises(DataError, match=r"lie at edges between others.*nearest neighbour"):
        decoded(tmp_path, [resized(mask, factor, Resampling.BILINEAR) for mask in walls])


@pytest.mark.parametrize("step", [1, 40])
def test_thin_classes_of_their_own_stay_classes(tmp_path: Path, step: int) -> None:
    mask = np.zeros((96, 128), np.uint8)
    for number in range(1, 7):
        mask[[10 * number, 10 * number + 5]] = number * step
    file = {"": tmp_path / "0.png"}
    Image.fromarray(mask).save(file[""])
    assert len(mask_table([file], None, tmp_path).classes) == 7


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_thin_walls_that_were_enlarged_smoothly_are_no_classes(tmp_path, factor):
    for seed, stem in enumerate("abc"):
        walls = np.zeros((48, 64), np.uint8)
        walls[5 + seed :: 13], walls[:, 4 + seed :: 17] = 255, 255
        picture = Image.fromarray(walls).resize((64 * factor, 48 * factor), Image.Resampling.BILINEAR)
        save(tmp_path / f"images/{stem}.png", noise((48 * factor, 64 * factor), seed=seed))
        save(tmp_path / f"masks/{stem}.png", np.asarray(picture))
    said = [str(error) for error in check(tmp_path).errors]
    assert any("resized smoothly" in one for one in said)


def test_thin_classes_that_do_not_rise_into_each_other_are_classes(tmp_path):
    rows, columns = np.mgrid[:96, :128]
    for seed, stem in enumerate("abc"):
        far = np.hypot(rows - 40 - seed, columns - 60)
        mask = np.where(far < 20, 255, np.where(far < 22, 128, 0)).astype(np.uint8)  # a rim of two pixels
        mask[:, 5 + seed], mask[90 + seed] = 64, 100
        save(tmp_path / f"images/{stem}.png", noise((96, 128), seed=seed))
        save(tmp_path / f"masks/{stem}.png", mask)
    names = [entry.name for entry in check(tmp_path).reading.table.classes]
    assert names == ["grey 0", "grey 64", "grey 100", "grey 128", "grey 255"]


def rings(seed: int) -> NDArray[np.uint8]:
    """Rings a pixel wide, 0 and 255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :128]
    mask = np.zeros((96, 128), bool)
    for _ in range(7):
        mask |= abs(np.hypot(y - random.integers(96), x - random.integers(128)) - random.integers(6, 14)) < 0.7
    return 255 * mask.astype(np.uint8)


@pytest.mark.parametrize(
    ("factor", "how"),
    [(4, Resampling.BILINEAR), (4, Resampling.BICUBIC), (0.5, Resampling.BOX)],
)
def test_curved_walls_whose_peaks_pass_for_classes_are_refused(tmp_path: Path, factor: float, how: Resampling) -> None:
    with pytest.raises(DataError, match=r"resized smoothly.*nearest neighbour"):
        decoded(tmp_path, [resized(rings(seed), factor, how) for seed in range(4)])


def test_curved_walls_that_stay_clear_of_each_other_are_read(tmp_path: Path) -> None:
    masks = [resized(rings(seed), 4, Resampling.LANCZOS) for seed in range(4)]
    names, found = decoded(tmp_path, masks)
    assert len(names) == 2
    for mask, classes in zip(masks, found, strict=True):
        assert (classes != (mask > 127)).mean() < 0.02


def test_thin_strokes_on_a_ground_between_their_values_are_classes(tmp_path: Path) -> None:
    mask = np.full((96, 128), 77, np.uint8)
    mask[10:80:8, 5:60], mask[10:80:8, 60:120], mask[5:90, 124:126] = 0, 128, 255
    table = mask_table([{"": save(tmp_path / "0.png", mask)}], None, tmp_path)
    assert [entry.name for entry in table.classes] == ["grey 0", "grey 77", "grey 128", "grey 255"]
