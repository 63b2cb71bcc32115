"""What to label next, through the command."""

import csv
import sys

import numpy as np
import pytest

from rescrnet import cli
from tests.support.folders import save

pytestmark = pytest.mark.filterwarnings("ignore::rescrnet.errors.RescrnetWarning")


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def sure_of_flat_images(model, monkeypatch):
    """A model that is sure of what is flat and knows nothing of what is not."""

    def predict(self, image, seen=None):
        odd = np.abs(image[..., 0] - np.median(image)) > 0.1
        rest = np.where(odd, 1 / 3, 0.01).astype(np.float32)
        return np.stack([1 - 2 * rest, rest, rest])

    monkeypatch.setattr(type(model), "predict_normalised", predict)
    return model


def test_a_planted_odd_image_and_its_odd_region_rank_first(sure_of_flat_images, tmp_path, monkeypatch, capsys):
    for number in range(4):
        save(tmp_path / f"in/{number}.png", np.full((130, 150), 100 + number, np.uint8))
    # The margin leaves slivers of 2 rows, one of them odd as a whole: the full region is worth more.
    odd = np.full((130, 150), 100, np.uint8)
    odd[64:128, 64:128] = np.random.default_rng(0).integers(0, 255, (64, 64))
    odd[128:, :64] = np.random.default_rng(1).choice([0, 255], (2, 64))
    save(tmp_path / "in/odd.png", odd)
    sure_of_flat_images.save(tmp_path / "model.safetensors")
    code, out, err = call(
        monkeypatch, capsys, "suggest", tmp_path / "model.safetensors", tmp_path / "in", "--out", tmp_path / "out",
        "--count", 2,
    )  # fmt: skip
    assert code == 0, err
    assert "first to label: odd" in out
    rows = list(csv.DictReader((tmp_path / "out/suggest.csv").read_text(encoding="utf-8").splitlines()))
    first = {row["kind"]: row for row in rows if (row["choice"], row["rank"]) == ("uncertain", "1")}
    assert first["image"]["image"] == first["region"]["image"] == "odd"
    assert (first["region"]["y"], first["region"]["x"]) == ("64", "64")
    assert len(rows) == 8
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Label odd first" in page
    assert page.count("<img src=") == 8


def test_a_stack_is_refused_in_one_line_and_leaves_nothing(model, tmp_path, monkeypatch, capsys):
    save(tmp_path / "in/a.tif", np.zeros((3, 40, 40), np.uint8), metadata={"axes": "ZYX"}, photometric="minisblack")
    model.save(tmp_path / "model.safetensors")
    code, _, err = call(
        monkeypatch, capsys, "suggest", tmp_path / "model.safetensors", tmp_path / "in", "--out", tmp_path / "out"
    )
    assert code
    assert "has 3 planes" in err
    assert not (tmp_path / "out").exists()
