"""The configuration of a run: typed, validated, readable from YAML, with presets. Imports no torch.

One :class:`Config` describes a run completely. It is written, resolved, into every run folder and
every model file, so that either is enough to repeat the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from rescrnet.classes import MaskDeclaration
from rescrnet.errors import UsageError
from rescrnet.records import Record
from rescrnet.wording import one_line

Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1)]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; a kernel needs a centre, so use an odd size")
    return value


Filters = Annotated[PositiveInt, Field(le=10_000)]
Side = Annotated[PositiveInt, Field(le=2**16)]  # pixels
LARGEST_KERNEL, LARGEST_REACH = 63, 4096  # what the compiled kernels take
KernelSize = Annotated[int, Field(ge=1, le=LARGEST_KERNEL), AfterValidator(_odd)]
Dilation = Annotated[int, Field(ge=1, le=LARGEST_REACH)]
Variant = Literal["res-cr-net", "dense", "very-dense"]
Comparator = Literal["res-unet", "unet"]
ARCHITECTURES: tuple[str, ...] = (*get_args(Variant), *get_args(Comparator))
LossName = Literal[
    "dice_loss",
    "tani_loss",
    "cce_loss",
    "weighted_dice_loss",
    "weighted_tani_loss",
    "weighted_bce_loss",
    "weighted_bce_dice_loss",
    "weighted_bce_tani_loss",
    "weighted_cce_loss",
    "weighted_cce_tani_loss",
]
Settings = TypeVar("Settings", bound=BaseModel)
PerBlock = list[KernelSize] | list[list[KernelSize]]


class _AnyNetwork(Record):
    """What the configurations of all networks have in common."""

    RENAMED = {"name": "architecture"}

    @classmethod
    def current_keys(cls, values: Any) -> Any:
        """See :class:`~rescrnet.records.Record`.

        When the key was ``name``, every configuration had all keys of Res-CR-Net: with a U-Net they meant nothing.
        """
        current = super().current_keys(values)
        if isinstance(values, Mapping) and values.get("name") in get_args(Comparator):
            foreign = ResCRNetConfig.model_fields.keys() - UNetConfig.model_fields.keys()
            current = {key: value for key, value in current.items() if key not in foreign}
        return current


class ResCRNetConfig(_AnyNetwork):
    """Res-CR-Net (paper, "Architecture of Res-CR-Net"); the defaults are the paper's."""

    architecture: Variant = "res-cr-net"
    """How the residual blocks are joined: the paper's chain, or one of its denser variants."""
    n: PositiveInt = Field(default=6, le=1000)
    """Number of convolutional residual blocks, the stem included."""
    m: int = Field(default=1, ge=0, le=100)
    """Number of ConvLSTM residual blocks; 0 leaves the class projection alone."""
    filters: Filters | list[Filters] = 16
    """Filters of each parallel branch: one number, or one number a block. The compiled kernels have multiples of 16;
    other numbers take several times longer."""
    kernel_sizes: PerBlock = [3, 5, 7]
    """Odd kernel size of each parallel branch: one list, or one list a block."""
    dilations: list[Dilation] | list[list[Dilation]] = [1, 3, 5]
    """Dilation of each parallel branch: one list, or one list a block."""
    merge: Literal["concatenate", "sum"] = "concatenate"
    """How the parallel branches are joined before the shortcut is added."""
    dropout: Share | list[Share] = 0.05
    """Share of channels dropped after each convolutional block: one number, or one number a block. Where it is one, the
    stem of the denser variants keeps all of its channels."""
    space_to_depth: Literal[1, 2, 4, 8] = 1
    """Side of the squares of pixels whose values become channels of one pixel before the first block; after the last
    one the projection to classes makes squares of pixels again. The blocks then compute on so many times fewer rows and
    columns and see so many times farther. Not in the paper; 1 is the paper's network."""
    image_statistics: Weight = 0.0
    """How far an image that is predicted is normalised with its own mean and variance in every layer, as training does
    with each batch: with 1 altogether, with 0 by stored ones, in between by the mean of both weighted so. Those of a
    large image are taken from 16 windows of it. ``true`` is 1, ``false`` 0. Not in the paper."""
    stem_statistics: Weight | None = None
    """The same in the stem, where ``image_statistics`` is not 0; left out, it is as elsewhere, and that of a preset is
    left out where ``image_statistics`` is given. The more, the less do brightness and contrast matter, and the more
    does an empty field look like objects. Not in the paper."""
    lstm_filters: Filters = 1
    """Filters of each ConvLSTM direction."""
    recurrent_dropout: Share = 0.1
    """Share of the ConvLSTM's recurrent input dropped, one mask a sequence and gate."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for kernels, dilations in zip(self.per_block("kernel_sizes"), self.per_block("dilations"), strict=True):
            if not kernels or len(kernels) != len(dilations):
                raise ValueError(f"kernel_sizes {kernels} and dilations {dilations} must be as many, at least one")
            for size, dilation in zip(kernels, dilations, strict=True):
                if size // 2 * dilation > LARGEST_REACH:
                    raise ValueError(
                        f"a kernel of size {size} with dilation {dilation} reaches over {LARGEST_REACH} pixels"
                    )
        self.per_block("dropout")
        widths = {
            filters * (len(kernels) if self.merge == "concatenate" else 1)
            for filters, kernels in zip(self.per_block("filters"), self.per_block("kernel_sizes"), strict=True)
        }
        if self.architecture in ("dense", "very-dense") and len(widths) > 1:
            raise ValueError(
                f"'{self.architecture}' adds the outputs of its blocks, so all need one width; found {widths}"
            )
        return self

    @property
    def statistics_per_block(self) -> list[float]:
        """The share of its own statistics that an image is normalised with in each of the n blocks."""
        share, stem = self.image_statistics, self.stem_statistics
        return [share if stem is None or not share else stem, *[share] * (self.n - 1)]

    def per_block(self, field: Literal["filters", "kernel_sizes", "dilations", "dropout"]) -> list[Any]:
        """The setting ``field`` of each of the n blocks, spread out where one value serves all."""
        value = getattr(self, field)
        listed = field in ("kernel_sizes", "dilations")  # a list in itself
        shared = not isinstance(value, list) or (listed and not isinstance(value[0] if value else 0, list))
        if shared:
            return [value] * self.n
        if len(value) != self.n:
            raise ValueError(f"{field} is set for {len(value)} blocks but n is {self.n}")
        return list(value)


class UNetConfig(_AnyNetwork):
    """A comparator: the plain or the residual U-Net."""

    architecture: Comparator
    dropout: Share = 0.05
    """Share of channels dropped after each convolution."""
    image_statistics: Weight = 0.0
    """As with Res-CR-Net; those of all of an image."""


def _with_architecture(values: Any) -> Any:
    """Name the architecture, by which the kind of configuration is chosen, where it is left out."""
    current = _AnyNetwork.current_keys(values)
    return {"architecture": "res-cr-net", **current} if isinstance(current, Mapping) else current


NetworkConfig = Annotated[
    ResCRNetConfig | UNetConfig, Field(discriminator="architecture"), BeforeValidator(_with_architecture)
]
"""The network: which one it is, and what can be set about it."""


class DataConfig(Record):
    """How images reach the network."""

    RENAMED = {
        "ignore": "masks.ignore",
        "instances": "masks.instance_boundary",
        "instance_boundary": "masks.instance_boundary",
    }

    masks: MaskDeclaration = MaskDeclaration()
    """What the masks mean. Each key that is given goes before the one of dataset.yaml."""
    intensity: Literal["unit", "standard", "percentile"] = "unit"
    """Scaling fitted once on the training images: none beyond the file type's range, zero mean and unit
    deviation, or the 0.5 and 99.5 percentiles to 0 and 1; each channel by itself."""
    resize: tuple[Side, Side] | None = None
    """Resize every image to this height and width, as the paper did; predictions are scaled back. A size at which
    little is left of a class in the training masks is refused."""
    patch_size: Side | None = None
    """Side of the square patches cut for training; none trains on whole images."""
    fit_scale: bool = False
    """Choose network.space_to_depth and patch_size by the thickness of the classes in the training masks: thick ones
    are seen from farther away. Off where one of the two or resize is given, and without effect on comparators."""
    validation_size: PositiveInt | None = None
    """While training, validate on the central square of this side of larger images; none uses all of them.
    Evaluation always uses whole images."""


class AugmentationConfig(Record):
    """Random geometric augmentation (paper, "Data augmentation"); the defaults are the paper's."""

    rotation: float = Field(default=90, ge=0, le=180)
    """Largest rotation, degrees."""
    shift: Share = 0.1
    """Largest shift, as a share of the side."""
    shear: float = Field(default=15, ge=0, lt=90)
    """Largest shear, degrees."""
    zoom: Share = 0.1
    """Largest change of scale, each axis by itself."""
    flip: bool = True
    """Mirror each axis with probability one half."""
    brightness: Share = 0.0
    """Largest shift of all intensities, in units of the scaled intensities' deviation. Not in the paper."""
    contrast: Share = 0.0
    """Largest change of contrast about the mean, as a share. Not in the paper."""
    gamma: Share = 0.0
    """Largest change of the exponent of the intensities between their extremes. Not in the paper."""
    colour: Share = 0.0
    """Largest change of contrast and brightness of each channel by itself, as a share and in units of the channel's
    deviation: stains differ from slide to slide. Images of one channel stay as they are. Not in the paper."""
    shading: Share = 0.0
    """Largest change of light from the middle of a window to one corner, as a share, in a random direction: images are
    often lit unevenly. What is black stays so: a random level between the darkest value and no light. Not in the
    paper."""
    sharpness: Share = 0.0
    """Largest change of sharpness, either way, as a share of what a Gaussian of one pixel smooths away: sections,
    focus and resampling differ in it. Not in the paper."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How warped images are read. Bilinear reading, the paper's, smooths what prediction sees unsmoothed; with bicubic
    reading masks are not smoothed either."""
    upright: float = Field(default=0, ge=0, le=1)
    """Share of the windows that are only mirrored and turned by quarters, their pixels those of the image. Where there
    are any, the batch-norm statistics are recalibrated on such windows alone. Not in the paper."""


class TrainingConfig(Record):
    """The training protocol; the defaults are the paper's."""

    RENAMED = {
        "average": "ema_decay",
        "recalibrate": "bn_recalibration_batches",
        "same_start": "shared_initialization",
    }

    epochs: PositiveInt = 90
    steps_per_epoch: PositiveInt = 15
    budget: float | None = Field(default=None, gt=0, le=1e5)
    """Minutes that the whole run may take. Then epochs and steps_per_epoch are planned from a measured step when a run
    begins, and after every epoch the rest of the schedule is spread over the time that is left."""
    batch_size: PositiveInt | None = None
    """Images or patches a step; none takes all training images at once."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Adam, the paper's, or Muon for the weights of convolutions and Adam for the rest."""
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate: as it is, or a short warm-up, then down to nearly 0 along a cosine."""
    ema_decay: Share = 0.0
    """Decay a step of the exponential moving average of the weights, which is validated and saved; 0 saves the weights
    as they are. It settles the model at every moment of a run as a falling learning rate would at its end."""
    loss: LossName = "weighted_tani_loss"
    """By the authors' names; the table is in rescrnet.nn.losses."""
    weight_mode: Literal["contour", "volume", "both"] = "contour"
    bn_recalibration_batches: int = Field(default=0, ge=0)
    """Batches from which the batch-norm running statistics are recomputed before validating and saving."""
    start: Literal["none", "micrographs"] = "none"
    """What the blocks of Res-CR-Net start from: values drawn at random, or weights that come with the package, learnt
    from micrographs; what makes classes of their features is drawn at random in either case. A preset's choice is off
    where a key that sets the blocks (architecture, n, filters, kernel_sizes, dilations or merge) is given. Not in the
    paper."""
    shared_initialization: bool = False
    """Start all kernels of one shape from the same random values, as the authors' network does; Res-CR-Net only."""
    patience: PositiveInt | None = None
    """Stop after this many epochs without a better validation loss."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class Config(Record):
    """Everything that decides what a run computes."""

    preset: str = "custom"
    network: NetworkConfig = ResCRNetConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def calibration_batches(self) -> int:
        """Batches that the running statistics are recomputed from before a validation; none where none are used."""
        return 0 if self.network.image_statistics else self.training.bn_recalibration_batches

    def to_yaml(self) -> str:
        """The resolved configuration as YAML text that :func:`resolve` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


_SECTIONS: dict[str, type[Record]] = {"network": _AnyNetwork, "data": DataConfig, "training": TrainingConfig}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # Minutes on two cores; docs/training.md has what each choice was measured against.
    "standard": {
        "network": {
            "space_to_depth": 2,
            "image_statistics": 0.5,
            "stem_statistics": 0.75,
            "dropout": 0.0,
            "recurrent_dropout": 0.0,
        },
        "data": {"intensity": "percentile", "patch_size": 256, "fit_scale": True, "validation_size": 512},
        "augmentation": {
            "zoom": 0.3,
            "shading": 0.3,
            "sharpness": 0.9,
            "brightness": 0.5,
            "contrast": 0.4,
            "gamma": 0.3,
            "colour": 0.3,
            "interpolation": "bicubic",
            "upright": 0.3,
        },
        "training": {
            "epochs": 48,
            "steps_per_epoch": 30,
            "batch_size": 1,
            "optimizer": "muon",
            "learning_rate": 3e-3,
            "schedule": "cosine",
            "ema_decay": 0.98,
            "bn_recalibration_batches": 8,
            "start": "micrographs",
        },
    },
    # The default of earlier versions: the paper's network at full resolution.
    "laptop": {
        "data": {"intensity": "percentile", "patch_size": 256, "validation_size": 512},
        "augmentation": {"brightness": 0.5, "contrast": 0.4, "gamma": 0.3},
        "training": {
            "epochs": 25,
            "steps_per_epoch": 30,
            "batch_size": 1,
            "learning_rate": 3e-3,
            "ema_decay": 0.98,
            "bn_recalibration_batches": 8,
        },
    },
    # The paper's protocol to the letter: whole images, all of them in every step, 90 epochs of 15 steps.
    "paper-em": {"data": {"resize": [262, 400]}, "training": {"shared_initialization": True}},
    "paper-fm": {"data": {"resize": [300, 300]}, "training": {"shared_initialization": True}},
}


DEFAULT_PRESET = "standard"

BLOCKS = {"architecture", "n", "filters", "kernel_sizes", "dilations", "merge"}
"""The keys of network that say what its blocks are, for which training.start was learnt."""
_OF_RES_CR_NET = ("space_to_depth", "stem_statistics", "dropout", "recurrent_dropout")  # chosen for it alone
_SCALE = (("network", "space_to_depth"), ("data", "patch_size"), ("data", "resize"))  # what data.fit_scale would choose


def resolve(
    preset: str = DEFAULT_PRESET, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Build the configuration of a run: a preset, then a YAML file over it, then single keys over both.

    ``overrides`` are dotted keys with values, ``{"training.epochs": 5}``. A ``preset`` key in the file wins.
    Raises :class:`UsageError` naming an unknown preset or key or a wrong value.
    """
    where = str(file) if file else "configuration"
    layer = _with_current_keys(_read_yaml(file), where) if file else {}
    preset = str(layer.get("preset", preset))
    if preset not in {*PRESETS, "custom"}:
        raise UsageError(f"preset '{preset}' is unknown", remedy=f"the presets are {', '.join(PRESETS)}")
    given: dict[str, Any] = {}
    _merge(given, layer)
    _merge(given, _with_current_keys(_nested(overrides or {}), where))
    values: dict[str, Any] = {"preset": preset}
    _merge(values, PRESETS.get(preset, {}))
    network = given.get("network")
    if isinstance(network, Mapping) and network.get("architecture") in get_args(Comparator):
        settings = values.get("network", {}).items()
        values["network"] = {key: value for key, value in settings if key not in _OF_RES_CR_NET}
    if isinstance(network, Mapping) and "image_statistics" in network:
        values.get("network", {}).pop("stem_statistics", None)  # it was chosen for the preset's share
    if any(isinstance(given.get(section), Mapping) and key in given[section] for section, key in _SCALE):
        _merge(values, {"data": {"fit_scale": False}})
    if isinstance(network, Mapping) and not BLOCKS.isdisjoint(network):
        _merge(values, {"training": {"start": "none"}})
    _merge(values, given)
    return validate(Config, values, where)


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """``["training.epochs=5"]`` → ``{"training.epochs": 5}``; the values are read as YAML."""
    overrides = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {text}", "expected key=value, such as training.epochs=5")
        try:
            overrides[key] = yaml.safe_load(value)
        except (yaml.YAMLError, RecursionError, ValueError):
            raise UsageError(f"--set {text}", "the value is not valid YAML") from None
    return overrides


def validate(kind: type[Settings], values: Any, where: str) -> Settings:
    """``kind`` built from ``values``; its first fault as a one-line :class:`UsageError` that names ``where``."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(where, *_first_fault(kind, error)) from None


def _first_fault(kind: type[BaseModel], error: ValidationError) -> tuple[str, str]:
    """What was found, and what to do."""
    fault = error.errors()[0]
    # Where one of several kinds of configuration or value was tried, its name stands among the keys.
    kinds = (*ARCHITECTURES, "constrained-float", "constrained-int")
    key = ".".join(str(part) for part in fault["loc"] if part not in kinds)
    if fault["type"] == "extra_forbidden":
        known = ", ".join(getattr(_section(kind, fault["loc"][:-1]), "model_fields", {}))
        return f"key '{key}' is unknown", f"known keys are {known}"
    if fault["type"] == "union_tag_invalid":
        known = ", ".join(map(repr, ARCHITECTURES))
        return f"{key}.architecture: Input should be one of {known} (found {fault['ctx']['tag']!r})", ""
    message = fault["msg"].removeprefix("Value error, ")
    found = "" if isinstance(fault["input"], Mapping | BaseModel) else f" (found {fault['input']!r})"
    return f"{key or kind.__name__}: {message}{found}", ""


def _section(kind: Any, location: Sequence[int | str]) -> Any:
    """The type that stands at ``location`` in ``kind``."""
    for part in location:
        if isinstance(part, int):
            kind = get_args(kind)[0]
        elif part in ARCHITECTURES:
            kind = UNetConfig if part in get_args(Comparator) else ResCRNetConfig
        else:
            kind = kind.model_fields[part].annotation
    return kind


def _with_current_keys(layer: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``layer`` by the names of today, so that it can be laid over another that uses them."""
    current = dict(layer)
    for section in current.keys() & _SECTIONS.keys():
        try:
            current[section] = _SECTIONS[section].current_keys(current[section])
        except ValueError as error:
            raise UsageError(f"{where}: {section}", str(error)) from None
    return current


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``{"training.epochs": 5}`` → ``{"training": {"epochs": 5}}``."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        if key == "preset":
            raise UsageError(f"preset={value}", "a preset cannot be set as a key", "give it with --preset")
        inner: Any = value
        for part in reversed(key.split(".")):
            inner = {part: inner}
        _merge(nested, inner)
    return nested


def _read_yaml(file: Path) -> dict[str, Any]:
    if file.exists() and not file.is_file():  # a pipe or device never ends
        raise UsageError(file, "is no file", "expected YAML")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(file, f"cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of month 13 is a ValueError
        raise UsageError(file, f"is not valid YAML ({one_line(error)})") from None
    if not isinstance(values or {}, dict):
        raise UsageError(file, "expected sections with keys, such as 'training: {epochs: 5}'")
    return values or {}


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value
