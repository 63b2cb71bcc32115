"""A run with a budget of minutes ends on time, with its schedule at its end."""

import csv
import time

import pytest

import rescrnet
from rescrnet.errors import UsageError
from rescrnet.training.optimizer import SCHEDULES
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny


def rows(run):
    with (run / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Slow(ProgressReporter):
    """A machine that gets slower than it was when the run was planned."""

    def __init__(self, seconds):
        self.seconds = seconds

    def step(self, epoch, loss):
        time.sleep(self.seconds)


def test_the_run_ends_on_time_with_its_schedule_done(cells, tmp_path):
    started = time.monotonic()
    rescrnet.train(
        cells, tmp_path / "run", tiny(training__budget=0.1, training__schedule="cosine"), progress=ProgressReporter()
    )
    assert 3 < time.monotonic() - started < 12
    done = [float(row["progress"]) for row in rows(tmp_path / "run")]
    assert done[-1] == 1
    assert done == sorted(done)
    assert len(done) > 2


def test_where_the_machine_gets_slower_fewer_epochs_end_on_time(cells, tmp_path):
    started = time.monotonic()
    rescrnet.train(cells, tmp_path / "run", tiny(training__budget=0.1), progress=Slow(0.05))
    planned = rescrnet.load(tmp_path / "run").card.trained.config.training.epochs
    history = rows(tmp_path / "run")
    assert time.monotonic() - started < 15
    assert float(history[-1]["progress"]) == 1
    assert len(history) < planned


def test_a_budget_for_not_even_an_epoch_is_refused_before_anything_is_written(cells, tmp_path):
    with pytest.raises(UsageError, match=r"training\.budget 0\.0001 minutes: is over before the first epoch.*at least"):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=0.0001), progress=ProgressReporter())
    assert not (tmp_path / "run").exists()


def test_a_stopped_run_goes_on_within_what_is_left_of_its_budget(cells, tmp_path):
    class Stops(ProgressReporter):
        def epoch(self, row, best):
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=0.1), progress=Stops())
    before = rows(tmp_path / "run")
    assert float(before[-1]["progress"]) < 1
    rescrnet.resume(cells, tmp_path / "run", progress=ProgressReporter())
    after = rows(tmp_path / "run")
    assert after[: len(before)] == before
    assert float(after[-1]["progress"]) == 1


def test_the_cosine_warms_up_and_ends_near_nothing():
    cosine = SCHEDULES["cosine"]
    values = [cosine(step / 1000) for step in range(1001)]
    assert values[0] == 0
    assert max(values) == pytest.approx(1, abs=0.01)
    assert values.index(max(values)) < 60
    assert values[-1] == pytest.approx(0.01)
    assert values[100:] == sorted(values[100:], reverse=True)
