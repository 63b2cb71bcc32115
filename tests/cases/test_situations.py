"""Every situation of the field in ``shared/cases``: the right value, the message, the exit code."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import rescrnet
from rescrnet.checking.check import judge
from rescrnet.classes import IGNORE
from rescrnet.datasets.read import read_dataset
from rescrnet.errors import DataError, RescrnetWarning
from rescrnet.images.whole import read_pixels
from rescrnet.inference.folder import FAILED, predict_files
from rescrnet.scoring.evaluate import evaluate
from tests.support.configs import SMALLEST

CASES = Path(__file__).resolve().parents[3] / "shared/cases"
pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not on this machine"),
    pytest.mark.filterwarnings("ignore:.*lie far from those of the training"),
]


def draw(name: str, folder: Path) -> dict[str, object]:
    """Run the generator of a case in this process; what it defines."""
    (script,) = CASES.glob(f"{name}*.py")
    before = sys.argv, sys.path[:], sys.dont_write_bytecode
    sys.argv, sys.dont_write_bytecode = [str(script), str(folder)], True
    sys.path.insert(0, str(CASES))
    sys.modules.pop("common", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the generators are not ours
            return runpy.run_path(str(script))
    finally:
        sys.argv, sys.path[:], sys.dont_write_bytecode = before
        sys.modules.pop("common", None)


def shown(mask):
    """The mask itself: background 0, discs 1."""
    return mask


def with_rows(*rows_and_classes):
    """The mask with its first rows in other classes, as several cases have them."""

    def change(mask):
        mask = mask.copy()
        for begin, end, value in rows_and_classes:
            mask[begin:end] = value
        return mask

    return change


def void_at_edges(mask):
    return np.where(mask.astype(bool) ^ np.roll(mask, 2, 0).astype(bool), IGNORE, mask).astype(np.uint8)


@dataclass(frozen=True)
class Right:
    """What ``check`` should find in a case.

    Attributes:
        masks: the class indices that a mask of :func:`field` means; none where the masks are refused.
        names: of the classes.
        images: as many, in the order of the seeds of :func:`field`.
        channels: of the images.
        errors: the checks that find an error, and what each says.
        warns: the same of warnings; all others would be false.
        val: the stems that validate.
        slack: share of the pixels that may differ, where masks were resized.
    """

    masks: Callable | None = shown
    names: tuple[str, ...] = ("grey 0", "grey 255")
    images: int = 5
    channels: int = 1
    errors: dict[str, str] = field(default_factory=dict)
    warns: dict[str, str] = field(default_factory=dict)
    val: tuple[str, ...] | None = None
    slack: float = 0.0


INDICES = ("class 0", "class 1")
FEW = {"few-images": "3 images train"}
FOUR = {"images": 4, "warns": FEW}


def refused(**errors: str) -> Right:
    return Right(masks=None, images=0, errors={name.replace("_", "-"): says for name, says in errors.items()})


def refused_of_four(**errors: str) -> Right:
    return Right(masks=None, images=0, errors=refused(**errors).errors, warns=FEW)


SITUATIONS: dict[str, Right] = {
    "00": Right(),
    "01": Right(names=INDICES),
    "02": Right(with_rows((0, 20, 2)), (*INDICES, "class 2")),
    "03": refused(too_few_classes="transparent pixels are the background.*classes: .*name: background"),
    "04": Right(with_rows((0, 10, IGNORE)), INDICES),
    "05": Right(names=INDICES),
    "06": Right(names=INDICES),
    "07": Right(names=INDICES, warns={"mixed-polarity": "white as zero"}),
    "09": Right(void_at_edges, INDICES),
    "10": Right(slack=0.02, warns={"soft-edges": "smooth edges"}),
    "11": Right(warns={"jpeg-mask": "JPEG"}),
    "12": refused(one_class="one class only, 'grey 0'.*allow_single_class: true"),
    "13": refused(mask_size_differs="95×128, its image 96×128"),
    "14": Right(with_rows((0, 20, 2)), ("grey 0", "grey 17", "grey 34")),
    "15": Right(channels=2),
    "18": Right(channels=3, warns={"alpha-is-a-channel": "holds an image"}),
    "19": Right(channels=3),
    "20": Right(images=8),
    "21": Right(warns={"mixed-polarity": "white as zero"}),
    "22": Right(),
    "23": Right(),
    "24": Right(),
    "25": Right(),
    "26": Right(),
    "27": Right(errors={"not-finite": "480 values are NaN"}),
    "28": Right(),
    "29": Right(),
    "30": Right(),
    "32": Right(channels=4),
    "40": Right(names=INDICES, images=6, warns={"group-on-both-sides": "group 'slide1'"}),
    "41": Right(names=INDICES, images=6, warns={"group-on-both-sides": "group 'slide1'"}),
    "42": Right(images=6),
    "43": Right(names=("class 1", "class 2")),
    "44": Right(),
    "45": Right(names=("background", "object"), **FOUR),
    "46": Right(names=INDICES),
    "47": Right(names=("background", "nucleus"), val=("cell04",)),
    "50": Right(),
    "51": Right(),
    "52": Right(val=("Größe Z2 50% µm",)),
    "53": Right(errors={"unreadable-image": "DigitalMicrograph"}),
    "54": refused(many_values="numbered objects.*instance_boundary: 2"),
    "55": Right(val=("cell04",)),
    "57": Right(names=("no", "yes"), val=("005",)),
    "59": Right(val=("cell04",)),
    "60": Right(names=("background", "nucleus"), channels=2),
    "61": Right(names=INDICES, channels=2),
    "62": Right(names=INDICES, channels=2),
    "63": Right(names=INDICES, errors={"unreadable-image": "page 1 is missing"}),
    "64": Right(channels=3),
    "75": refused(
        mixed_values="holds 1 beside 0, other masks hold 255.*value: .1, 255.", many_values=r"value: \[1, 255\]"
    ),
    "78": Right(
        with_rows((0, 12, 2), (12, 20, 3)),
        (
            *("Tumor [/b] <script>alert(1)</script>", 'α-SMA+ / CD31- "x" & 100%', "[red]Zelle[/red] 🧫"),
            "a class name that is much longer than anybody would put into a column of a table, really",
        ),
    ),
    "80": refused(mask_size_differs="96×128, its image 110×128.*info bar"),
    "82": Right(
        masks=None,
        images=0,
        errors={"class-only-in-validation": "'class 2'"},
        warns={"few-images": "1 image trains", "rare-class": "'class 2' covers 0.04%"},
    ),
    "83": refused(ambiguous_pair="two files of one stem"),
    "84": refused(many_values="colours"),
    "85": Right(errors={"unreadable-image": "CMYK"}),
    "86": Right(channels=3),
    "89": Right(),
    "90": Right(names=("bg", "cell")),
    "91": Right(images=1, errors={"only-image": "is the only image.*label another"}),
    "93": Right(),
    "96/cells": Right(),
    "97/cells": Right(),
    "94/yml": Right(names=("background", "fibre")),
    "94/mapping": Right(names=("background", "fibre")),
    "94/rgblist": Right(names=("background", "fibre")),
    "94/colour": refused(description="a colour without quotes.*write value: '#000000'"),
    "94/tabs": refused(description="tab"),
    "94/Capital": refused(description="classes:"),
    "94/names": refused(description="classes:"),
    "79/all_in_one": Right(
        images=6, names=INDICES, warns={"group-on-both-sides": "'stack'", "neighbouring-sections": "beside a section"}
    ),
    "79/zc": Right(
        images=6,
        names=INDICES,
        channels=2,
        warns={"group-on-both-sides": "'s'", "neighbouring-sections": "beside a section"},
    ),
    "79/zyxc_rgb": Right(
        images=6,
        names=INDICES,
        channels=3,
        warns={"group-on-both-sides": "'s'", "neighbouring-sections": "beside a section"},
    ),
    "79/mask_2_pages_composite": Right(lambda mask: 1 - mask, ("layer 1", "layer 2"), **FOUR),
    "79/singleton": Right(names=INDICES, **FOUR),
    "79/overlap_layers": refused_of_four(many_values="1542 pixels are set in more than one layer"),
    **{
        f"73/{word}": Right(names=INDICES, **FOUR)
        for word in (
            *("ground_truth", "GroundTruth", "anno", "annotated", "manual", "binary", "target", "bw", "label_image"),
            *("cp_masks", "predicted_masks", "1_labels", "labels-0", "L", "mask0"),
        )
    },
    **{
        f"77/{kind}": Right(names=INDICES, **FOUR)
        for kind in ("png16_0_1", "bmp1", "gif", "pbm", "uint64", "npy", "palette_tiff")
    },
    **{f"77/{kind}": Right(**FOUR) for kind in ("webp", "float_255", "rgba_opaque", "rgb_white_black", "la")},
    **{f"77/{kind}": Right(names=("grey 0", "grey 65535"), **FOUR) for kind in ("png16_0_65535", "png16_rgb")},
    "77/red_channel": Right(names=("background", "red"), **FOUR),
    "77/values_100_200": Right(names=("grey 100", "grey 200"), **FOUR),
    "77/values_1_2": Right(names=("class 1", "class 2"), **FOUR),
    "77/one_class_labelled": Right(lambda mask: 1 - mask, ("grey 1", "grey 255"), **FOUR),
    "77/int8_minus1": refused_of_four(too_few_classes="one class, 'class 0'.*-1 is taken for unlabelled.*save it as 1"),
    "77/float_1over255": refused_of_four(unreadable_mask="fractions"),
    "77/prob_float": refused_of_four(unreadable_mask="fractions"),
    "77/cyan_magenta": refused_of_four(many_values="#ff00ff.*#00ffff.*name each colour"),
    "77/white_on_green": refused_of_four(many_values="name each colour"),
    "77/rgb_yellow_purple": refused_of_four(many_values="name each colour"),
    "77/objects_few": refused_of_four(many_values="numbered objects.*instance_boundary"),
    "77/objects_16_times_20": refused_of_four(many_values="numbered objects.*instance_boundary"),
}
"""By the number of the case, and the variant below it."""


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The folder of a case, each drawn once, and the ``field`` that its images come from."""
    made: dict[str, tuple[Path, Callable]] = {}

    def folder(number: str) -> tuple[Path, Callable]:
        if number not in made:
            path = tmp_path_factory.mktemp(f"case{number}")
            made[number] = path, draw(number, path)["field"]
        return made[number]

    return folder


def in_order(example):
    """Examples in the order of the seeds: numbers in names as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", example.pair.stem)]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_check_says_what_is_right(drawn, situation):
    right = SITUATIONS[situation]
    number, _, variant = situation.partition("/")
    folder, image_of = drawn(number)
    checked = judge(read_dataset(folder / variant))
    told = {finding.check.name: f"{finding.reason}; {finding.remedy}" for finding in checked.findings}
    by_severity = [{f.check.name for f in checked.findings if f.severity == severity} for severity in (2, 1)]
    assert by_severity == [set(right.errors), set(right.warns)], [str(finding) for finding in checked.findings]
    for name, says in (right.errors | right.warns).items():
        assert re.search(says, told[name]), told[name]
    if right.masks is None:
        return
    reading = checked.reading
    examples = sorted(reading.examples, key=in_order) if number != "42" else _as_listed(reading.examples)
    assert (len(examples), tuple(reading.class_names)) == (right.images, right.names)
    for seed, example in enumerate(examples):
        meant = right.masks(image_of(seed)[1])
        differ = float((example.indices != meant).mean())
        assert differ <= right.slack, f"{example.pair.stem}: {differ:.2%} of the pixels"
    if right.val is not None:
        assert tuple(unicodedata.normalize("NFC", pair.stem) for pair in reading.split.val) == right.val
    assert {facts.channels for _, facts in reading.images} <= {right.channels}
    if not right.errors:
        assert len(list(reading.images)) == right.images


def _as_listed(examples):
    """Those of the names that no rule orders, as the case lists them."""
    begin = ("cell [red]1", "cell [bold]", "cell {0}", "-cell 4", "cell 5", "cell #6")
    return sorted(examples, key=lambda example: [example.pair.stem.startswith(name) for name in begin].index(True))


def test_sparse_puncta_are_no_fault(drawn):
    checked = judge(read_dataset(drawn("65")[0]))
    assert [str(finding) for finding in checked.findings if finding.severity] == []


def test_outlines_of_labelme_are_masks(drawn):
    checked = judge(read_dataset(drawn("49")[0]))
    assert not checked.errors
    assert tuple(checked.reading.class_names) == ("background", "nucleus")
    areas = [int((example.indices == 1).sum()) for example in checked.reading.examples]
    assert areas == [areas[0]] * 4
    assert abs(areas[0] - 450) <= 15, areas  # half a square of 30; of the 30 pixels on its diagonal all or none


@pytest.mark.parametrize(
    ("situation", "axes", "channels"), [("16", "CYX", 3), ("79/czyx_plain", "NCYX", 2)], ids=["16", "79"]
)
def test_arrays_without_axes_are_read_once_these_are_declared(drawn, tmp_path, situation, axes, channels):
    number, _, variant = situation.partition("/")
    folder, image_of = drawn(number)
    checked = judge(read_dataset(folder / variant))
    assert any(f"axes: {axes}" in str(finding) for finding in checked.errors), checked.errors
    copy = shutil.copytree(folder / variant, tmp_path / "copy")
    (copy / "dataset.yaml").write_text(f"axes: {axes}\n")
    checked = judge(read_dataset(copy))
    assert not checked.errors
    assert {facts.channels for _, facts in checked.reading.images} == {channels}
    for seed, example in enumerate(checked.reading.examples):
        grey, mask = image_of(seed)
        np.testing.assert_array_equal(read_pixels(example.pair.image).values[..., 1], 255 - grey)
        np.testing.assert_array_equal(example.indices, mask)


@pytest.mark.parametrize(
    ("situation", "says"),
    [
        ("79/z_one_mask", "page"),
        ("81", "one class"),
    ],
)
def test_what_cannot_be_read_without_being_told_is_refused(drawn, situation, says):
    number, _, variant = situation.partition("/")
    checked = judge(read_dataset(drawn(number)[0] / variant))
    assert any(says in str(finding) for finding in checked.errors), [str(finding) for finding in checked.errors]


def test_stacks_of_channels_are_refused_or_read_never_halved(drawn):
    checked = judge(read_dataset(drawn("79")[0] / "channel_stacks"))
    assert checked.errors or {facts.channels for _, facts in checked.reading.images} == {2}


@pytest.fixture(scope="module")
def model(drawn, tmp_path_factory):
    """A model of a step, trained on the plain case."""
    return _trained(drawn("00")[0], tmp_path_factory.mktemp("run") / "run")


def _trained(data, out):
    rescrnet.train(data, out, rescrnet.configure("laptop", overrides=SMALLEST))
    return rescrnet.load(out)


def predicted(model, inputs, out):
    """The masks that are written, by their names, and the images that failed with their reasons."""
    failed = {}
    masks = predict_files(model, inputs, out, failed=lambda image, error: failed.update({Path(image).name: str(error)}))
    return {path.relative_to(out).as_posix() for path in masks}, failed


def test_an_empty_field_is_predicted_with_a_warning(model, drawn, tmp_path):
    with pytest.warns(RescrnetWarning, match=r"b_blank\.png"):
        masks, failed = predicted(model, drawn("67")[0], tmp_path / "out")
    assert (masks, failed) == ({"a0.png", "a1.png", "a2.png", "b_blank.png"}, {})


def test_a_damaged_file_does_not_stop_the_others(model, drawn, tmp_path):
    masks, failed = predicted(model, drawn("68")[0], tmp_path / "out")
    assert masks == {f"a{number}.png" for number in range(4)}
    assert list(failed) == ["z_cut.png"]
    assert "z_cut.png" in (tmp_path / "out" / FAILED).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "masks"),
    [
        ("nested", {"ko/001.png", "wt/001.png"}),
        ("cellpose", {"a.png"}),
        ("dots", {"exp.1.2024.v1.png", "exp.1.2024.v2.png"}),
        ("thin", {"one_by_100.png", "ninety_by_1.png", "two.png"}),
        ("rgba", {"a.png"}),
    ],
)
def test_folders_as_they_are_predict(model, drawn, tmp_path, folder, masks):
    assert predicted(model, drawn("69")[0] / folder, tmp_path / "out") == (masks, {})


@pytest.mark.parametrize(("folder", "says"), [("czyx", "2 channels, expected 1"), ("rgb", "3 channels, expected 1")])
def test_other_channels_are_refused_in_a_line(model, drawn, tmp_path, folder, says):
    with pytest.raises(DataError, match=says):
        predicted(model, drawn("69")[0] / folder, tmp_path / "out")


def test_two_images_of_one_name_are_told_apart_or_named(model, drawn, tmp_path):
    masks, failed = predicted(model, drawn("69")[0] / "same", tmp_path / "out")
    assert len(masks) == 1
    assert any("rename one" in reason for reason in failed.values())


def test_channels_in_files_predict_as_they_trained(drawn, tmp_path):
    folder, _ = drawn("60")
    model = _trained(folder, tmp_path / "run")
    masks, failed = predicted(model, folder / "imagesTs", tmp_path / "out")
    assert (masks, failed) == ({f"cell_{number:03}.png" for number in range(50, 55)}, {})


def test_another_magnification_is_said_with_both_sizes(drawn, tmp_path):
    folder, _ = drawn("93")
    model = _trained(folder, tmp_path / "run")
    with pytest.warns(RescrnetWarning, match=r"t\d\.tif: its pixels are 0\.4 µm, .* 0\.1 µm.*--rescale"):
        predicted(model, folder / "coarse", tmp_path / "out")


def test_a_test_set_of_its_own_is_scored_whole(model, drawn):
    assert len(evaluate(model, drawn("71")[0], split="all").images) == 8


def test_arrays_as_people_hold_them_warn_or_are_refused(model, drawn):
    image = read_pixels(drawn("97")[0] / "cells/images/cell00.png").values
    assert model.predict(image).shape == (2, 96, 128)
    for unlike in (image.astype(float), image.astype(np.int64), image.astype(np.uint16)):
        with pytest.warns(RescrnetWarning, match=r"divide them by 255|astype\('uint8'\)"):
            model.predict(unlike)
    for shape in (image[None], np.stack([image] * 3)):
        with pytest.raises(DataError, match=r"channel"):
            model.predict(shape)
    for no_array in (image.tolist(), "cells/images/cell00.png"):
        with pytest.raises(rescrnet.RescrnetError, match=r"is a (list|path)"):
            model.predict(no_array)


def test_formats_of_microscopes_are_named_and_the_others_predict(model, drawn, tmp_path):
    masks, _ = predicted(model, drawn("76")[0], tmp_path / "out")
    assert {"x.png"} <= masks or len(masks) >= 1
    for name, form in {
        "czi": "Zeiss CZI",
        "lif": "Leica LIF",
        "nd2": "Nikon ND2",
        "h5": "HDF5",
        "npz": "NumPy",
    }.items():
        with pytest.raises(DataError, match=rf"x\.{name}: is of a form that is not read: .*{form}"):
            predicted(model, drawn("76")[0] / f"x.{name}", tmp_path / name)
    with pytest.raises(DataError, match=r"x\.dm3: .*DigitalMicrograph"):
        predicted(model, drawn("76")[0] / "x.dm3", tmp_path / "dm3")
    for name in ("jp2", "webp", "gif", "pgm", "svs", "lsm"):
        assert predicted(model, drawn("76")[0] / f"x.{name}", tmp_path / name)[0]
    assert predicted(model, drawn("76")[0] / "svs", tmp_path / "folder")[0]


def test_every_case_has_its_right_value_here():
    elsewhere = {"16", "49", "65", "67", "68", "69", "71", "76", "81"}
    stated = {situation.partition("/")[0] for situation in SITUATIONS} | elsewhere
    assert {path.name[:2] for path in CASES.glob("[0-9]*.py")} <= stated
