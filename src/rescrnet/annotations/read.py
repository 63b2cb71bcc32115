"""Files of annotations, by their content."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rescrnet.annotations.coco import read_coco
from rescrnet.annotations.geojson import read_geojson
from rescrnet.annotations.imagej import read_rois
from rescrnet.annotations.labelme import read_labelme
from rescrnet.annotations.shapes import Annotated, nothing_drawn
from rescrnet.errors import DataError
from rescrnet.wording import one_line

SUFFIXES = (".json", ".geojson", ".roi", ".zip")
"""Files of these names may hold annotations that are read."""
LABELME, COCO, QUPATH, IMAGEJ = "LabelMe", "COCO", "QuPath", "ImageJ"
_HEAD = 1 << 16  # bytes that are looked at
_LARGEST = 2 << 30  # bytes of a file

_READERS: Mapping[str, Callable[[Any, object], list[Annotated]]] = {
    LABELME: read_labelme,
    COCO: read_coco,
    QUPATH: read_geojson,
}
_KEYS = (  # what is in the text of each, the surest first
    (LABELME, r'"shapes"\s*:\s*\[|"imageData"\s*:'),
    (QUPATH, r'"FeatureCollection"|"geometry"\s*:'),
    (COCO, r'"(?:categories|segmentation|file_name)"\s*:'),
)


def form_of(path: Path) -> str:
    """Whose annotations a file holds by its beginning, one of the names above; nothing where it holds none."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return ""
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return IMAGEJ if any(name.lower().endswith(".roi") for name in archive.namelist()) else ""
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, zipfile.BadZipFile):
        return ""
    if suffix == ".roi":
        return IMAGEJ if head else ""
    text = head.decode("utf-8", "replace")
    return next((form for form, words in _KEYS if re.search(words, text)), "")


def read_annotations(path: Path) -> list[Annotated]:
    """What a file of annotations says, of each image that it lists.

    Raises :class:`DataError` where it is damaged, or says something that is not understood.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "copy it again") from None
    return _read(path, status.st_mtime_ns, status.st_size)


def annotated(path: Path, image: str = "") -> Annotated:
    """What a file says of one image, by its name where the file is of many. Raises :class:`DataError`."""
    for found in read_annotations(path):
        if not image or found.image == image:
            nothing_drawn(found, path)
            return found
    raise DataError(path, f"does not list the image '{image}'", "export it anew, with all images")


@lru_cache(maxsize=4)  # one file may be asked for each of thousands of images
def _read(path: Path, changed: int, length: int) -> list[Annotated]:
    if length > _LARGEST:
        raise DataError(path, f"has {length:,} bytes", f"expected annotations of at most {_LARGEST:,}")
    form = form_of(path)
    try:
        if form == IMAGEJ:
            return read_rois(path)
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except DataError:
        raise
    except ImportError:
        raise DataError(
            path, "holds regions of ImageJ, which need the package roifile", "pip install roifile"
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(path, f"is not valid JSON ({one_line(error)})", "export it anew") from None
    except Exception as error:  # whatever is raised about damaged bytes
        raise DataError(path, f"cannot be read as annotations ({one_line(error)})", "export it anew") from None
    if form not in _READERS:
        raise DataError(path, "holds no annotations that are known", "expected those of LabelMe, COCO or QuPath")
    try:
        return _READERS[form](content, path)
    except DataError:
        raise
    except Exception as error:  # a key that is missing, a list in place of a number
        what = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else one_line(error)
        raise DataError(path, f"is not what {form} writes ({what})", "export it anew") from None
