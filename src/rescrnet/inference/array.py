"""Predict arrays: an image in anything that has regions, class indices into an array."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError, UsageError
from rescrnet.images.array_like import channels_come_first, check_array, kind_if_no_array
from rescrnet.images.open import wrap
from rescrnet.images.stack import ArrayLike, Stack
from rescrnet.inference.journal import Journal, opened
from rescrnet.inference.plane import explain_full_disk, fingerprint, model_fingerprint, predict_plane, sample
from rescrnet.inference.resources import Resources
from rescrnet.intensity import match_channels, normalise
from rescrnet.locks import locked
from rescrnet.model import SegmentationModel
from rescrnet.wording import count


def predict_array(
    model: SegmentationModel,
    image: ArrayLike,
    classes: Any = None,
    probabilities: Any = None,
    *,
    axes: str | None = None,
    name: str = "image",
    resources: Resources | None = None,
    persistent: bool = False,
    advance: Callable[[float], object] = lambda pixels: None,
) -> Any:
    """Predict an image of any size that an array holds, a stack plane by plane.

    The result is that of :meth:`SegmentationModel.predict` for each plane, to rounding (1e-5 in probability), however
    much memory there is: planes that do not fit are streamed through a scratch folder.

    Args:
        model: the trained model.
        image: an array of NumPy, Zarr or Dask, or anything else with ``shape``, ``dtype`` and regions. Integers are
            divided by the largest value of their type; floats are taken as they are.
        classes: an array to write the class indices into, of NumPy or Zarr: (…, Y, X) uint8, one place along each axis
            that is neither y, x nor channels, in their order. Without it a NumPy array is made.
        probabilities: an array to write the probabilities into: (…, classes, Y, X) float32. Without it they are not
            kept.
        axes: one letter of y, x, c (channels), z, t, p (pages) for each axis of ``image``. Without it the last two are
            y and x, or y, x and channels where the last is as long as the model has channels, or up to 4 (alpha, a
            second or fourth, is left out); one before those is pages.
        name: what to call the image in messages, and what tells it from others in a scratch folder.
        resources: memory, scratch folder and executor; by default half of the free memory and this process.
        persistent: ``classes`` and ``probabilities`` still hold what an interrupted call wrote, as a Zarr on disk does;
            a call that is resumed from a scratch folder writes any other array anew.
        advance: called with the number of pixels done since the last call; they add up to those of all planes.

    Returns:
        ``classes``.

    Raises:
        DataError: the image does not fit the model or is none, or holds NaN or infinite values.
        OutputError: the scratch folder is full or cannot be used.
        UsageError: an argument is no array, or not one that takes the result; the memory is too little.
    """
    resources = resources or Resources()
    stack = _as_stack(image, axes, model.card.in_channels, name)
    _check_channels(stack, model.card.in_channels, axes, name)
    planes = tuple(axis.length for axis in stack.plane_axes)
    if classes is None:
        classes = np.zeros((*planes, *stack.size), np.uint8)
    else:
        _check_output("classes", classes, (*planes, *stack.size), "uint8")
    if probabilities is not None:
        _check_output("probabilities", probabilities, (*planes, len(model.classes), *stack.size), "float32")
    if getattr(resources.executor, "remote", False):
        raise UsageError(
            "resources",
            "have an executor whose workers cannot write into an array of this process",
            "leave the executor out, or use rescrnet.predict_files",
        )
    writers = [
        (
            _PlaneOf(classes, place, persistent),
            None if probabilities is None else _PlaneOf(probabilities, place, persistent),
        )
        for place in np.ndindex(*planes)
    ]
    _warn(model, stack, name)
    with _journal(model, stack, name, probabilities is not None, resources.scratch) as journal:
        for index, ((_, source), (to_classes, to_probabilities)) in enumerate(zip(stack, writers, strict=True)):
            step = f"plane-{index}"
            if journal and persistent and journal.done(step) and journal.state(step) == fingerprint(sample(source)):
                advance(source.shape[0] * source.shape[1])
                continue
            own = replace(resources, scratch=None if journal is None else journal.folder / step)
            predict_plane(model, source, to_classes, to_probabilities, name=source.name, resources=own, advance=advance)
            if journal and persistent:
                journal.record(step, np.array(fingerprint(sample(source))))
    return classes


@dataclass(frozen=True)
class _PlaneOf:
    """One plane of an array, (…, Y, X) or (…, classes, Y, X)."""

    array: Any
    place: tuple[int, ...]
    persistent: bool

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Put a block in its place."""
        rows, columns = slice(y0, y0 + block.shape[0]), slice(x0, x0 + block.shape[1])
        if block.ndim == 3:
            self.array[(*self.place, slice(None), rows, columns)] = block.transpose(2, 0, 1)
        else:
            self.array[(*self.place, rows, columns)] = block


@contextlib.contextmanager
def _journal(
    model: SegmentationModel, stack: Stack, name: str, probabilities: bool, scratch: Path | None
) -> Iterator[Journal | None]:
    """With a step for each plane that is done, where an interrupted call can be resumed."""
    if scratch is None:
        yield None
        return
    identity = {
        "model": model_fingerprint(model),
        "image": name,
        "axes": [[axis.name, axis.length] for axis in stack.axes],
        "dtype": str(stack[0].source.dtype),
        "probabilities": probabilities,
    }
    with explain_full_disk(scratch), locked(scratch), opened(scratch, identity) as journal:
        yield journal
        journal.remove()


def _as_stack(image: Any, axes: str | None, channels: int, name: str) -> Stack:
    """The planes of an array-like, or one line about what else it is."""
    check_array(image, name)
    if axes is not None and not isinstance(axes, str):
        raise UsageError("axes", f"are {axes!r}", "expected one letter an axis, such as 'zyx' or 'yxc'")
    if axes is not None:
        return wrap(image, axes.lower(), name=name)
    last = image.shape[-1] if len(image.shape) in (3, 4) else 0
    if last in (channels, 1, 2, 3, 4):
        alpha = last in (2, 4) and last != channels
        return wrap(image, "yxc" if len(image.shape) == 3 else "pyxc", name=name, alpha=alpha)
    try:
        return wrap(image, name=name)
    except DataError as error:
        raise DataError(error.subject, error.found, f"{error.remedy}; say so, as axes='tzyx'") from None


def _check_channels(stack: Stack, expected: int, axes: str | None, name: str) -> None:
    """Raise :class:`DataError` where the channels are not those of the model, and came first."""
    lengths = [axis.length for axis in stack.axes]
    if axes is None and stack[0].source.shape[2] not in (expected, 3) and channels_come_first(lengths, expected):
        raise DataError(
            name,
            f"has shape {tuple(lengths)}, and the model expects {count(expected, 'channel')}",
            "channels come last: write numpy.moveaxis(image, -3, -1), or say so, as axes='cyx'",
        )


def _warn(model: SegmentationModel, stack: Stack, name: str) -> None:
    """Warn of intensities unlike those of training, by the plane in the middle."""
    stored = sample(stack[len(stack) // 2].source)
    some = match_channels(normalise(stored), model.card.in_channels, name)
    if np.isfinite(some).all():  # otherwise it is refused
        model.warn_if_out_of_distribution(some, name, stored)


def _check_output(argument: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Raise :class:`UsageError` where a result of that shape and type cannot be written into ``array``."""
    remedy = f"expected an array to write into; write {argument}=numpy.zeros({shape}, '{dtype}'), or such a Zarr array"
    kind = kind_if_no_array(array)
    if kind is None and type(array).__module__.split(".")[0] == "dask":
        kind = "a Dask array, into which nothing can be written"
    if kind is None and not hasattr(array, "__setitem__"):
        kind = f"of type {type(array).__name__}, into which nothing can be written"
    if kind is not None:
        raise UsageError(argument, f"is {kind}", remedy)
    if tuple(array.shape) != shape or np.dtype(array.dtype) != dtype:
        raise UsageError(argument, f"has shape {tuple(array.shape)} of {array.dtype}", remedy)
    if getattr(array, "read_only", False) or (isinstance(array, np.ndarray) and not array.flags.writeable):
        raise UsageError(argument, "is read-only", remedy)
