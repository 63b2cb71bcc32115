"""A trained model: the network with what it needs to be used, in memory and on disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, field_validator, model_validator
from torch import Tensor

from rescrnet.classes import ClassEntry, MaskDeclaration, coloured
from rescrnet.config import Config, NetworkConfig, Side
from rescrnet.errors import DataError, ModelError, RescrnetWarning, UsageError
from rescrnet.images.array_like import channels_come_first, check_array, why_unlike
from rescrnet.intensity import IntensityScaling, check_finite, match_channels, normalise_image
from rescrnet.intensity_profile import IntensityProfile
from rescrnet.model_folder import BEST, ModelFolder
from rescrnet.nn.build import Initialization, Network, build_network
from rescrnet.nn.statistics import predict_logits
from rescrnet.object_settings import ObjectSettings, default_settings
from rescrnet.records import Record
from rescrnet.tensors import check_finite_weights, read_tensors, write_tensors
from rescrnet.wording import count, one_line

FORMAT = 5
_OLDER = (1, 2, 3, 4)  # formats that lack what was added since, or have other names for it, and nothing else
_MAGNIFIED = 1.5 - 1e-6  # the factor from which on another size of a pixel is warned of
_HEADER = frozenset({"format", "rescrnet"})  # its keys
_Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LAST = "last.safetensors"


class TrainedOn(Record):
    """Where weights come from that were trained here."""

    dataset: str
    """The name of its folder."""
    train: list[str]
    """The stems of the images that were trained on."""
    val: list[str]
    """The stems of the images that validated."""
    config: Config
    rescrnet: str
    """Versions."""
    torch: str
    started_from: str | None = None
    """The digest of the weights that training went on from; None where they were drawn at random."""
    epoch: int = 0
    """The epoch of these weights, and how they were validated."""
    val_loss: float | None = None
    val_tanimoto: float | None = None


class ImportedFrom(Record):
    """Where weights come from that the authors' Keras program saved."""

    imported_from: str
    """The name of the file."""
    architecture: str | None = None
    """The name of the file with the network's graph, where that was another."""


Provenance = Annotated[TrainedOn | ImportedFrom | None, BeforeValidator(lambda value: value or None)]


class ModelCard(Record):
    """Everything about a model but its weights: the JSON in the header of a model file."""

    RENAMED = {
        "classes": "masks.classes",
        "ignore": "masks.ignore",
        "instances": "masks.instance_boundary",
        "histogram": "intensity_profile",
        "training": "provenance",
    }

    format: int = FORMAT
    network: NetworkConfig
    in_channels: PositiveInt
    masks: MaskDeclaration
    """The classes, each with a colour, and what else was known of the masks that it was trained with."""
    intensity: IntensityScaling
    intensity_profile: IntensityProfile | None = None
    """Of the training images; models that were imported, or trained before there was one, have none."""
    pixel_size: tuple[_Micrometres, _Micrometres] | None = None
    """Of the training images, their median: down and across, in micrometres; None where their files do not say."""
    axes: str = ""
    """What ``dataset.yaml`` said of training images whose files do not say their axes: ``CYX``, ``YXC``, …"""
    resize: tuple[Side, Side] | None = None
    objects: dict[str, ObjectSettings] = {}
    """How the objects of each class that has any are told apart, fitted on the training images."""
    provenance: Provenance = None
    """Where the weights come from; None where nobody knows."""

    @field_validator("masks")
    @classmethod
    def _has_classes(cls, masks: MaskDeclaration) -> MaskDeclaration:
        if not masks.classes:
            raise ValueError("name no classes; expected at least two")
        return masks.model_copy(update={"classes": coloured(masks.classes)})

    @model_validator(mode="after")
    def _fits_its_channels(self) -> Self:
        counts = {"intensity": len(self.intensity.scale)}
        if self.intensity_profile:
            counts["intensity_profile"] = len(self.intensity_profile.channels)
        for key, number in counts.items():
            if number != self.in_channels:
                raise ValueError(f"{key} is of {count(number, 'channel')}, in_channels is {self.in_channels}")
        return self

    @property
    def classes(self) -> list[ClassEntry]:
        """The classes in the order of their indices."""
        return self.masks.classes

    @property
    def object_settings(self) -> dict[str, ObjectSettings]:
        """How objects are told apart, by class: as was fitted, or by the names of the classes where nothing was."""
        numbered = self.masks.instance_boundary is not None
        return self.objects or default_settings([entry.name for entry in self.classes], numbered=numbered)

    @property
    def trained(self) -> TrainedOn | None:
        """The training of the weights, where they were trained here."""
        return self.provenance if isinstance(self.provenance, TrainedOn) else None


@dataclass(eq=False)
class SegmentationModel:
    """A network, its classes and its intensity scaling.

    Attributes:
        network: maps (N, in_channels, H, W), scaled, to logits (N, classes, H, W).
        card: what it is and where it comes from.
    """

    network: Network
    card: ModelCard
    _device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def untrained(cls, card: ModelCard, initialization: Initialization = "independent") -> Self:
        """The model of ``card`` with freshly drawn weights, see :func:`~rescrnet.nn.build.build_network`."""
        network = build_network(card.in_channels, len(card.classes), card.network, initialization)
        return cls(network.to(memory_format=torch.channels_last).eval(), card)  # type: ignore[call-overload]

    @property
    def classes(self) -> list[str]:
        """The names of the classes in the order of their indices."""
        return [entry.name for entry in self.card.classes]

    @property
    def colours(self) -> list[str]:
        """The colours that show the classes, ``"#rrggbb"``."""
        return [entry.color for entry in self.card.classes]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._device

    def to(self, device: str | torch.device) -> Self:
        """Move to a device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a torch device."""
        self._device = pick_device(device) if isinstance(device, str) else device
        self.network.to(self._device)
        return self

    def predict(
        self, image: NDArray[Any], name: object = "image", seen: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """Class probabilities of one image, the whole of it at once.

        Args:
            image: YX, or YXC with the model's number of channels (alpha is left out). Integers are divided by the
                largest value of their type; floats are taken as they are.
            name: what to call the image in messages.
            seen: rows and columns in which the network sees the image, where not its own; see
                :meth:`size_in_training`. The result has the size of the image.

        Returns:
            (classes, Y, X) float32; the probabilities of a pixel sum to 1.

        Raises:
            DataError: the shape or the channels do not fit, or a value is NaN or infinite.
            UsageError: it is no array, but a path, a list, or the image of another library.

        Warns, as the command line does, of intensities far from those of the training images.
        """
        check_array(image, name)
        shape, channels = tuple(image.shape), self.card.in_channels
        if len(shape) == 3 and channels_come_first(shape, channels):
            raise DataError(
                name,
                f"has shape {shape}, {count(shape[-1], 'channel')} at the end, expected {channels}",
                "channels come last: write numpy.moveaxis(image, 0, -1)",
            )
        if len(shape) not in (2, 3) or 0 in shape:
            raise DataError(name, f"has shape {shape}, expected one image, YX or YXC")
        stored = np.asarray(image)
        exact = stored.ndim == 3 and shape[-1] == channels
        normalised = normalise_image(stored, alpha=False if exact else None)
        matched = match_channels(normalised, channels, name)
        check_finite(matched, name)
        self.warn_if_out_of_distribution(matched, name, stored)
        return self.predict_normalised(matched, seen)

    def predict_normalised(
        self, image: NDArray[np.float32], seen: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """Class probabilities (classes, Y, X) of an image YXC normalised to [0, 1], with the model's channels.

        ``seen`` is the size in which the network sees it, where that is not its own.
        """
        self.network.eval()
        with torch.inference_mode():
            x = self.tensor(image).to(self._device)
            logits = predict_logits(self.network, _resized(x, self.card.resize or seen))
            probabilities = _resized(logits.float().softmax(1), (image.shape[0], image.shape[1]))
        return np.asarray(probabilities[0].cpu().numpy(), dtype=np.float32)

    def warn_if_out_of_distribution(
        self, image: NDArray[np.float32], name: object, stored: NDArray[Any] | None = None
    ) -> None:
        """Warn of an image, YXC normalised to [0, 1], whose intensities lie far outside those of the training images.

        A :class:`~rescrnet.errors.RescrnetWarning` names it. Of a large image a part that stands for it will do. Where
        its array is given as it was ``stored``, the warning says whether the type of its values is the cause.
        """
        profile = self.card.intensity_profile
        if profile and (reason := profile.out_of_distribution(image)):
            why = "" if stored is None else why_unlike(stored, max(channel.levels[-1] for channel in profile.channels))
            message = f"{name}: {reason}; the prediction may be wrong: look at it{why}"
            warnings.warn(message, RescrnetWarning, stacklevel=3)

    def warn_if_magnified(self, pixel_size: tuple[float, float] | None, name: object) -> None:
        """Warn of an image whose pixels are at least 1.5 times as large, or as small, as those of the training images.

        Nothing is said where a size is unknown, or where all images are resized to one size anyway.
        """
        known = self.card.pixel_size
        if known is None or pixel_size is None or self.card.resize:
            return
        factor = max(max(here / there, there / here) for here, there in zip(pixel_size, known, strict=True))
        if factor < _MAGNIFIED:
            return
        message = (
            f"{name}: its pixels are {in_micrometres(pixel_size)}, those of the training images "
            f"{in_micrometres(known)}: structures differ in size by a factor of {factor:.2g}; the prediction may be "
            "wrong: look at it, or try --rescale, which predicts at the pixel size of training"
        )
        warnings.warn(message, RescrnetWarning, stacklevel=3)

    def size_in_training(
        self, size: tuple[int, int], pixel_size: tuple[float, float] | None, name: object
    ) -> tuple[int, int]:
        """How many rows and columns an image has at the pixel size of the training images.

        Raises :class:`UsageError` where the model does not know that, and :class:`DataError` where the image does not.
        """
        known = self.check_rescalable()
        if pixel_size is None:
            raise DataError(
                name, "does not say how large its pixels are", "save it with its pixel size, or leave --rescale out"
            )
        rows, columns = (
            max(1, round(length * here / there)) for length, here, there in zip(size, pixel_size, known, strict=True)
        )
        return rows, columns

    def check_rescalable(self) -> tuple[float, float]:
        """The pixel size of the training images. Raises :class:`UsageError` where none can be predicted at."""
        if self.card.resize:
            raise UsageError("--rescale", "the model resizes all images to one size anyway", "leave it out")
        if self.card.pixel_size is None:
            raise UsageError(
                "--rescale", "the model does not know the pixel size of its training images", "leave it out"
            )
        return self.card.pixel_size

    def tensor(self, image: NDArray[np.float32]) -> Tensor:
        """An image, YXC normalised to [0, 1] → what the network reads, (1, C, Y, X)."""
        scaled = torch.from_numpy(self.card.intensity.apply(image))
        return scaled.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)

    def save(self, path: str | Path, *, new: bool = False) -> None:
        """Write one safetensors file: the weights, and in its header the card as JSON and a digest of both.

        A file that is there is replaced, unless it must be ``new``: then :class:`OutputError` is raised.
        """
        header = {"format": "pt", "rescrnet": self.card.model_dump_json()}
        write_tensors(Path(path), self.network.state_dict(), header, new=new)


def load(path: str | Path, device: str = "cpu") -> SegmentationModel:
    """Load a model from a run folder (its best weights) or a model file. Executes nothing that the file holds.

    Raises :class:`ModelError` where it is missing, damaged, or no model of this package.
    """
    file = model_file(Path(path))
    header, weights = read_tensors(file, _HEADER)
    if "rescrnet" not in header:
        raise ModelError(file, "is not a rescrnet model (no model card in its header)", "expected one that train wrote")
    card = _read_card(file, header["rescrnet"])
    if not _fit(card, weights):
        raise ModelError(file, "its weights do not fit its configuration", "the file is damaged, copy it again")
    check_finite_weights(file, weights)
    model = SegmentationModel.untrained(card)
    model.network.load_state_dict(weights)
    return model.to(device)


def _fit(card: ModelCard, weights: Mapping[str, Tensor]) -> bool:
    """Whether the weights have the names, types and shapes of the network of ``card``, which is not built for that.

    A card may ask for more than the memory holds: a network on PyTorch's ``meta`` device has shapes alone, and each of
    its blocks needs weights that are there.
    """
    if getattr(card.network, "n", 0) + getattr(card.network, "m", 0) > len(weights):
        return False
    try:
        with torch.device("meta"):
            expected = build_network(card.in_channels, len(card.classes), card.network).state_dict()
    except (RuntimeError, OverflowError, TypeError):  # sizes beyond all arithmetic
        return False
    return {name: (x.dtype, x.shape) for name, x in weights.items()} == {
        name: (x.dtype, x.shape) for name, x in expected.items()
    }


def _read_card(file: Path, text: str) -> ModelCard:
    try:
        values = json.loads(text)
        json.dumps(values, ensure_ascii=False).encode()  # halves of a pair of UTF-16 are no text
    except (ValueError, RecursionError) as error:
        raise _invalid_card(file, error) from None
    version = values.get("format") if isinstance(values, dict) else None
    if version not in (FORMAT, *_OLDER):
        raise ModelError(file, f"has model format {version}, this version reads {FORMAT}", "update rescrnet")
    try:
        return ModelCard.model_validate({**values, "format": FORMAT})
    except ValidationError as error:
        raise _invalid_card(file, error) from None


def _invalid_card(file: Path, error: Exception) -> ModelError:
    return ModelError(file, f"its model card is not valid ({one_line(str(error).split(chr(10))[0])})", "copy it again")


def model_file(path: Path) -> Path:
    """The model file that ``path``, a run folder or a file, means."""
    if path.is_dir():
        found = [path / name for name in (BEST, LAST) if (path / name).is_file()]
        if not found and (several := ModelFolder.find(path)):
            first = several.members[0].parent
            raise ModelError(
                path,
                f"holds {len(several.members)} models, and one is needed here",
                f"name a single one, such as {first}",
            )
        if not found:
            raise ModelError(path, f"holds no trained model ({BEST})", "expected a run folder or a model file")
        return found[0]
    if not path.is_file():
        raise ModelError(path, "no such file or folder", "expected a run folder or a model file")
    return path


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``mps`` → a device that is there, or :class:`UsageError`."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if name not in available:
        raise UsageError(f"--device {name}", "is unknown", "expected auto, cpu, cuda or mps")
    if not available[name]:
        here = ", ".join(d for d, there in available.items() if there)
        raise UsageError(f"--device {name}", "this machine or this PyTorch has none", f"available: {here}")
    return torch.device(name)


def in_micrometres(pixel_size: Sequence[float]) -> str:
    """``"0.1 µm"``, or ``"0.1 × 0.2 µm"`` where height and width differ."""
    down, across = (f"{length:.3g}" for length in pixel_size)
    return f"{down} µm" if down == across else f"{down} × {across} µm"


def _resized(x: Tensor, size: Sequence[int] | None) -> Tensor:
    if size is None or tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", antialias=True)
