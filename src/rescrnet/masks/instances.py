"""Instance masks: a number for each object, from which a class mask is made on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, label, maximum_filter, minimum_filter

from rescrnet.errors import DataError
from rescrnet.masks.edges import Codes

CLASSES = ("background", "interior", "boundary")

_FEWEST = 3  # objects in an image, on average: fewer labels are rather classes
_NEARLY_ALL = 0.9


def instances_to_classes(
    labels: NDArray[np.integer], width: float, unlabelled: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Turn a number for each object into background, interior and boundary, so that touching objects stay apart.

    The boundary is the outermost ``width`` pixels of each object, by Euclidean distance, towards the background and
    towards other objects; the border of the image is none. Of an object that is too thin for that, at most half its
    depth is boundary, so that it is not lost; where a waist cuts an interior in parts, the largest is kept. Between the
    interiors of two objects lies a pixel at least, whatever their sizes; for that an object that is all surrounded by
    others as thin may become all boundary.

    Args:
        labels: YX, 0 background, any other number an object.
        width: of the boundary, pixels; at least the outermost pixel is boundary.
        unlabelled: YX, pixels that may belong to anything: next to them there is no boundary.

    Returns:
        YX uint8, 0 background, 1 interior, 2 boundary.
    """
    nothing = np.zeros(labels.shape, bool) if unlabelled is None else unlabelled
    most = maximum_filter(np.where(nothing, labels.min(), labels), 3, mode="nearest")
    least = minimum_filter(np.where(nothing, labels.max(), labels), 3, mode="nearest")
    objects = (labels != 0) & ~nothing
    rim = objects & (most != least)
    depth = distance_transform_edt(~rim) if rim.any() else np.full(labels.shape, np.inf)
    interior = objects & ~rim & (depth >= width)
    _keep_thin_objects(np.where(objects, labels, 0), depth, interior)
    _keep_one_part(labels, interior)
    return np.where(objects, np.where(interior, 1, 2), 0).astype(np.uint8)


def _keep_thin_objects(labels: NDArray[np.integer], depth: NDArray[np.float64], interior: NDArray[np.bool_]) -> None:
    """Give the objects that have no interior one, where that leaves a pixel between it and all others."""
    numbers = np.unique(labels)
    lost = np.setdiff1d(numbers[numbers != 0], labels[interior])
    if not lost.size:
        return
    places = np.where(np.isin(labels, lost), np.searchsorted(lost, labels) + 1, 0)
    for place, box in enumerate(find_objects(places), start=1):
        around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        own = places[around] == place
        deepest = depth[around][own].max()
        if deepest:
            core = own & (depth[around] > deepest / 2)
        else:  # it is at most two pixels thin: as much of it as touches no other interior
            core = own & ~maximum_filter(interior[around] & ~own, 3, mode="constant")
        interior[around] |= core


def _keep_one_part(labels: NDArray[np.integer], interior: NDArray[np.bool_]) -> None:
    """Leave the largest part alone of an interior that a waist cuts in several: one object is to stay one.

    An object that itself lies in several places keeps an interior in each.
    """
    parts, count = label(interior)
    if count == len(np.unique(labels[interior])):
        return
    from skimage.measure import label as label_values  # takes a tenth of a second, and most masks do without

    places = label_values(labels, background=0, connectivity=2)
    sizes, (_, first) = np.bincount(parts.ravel()), np.unique(parts, return_index=True)
    owner = places.ravel()[first]
    order = np.lexsort((-sizes[1:], owner[1:])) + 1  # the parts of each object, the largest first
    largest = np.zeros(count + 1, bool)
    largest[order[np.unique(owner[order], return_index=True)[1]]] = True
    interior &= largest[parts]


def width_in_pixels(width: str, pixel_sizes: Iterable[tuple[float, float]], where: object) -> float:
    """A width such as ``"0.5 µm"`` in pixels of a dataset, by the median of its pixel sizes, down and across in
    micrometres. Raises :class:`DataError` where none is known."""
    sizes = list(pixel_sizes)
    if not sizes:
        raise DataError(
            where,
            f"'instance_boundary' is {width}, but no image says how large its pixels are",
            "add 'pixel_size: [0.5, 0.5]' to dataset.yaml (micrometres, down and across), or give it in pixels",
        )
    return float(width.strip().rstrip("umµμ ")) / float(np.median(np.sqrt(np.prod(sizes, axis=1))))


def look_like_instances(masks: Iterable[Codes], counts: Sequence[Mapping[int, int]]) -> bool:
    """Whether masks number separate objects rather than classes.

    They do where there are several labels an image, nearly each of them one connected part, and other labels in other
    images (one image alone must have twice as many labels). Classes come back in pieces and in every image.

    Args:
        masks: YX codes of the images, 0 the background, negative where unlabelled; read only if it may be so.
        counts: the pixels of every code in each of them.
    """
    found = [{code for code in image if code > 0} for image in counts]
    several = sum(map(len, found)) >= _FEWEST * len(found)
    if len(found) == 1:
        several = len(found[0]) >= 2 * _FEWEST
    elif all(codes == found[0] for codes in found):
        return False
    if not several:
        return False
    whole = [one for mask, codes in zip(masks, found, strict=True) for one in _are_connected(mask, codes)]
    return float(np.mean(whole)) >= _NEARLY_ALL


def _are_connected(mask: Codes, codes: set[int]) -> list[bool]:
    numbers = np.searchsorted(sorted(codes), mask) + 1
    numbers[~np.isin(mask, list(codes))] = 0
    boxes = find_objects(numbers)
    corners = np.ones((3, 3))
    return [label(numbers[box] == place, corners)[1] == 1 for place, box in enumerate(boxes, start=1) if box]
