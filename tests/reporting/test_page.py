"""The page holds all of a run, and nothing that is not its own."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rescrnet
from rescrnet.datasets.synthetic import write_dataset
from rescrnet.errors import DataError, ModelError
from rescrnet.reporting import page
from rescrnet.reporting.page import report
from rescrnet.scoring.counts import Counts
from rescrnet.scoring.evaluate import Evaluation
from rescrnet.training.folder import RunFolder
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import SMALLEST

SECTIONS = (
    "summary",
    "images",
    "training",
    "scores",
    "classes",
    "confusion",
    "objects",
    "dataset",
    "record",
    "citation",
)
PICTURES = ("Image", "True mask", "Prediction", "Differences")


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and the texts of its table rows by section."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.text = ""
        self._section = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "section":
            self._section = str(attributes["id"])
            self.rows[self._section] = []
        elif tag == "tr":
            self.rows[self._section].append([])
        elif tag in ("td", "th"):
            self.rows[self._section][-1].append("")
        elif tag == "small":
            self.handle_data(" | ")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows.get(self._section) and self.rows[self._section][-1]:
            self.rows[self._section][-1][-1] += data.strip(" \n") if data != " | " else data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def is_of_pixels(image: dict[str, str | None]) -> bool:
    """Whether a picture is one of the four of an image, not one of objects."""
    return (image["alt"] or "").split(",")[0] in PICTURES


def test_page_has_every_section_in_order(reported: Path) -> None:
    assert [section["id"] for section in Parsed(reported / "report.html").of("section")] == list(SECTIONS)


def test_first_lines_say_what_is_segmented_and_which_run_of_which_dataset(reported: Path, dataset: Path) -> None:
    text = " ".join(Parsed(reported / "report.html").text.split())
    title = "Segmentation into cytoplasm, nucleus and mitochondrion"
    run = f"{reported.parent.name}/{reported.name}"
    assert f"{title}: {run}" in text  # in the browser's tab
    assert f"{title} Dataset {dataset.parent.name}/{dataset.name}, run {run}. Trained" in text


def test_every_validation_image_has_its_four_pictures(reported: Path) -> None:
    stems = RunFolder(reported).read_record().dataset.val
    images = [image for image in Parsed(reported / "report.html").of("img") if is_of_pixels(image)]
    assert [image["alt"] for image in images] == [f"{label}, {stem}" for stem in stems for label in PICTURES]
    assert all((image["width"], image["height"]) == ("80", "64") for image in images)


def test_masks_in_the_page_are_those_of_the_dataset_in_the_colours_of_the_classes(
    reported: Path, dataset: Path
) -> None:
    image = next(i for i in Parsed(reported / "report.html").of("img") if (i["alt"] or "").startswith("True mask"))
    content = base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,"))
    mask = np.asarray(Image.open(dataset / "val_local/masks/msk" / f"{(image['alt'] or '')[-2:]}.png"))
    with Image.open(io.BytesIO(content)) as picture:
        rgb = np.asarray(picture.convert("RGB"))
    for value, colour in ((0, (0x4C, 0x8C, 0x4A)), (128, (0xC0, 0x39, 0x2B)), (255, (0x2E, 0x6F, 0xB7))):
        assert (rgb[mask == value] == colour).all()


def test_page_refers_to_nothing_outside_itself(reported: Path) -> None:
    parsed = Parsed(reported / "report.html")
    references = [
        str(value)
        for _, attributes in parsed.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    ]
    assert references
    assert all(reference.startswith(("data:image/", "#")) for reference in references)
    assert not parsed.of("link")
    html = (reported / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"\w+://", html)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_numbers_in_the_page_are_those_of_evaluate(reported: Path, dataset: Path) -> None:
    evaluation = rescrnet.evaluate(rescrnet.load(reported), dataset)
    parsed = Parsed(reported / "report.html")
    pooled = evaluation.counts.pooled()
    order = ("tanimoto", "dice_soft", "jaccard", "precision", "recall", "f1")
    assert [row[1] for row in parsed.rows["scores"][1:]] == [shown(pooled[name]) for name in order]
    ratios = ("iou", "dice", "precision", "recall")
    for row, name, scores in zip(
        parsed.rows["classes"][1:], evaluation.classes, evaluation.counts.per_class(), strict=True
    ):
        assert row[:5] == [name, *(shown(scores[ratio]) for ratio in ratios)]
        assert [int(re.sub(r"\D", "", cell)) for cell in row[5:]] == [
            scores["true_pixels"],
            scores["predicted_pixels"],
        ]
    cells = [[cell.split(" | ") for cell in row[1:]] for row in parsed.rows["confusion"][1:]]
    counts = [[int(re.sub(r"\D", "", pixels)) for _, pixels in row] for row in cells]
    assert counts == evaluation.counts.confusion.tolist()
    shares = evaluation.counts.confusion / evaluation.counts.confusion.sum(1, keepdims=True)
    assert [[share for share, _ in row] for row in cells] == [[f"{100 * s:.1f}%" for s in row] for row in shares]
    for counts_of_image in evaluation.images.values():
        assert f"Tanimoto {shown(counts_of_image.pooled()['tanimoto'])}" in " ".join(parsed.text.split())


def test_summary_names_images_agreement_and_the_best_and_the_worst_class(reported: Path, dataset: Path) -> None:
    text = " ".join(Parsed(reported / "report.html").text.split())
    counts = rescrnet.evaluate(rescrnet.load(reported), dataset).counts
    ranked = sorted(
        zip(counts.per_class(), ("cytoplasm", "nucleus", "mitochondrion"), strict=True), key=lambda x: x[0]["iou"] or 0
    )
    assert "2 labelled images of em to tell apart cytoplasm, nucleus and mitochondrion" in text
    assert f"the Tanimoto coefficient, 1 if perfect, is {shown(counts.pooled()['tanimoto'])}" in text
    assert f"best on {ranked[-1][1]}" in text
    assert f"worst on {ranked[0][1]}" in text


def test_missing_scores_are_dashes_with_an_explanation(
    reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "A dash (–) means" not in (reported / "report.html").read_text(encoding="utf-8")
    confusion = np.array([[90, 10, 0], [0, 0, 0], [0, 0, 0]])
    counts = Counts(np.array([300, 100, 100, 80, 80, 100], float), np.array([90, 10, 10]), confusion)
    copy = Path(shutil.copytree(reported, tmp_path / "run"))
    classes = ("cytoplasm", "nucleus", "mitochondrion")

    def evaluate(*arguments: object, **named: object) -> Evaluation:
        rescrnet.evaluate(*arguments, **named)  # type: ignore[arg-type]
        return Evaluation(classes, dict.fromkeys(("08", "09", "02", "03"), counts), "val")

    monkeypatch.setattr(page, "evaluate", evaluate)
    parsed = Parsed(report(copy))
    assert parsed.rows["classes"][2][1:5] == ["0.000", "0.000", "0.000", "–"]
    assert parsed.rows["classes"][3][1:5] == ["–"] * 4
    assert parsed.rows["confusion"][3][1:] == ["– | 0"] * 3
    assert "A dash (–) means that there is nothing to score" in parsed.text


def test_hostile_names_are_text(tmp_path: Path) -> None:
    data, name, stem = tmp_path / "<b>data", '"><script>alert(1)</script>', "<img src=x onerror=alert(1)>"
    write_dataset("em", data, train=2, val=1, size=(64, 80))
    declaration = data / "dataset.yaml"
    declaration.write_text(declaration.read_text().replace("nucleus", f"'{name}'"))
    for folder in ("images/img", "masks/msk"):
        file = next((data / "val_local" / folder).iterdir())
        file.rename(file.with_stem(stem))
    rescrnet.train(
        data, tmp_path / "<i>run", rescrnet.configure("laptop", overrides=SMALLEST), progress=ProgressReporter()
    )
    parsed = Parsed(report(tmp_path / "<i>run"))
    assert name in parsed.text
    assert stem in parsed.text
    assert parsed.of("img")[0]["alt"] == f"Image, {stem}"
    assert len(parsed.of("script")) == 1
    assert all(image["src"] != "x" and "onerror" not in image for image in parsed.of("img"))
    assert {tag for tag, _ in parsed.elements} & {"b", "i"} == {"b"}  # the page's own, in the scores of an image
    assert all("&lt;b&gt;" not in str(value) for _, value in parsed.elements)


def test_of_many_images_the_worst_and_the_best_are_shown(
    reported: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_IMAGES", 2)
    copy = Path(shutil.copytree(reported, tmp_path / "run"))
    parsed = Parsed(report(copy, split="all"))
    images = rescrnet.evaluate(rescrnet.load(reported), dataset, split="all").images
    ranked = sorted(images, key=lambda stem: images[stem].pooled()["tanimoto"] or 0)
    assert len(images) == 4
    alts = [image["alt"] for image in parsed.of("img") if is_of_pixels(image)]
    assert alts == [f"{label}, {stem}" for stem in (ranked[0], ranked[-1]) for label in PICTURES]
    assert "Of 4 training and validation images, 2 are shown" in " ".join(parsed.text.split())
    assert [row[0] for row in parsed.rows["images"][1:]] == list(images)


def test_missing_dataset_is_one_line_and_leaves_the_former_page(reported: Path, dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reported, tmp_path / "run"))
    record = RunFolder(copy).read_record()
    gone = record.dataset.model_copy(update={"folder": str(tmp_path / "gone")})
    RunFolder(copy).write_record(record.model_copy(update={"dataset": gone}))
    before = (copy / "report.html").read_bytes()
    with pytest.raises(DataError, match=r"gone: .*--data$") as caught:
        report(copy)
    assert "\n" not in str(caught.value)
    assert (copy / "report.html").read_bytes() == before
    report(copy, dataset)
    assert (copy / "report.html").read_bytes() != before


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no run folder"):
        report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_run_without_a_completed_epoch_has_a_page_without_curves(reported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reported, tmp_path / "run"))
    (copy / "history.csv").unlink()
    record = RunFolder(copy).read_record()
    RunFolder(copy).write_record(record.model_copy(update={"status": "stopped", "epochs": 0}))
    parsed = Parsed(report(copy))
    assert not [figure for figure in parsed.of("svg") if "over" in (figure["aria-label"] or "")]
    assert "No epoch was completed" in parsed.text
    assert "it has completed 0 epochs" in parsed.text
