"""Two processes: what equals one process, and what does not."""

import subprocess
import sys

import pytest
import torch

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.errors import RescrnetError, UsageError
from rescrnet.model import SegmentationModel
from rescrnet.nn.losses import LOSSES
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.optimizer import adam
from rescrnet.training.train import card_for
from tests.support.configs import tiny

# Without dropout, whose masks each process draws for itself, and without averaging, for the plain weights.
CONFIG = tiny(
    network__dropout=0.0,
    network__recurrent_dropout=0.0,
    training__epochs=1,
    training__steps_per_epoch=1,
    training__ema_decay=0.0,
)


def one_step_by_hand(cells, shares):
    """The weights after one Adam step on the mean gradient of ``shares`` of the batch, in this one process.

    Without those whose gradient is zero but for rounding: Adam makes a whole step of the rounding.
    """
    dataset = load_dataset(cells)
    torch.manual_seed(CONFIG.training.seed)
    model = SegmentationModel.untrained(card_for(dataset, CONFIG))
    network = model.network.train()
    optimizer = adam(network.parameters(), CONFIG.training.learning_rate)
    prepared = TrainingTensors.of(dataset.train, model)
    for rank in range(shares):
        images, masks = BatchSampler(prepared, CONFIG, rank, shares).training(1, 0)
        loss = LOSSES[CONFIG.training.loss](network(images).softmax(1), masks)
        (loss / shares).backward()
    optimizer.step()
    return {name: p.detach() for name, p in network.named_parameters() if p.grad.abs().min() > 1e-5}


@pytest.mark.slow
def test_two_processes_equal_one_that_averages_two_half_batches_and_not_one_on_the_whole_batch(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "two", CONFIG, hardware=rescrnet.Hardware(device="cpu", devices=2))
    trained = dict(rescrnet.load(tmp_path / "two").network.named_parameters())

    # Equal: the gradient is the mean of the processes', each computed on its half of the batch.
    halves = one_step_by_hand(cells, 2)
    assert len(halves) > 10
    for name, value in halves.items():
        torch.testing.assert_close(trained[name], value, atol=1e-6, rtol=1e-5, msg=name)

    # Not equal: the Tanimoto of a batch is no mean over its images, and batch statistics are those of a half.
    whole = one_step_by_hand(cells, 1)
    assert any((trained[name] - value).abs().max() > 1e-4 for name, value in whole.items())


def test_a_batch_that_processes_cannot_share_evenly_is_refused_before_they_start(cells, tmp_path):
    with pytest.raises(UsageError, match="2 processes cannot share a batch of 3 evenly"):
        rescrnet.train(
            cells,
            tmp_path / "run",
            tiny(training__batch_size=3),
            hardware=rescrnet.Hardware(device="cpu", devices=2),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_a_process_raises_reaches_the_user_as_one_line(cells, tmp_path):
    config = tiny(training__learning_rate=1e30, training__epochs=5)
    with pytest.raises(RescrnetError, match="the loss became") as caught:
        rescrnet.train(cells, tmp_path / "run", config, hardware=rescrnet.Hardware(device="cpu", devices=2))
    assert "\n" not in str(caught.value)


TRAIN = """
import sys
from rescrnet.errors import UsageError
from rescrnet.training.processes import check_main_starts_again, stop_if_trial

def train():
    stop_if_trial()
    check_main_starts_again()
    print("trained")
"""


def end(*command, **how):
    ended = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=60, **how)
    return ended.returncode, ended.stdout, ended.stderr.splitlines()


def test_a_script_that_trains_wherever_it_is_imported_is_told_so_and_ends(tmp_path):
    script = tmp_path / "go.py"
    script.write_text(f"{TRAIN}\ntrain()")
    code, _, err = end(script)
    assert code == 1
    assert "devices: every process imports the script, which would train again in each; put all" in err[-1]
    assert "if __name__ == '__main__':" in err[-1]
    code, _, err = end("-", input=script.read_text())
    assert (code, "the processes cannot import the script <stdin>; save it as a file" in err[-1]) == (1, True)


def test_a_script_that_asks_whether_it_is_the_main_one_trains(tmp_path):
    script = tmp_path / "go.py"
    script.write_text(f"{TRAIN}\nif __name__ == '__main__':\n    train()")
    assert end(script) == (0, "trained\n", [])
    assert end("-c", f"{TRAIN}\ntrain()") == (0, "trained\n", [])


def test_training_on_several_processes_makes_the_trial_first(cells, tmp_path, monkeypatch):
    def refuse():
        raise UsageError("devices", "refused")

    monkeypatch.setattr("rescrnet.training.train.check_main_starts_again", refuse)
    with pytest.raises(UsageError, match="devices: refused"):
        rescrnet.train(cells, tmp_path / "run", CONFIG, hardware=rescrnet.Hardware(device="cpu", devices=2))
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RESCRNET_TRIAL", "1")
    with pytest.raises(SystemExit, match="1"):
        rescrnet.train(cells, tmp_path / "run", CONFIG)
