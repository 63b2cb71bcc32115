"""A run with a budget of minutes ends on time, with its schedule at its end. The clock is the tests' own."""

import csv
import time
from types import SimpleNamespace

import pytest

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.errors import UsageError
from rescrnet.training import budget, train, trainer
from rescrnet.training.estimate import Pace
from rescrnet.training.optimizer import SCHEDULES
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny


class Clock(ProgressReporter):
    """A machine on which a step takes ``seconds``, and the rest no time; it may stop at the end of an epoch."""

    def __init__(self, seconds=1.0, stop=None):
        self.now, self.seconds, self.stop = 100.0, seconds, stop
        self.planned_epochs = []

    def monotonic(self):
        return self.now

    def planned(self, epochs, steps):
        self.planned_epochs.append(epochs)

    def step(self, epoch, loss):
        self.now += self.seconds

    def epoch(self, row, best):
        if row["epoch"] == self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def measured(monkeypatch):
    """What the plan is made from: a step takes a second, a validation half of one."""

    def on(clock):
        monkeypatch.setattr(budget, "measure", lambda *_, **__: Pace(step=1.0, validation=0.5))
        for module in (train, trainer, budget):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
        return clock

    return on


def rows(run):
    with (run / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_run_ends_on_time_with_its_schedule_done(cells, tmp_path, measured):
    clock = measured(Clock())
    rescrnet.train(cells, tmp_path / "run", tiny(training__budget=1), progress=clock)
    assert 54 <= clock.now - 100 <= 60
    done = [float(row["progress"]) for row in rows(tmp_path / "run")]
    assert done[-1] == 1
    assert done == sorted(done)
    assert len(done) == clock.planned_epochs[-1] > 10


@pytest.mark.parametrize("seconds", [0.9, 1.0, 1.1, 1.3])
def test_long_epochs_leave_nothing_of_the_budget_either(cells, tmp_path, measured, monkeypatch, seconds):
    clock = measured(Clock(seconds))
    monkeypatch.setattr(budget, "measure", lambda *_, **__: Pace(step=1.0, validation=5))  # so there are 8 epochs
    rescrnet.train(cells, tmp_path / "run", tiny(training__budget=2), progress=clock)
    history = rows(tmp_path / "run")
    assert 120 - seconds <= clock.now - 100 <= 120 + seconds
    steps = [int(float(row["steps"])) for row in history]
    assert len(set(steps[:-1])) == 1
    assert steps[0] <= steps[-1] < 2 * steps[0]
    assert clock.now - 100 == pytest.approx(seconds * sum(steps))


def test_a_longer_last_epoch_that_would_end_after_the_longest_time_is_not_begun(cells, tmp_path, measured, monkeypatch):
    clock = measured(Clock(1.1))
    monkeypatch.setattr(budget, "measure", lambda *_, **__: Pace(step=1.0, validation=5))
    rescrnet.train(cells, tmp_path / "run", tiny(training__budget=2), progress=clock, max_minutes=119 / 60)
    history = rows(tmp_path / "run")
    assert clock.now - 100 <= 119
    assert float(history[-1]["progress"]) < 1


def test_the_history_of_a_budget_that_an_earlier_version_began_goes_on(cells, tmp_path, measured):
    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=1), progress=measured(Clock(stop=5)))
    history = tmp_path / "run" / "history.csv"
    lines = history.read_text(encoding="utf-8").splitlines()
    history.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines), encoding="utf-8")
    for _ in range(2):  # the second finds it finished, with rows of both kinds
        rescrnet.resume(cells, tmp_path / "run", progress=measured(Clock()))
    after = rows(tmp_path / "run")
    assert float(after[-1]["progress"]) == 1
    assert [row["steps"] for row in after[:5]] == [""] * 5
    assert float(after[-1]["steps"]) > 0


def test_where_the_machine_gets_slower_fewer_epochs_end_on_time(cells, tmp_path, measured):
    clock = measured(Clock(seconds=3.0))
    model = rescrnet.train(cells, tmp_path / "run", tiny(training__budget=1), progress=clock)
    history, settings = rows(tmp_path / "run"), model.card.trained.config.training
    assert float(history[-1]["progress"]) == 1
    assert clock.now - 100 <= 60 + 3 * settings.steps_per_epoch
    assert len(history) < settings.epochs / 2


def test_validating_takes_a_tenth_of_the_time_at_most(cells, monkeypatch):
    monkeypatch.setattr(budget, "measure", lambda *_, **__: Pace(step=0.1, validation=2.0))
    config = tiny(training__budget=4)
    settings = budget.planned(config, load_dataset(cells), time.monotonic()).training
    assert settings.steps_per_epoch * 0.1 >= 9 * 2.0
    assert settings.epochs * (settings.steps_per_epoch * 0.1 + 2.0) == pytest.approx(240, rel=0.1)


def test_a_budget_for_not_even_an_epoch_is_refused_before_anything_is_written(cells, tmp_path, measured):
    clock = measured(Clock())
    with pytest.raises(UsageError, match=r"training\.budget 0\.01 minutes: is over before the first epoch.*at least"):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=0.01), progress=clock)
    assert not (tmp_path / "run").exists()


def test_the_real_measurement_knows_how_long_a_step_takes(cells, tmp_path):
    with pytest.raises(UsageError, match="is over before the first epoch"):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=1e-6), progress=ProgressReporter())


def test_a_stopped_run_goes_on_within_what_is_left_of_its_budget(cells, tmp_path, measured):
    with pytest.raises(KeyboardInterrupt):
        rescrnet.train(cells, tmp_path / "run", tiny(training__budget=1), progress=measured(Clock(stop=5)))
    before = rows(tmp_path / "run")
    assert float(before[-1]["progress"]) < 1
    clock = measured(Clock())
    rescrnet.resume(cells, tmp_path / "run", progress=clock)
    after = rows(tmp_path / "run")
    assert after[: len(before)] == before
    assert float(after[-1]["progress"]) == 1
    assert sum(float(row["seconds"]) for row in after) <= 60


def test_without_a_budget_history_and_plan_are_as_ever(cells, tmp_path):
    clock = Clock()
    rescrnet.train(cells, tmp_path / "run", tiny(), progress=clock)
    assert not {"progress", "steps"} & rows(tmp_path / "run")[0].keys()
    assert set(clock.planned_epochs) == {3}


def test_the_cosine_warms_up_and_ends_near_nothing():
    cosine = SCHEDULES["cosine"]
    values = [cosine(step / 1000) for step in range(1001)]
    assert values[0] == 0
    assert max(values) == pytest.approx(1, abs=0.01)
    assert values.index(max(values)) < 60
    assert values[-1] == pytest.approx(0.01)
    assert values[100:] == sorted(values[100:], reverse=True)
