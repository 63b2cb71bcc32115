"""Instance masks: a number for each object, from which a class mask is made on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, label, maximum_filter, minimum_filter

from rescrnet.masks.edges import Codes

CLASSES = ("background", "interior", "boundary")

_FEWEST = 3  # objects in an image, on average: fewer labels are rather classes
_NEARLY_ALL = 0.9


def instances_to_classes(
    labels: NDArray[np.integer], width: int, unlabelled: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Turn a number for each object into background, interior and boundary, so that touching objects stay apart.

    The boundary is the outermost ``width`` pixels of each object, by Euclidean distance, towards the background and
    towards other objects; the border of the image is none.

    Args:
        labels: YX, 0 background, any other number an object.
        width: of the boundary, pixels, at least 1.
        unlabelled: YX, pixels that may belong to anything: next to them there is no boundary.

    Returns:
        YX uint8, 0 background, 1 interior, 2 boundary. An object thinner than twice ``width`` is all boundary.
    """
    nothing = np.zeros(labels.shape, bool) if unlabelled is None else unlabelled
    most = maximum_filter(np.where(nothing, labels.min(), labels), 3, mode="nearest")
    least = minimum_filter(np.where(nothing, labels.max(), labels), 3, mode="nearest")
    objects = (labels != 0) & ~nothing
    rim = objects & (most != least)
    near = distance_transform_edt(~rim) < width if rim.any() else rim
    return np.where(objects, np.where(near, 2, 1), 0).astype(np.uint8)


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
