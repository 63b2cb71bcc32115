"""Images that show the same place: copies, crops and neighbouring fields of view, found by correlation.

Every image is thinned out by one factor, its local contrast made even, and compared with every other at every shift in
one Fourier transform. What stands out there is held against the full images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, uniform_filter

from rescrnet.no_data import filled

_SIDE = 96  # of a thinned-out image, about
_LEAST_SHARE = 0.1  # of the smaller image: a narrower overlap is not looked for
_CANDIDATE = 0.3  # correlation of thinned-out images from which on the full ones are compared
_SAME = 0.7  # of full images that show the same place: measured 0.76 with noise and JPEG, 0.54 where they do not
_FINE = 1.5  # pixels: noise, which a copy has too and another image of like objects has not
_SAME_FINE = 0.2  # correlation of that: copies 0.24 (noise, JPEG) to 0.98, like cells, fibres, … at most 0.16
_REPEATS = 0.6  # autocorrelation elsewhere of what repeats itself, and so fits in many places; of gratings 0.75
_SURE = 0.95  # correlation of copies of that
_WINDOW = 384  # side of the part of an overlap that is compared in full
_DETAIL = 8  # pixels: what varies more slowly is no detail of a full image
_FEWEST = 150  # pixels that carry an overlap's detail: a few bright spots on nothing fit each other by chance
_MOST_PAIRS = 50_000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same place.

    Attributes:
        first: place of an image in the sequence.
        second: place of another one.
        shift: (y, x) of the second image's corner in the first image, pixels.
        share: of the smaller image's area that lies in both.
        correlation: of the intensities there, after even contrast; 1 for copies.
    """

    first: int
    second: int
    shift: tuple[int, int]
    share: float
    correlation: float


def find_overlaps(images: Sequence[NDArray[Any]]) -> list[Overlap]:
    """The pairs of images that show the same place, shifted but neither turned nor scaled.

    Serial sections resemble each other and are not the same: noise and detail differ. Of more than about 300 images
    each is compared with those that follow it in the sequence only.

    Args:
        images: YX or YXC of any type; sizes may differ, a pixel is as large in all.
    """
    if len(images) < 2:
        return []
    grey = [_grey(image) for image in images]
    side = float(np.median([min(image.shape) for image in grey]))
    factor = max(1, round(side / _SIDE))
    thin = [_even(_thinned(image, factor), _SIDE / 12) for image in grey]
    size = [next_fast_len(2 * max(image.shape[axis] for image in thin), real=True) for axis in (0, 1)]
    spectra = [rfft2(image, size).astype(np.complex64) for image in thin]
    areas = {shape: rfft2(np.ones(shape, np.float32), size) for shape in {image.shape for image in thin}}
    reach = max(1, _MOST_PAIRS // len(images))
    found = []
    for i, j in combinations(range(len(images)), 2):
        if j - i > reach:
            continue
        count = irfft2(areas[thin[i].shape] * areas[thin[j].shape].conj(), size)
        least = _LEAST_SHARE * min(thin[i].size, thin[j].size)
        score = np.where(count >= least, irfft2(spectra[i] * spectra[j].conj(), size) / np.maximum(count, 1), -1)
        if score.max() < _CANDIDATE:
            continue
        peak = np.unravel_index(int(score.argmax()), score.shape)
        rough = [
            int(place) - n if place >= thin[i].shape[a] else int(place)
            for a, (place, n) in enumerate(zip(peak, size, strict=True))
        ]
        overlap = _compared(i, j, grey, (rough[0] * factor, rough[1] * factor), factor)
        large_enough = overlap.correlation >= _SAME and overlap.share >= _LEAST_SHARE
        if large_enough and _is_one_place(grey[i], grey[j], overlap):
            found.append(overlap)
    return found


def _grey(image: NDArray[Any]) -> Floats:
    known = filled(np.asarray(image, dtype=np.float32))
    return known if known.ndim == 2 else np.asarray(known.mean(-1), dtype=np.float32)


def _thinned(image: Floats, factor: int) -> Floats:
    """The image with squares of ``factor`` pixels averaged."""
    height, width = (max(1, n // factor) for n in image.shape)
    if min(image.shape) < factor:
        return image[:1, :1]
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(blocks.mean((1, 3)), dtype=np.float32)


def _even(image: Floats, sigma: float) -> Floats:
    """The image without its slow changes, of unit deviation everywhere: zero mean, so that products correlate."""
    high = image - gaussian_filter(image, sigma, mode="reflect")
    spread = np.sqrt(np.maximum(uniform_filter(high**2, max(3, round(4 * sigma)), mode="reflect"), 0))
    even = high / np.maximum(spread, 1e-3 * float(high.std()) + 1e-12)
    return np.asarray((even - even.mean()) / (even.std() + 1e-12), dtype=np.float32)


def _compared(i: int, j: int, grey: Sequence[Floats], rough: tuple[int, int], factor: int) -> Overlap:
    """Hold the middle of an overlap against the full image about where it should lie."""
    first, second = grey[i], grey[j]
    boxes = [_common(n, m, shift) for n, m, shift in zip(first.shape, second.shape, rough, strict=True)]
    middle = [((low + high) // 2, min(_WINDOW, high - low)) for low, high in boxes]
    rows, columns = (slice(centre - extent // 2, centre - extent // 2 + extent) for centre, extent in middle)
    margin = 2 * factor
    tops = (max(0, rows.start - rough[0] - margin), max(0, columns.start - rough[1] - margin))
    template = _even(first[rows, columns], _DETAIL)
    field = _even(second[tops[0] : rows.stop - rough[0] + margin, tops[1] : columns.stop - rough[1] + margin], _DETAIL)
    place, correlation = _best_match(template, field)
    if _carrying(template) < _FEWEST:
        correlation = 0.0
    shift = (rows.start - tops[0] - place[0], columns.start - tops[1] - place[1])
    common = [max(0, high - low) for low, high in map(_common, first.shape, second.shape, shift)]
    return Overlap(i, j, shift, common[0] * common[1] / min(first.size, second.size), correlation)


def _is_one_place(first: Floats, second: Floats, overlap: Overlap) -> bool:
    """Whether two images agree in their finest detail, not only in like objects that lie alike or repeat themselves."""
    boxes = [_common(n, m, shift) for n, m, shift in zip(first.shape, second.shape, overlap.shift, strict=True)]
    middle = [((low + high) // 2, min(_WINDOW, high - low)) for low, high in boxes]
    window = [(centre - extent // 2, centre - extent // 2 + extent) for centre, extent in middle]
    here = first[tuple(slice(low, high) for low, high in window)]
    there = second[tuple(slice(low - s, high - s) for (low, high), s in zip(window, overlap.shift, strict=True))]
    if float((_even(here, _FINE) * _even(there, _FINE)).mean()) < _SAME_FINE:
        return False
    return overlap.correlation >= _SURE or _repetition(_even(here, _DETAIL)) < _REPEATS


def _repetition(image: Floats) -> float:
    """The largest autocorrelation of an even image away from itself, over at least a quarter of it."""
    size = [next_fast_len(max(2 * n, 4 * _DETAIL), real=True) for n in image.shape]
    power, count = (irfft2(np.abs(rfft2(a, size)) ** 2, size) for a in (image, np.ones_like(image)))
    score = np.where(count >= image.size / 4, power / np.maximum(count, 1), -1)
    near = np.r_[-_DETAIL : _DETAIL + 1]
    score[np.ix_(near, near)] = -1
    return float(score.max())


def _carrying(image: Floats) -> float:
    """How many pixels the detail of an image is spread over: all of them, or a few that stand out."""
    squares = image.astype(np.float64) ** 2
    return float(squares.sum() ** 2 / max(float((squares**2).sum()), 1e-12))


def _common(n: int, m: int, shift: int) -> tuple[int, int]:
    """Begin and end, in the first image, of what a line of n and one of m pixels share where the second is shifted."""
    return max(0, shift), min(n, m + shift)


def _best_match(template: Floats, field: Floats) -> tuple[tuple[int, int], float]:
    """Where in ``field`` the ``template`` lies, whole or in part, and its normalised cross-correlation there."""
    size = [next_fast_len(n + m - 1, real=True) for n, m in zip(template.shape, field.shape, strict=True)]

    def sums(a: Floats, b: Floats) -> NDArray[Any]:
        return np.asarray(irfft2(rfft2(b, size) * rfft2(a, size).conj(), size))

    ones, there = np.ones_like(template), np.ones_like(field)
    count = np.maximum(sums(ones, there), 1)
    product = sums(template, field) - sums(template, there) * sums(ones, field) / count
    spread = [sums(template**2, there) - sums(template, there) ** 2 / count]
    spread += [sums(ones, field**2) - sums(ones, field) ** 2 / count]
    scale = np.sqrt(np.maximum(spread[0] * spread[1], 0))
    whole = count >= 0.5 * min(template.size, field.size)
    score = np.where(whole & (scale > 1e-6 * scale.max()), product / np.maximum(scale, 1e-12), -1)
    place = np.unravel_index(int(score.argmax()), score.shape)
    top, left = (int(p) - n if p >= m else int(p) for p, n, m in zip(place, size, field.shape, strict=True))
    return (top, left), float(score.max())
