"""A corrected copy of a dataset in the plain layout: ``images``, ``masks`` of class indices, ``dataset.yaml``."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray
from PIL import Image

from rescrnet.atomic import write_folder
from rescrnet.checking.check import Checked
from rescrnet.classes import IGNORE, ClassEntry, coloured
from rescrnet.datasets.read import Example, Reading
from rescrnet.display import hex_to_rgb
from rescrnet.errors import DataError
from rescrnet.images.whole import read_pixels
from rescrnet.masks.reader import MaskReader
from rescrnet.masks.table import MaskTable
from rescrnet.wording import count, printable

_FORMS = {"PNG": (".png",), "TIFF": (".tif", ".tiff"), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",), "NumPy": (".npy",)}
_UNPAIRED = (
    "image-without-mask",
    "mask-without-image",
    "ambiguous-pair",
    "missing-channel",
    "axes-unknown",
    "pages-differ",
    "table-row",
)  # files with these are in no example
_LONGEST = 100  # characters of a name
_MOST_LEVELS = 4  # grey levels of masks saved as JPEG
_MAIN = 0.01  # least share of all pixels that a level has
_CLOSE = 24  # what JPEG changes a value by
_NEARLY_ALL = 0.85


@dataclass
class Corrected:
    """What a corrected copy holds.

    Attributes:
        names: of the images in the copy, by the place of the image in the dataset.
        left_out: why images are not in it, by file.
    """

    names: dict[int, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = f"{count(len(self.names), 'image')} with masks"
        if self.left_out:
            listed = [f"{file} ({reason})" for file, reason in list(self.left_out.items())[:5]]
            more = f", and {len(self.left_out) - 5} more" if len(self.left_out) > 5 else ""
            words += f"; left out: {', '.join(listed)}{more}"
        return words


def write_corrected(checked: Checked, out: Path) -> Corrected:
    """Write a corrected copy of a dataset into a new folder; the dataset itself is only read.

    Images that cannot be used are left out. The others are copied as they are, or written anew as TIFF where they are
    pages, separate channels, or have an alpha channel. Masks become indexed PNG, scaled to their images where they
    were scaled. ``dataset.yaml`` names the classes, the validation images where the dataset has its own, the groups
    and the pixel size.

    Raises:
        DataError: the masks are not understood, or no image can be used.
        OutputError: ``out`` holds files already, or cannot be written.
    """
    reading = checked.reading
    table = reading.table or _main_levels(reading)
    if not table:
        reasons = [str(fault) for fault in reading.faults if fault.check in ("many-values", "description")]
        reason = reasons[0] if reasons else "no mask can be read"
        raise DataError(out, f"no corrected copy can be made, since the masks are not understood ({reason})")
    if len(reading.examples) < reading.total:
        raise DataError(
            out, f"a corrected copy is made of at most {len(reading.examples)} images", f"found {reading.total}"
        )
    corrected = _choose(reading, table)
    if not corrected.names:
        raise DataError(reading.folder, "none of its images can be used", "see rescrnet check for the reasons")

    def write(folder: Path) -> None:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for place, name in corrected.names.items():
            _write_image(reading.examples[place], folder / "images" / name)
            mask = _fitted(table.decode(reading.examples[place].pair.masks), reading.examples[place])
            _write_mask(mask, table, folder / "masks" / f"{name}.png")
        text = yaml.safe_dump(_description(reading, table, corrected), sort_keys=False, allow_unicode=True)
        (folder / "dataset.yaml").write_text(text, encoding="utf-8")

    write_folder(out, write)
    return corrected


def _main_levels(reading: Reading) -> MaskTable | None:
    """A table of the few grey levels that nearly all pixels are close to, where masks were saved as JPEG."""
    if any(set(example.pair.masks) != {""} for example in reading.examples):
        return None
    masks = [mask for _, mask in reading.masks]
    jpeg = any(mask.form == "JPEG" for mask in masks)
    if not jpeg or any(mask.colour or mask.type != "uint8" for mask in masks) or len(masks) > len(reading.examples):
        return None
    counts = sum((mask.values for mask in masks), Counter[int]())
    total = sum(counts.values())
    levels: list[int] = []
    for level, n in counts.most_common(_MOST_LEVELS * 8):
        if n >= _MAIN * total and all(abs(level - other) > _CLOSE for other in levels):
            levels.append(level)
    near = sum(n for value, n in counts.items() if min(abs(value - level) for level in levels or [-256]) <= _CLOSE)
    if not 2 <= len(levels) <= _MOST_LEVELS or near < _NEARLY_ALL * total:
        return None
    classes = coloured([ClassEntry(name=f"grey {level}", value=level) for level in sorted(levels)])
    return MaskTable(MaskReader(), classes, counts)


def _choose(reading: Reading, table: MaskTable) -> Corrected:
    corrected, taken = Corrected(), set[str]()
    for fault in reading.faults:
        if fault.check in _UNPAIRED:
            corrected.left_out |= {printable(file): printable(fault.found) for file in fault.files}
    for place, example in enumerate(reading.examples):
        if reason := _unusable(example, table):
            corrected.left_out[printable(example.pair.image)] = reason
            continue
        stem = re.sub(r"[^\w .,=()\[\]+-]|\n", "_", printable(example.pair.stem)).strip(" .")[:_LONGEST] or "image"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        corrected.names[place] = name
    return corrected


def _unusable(example: Example, table: MaskTable) -> str:
    """Why an image cannot be in the copy, or nothing."""
    if not example.image:
        return "cannot be read"
    if example.image.not_finite:
        return "holds NaN or infinite values"
    if example.image.low == example.image.high:
        return "is constant"
    if not example.mask_is_sound or len(example.masks) < len(example.pair.masks):
        return "its mask cannot be read"
    if any(mask.size != example.image.size and not _is_scaled(mask.size, example.image.size) for mask in example.masks):
        return "its mask has another size"
    try:
        table.decode(example.pair.masks)
    except DataError:
        return "its mask is not understood"
    return ""


def _is_scaled(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a mask is an enlarged or reduced version; one that is merely cut off is not to be stretched."""
    down, across = (m / i for m, i in zip(mask, image, strict=True))
    return abs(down / across - 1) < 0.02 and abs(down - 1) > 0.1


def _fitted(mask: NDArray[np.uint8], example: Example) -> NDArray[np.uint8]:
    """The mask at the size of its image, each pixel from the nearest."""
    if example.image is None or mask.shape == example.image.size:
        return mask
    height, width = example.image.size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _write_image(example: Example, path: Path) -> None:
    """Copy a plain file; write anything else as TIFF, its pixel size kept."""
    source, facts = example.pair.image, example.image
    if facts is None:
        return
    if isinstance(source, Path) and not facts.alpha and source.suffix.lower() in _FORMS.get(facts.form, ()):
        shutil.copyfile(source, path.with_name(path.name + source.suffix.lower()))
        return
    array = read_pixels(source).colours
    array = array[..., 0] if array.shape[-1] == 1 else array
    how: dict[str, Any] = {"photometric": "minisblack"}
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype.kind == "u":
        how = {"photometric": "rgb"}
    elif array.ndim == 3:
        array, how["metadata"] = np.moveaxis(array, -1, 0), {"axes": "CYX"}
    if facts.pixel_size:
        how |= {"resolution": (1e4 / facts.pixel_size[1], 1e4 / facts.pixel_size[0]), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path.with_name(path.name + ".tif"), array, compression="zlib", **how)


def _write_mask(mask: NDArray[np.uint8], table: MaskTable, path: Path) -> None:
    image = Image.fromarray(mask)
    colours = [value for entry in table.classes for value in hex_to_rgb(entry.color)]
    image.putpalette(colours + [255] * (768 - len(colours)))  # whole, since Pillow cuts indices to a shorter one
    image.save(path)


def _description(reading: Reading, table: MaskTable, corrected: Corrected) -> dict[str, Any]:
    classes = [{"name": entry.name, "value": index, "color": entry.color} for index, entry in enumerate(table.classes)]
    chosen = [(reading.examples[place], name) for place, name in corrected.names.items()]
    description: dict[str, Any] = {"classes": classes}
    if any(example.classes and example.classes.unlabelled for example, _ in chosen):
        description["ignore"] = IGNORE
    if reading.description.allow_single_class:
        description["allow_single_class"] = True
    if reading.own_validation and (names := [name for example, name in chosen if example.part == "val"]):
        description["validation"] = names
    groups: dict[str, list[str]] = defaultdict(list)
    for example, name in chosen:
        if example.pair.group:
            groups[printable(example.pair.group)].append(name)
    if groups:
        description["groups"] = dict(groups)
    sizes = {example.image.pixel_size for example, _ in chosen if example.image}
    if len(sizes) == 1 and (size := next(iter(sizes))):
        description["pixel_size"] = list(size)
    return description
