"""A run stopped and resumed ends as one never stopped."""

import pytest
import torch
from safetensors.torch import load_file

import rescrnet
from rescrnet.errors import DataError, ModelError
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny


class StopsAt(ProgressReporter):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.at = epoch

    def step(self, epoch, loss):
        if epoch == self.at:
            raise KeyboardInterrupt


def files(run):
    return {name: load_file(run / name) for name in ("best.safetensors", "last.safetensors", "state.safetensors")}


def assert_same_run(run, other):
    for name, tensors in files(run).items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, files(other)[name][key]), f"{name}: {key}"
    without_seconds = [
        [line.rsplit(",", 1)[0] for line in (r / "history.csv").read_text().splitlines()] for r in (run, other)
    ]
    assert without_seconds[0] == without_seconds[1]


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("recalibrate", [0, 2])
def test_resumed_equals_uninterrupted(cells, tmp_path, average, recalibrate):
    config = tiny(training__ema_decay=average, training__bn_recalibration_batches=recalibrate)
    rescrnet.train(cells, tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "stopped", config, progress=StopsAt(3))
    rescrnet.resume(cells, tmp_path / "stopped", progress=ProgressReporter())
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_resumed_equals_uninterrupted_with_two_optimisers(cells, tmp_path):
    config = tiny(training__optimizer="muon", network__filters=6)
    rescrnet.train(cells, tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "stopped", config, progress=StopsAt(3))
    assert any(name.startswith("muon.") for name in load_file(tmp_path / "stopped/state.safetensors"))
    rescrnet.resume(cells, tmp_path / "stopped", progress=ProgressReporter())
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_run_goes_on_to_more_epochs(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "whole", tiny())
    rescrnet.train(cells, tmp_path / "short", tiny(training__epochs=1))
    rescrnet.resume(cells, tmp_path / "short", epochs=3, progress=ProgressReporter())
    assert_same_run(tmp_path / "whole", tmp_path / "short")


def test_ctrl_c_in_the_first_epoch_leaves_a_usable_model(cells, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "run", tiny(), progress=StopsAt(1))
    model = rescrnet.load(tmp_path / "run")
    assert model.card.trained.epoch == 0
    assert len(rescrnet.evaluate(model, cells).images) == 2


def test_a_run_resumes_on_its_own_dataset_only(cells, tmp_path):
    from rescrnet.datasets.synthetic import write_dataset

    write_dataset("em", tmp_path / "other", train=4, val=2, size=(64, 70))
    rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=1))
    with pytest.raises(DataError, match="its train are not those"):
        rescrnet.resume(tmp_path / "other", tmp_path / "run", progress=ProgressReporter())


def test_what_is_no_run_cannot_be_resumed(cells, tmp_path):
    with pytest.raises(ModelError, match="is no run folder"):
        rescrnet.resume(cells, tmp_path)


def test_a_resumed_run_that_fails_loses_nothing(cells, tmp_path):
    run = tmp_path / "run"
    rescrnet.train(cells, run, tiny(training__epochs=1))
    (run / "last.safetensors").unlink()
    (run / "notes.txt").write_text("mine")
    before = {path.name for path in run.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        rescrnet.resume(cells, run, epochs=2, progress=StopsAt(2))
    assert {path.name for path in run.iterdir()} == before


def test_a_run_that_failed_before_it_had_a_model_leaves_what_is_not_its_own(cells, tmp_path):
    run = tmp_path / "run"

    class Fails(ProgressReporter):
        def begin(self, epochs, steps, done):
            (run / "notes.txt").write_text("mine")
            raise MemoryError

    with pytest.raises(MemoryError):
        rescrnet.train(cells, run, tiny(), progress=Fails())
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
