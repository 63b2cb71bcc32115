"""Damage to weights is noticed when they are loaded; files of earlier versions load as they are."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import rescrnet
from rescrnet.errors import ModelError
from rescrnet.tensors import read_tensors, write_tensors


def test_every_flipped_bit_is_noticed(run, tmp_path):
    content = (run / "best.safetensors").read_bytes()
    target, rng = tmp_path / "m.safetensors", np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*rng.integers(0, header, 150), *rng.integers(header, len(content), 100)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        if damaged[place] in b" \t\n\r" and content[place] in b" \t\n\r":
            continue
        target.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            rescrnet.load(target)
        assert "\n" not in str(caught.value)


def test_a_state_with_a_flipped_bit_is_not_resumed(cells, tmp_path):
    from rescrnet.training.progress import ProgressReporter
    from tests.support.configs import tiny

    rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=1), progress=ProgressReporter())
    state = tmp_path / "run/state.safetensors"
    content = bytearray(state.read_bytes())
    content[-40] ^= 1
    state.write_bytes(content)
    with pytest.raises(ModelError, match=r"state\.safetensors: is damaged, it is not as it was written"):
        rescrnet.resume(cells, tmp_path / "run", epochs=2, progress=ProgressReporter())


def without_digest(run, target, change):
    with safe_open(run / "best.safetensors", "pt") as opened:
        header = {"rescrnet": opened.metadata()["rescrnet"]}
    save_file({name: change(x) for name, x in load_file(run / "best.safetensors").items()}, target, header)
    return target


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(run, tmp_path, value):
    file = without_digest(
        run, tmp_path / "m.safetensors", lambda x: torch.full_like(x, value) if x.is_floating_point() else x
    )
    with pytest.raises(ModelError, match="has weights that are NaN or infinite"):
        rescrnet.load(file)


def test_weights_of_another_type_are_refused(run, tmp_path):
    file = without_digest(
        run, tmp_path / "m.safetensors", lambda x: x.view(torch.int32) if x.dtype == torch.float32 else x
    )
    with pytest.raises(ModelError, match="its weights do not fit its configuration"):
        rescrnet.load(file)


def test_a_file_without_a_digest_loads(run, tmp_path):
    model = rescrnet.load(without_digest(run, tmp_path / "m.safetensors", lambda x: x))
    assert model.card == rescrnet.load(run).card


def test_a_key_that_was_a_digest_is_no_older_file(tmp_path):
    write_tensors(tmp_path / "a", {"x": torch.zeros(3)}, {"epoch": "1"})
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content.replace(b'"sha256"', b'"sha257"'))
    with pytest.raises(ModelError, match="its header has an unknown key"):
        read_tensors(tmp_path / "a", frozenset({"epoch"}))


def test_any_tensors_come_back(tmp_path):
    tensors = {
        "a": torch.tensor(3),
        "b": torch.zeros(0, 2),
        "c": torch.ones(2, 3, dtype=torch.bfloat16).T,
        "d": torch.tensor([True]),
    }
    write_tensors(tmp_path / "a", tensors, {"epoch": "1", "wörd": json.dumps({"ä": "€"})})
    header, read = read_tensors(tmp_path / "a", frozenset({"epoch"}))
    assert header["wörd"] == json.dumps({"ä": "€"})
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
