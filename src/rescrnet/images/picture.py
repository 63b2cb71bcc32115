"""PNG, JPEG, BMP and what else Pillow opens: the header tells size and type, the pixels are decoded when first read."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rescrnet.errors import DataError
from rescrnet.images.npy import Index
from rescrnet.images.stack import Axis, Stack, believable_step, decoding, make_stack, refuse_bomb

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type in its header
_MODES = {"1": ("bool", 1), "L": ("u1", 1), "P": ("u1", 1), "LA": ("u1", 2), "RGB": ("u1", 3), "RGBA": ("u1", 4)}


class Palette(NamedTuple):
    """What the values of an indexed image stand for.

    Attributes:
        colours: (entries, 3) uint8.
        clear: the indices that are at least half transparent.
    """

    colours: NDArray[np.uint8]
    clear: tuple[int, ...]


class Picture:
    """The pixels of a picture as an array, (Y, X) or (Y, X, C) with alpha last.

    Attributes:
        shape: its extents.
        dtype: bool, uint8 or uint16.
        form: ``PNG``, ``JPEG``, ``BMP`` or what Pillow calls it.
        step: micrometres a pixel down and across, or none.
        palette: of an indexed image; its values are the indices, or the colours where ``indices`` is false.
    """

    def __init__(self, path: Path, *, indices: bool = False) -> None:
        self.path, self.indices = path, indices
        with decoding(path), path.open("rb") as file:
            head = file.read(33)
        self._sixteen = head[:8] == _PNG and len(head) == 33 and head[24] == 16  # Pillow makes 8 or 32 bits of these
        if head[:8] == _PNG and len(head) == 33:
            width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
            refuse_bomb(path, width * height * _PNG_CHANNELS.get(head[25], 4) * head[24] // 8)
        with decoding(path), _open(path) as image:
            self.form = image.format or ""
            self.step = _step(image)
            self.palette = _palette(image)
            if self._sixteen:
                kind, channels = "u2", _PNG_CHANNELS[head[25]] + ("transparency" in image.info)
            elif image.mode not in _MODES:
                raise DataError(path, f"is stored as {image.mode}", "expected grey or RGB; convert it")
            else:
                kind, channels = _MODES[image.mode]
            if self.palette and not indices:
                channels = 3
            self.dtype: np.dtype[Any] = np.dtype(kind)
            self.shape = (image.height, image.width, *([channels] if channels > 1 else []))
        self._pixels: NDArray[Any] | None = None

    @property
    def alpha(self) -> bool:
        """Whether the last channel is transparency."""
        return len(self.shape) == 3 and self.shape[2] in (2, 4)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, decoded."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves, once."""
        return _reopen, (self.path, self.indices)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` where the file is damaged."""
        if self._pixels is None:
            with decoding(self.path):
                self._pixels = self._decode()
            if (self._pixels.shape, self._pixels.dtype) != (self.shape, self.dtype):
                raise DataError(
                    self.path,
                    f"holds {self._pixels.shape} of {self._pixels.dtype}, its header says {self.shape} of {self.dtype}",
                    "copy it again, or save it anew",
                )
        return self._pixels[index]

    def _decode(self) -> NDArray[Any]:
        if self._sixteen:
            return np.asarray(imagecodecs.png_decode(self.path.read_bytes()))
        with _open(self.path) as image:
            return np.asarray(image.convert("RGB") if self.palette and not self.indices else image)


def open_picture(path: Path, *, indices: bool = False) -> Stack:
    """The one plane of a picture. Raises :class:`DataError` where it is none that can be read.

    Args:
        path: the file.
        indices: give the indices of an indexed image, not its colours.
    """
    picture = Picture(path, indices=indices)
    steps = dict(zip("yx", picture.step, strict=True)) if picture.step else {}
    axes = [Axis(name, n, steps.get(name), 0.0, "micrometer") for name, n in zip("yxc", picture.shape, strict=False)]
    return make_stack(
        picture,
        axes,
        path,
        alpha=picture.alpha,
        segment_bytes=picture.nbytes,
        palette=picture.palette if indices else None,
        form=picture.form,
    )


@functools.lru_cache(maxsize=4)
def _reopen(path: Path, indices: bool) -> Picture:
    return Picture(path, indices=indices)


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # measured before, and large images are usual
        return Image.open(path)


def _palette(image: Image.Image) -> Palette | None:
    if image.mode != "P":
        return None
    colours = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    given = image.info.get("transparency")
    if isinstance(given, int):
        return Palette(colours, (given,))
    return Palette(colours, tuple(index for index, alpha in enumerate(given or b"") if alpha <= 127))


def _step(image: Image.Image) -> tuple[float, float] | None:
    """Micrometres a pixel, down and across, from the resolution of a PNG."""
    across, down = image.info.get("dpi", (0, 0)) if image.format == "PNG" else (0, 0)
    return believable_step(25_400 / down, 25_400 / across) if across > 0 and down > 0 else None
