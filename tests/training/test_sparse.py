"""A sparsely painted dataset trains, is scored and reported, and its encodings are remembered by the model."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import rescrnet
from rescrnet.cli import main
from rescrnet.images.whole import read_image
from tests.support.configs import SMALLEST
from tests.support.folders import save


@pytest.fixture(scope="module")
def sparse(dataset, tmp_path_factory):
    """The small dataset with nine of ten pixels unlabelled, as value 7 in grey levels."""
    folder = tmp_path_factory.mktemp("sparse") / "em"
    shutil.copytree(dataset, folder)
    (folder / "dataset.yaml").unlink()
    rng = np.random.default_rng(0)
    for file in folder.glob("*/masks/msk/*.png"):
        mask = np.asarray(Image.open(file)).copy()
        mask[rng.random(mask.shape) < 0.9] = 77
        save(file, mask)
    return folder


@pytest.fixture(scope="module")
def sparse_run(sparse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = rescrnet.configure("laptop", overrides={**SMALLEST, "data.masks.ignore": 77})
    rescrnet.train(sparse, folder, config)
    return folder


def test_the_model_remembers_what_is_unlabelled(sparse, sparse_run):
    model = rescrnet.load(sparse_run)
    assert (model.classes, model.card.masks.ignore) == (["grey 0", "grey 128", "grey 255"], [77])
    evaluation = rescrnet.evaluate(model, sparse)
    labelled = sum((np.asarray(Image.open(file)) != 77).sum() for file in sparse.glob("val_local/masks/msk/*.png"))
    assert evaluation.counts.confusion.sum() == labelled


def test_the_report_names_the_share_of_unlabelled_pixels(sparse_run):
    page = rescrnet.report(sparse_run).read_text()
    assert "unlabelled, neither learnt nor scored" in page
    assert "of all labelled pixels the class that they have" in page


def test_without_the_request_the_value_is_a_class(sparse):
    from rescrnet.checking.check import load_dataset

    assert len(load_dataset(sparse).classes) == 4


def test_the_command_line_warns_of_an_unusual_image_by_name_and_predicts_it(
    run, dataset, tmp_path, monkeypatch, capsys
):
    file = next(dataset.glob("val_local/images/img/*.png"))
    usual, dark = tmp_path / "in/usual.png", tmp_path / "in/dark.png"
    image = (read_image(file)[..., 0] * 255).astype(np.uint8)
    save(usual, image)
    save(dark, image // 20)
    monkeypatch.setattr(
        sys, "argv", ["rescrnet", "predict", str(run), str(usual.parent), "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr().err.splitlines()
    assert not caught.value.code
    warned = [line for line in shown if line.startswith("rescrnet: warning: ")]
    assert len(warned) == 1
    assert f"{dark}: the intensities, " in warned[0]
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"usual.png", "dark.png"}
