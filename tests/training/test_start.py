"""Training goes on from the weights of a model."""

import pytest
import torch

import rescrnet
from rescrnet.classes import ClassEntry, MaskDeclaration
from rescrnet.errors import UsageError
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.start import PRETRAINED, pretrained, start_from
from tests.support.configs import tiny

MASKS = MaskDeclaration(classes=[ClassEntry(name=name, value=index) for index, name in enumerate("ab")])
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


def untrained(channels, **settings):
    network = rescrnet.configure("standard", overrides=settings).network
    scaling = IntensityScaling(offset=(0,) * channels, scale=(1,) * channels)
    return SegmentationModel.untrained(
        ModelCard(network=network, in_channels=channels, masks=MASKS, intensity=scaling), "independent"
    )


def features(model, x):
    network = model.network.eval()
    with torch.no_grad():
        return network.features(x.contiguous(memory_format=torch.channels_last))


def test_the_weights_of_the_package_are_those_of_the_blocks_of_standard_and_small():
    config = rescrnet.configure("standard")
    start = pretrained(config)
    model = untrained(1)
    digest = start_from(model, start)
    names = [name for name, _ in model.network.named_parameters() if not name.startswith("head.")]
    assert names
    for name in names:
        assert torch.equal(model.network.state_dict()[name], start.network.state_dict()[name]), name
    assert len(digest) >= 32
    assert (PRETRAINED / "micrographs.safetensors").stat().st_size < 300_000


def test_a_colour_image_starts_as_its_grey_mean():
    grey, colour = untrained(1), untrained(3)
    for model in (grey, colour):
        start_from(model, pretrained(rescrnet.configure("standard")))
    x = torch.rand(1, 3, 40, 36)
    torch.testing.assert_close(features(colour, x), features(grey, x.mean(1, keepdim=True)), rtol=1e-3, atol=1e-4)


def test_larger_squares_start_as_the_network_on_the_smaller_image():
    small, large = untrained(1), untrained(1, **{"network.space_to_depth": 4})
    for model in (small, large):
        start_from(model, pretrained(rescrnet.configure("standard")))
    x = torch.rand(1, 1, 64, 72)
    smaller = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(features(large, x), features(small, smaller), rtol=1e-3, atol=1e-4)


def test_at_full_resolution_all_but_the_first_block_starts_from_them():
    model, start = untrained(1, **{"network.space_to_depth": 1}), pretrained(rescrnet.configure("standard"))
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    start_from(model, start)
    after = model.network.state_dict()
    stem = "blocks.0.shortcut.0.weight"
    assert torch.equal(after[stem], before[stem])
    block = "blocks.1.shortcut.0.weight"
    assert torch.equal(after[block], start.network.state_dict()[block])


@pytest.mark.parametrize(
    ("key", "value"), [("n", 4), ("filters", 8), ("dilations", [1, 2, 3]), ("architecture", "unet")]
)
def test_other_blocks_start_at_random_and_say_so(key, value):
    config = rescrnet.configure("standard", overrides={f"network.{key}": value})
    assert config.training.start == "none"
    assert pretrained(config) is None
    with pytest.raises(UsageError, match=r"training\.start: the weights 'micrographs' are not of these blocks"):
        pretrained(rescrnet.configure("standard", overrides={f"network.{key}": value, "training.start": "micrographs"}))


def test_a_model_goes_on_where_only_its_head_is_another():
    start = pretrained(rescrnet.configure("standard"))
    card = untrained(1).card.model_copy(update={"masks": start.card.masks})  # its classes, but ConvLSTMs after them
    model = SegmentationModel.untrained(card, "independent")
    start_from(model, start)
    block = "blocks.1.shortcut.0.weight"
    assert torch.equal(model.network.state_dict()[block], start.network.state_dict()[block])


def test_a_u_net_of_grey_images_is_refused_for_colour():
    pytest.importorskip("monai")
    grey, colour = (untrained(channels, **{"network.architecture": "unet"}) for channels in (1, 3))
    with pytest.raises(UsageError, match="--from: the model sees grey, these images have RGB"):
        start_from(colour, grey)


def test_comparators_and_the_presets_of_the_paper_start_at_random():
    assert pretrained(rescrnet.configure("standard", overrides={"network.architecture": "res-unet"})) is None
    for preset in ("laptop", "paper-em", "paper-fm"):
        assert rescrnet.configure(preset).training.start == "none"


def test_a_run_records_what_it_started_from_and_a_model_goes_before_it(cells, tmp_path):
    config = rescrnet.configure("standard", overrides={"training.epochs": 1, "training.steps_per_epoch": 1})
    first = rescrnet.train(cells, tmp_path / "first", config, progress=ProgressReporter())
    assert first.card.trained.config.training.start == "micrographs"
    ours = first.card.trained.started_from
    assert ours is not None
    second = rescrnet.train(cells, tmp_path / "second", config, start=first, progress=ProgressReporter())
    assert second.card.trained.config.training.start == "none"
    assert second.card.trained.started_from not in (None, ours)
