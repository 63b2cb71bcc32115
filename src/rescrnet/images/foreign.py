"""Files that hold no pixels that are read: what they are by their content or name, and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rescrnet.annotations.read import form_of as form_of_annotations

_FIJI = "open it in Fiji (File › Import › Bio-Formats) and save it as OME-TIFF"
_MASKS = "save the mask as PNG or TIFF of the size of the image"
_HEAD = 1 << 16  # bytes that are looked at


class Foreign(NamedTuple):
    """A file of another form than an image.

    Attributes:
        name: of the form, with the program or maker.
        remedy: how to get an image or a mask out of it, or how it is read.
        annotations: whether it holds what a person drew or classified, not an image.
        is_read: whether the outlines in it are read as a mask, where they lie as they should.
    """

    name: str
    remedy: str
    annotations: bool = False
    is_read: bool = False


_HDF5 = Foreign("HDF5", "export the array in it as TIFF, with Fiji's HDF5 plugin, ilastik, or h5py and tifffile")
_NPZ = Foreign("an archive of NumPy arrays (.npz)", "save each array by itself with numpy.save, as .npy")
_MAGIC = (  # offset, bytes
    (0, b"ZISRAWFILE", Foreign("Zeiss CZI", f"export it as OME-TIFF from ZEN, or {_FIJI}")),
    (0, b"\xda\xce\xbe\x0a", Foreign("Nikon ND2", f"export it as TIFF from NIS-Elements, or {_FIJI}")),
    (0, b"\x70\0\0\0", Foreign("Leica LIF", f"export it as TIFF from LAS X, or {_FIJI}")),
    (0, b"\x89HDF\r\n\x1a\n", _HDF5),
    (0, b"\xd0\xcf\x11\xe0", Foreign("an Olympus or Zeiss file (OIB, ZVI)", _FIJI)),
    (0, b"8BPS", Foreign("Photoshop", _MASKS)),
    (0, b"gimp xcf", Foreign("GIMP", _MASKS)),
    (128, b"DICM", Foreign("DICOM", _FIJI)),
    (0, b"SIMPLE  =", Foreign("FITS", _FIJI)),
    (0, b"MATLAB 5.0", Foreign("MATLAB", "save the array as TIFF there, with imwrite")),
    (0, b"II\x97\1", Foreign("FEI TIA (SER)", _FIJI)),
    (0, b"%PDF", Foreign("PDF", "use the image that was put into it")),
)
_SUFFIX = {
    ".czi": _MAGIC[0][2],
    ".nd2": _MAGIC[1][2],
    ".lif": _MAGIC[2][2],
    ".npz": _NPZ,
    ".dm2": Foreign("an old file of DigitalMicrograph", f"save it as TIFF there, or {_FIJI}"),
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".emd"), _HDF5),
    **dict.fromkeys((".psd", ".xcf", ".kra", ".svg", ".ora"), Foreign("a drawing program", _MASKS)),
    **dict.fromkeys((".lof", ".xlef"), Foreign("Leica LAS X", _FIJI)),
    **dict.fromkeys((".vsi", ".ets", ".oib", ".oif", ".oir"), Foreign("Olympus", _FIJI)),
    **dict.fromkeys((".zvi",), Foreign("Zeiss ZVI", _FIJI)),
    **dict.fromkeys((".ims",), Foreign("Imaris", _FIJI)),
    **dict.fromkeys((".dv", ".r3d"), Foreign("DeltaVision", _FIJI)),
    **dict.fromkeys((".mvd2", ".sld", ".ser", ".emi", ".bcf", ".mdb", ".nii", ".dcm"), Foreign("a microscope", _FIJI)),
    **dict.fromkeys(
        (".spm", ".sxm", ".ibw", ".gwy", ".jpk", ".nid"), Foreign("AFM", "export it as TIFF from Gwyddion")
    ),
    **dict.fromkeys((".heic", ".avif", ".jxr", ".jxl", ".exr"), Foreign("a photo", "save it as PNG or TIFF")),
}
_BY_NAME = "put them beside the images, or into a folder 'masks', a file of the same name for each image"
_READ = {
    "LabelMe": Foreign("annotations of LabelMe", _BY_NAME, True, True),
    "COCO": Foreign("annotations in COCO's JSON", "put the file beside the images, or into 'annotations'", True, True),
    "QuPath": Foreign("annotations of QuPath", _BY_NAME, True, True),
    "ImageJ": Foreign("regions of ImageJ", _BY_NAME, True, True),
}
_PNG_EACH = "a PNG for each image"
_CVAT = Foreign("annotations of CVAT", "export them from CVAT as 'Segmentation mask' or 'COCO'", True)
_VOC = Foreign("boxes in Pascal VOC's XML", "draw masks; boxes alone are none", True)
_OUTLINES = Foreign(
    "annotations of another program", f"export them as COCO's JSON there, or as masks, {_PNG_EACH}", True
)
_CELLPOSE = Foreign(
    "Cellpose's own file", "save the masks as PNG or TIFF there (File › Save masks), or --save_png", True
)
_TEXTS = (  # suffixes, what their text holds, what it is
    ((".json",), r'"regions"\s*:|"_via_|"polygon|"points"\s*:|"annotations"\s*:|"objects"\s*:', _OUTLINES),
    ((".xml",), r"<annotations[\s>]", _CVAT),
    ((".xml",), r"<annotation[\s>]", _VOC),
    ((".xml",), r"<(Annotations|ASAP_Annotations|Cell_Counter)", _OUTLINES),
    ((".txt",), r"\A\s*\d+(\s+[01]?\.\d+){4,}", Foreign("labels of YOLO", _OUTLINES.remedy, True)),
    (
        (".qpdata",),
        "",
        Foreign("a data file of QuPath", "export the annotations in QuPath: File › Export objects as GeoJSON", True),
    ),
    (
        (".ilp",),
        "",
        Foreign("a project of ilastik", "export the segmentation in ilastik (Simple Segmentation) as TIFF", True),
    ),
)


def foreign_form(path: Path) -> Foreign | None:
    """What a file holds by its first bytes or its name, where it is of a known form that is not read."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head:
        return None
    if program := form_of_annotations(path):
        return _READ[program]
    if path.name.endswith("_seg.npy"):
        return _CELLPOSE
    for offset, magic, form in _MAGIC:
        if head.startswith(magic, offset):
            return _SUFFIX.get(suffix, form)
    if suffix in _SUFFIX:
        return _SUFFIX[suffix]
    if any(suffix in suffixes for suffixes, _, _ in _TEXTS):
        text = head.decode("utf-8", "replace")
        return next((form for suffixes, words, form in _TEXTS if suffix in suffixes and re.search(words, text)), None)
    return None


def foreign_among(files: Iterable[Path]) -> dict[Foreign, list[Path]]:
    """The files of known forms that are not read, by form."""
    found: dict[Foreign, list[Path]] = {}
    for file in files:
        if file.is_file() and (form := foreign_form(file)):
            found.setdefault(form, []).append(file)
    return found
