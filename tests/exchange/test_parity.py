"""The gallery of parity: the authors' networks, one that they trained and one of our default preset, in every format.

The measure is our own prediction. `make check` runs small images in its own environment. `make exchange` runs all
sizes, in environments of its own (`.venv-*` beside the code) and in Chromium, and prints the table of docs/exchange.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rescrnet.exchange.export import SUFFIXES, export
from tests.exchange import hosts
from tests.exchange.models import image_of, nchw, parity_model, standard_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
ALL = bool(os.environ.get("RESCRNET_EXCHANGE"))
CASES = ("add_mode", "dense", "em_paper", "fm_paper", "two_lstm_two_filters", "very_dense", "em_vnc_trained")
SIZES = ((37, 53), (61, 1), *(((512, 512), (768, 1024)) if ALL else ()))
# With more than a million pixels, from where on an image has its statistics from windows.
SIZES_OF_STANDARD = (*SIZES, *(((1003, 1100),) if ALL else ()))
# The logits of these two random networks are in the hundreds. Rounding in float32 moves our own probabilities by up to
# 2e-5 from those of double precision, and another order of the same sums by as much again.
TOLERANCE = dict.fromkeys(("dense", "very_dense"), 1e-4)
ENVIRONMENTS = {
    "onnx": {"here": sys.executable, "1.15": ".venv-onnxruntime-1.15", "1.17": ".venv-onnxruntime-1.17"},
    "torchscript": {"here": sys.executable, "2.0.1": ".venv-torch-2.0", "2.7.1": ".venv-torch-2.7"},
}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    models = {case: parity_model(case) for case in CASES}
    models["standard"] = standard_model(folder / "run", trained=ALL)
    for case, model in models.items():
        (folder / case).mkdir()
        for format in ("onnx", "torchscript"):
            export(model, format, folder / case / f"model{SUFFIXES[format]}")
        for height, width in SIZES_OF_STANDARD if case == "standard" else SIZES:
            image = image_of(model, height, width)
            expected = model.predict_normalised(image)[None]
            np.savez(folder / case / f"{height}x{width}.npz", image=nchw(image), expected=expected)
    return folder


@pytest.mark.parametrize(
    ("format", "environment"), [(format, name) for format, names in ENVIRONMENTS.items() for name in names]
)
def test_every_runtime_gives_our_probabilities(gallery, format, environment):
    place = ENVIRONMENTS[format][environment]
    python = Path(place) if environment == "here" else ROOT / place / "bin/python"
    if environment != "here" and not ALL:
        pytest.skip("`make exchange` runs this")
    if not python.is_file():
        pytest.skip(f"there is no {place}")
    done = subprocess.run([python, hosts.__file__, gallery, format], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(CASES) * len(SIZES) + len(SIZES_OF_STANDARD)
    for line in lines:
        print(*line.values(), sep="\t")
        assert line["difference"] <= TOLERANCE.get(line["model"], 1.5e-5), line
