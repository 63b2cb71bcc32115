"""MRC files of electron microscopy, read by region: micrographs, stacks of them, tomograms."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rescrnet.errors import DataError
from rescrnet.images.extras import library_for
from rescrnet.images.npy import RawArray
from rescrnet.images.shown import upright
from rescrnet.images.stack import ArrayLike, Axis, Stack, decoding, make_stack, refuse_bomb

MRC_SUFFIXES = (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map")
PACKED = (".gz", ".bz2")
_HEADER = 1024  # bytes
_BOTTOM_LEFT = 4  # the orientation, as EXIF counts, of rows that begin at the lower left
_STAMP, _STAMPED = 152, 1146047817  # where IMOD signs a header, and how; flags follow
_SIGNED = 1  # the flag of bytes that are signed
_LARGEST_SIGNED = 127
_UNSET = 1.0  # ångström: what programs write that know no pixel size
_WHAT = {
    3: "complex values, such as a Fourier transform",
    4: "complex values, such as a Fourier transform",
    16: "colours of IMOD",
    101: "values of 4 bits",
}


def open_mrc(path: Path) -> Stack:
    """The planes of an MRC file, also of one packed by gzip or bzip2, which is then held whole.

    Rows are stored from the lower left, and read as IMOD and Fiji show them. Bytes are signed or not as IMOD says where
    it wrote the file; else, as the standard has it, signed, unless the header names a maximum that no signed byte has,
    or is older than the standard. The pixel size is that of the header, unless it is exactly 1 Å, as in files of
    programs that know none.

    Raises :class:`DataError` where it cannot be read, or the library for it is not installed.
    """
    mrcfile = library_for(path, "an MRC file", "mrcfile", "em")
    with decoding(path, "an MRC image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that are not quite as they should be, as most are
        with mrcfile.open(path, permissive=True, header_only=True) as file:
            header = file.header
            shape = mrcfile.utils.data_shape_from_header(header)
        mode = int(header.mode)
        if min(shape) < 1 or not 0 <= int(header.nsymbt) < 1 << 31:
            raise ValueError(f"its header says {' × '.join(map(str, shape))} pixels")
        if mode in _WHAT:
            remedy = "expected grey values; convert it with IMOD's mrc2tif, or save a real image (newstack -mode 2)"
            raise DataError(path, f"holds {_WHAT[mode]} (mode {mode})", remedy)
        dtype = mrcfile.utils.data_dtype_from_header(header)
        dtype = np.dtype(np.uint8) if mode == 0 and _bytes_are_unsigned(header) else dtype
    pixels = _packed(mrcfile, path, shape, dtype) if path.suffix.lower() in PACKED else None
    array: ArrayLike = RawArray(path, shape, dtype, _HEADER + int(header.nsymbt)) if pixels is None else pixels
    names = ("tzyx" if header.ispg > 1 else "zyx" if header.ispg == 1 else "pyx")[-len(shape) :]
    array, axes = upright(array, _axes(names, shape, header), _BOTTOM_LEFT)
    return make_stack(array, axes, path, segment_bytes=0 if pixels is None else pixels.nbytes, form="MRC")


def _packed(mrcfile: Any, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    refuse_bomb(path, int(np.prod(shape, dtype=object)) * dtype.itemsize)
    with decoding(path, "an MRC image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as file:
            if file.data is None:
                raise ValueError("it holds fewer pixels than its header says")
            return np.asarray(file.data).view(dtype)


def _bytes_are_unsigned(header: Any) -> bool:
    """See :func:`open_mrc`; IMOD itself goes by the maximum where another program wrote the file."""
    order = str(header.mode.dtype.byteorder)
    stamp, flags = np.frombuffer(header.tobytes(), np.dtype("i4").newbyteorder(order), 2, _STAMP)  # type: ignore[arg-type]
    if int(stamp) == _STAMPED:
        return not int(flags) & _SIGNED
    return bytes(header.map)[:3] != b"MAP" or float(header.dmax) > _LARGEST_SIGNED


def _axes(names: str, shape: tuple[int, ...], header: Any) -> list[Axis]:
    axes = []
    for name, length in zip(names, shape, strict=True):
        cells = int(header[f"m{name}"]) if name in "xyz" else 0
        step = float(header.cella[name]) / cells if cells > 0 else 0.0
        known = step > 0 and step != _UNSET and np.isfinite(step)
        axes.append(Axis(name, length, step if known else None, 0.0, "angstrom" if known else None))
    return axes
