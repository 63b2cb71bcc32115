"""Training goes on from the weights of a model."""

import pytest
import torch

import rescrnet
from rescrnet.errors import UsageError
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny

HARDLY = {"training__epochs": 1, "training__steps_per_epoch": 1, "training__learning_rate": 1e-9}


@pytest.fixture
def first(cells, tmp_path):
    return rescrnet.train(cells, tmp_path / "first", tiny(), progress=ProgressReporter())


def changes(one, other):
    theirs = other.network.state_dict()
    return {
        name: float((tensor.detach() - theirs[name]).abs().max()) if tensor.shape == theirs[name].shape else None
        for name, tensor in one.network.named_parameters()
    }


def test_a_second_training_begins_where_the_first_ended(cells, first, tmp_path):
    config = tiny(network__n=3, **HARDLY)  # the network is that of the model, whatever else is asked for
    second = rescrnet.train(cells, tmp_path / "second", config, start=first, progress=ProgressReporter())
    assert second.card.network == first.card.network
    assert max(changes(second, first).values()) < 1e-5
    assert len(second.card.trained.started_from) >= 32
    assert first.card.trained.started_from is None


def test_with_other_classes_only_what_has_to_do_with_classes_starts_anew(cells, first, tmp_path):
    merged = {entry.name: ("other" if index < 2 else entry.name) for index, entry in enumerate(first.card.classes)}
    first.card = first.card.model_copy(
        update={
            "masks": first.card.masks.model_copy(
                update={
                    "classes": [
                        e.model_copy(update={"name": f"{merged[e.name]} {e.value}"}) for e in first.card.classes
                    ]
                }
            )
        }
    )
    second = rescrnet.train(cells, tmp_path / "second", tiny(**HARDLY), start=first, progress=ProgressReporter())
    for name, change in changes(second, first).items():
        if name.startswith("head."):
            continue
        assert change < 1e-5, name
    assert max(change for name, change in changes(second, first).items() if name.endswith("weight") and "head" in name)


def test_a_model_of_other_channels_is_refused_before_anything_is_written(cells, first, tmp_path):
    first.card = first.card.model_copy(update={"in_channels": 3})
    with pytest.raises(UsageError, match="--from: the model sees RGB, these images have grey"):
        rescrnet.train(cells, tmp_path / "second", tiny(), start=first, progress=ProgressReporter())
    assert not (tmp_path / "second").exists()


def test_a_resumed_run_ends_as_one_that_was_not_stopped(cells, first, tmp_path):
    whole = rescrnet.train(cells, tmp_path / "whole", tiny(), start=first, progress=ProgressReporter())
    rescrnet.train(cells, tmp_path / "parts", tiny(training__epochs=1), start=first, progress=ProgressReporter())
    parts = rescrnet.resume(cells, tmp_path / "parts", epochs=3, progress=ProgressReporter())
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name
