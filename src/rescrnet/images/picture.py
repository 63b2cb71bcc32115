"""PNG, JPEG, BMP, GIF, WebP and what else Pillow opens: decoded when first read, size and type are in the header.

Large PNG and BMP are read by rows; of other large pictures Pillow's own copy is the only one that is held.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rescrnet.errors import DataError
from rescrnet.images.npy import Index
from rescrnet.images.rows import HELD, BitmapRows, Inflated, bitmap_rows, png_rows
from rescrnet.images.shown import is_grey, is_ramp, upright
from rescrnet.images.stack import Axis, Stack, believable_step, decoding, make_stack, refuse_bomb

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type in its header
_MODES = {"1": ("bool", 1), "L": ("u1", 1), "P": ("u1", 1), "LA": ("u1", 2), "RGB": ("u1", 3), "RGBA": ("u1", 4)}
_MODES |= {"I;16": ("u2", 1), "I;16B": ("u2", 1), "I": ("u2", 1)}  # Pillow reads PGM of 16 bits as 32
_NAMES = {"MPO": "JPEG", "PPM": "PNM"}  # of formats that Pillow calls otherwise
_LARGE = 1 << 24  # bytes of pixels from which on a picture is not held whole, if that can be
_HELD = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # bytes a pixel in Pillow, else 4
_ONE_BIT = (2, 4)  # entries of a palette of one bit, as GIF pads it
_ORIENTATION = 274  # the number of its tag in EXIF


class Palette(NamedTuple):
    """What the values of an indexed image stand for.

    Attributes:
        colours: (entries, 3) uint8.
        clear: the indices that are at least half transparent.
    """

    colours: NDArray[np.uint8]
    clear: tuple[int, ...]


class PictureFile:
    """The pixels of a picture as an array, (Y, X) or (Y, X, C) with alpha last.

    Attributes:
        shape: its extents.
        dtype: bool, uint8 or uint16.
        form: ``PNG``, ``JPEG``, ``BMP`` or what Pillow calls it.
        step: micrometres a pixel down and across, or none.
        palette: of an indexed image; its values are the indices, or the colours where ``indices`` is false.
        orientation: how its rows and columns lie when shown, by the number in EXIF, or none.
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
            self.form = _NAMES.get(image.format or "", image.format or "")
            if (frames := getattr(image, "n_frames", 1)) > 1 and self.form != "JPEG":
                raise DataError(path, f"holds {frames} pictures", "expected one image; save each by itself")
            self.step = _step(image)
            self.orientation = _exif(path, image).get(_ORIENTATION)
            self.palette = _palette(image)
            self._mode = _shown_mode(self.palette, indices=indices) if self.palette else None
            self._colours = image.getpalette() if self._mode else None
            if self._mode:
                self.palette = None
            self._stored_mode, self._progressive = image.mode, bool(image.info.get("progressive"))
            clear = "transparency" in image.info
            if self._sixteen:
                kind, channels = "u2", _PNG_CHANNELS[head[25]] + clear
            elif image.mode not in _MODES:
                raise DataError(path, f"is stored as {image.mode}", "expected grey or RGB; convert it")
            else:
                kind, channels = _MODES[self._mode or image.mode]
            self.dtype: np.dtype[Any] = np.dtype(kind)
            self.shape = (image.height, image.width, *([channels] if channels > 1 else []))
        self._pixels: NDArray[Any] | None = None
        self._image: Image.Image | None = None
        refuse_bomb(path, self.nbytes)
        self._rows: Inflated | BitmapRows | None = None
        if self.nbytes >= _LARGE and self.form == "PNG" and not (self._sixteen and clear):
            self._rows = png_rows(path, head)
        elif self.nbytes >= _LARGE and self.form == "BMP":
            self._rows = bitmap_rows(path)
        if self.form == "JPEG2000":  # its header does not say how many bits Pillow would take away
            with decoding(path):
                self._pixels = np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes()))
            self.shape, self.dtype = self._pixels.shape, self._pixels.dtype

    @property
    def alpha(self) -> bool:
        """Whether the last channel is transparency."""
        return len(self.shape) == 3 and self.shape[2] in (2, 4)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, decoded."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        """What reading a region holds beside it, bytes: rows, or all of the picture as its decoder keeps it."""
        pixels = self.shape[0] * self.shape[1]
        if self._rows is not None:
            return HELD if self.sequential else 0
        if self.nbytes < _LARGE:
            return self.nbytes
        if self._sixteen or self.form == "JPEG2000":
            return self.nbytes + self.path.stat().st_size
        held = pixels * _HELD.get(self._stored_mode, 4)
        channels = 1 if self._stored_mode == "L" else 3
        return held + (2 * channels * pixels if self._progressive else 0)  # its coefficients

    @property
    def sequential(self) -> bool:
        """Whether reading a region reads all that lies above it, too."""
        return isinstance(self._rows, Inflated)

    def release(self) -> None:
        """Give back the memory of what was decoded; it is decoded anew when it is read again."""
        self._pixels = self._image = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves, once."""
        return _reopen, (self.path, self.indices)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` where the file is damaged."""
        if self.nbytes >= _LARGE and not (self._sixteen and self._rows is None) and self.form != "JPEG2000":
            with decoding(self.path):
                return self._read(index)
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

    def _read(self, index: Index) -> NDArray[Any]:
        """A region of a large picture."""
        (y0, y1), (x0, x1) = (_ends(i, n) for i, n in zip(index[:2], self.shape[:2], strict=True))
        if self._rows is not None:
            pixels = self._rows.read(y0, y1, x0, x1)
            if self._mode and self._colours:
                band = Image.fromarray(np.ascontiguousarray(pixels))
                band.putpalette(self._colours)
                pixels = np.asarray(band.convert(self._mode))
        else:
            if self._image is None:
                self._image = _open(self.path)
                self._image.load()
            part = self._image.crop((x0, y0, x1, y1))
            pixels = np.asarray(part.convert(self._mode) if self._mode else part)
        pixels = pixels.astype(self.dtype, copy=False)
        return pixels[(*(0 if isinstance(i, int) else slice(None) for i in index[:2]), *index[2:])]

    def _decode(self) -> NDArray[Any]:
        if self._sixteen:
            return np.asarray(imagecodecs.png_decode(self.path.read_bytes()))
        with _open(self.path) as image:
            pixels = np.asarray(image.convert(self._mode) if self._mode else image)
        return pixels.astype(self.dtype) if pixels.dtype == np.int32 else pixels


def open_picture(path: Path, *, indices: bool = False) -> Stack:
    """The one plane of a picture. Raises :class:`DataError` where it is none that can be read.

    Args:
        path: the file.
        indices: give the indices of an indexed image, not its colours.
    """
    picture = PictureFile(path, indices=indices)
    steps = dict(zip("yx", picture.step, strict=True)) if picture.step else {}
    axes = [Axis(name, n, steps.get(name), 0.0, "micrometer") for name, n in zip("yxc", picture.shape, strict=False)]
    upright_picture, axes = upright(picture, axes, picture.orientation)
    return make_stack(
        upright_picture,
        axes,
        path,
        alpha=picture.alpha,
        segment_bytes=picture.held_bytes,
        sequential=picture.sequential,
        palette=picture.palette if indices else None,
        form=picture.form,
    )


def _ends(index: int | slice, length: int) -> tuple[int, int]:
    if isinstance(index, slice):
        start, stop, _ = index.indices(length)
        return start, stop
    return index, index + 1


@functools.lru_cache(maxsize=4)
def _reopen(path: Path, indices: bool) -> PictureFile:
    return PictureFile(path, indices=indices)


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


def _shown_mode(palette: Palette, *, indices: bool) -> str | None:
    """What an indexed image is read as: ``RGB``, ``L`` or ``1``; none where its indices are its values.

    Black and white in a palette is a picture of one bit, and a ramp that falls is an inverting look-up table.
    """
    colours = palette.colours
    if not indices:
        return "L" if len(colours) and is_grey(colours) else "RGB"
    if palette.clear:
        return None
    if len(colours) in _ONE_BIT and is_grey(colours) and set(colours.ravel().tolist()) == {0, 255}:
        return "1"
    return "L" if is_ramp(colours, -1) else None


def _exif(path: Path, image: Image.Image) -> Mapping[int, Any]:
    """What EXIF says, also where it follows the pixels of a PNG, which need not be decoded for it."""
    if image.format == "PNG" and "exif" not in image.info:
        if not (late := _late_exif(path)):
            return {}
        image.info["exif"] = late
    return image.getexif()


def _late_exif(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[:4])
            if head[4:] == b"eXIf":
                return file.read(length)
            file.seek(length + 4, 1)
    return b""


def _step(image: Image.Image) -> tuple[float, float] | None:
    """Micrometres a pixel, down and across, from the resolution of a PNG."""
    across, down = image.info.get("dpi", (0, 0)) if image.format == "PNG" else (0, 0)
    return believable_step(25_400 / down, 25_400 / across) if across > 0 and down > 0 else None
