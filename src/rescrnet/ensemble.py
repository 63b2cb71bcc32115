"""Several predictions as one: of the members of a model that was trained several times, and of turned images.

An ensemble is used like any other model. Its parts are every member on every view of the image; the probabilities of
all parts, turned back, are averaged, and the mean is softened or sharpened by one temperature (Guo et al. 2017,
arXiv:1706.04599). Pooling comes first, then the temperature (Rahaman and Thiery 2021, arXiv:2007.08792).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rescrnet.errors import ModelError
from rescrnet.model import ModelCard, SegmentationModel, TrainedOn
from rescrnet.model import load as load_one
from rescrnet.model_folder import ModelFolder
from rescrnet.nn.build import Members
from rescrnet.object_settings import ObjectSettings

_NEAR = 1.1  # the factor by which pixel sizes of members may differ; folds of one dataset have medians of their own
_SMALLEST = 1e-12  # a probability of 0 has no logarithm


class View(NamedTuple):
    """One of the eight flips and quarter turns of an image: its axes exchanged, then flipped."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the view of an image of ``shape`` (Y, X); the way back is the same."""
        return (shape[1], shape[0]) if self.transpose else shape

    def apply(self, array: NDArray[Any], y_axis: int = 0) -> NDArray[Any]:
        """The view of an array whose axes ``y_axis`` and the next one are y and x."""
        turned = array.swapaxes(y_axis, y_axis + 1) if self.transpose else array
        return np.flip(turned, self._flipped(y_axis))

    def undo(self, array: NDArray[Any], y_axis: int = 0) -> NDArray[Any]:
        """The array of which ``array`` is the view."""
        flipped = np.flip(array, self._flipped(y_axis))
        return flipped.swapaxes(y_axis, y_axis + 1) if self.transpose else flipped

    def _flipped(self, y_axis: int) -> tuple[int, ...]:
        return (*((y_axis,) if self.flip_y else ()), *((y_axis + 1,) if self.flip_x else ()))


IDENTITY = View()


class Part(NamedTuple):
    """One prediction of an ensemble."""

    member: SegmentationModel
    view: View


class Ensemble(SegmentationModel):
    """Several models, several views of each image, or both, used as one model.

    Attributes:
        members: at least one; they agree, see :func:`load`.
        views: of each image; the last is the image itself.
        temperature: larger than 1 where the mean is surer than it is right.
    """

    def __init__(
        self,
        members: Sequence[SegmentationModel],
        views: Sequence[View] = (IDENTITY,),
        temperature: float = 1.0,
        objects: Mapping[str, ObjectSettings] | None = None,
    ) -> None:
        card = _common_card(members)
        card = card.model_copy(update={"objects": dict(objects)}) if objects else card
        super().__init__(Members(member.network for member in members), card, members[0].device)
        self.members, self.views, self.temperature = list(members), list(views), temperature

    @property
    def parts(self) -> list[Part]:
        """What is averaged, in order."""
        return [Part(member, view) for view in self.views for member in self.members]

    def to(self, device: str | torch.device) -> Self:
        """See :meth:`SegmentationModel.to`."""
        for member in self.members:
            member.to(device)
        self._device = self.members[0].device
        return self

    def predict_normalised(
        self, image: NDArray[np.float32], seen: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """See :meth:`SegmentationModel.predict_normalised`."""
        total = np.zeros((len(self.classes), *image.shape[:2]), np.float32)
        for member, view in self.parts:
            of_view = np.ascontiguousarray(view.apply(image))
            total += view.undo(member.predict_normalised(of_view, view.shape(seen) if seen else None), 1)
        return pooled(total, len(self.parts), self.temperature)

    def save(self, path: str | Path, *, new: bool = False) -> None:
        """An ensemble is no file. Raises :class:`ModelError`."""
        raise ModelError(
            path, f"would have to hold {self.described}", "save a single model, such as one of its members"
        )

    @property
    def described(self) -> str:
        """``"3 members, 8 views of each image, temperature 1.2"``; what is 1 is left out."""
        of = {"members": len(self.members), "views of each image": len(self.views)}
        parts = [f"{number} {what}" for what, number in of.items() if number > 1]
        return ", ".join([*parts, *([f"temperature {self.temperature:.3g}"] if self.temperature != 1 else [])])


def pooled(total: NDArray[np.float32], parts: int, temperature: float) -> NDArray[np.float32]:
    """The sum of the probabilities of so many parts, (classes, …), → the probabilities of the ensemble."""
    return tempered(total / np.float32(parts), temperature)


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities (classes, …) as if the logits had been divided by ``temperature``; the order of classes stays."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, _SMALLEST)) / np.float32(temperature)
    raised = np.exp(logits - logits.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0), np.float32)


def load(path: str | Path, device: str = "cpu", *, test_time_augmentation: bool = False) -> SegmentationModel:
    """Load a model: a model file, a run folder (its best weights), or a folder of several models, which are one then.

    Folders of several are those of ``train --seeds`` and ``crossval``, and any folder of run folders. Nothing that a
    file holds is executed.

    Args:
        path: of the model.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        test_time_augmentation: average over the flips and quarter turns of each image, which takes 8 times as long; 4
            times where pixels are not square, since quarter turns would distort them.

    Raises:
        ModelError: it is missing, damaged, or no model of this package; or its members do not agree in classes,
            channels, the method of intensity scaling, axes, the size that images are resized to, or pixel size.
    """
    folder = ModelFolder.find(Path(path))
    if folder is None:
        loaded = load_one(path, device)
        return Ensemble([loaded], views_for(loaded.card)) if test_time_augmentation else loaded
    members = [load_one(file, device) for file in folder.members]
    for file, member in zip(folder.members[1:], members[1:], strict=True):
        _check_alike(file, member.card, folder.members[0], members[0].card)
    views = views_for(members[0].card) if test_time_augmentation else [IDENTITY]
    return Ensemble(members, views, folder.temperature, folder.objects)


def views_for(card: ModelCard) -> list[View]:
    """The flips and quarter turns that the images of a model can be seen in, the image itself last."""
    square = card.resize is None or card.resize[0] == card.resize[1]
    if card.pixel_size is not None:
        square = square and bool(np.isclose(card.pixel_size[0], card.pixel_size[1], rtol=0.01))
    every = (View(*one) for one in product((True, False), repeat=3))
    return [view for view in every if square or not view.transpose]


def _check_alike(file: Path, card: ModelCard, first_file: Path, first: ModelCard) -> None:
    for what, ours, theirs in (
        ("classes", [entry.name for entry in card.classes], [entry.name for entry in first.classes]),
        ("channels", card.in_channels, first.in_channels),
        ("an intensity scaling", card.intensity.method, first.intensity.method),
        ("axes", card.axes or "none", first.axes or "none"),
        ("images resized to", card.resize, first.resize),
        ("a pixel size of", card.pixel_size, first.pixel_size),
    ):
        if ours != theirs and not (what == "a pixel size of" and _near(card.pixel_size, first.pixel_size)):
            raise ModelError(
                file,
                f"has {what} {ours}, and {first_file} has {theirs}",
                "members of one model agree: name a single one, or move those that differ away",
            )


def _near(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    if one is None or other is None:
        return False
    return all(max(a / b, b / a) < _NEAR for a, b in zip(one, other, strict=True))


def _common_card(members: Sequence[SegmentationModel]) -> ModelCard:
    """The card of the first; what a member trained on, the ensemble did, and what all have left for it validates."""
    card = members[0].card
    trainings = [member.card.trained for member in members]
    known = [one for one in trainings if one is not None]
    if len(members) == 1 or not known or any(one.dataset != known[0].dataset for one in known):
        return card
    train = list(dict.fromkeys(stem for one in known for stem in one.train))
    val = [stem for stem in known[0].val if all(stem in one.val for one in known) and stem not in train]
    return card.model_copy(update={"provenance": _merged(known[0], train, val)})


def _merged(first: TrainedOn, train: list[str], val: list[str]) -> TrainedOn:
    return first.model_copy(update={"train": train, "val": val, "epoch": 0, "val_loss": None, "val_tanimoto": None})
