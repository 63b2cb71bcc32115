"""Datasets at random, sound and broken: each ends in success or in named findings, never in a traceback."""

import io
import json
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from rescrnet.checking.check import check as check_dataset
from rescrnet.checking.check import judge
from rescrnet.checking.fix import write_corrected
from rescrnet.checking.tables import to_dict
from rescrnet.checking.terminal import show
from rescrnet.datasets.read import read_dataset
from rescrnet.errors import RescrnetError
from rescrnet.reporting.check_page import write_page

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

LAYOUTS = {  # where image and mask number n go
    "plain": ("images/{}", "masks/{}"),
    "labels": ("Images/img_{}", "LABELS/{}_mask"),
    "authors": ("train_local/images/img/{}", "train_local/masks/msk/{}"),
    "nnunet": ("imagesTr/{}_0000", "labelsTr/{}"),
    "biapy": ("train/x/{}", "train/y/{}"),
    "flat": ("{}", "{}-labels"),
    "classes": ("images/{}", "masks/cell/{}"),
    "channels": ("images/{}_c1", "masks/{}"),
    "stacks": ("images/{}", "masks/{}"),
}
FORMS = ("png", "png", "png", "tif", "tif", "jpg", "bmp", "TIFF", "gif", "txt")
KINDS = ("noise", "noise", "noise", "constant", "dark", "nan", "grey rgb")
MASKS = ("indices", "levels", "binary", "one", "colours", "other colours", "void", "objects", "noise", "palette")
MASKS += ("indices", "levels", "alpha", "fractions", "negative", "bool", "nan")
BROKEN = ("cut", "empty", "garbage", "flip", "delete", "double", "loop", "folder", "suffix", "page", "resize")


@st.composite
def datasets(draw):
    """What is drawn of a dataset; :func:`write` makes the files of it."""
    size = draw(st.tuples(*[st.sampled_from([1, 2, 7, *range(8, 25)])] * 2))
    sound = draw(st.booleans())
    return {
        "layout": draw(st.sampled_from(sorted(LAYOUTS))),
        "size": size,
        "images": draw(st.lists(st.tuples(st.sampled_from(FORMS), st.sampled_from(KINDS)), min_size=1, max_size=4))
        if not sound
        else [(draw(st.sampled_from(FORMS[:5])), "noise")] * draw(st.integers(2, 4)),
        "type": draw(st.sampled_from(["uint8", "uint8", "uint16", "float32", "int32"])),
        "channels": draw(st.sampled_from([1, 1, 1, 3, 2, 4, 5])),
        "mask": draw(st.sampled_from(MASKS)),
        "odd mask": None if sound else draw(st.none() | st.sampled_from(MASKS)),
        "mask form": draw(st.sampled_from(["png", "png", "tif", "bmp", "jpg"])),
        "breaks": draw(st.lists(st.tuples(st.sampled_from(BROKEN), st.integers(0, 7)), max_size=0 if sound else 2)),
        "extras": draw(st.dictionaries(st.sampled_from(sorted(EXTRAS)), st.integers(0, 5), max_size=0 if sound else 1)),
        "val": draw(st.sampled_from([None, None, "0.5", "a0"])),
        "seed": draw(st.integers(0, 999)),
    }


EXTRAS = {
    "dataset.yaml": (
        "classes: [{name: a, value: 0}, {name: b, value: 1}]",
        "classes: [{name: a, value: 0}, {name: b, value: [128, 255]}]",
        "ignore: 255",
        "instances: 2",
        "validation: [a0]\ngroups: {m: [a0, a1]}",
        "classes: {{",
    ),
    "dataset.json": ('{"labels": {"a": 0, "b": 1}}', "{", "[]", '{"labels": {"a": [0, 1]}}', '{"labels": {}}', "null"),
    "table.csv": (
        "image,mask\nimages/a0.png,masks/a0.png\nimages/a1.png,masks/a1.png",
        "image,mask,split\nimages/a0.png,masks/a0.png,val",
        "image;mask\n;\n",
        "image,mask\n" + "x" * 5000 + ",y\n\0,\0",
        "no,table\n",
        "",
    ),
    "images/Thumbs.db": ("",) * 6,
    "masks/other/a0.png": ("no image",) * 6,
}


def write(folder, drawn):
    random = np.random.default_rng(drawn["seed"])
    places, files = LAYOUTS[drawn["layout"]], []
    for number, (form, kind) in enumerate(drawn["images"]):
        files.append(save(folder / f"{places[0].format(f'a{number}')}.{form}", _image(random, drawn, kind)))
        odd = drawn["odd mask"] if number == len(drawn["images"]) - 1 else None
        mask = _mask(random, drawn["size"], odd or drawn["mask"])
        files.append(save(folder / f"{places[1].format(f'a{number}')}.{drawn['mask form']}", mask))
        if drawn["layout"] == "classes":
            files.append(save(folder / f"masks/wall/a{number}.png", random.random(drawn["size"]) < 0.1))
        elif drawn["layout"] == "stacks" and isinstance(mask, np.ndarray):
            for place, page in zip(places, (_image(random, {**drawn, "channels": 1}, kind), mask), strict=True):
                pages = np.stack([page] * random.integers(1, 4))
                how = {"photometric": "minisblack", "metadata": {"axes": "ZYXC"[: pages.ndim]}}
                tifffile.imwrite(folder / f"{place.format(f's{number}')}.tif", pages, **how)
    for how, place in drawn["breaks"]:
        with suppress(OSError):
            spoil(random, files[place % len(files)], how)
    for name, place in drawn["extras"].items():
        with suppress(OSError):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(EXTRAS[name][place])


def _image(random, drawn, kind):
    shape = drawn["size"] if drawn["channels"] == 1 else (*drawn["size"], drawn["channels"])
    array = (random.random(shape) * (1 if drawn["type"] == "float32" else 255)).astype(drawn["type"])
    if kind == "constant":
        array[:] = 3
    if kind == "dark":
        array //= 50
    if kind == "nan" and array.dtype.kind == "f":
        array.flat[0] = np.nan
    if kind == "grey rgb":
        array = np.repeat(array.reshape(*drawn["size"], -1)[..., :1], 3, axis=-1)
    return array


def _mask(random, size, kind):
    classes = (np.indices(size).sum(0) // 5 + random.integers(3)) % 3
    if kind == "palette":
        image = Image.fromarray(classes.astype(np.uint8))
        image.putpalette([0, 0, 0, 9, 9, 200, 250, 3, 3] + [0] * 759)
        return image
    if kind == "alpha":
        return np.stack([classes * 100, np.where(random.random(size) < 0.5, 255, 0)], -1).astype(np.uint8)
    if kind in ("fractions", "nan"):
        return np.where(classes == 2, 0.5 if kind == "fractions" else np.nan, classes).astype(np.float32)
    tables = {
        "indices": [0, 1, 2],
        "levels": [0, 128, 255],
        "binary": [0, 0, 255],
        "one": [7, 7, 7],
        "void": [0, 1, 255],
        "negative": [-1, 0, 1],
        "colours": [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        "other colours": [[255, 9, 0], [0, 0, 0], [77, 77, 255]],
    }
    if kind == "noise":
        return random.integers(0, 256, size, dtype=np.uint8)
    if kind == "objects":
        return np.kron(np.arange(36).reshape(6, 6), np.ones((4, 4)))[: size[0], : size[1]].astype(np.uint16)
    if kind == "bool":
        return classes > 1
    return np.array(tables[kind], np.int16 if kind == "negative" else np.uint8)[classes]


def save(path, array):
    """Write an array in the form of the suffix as well as that form can hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(array, Image.Image):
        path = path.with_suffix(".png") if path.suffix == ".jpg" else path
        array.save(path, "TIFF" if path.suffix == ".tif" else path.suffix[1:].upper())
    elif path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(
            path, array, photometric="minisblack", **({"planarconfig": "contig"} if array.ndim == 3 else {})
        )
    elif array.dtype == np.uint16 and path.suffix == ".png" and array.ndim == 2:
        path.write_bytes(imagecodecs.png_encode(array))
    elif path.suffix == ".txt":
        path.write_text("text")
    else:
        array = array if array.dtype in (bool, np.uint8) else np.nan_to_num(array).astype(np.uint8)
        array = array[..., 0] if array.ndim == 3 and (array.shape[-1] > 4 or path.suffix != ".png") else array
        Image.fromarray(array).save(path)
    return path


def spoil(random, path, how):
    content = path.read_bytes() or b"\0\0"
    if how == "cut":
        path.write_bytes(content[: random.integers(len(content))])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(random.bytes(200))
    elif how == "flip":
        array = np.frombuffer(content, np.uint8).copy()
        array[random.integers(0, len(array), 4)] ^= np.uint8(1 << random.integers(8))
        path.write_bytes(array.tobytes())
    elif how == "double":
        path.with_name(path.stem.upper() + "_mask" + path.suffix).write_bytes(content)
    elif how == "suffix":
        path.rename(path.with_suffix(".tif" if path.suffix == ".png" else ".png"))
    elif how == "page":
        tifffile.imwrite(path.with_suffix(".tif"), random.integers(0, 9, (3, 8, 8), np.uint8), photometric="minisblack")
    elif how == "resize":
        save(path, random.integers(0, 3, (random.integers(1, 30), random.integers(1, 30)), np.uint8) * 100)
    else:
        path.unlink()
        if how == "loop":
            path.symlink_to(path)
        elif how == "folder":
            path.mkdir()


def outcome(function, *arguments):
    """What a function returns, or the error by which it refuses; any other exception is a fault."""
    try:
        return function(*arguments)
    except RescrnetError as error:
        return error


def see(folder, ends, val=None, *, page=False):
    """Check a dataset as the command does, and hold training and the corrected copy against what was found.

    How it ended is counted in ``ends``.
    """
    checked = outcome(lambda: judge(read_dataset(folder, val)))
    if isinstance(checked, RescrnetError):
        ends["refused"] += 1
        return
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # a terminal that refuses what is not text
    show(checked, Console(file=text))
    json.dumps(to_dict(checked), ensure_ascii=False).encode()
    assert all(finding.files and finding.reason and finding.remedy for finding in checked.findings)
    ends["found" if checked.errors else "ready"] += 1
    if page:
        write_page(checked, folder / "page.html")
    corrected = outcome(write_corrected, checked, folder / "corrected copy")
    if not isinstance(corrected, RescrnetError):
        ends["fixed"] += 1
        left = outcome(check_dataset, folder / "corrected copy", val)
        assert checked.errors or val or not left.errors, left.errors
    loaded = outcome(checked.require)  # last, since it takes what was read
    assert bool(checked.errors) == isinstance(loaded, RescrnetError), loaded


# In four parts of 750 datasets, since parts can be run side by side.
@pytest.mark.parametrize("part", range(4))
def test_no_dataset_ends_in_a_traceback(part):
    ends = Counter()

    @seed(part)
    @settings(max_examples=750, phases=[Phase.explicit, Phase.generate, Phase.shrink], **QUIET)
    @given(drawn=datasets())
    def end_in_success_or_findings(drawn):
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            write(Path(folder), drawn)
            see(Path(folder), ends, drawn["val"], page=drawn["seed"] % 20 == 0)

    end_in_success_or_findings()
    assert all(ends[end] > 20 for end in ("ready", "found", "fixed")), ends
