"""Presets, files and single keys make one configuration."""

import pytest
import yaml

from rescrnet.config import PRESETS, Config, ResCRNetConfig, parse_overrides, resolve
from rescrnet.errors import UsageError
from rescrnet.nn.losses import LOSSES


def test_the_papers_presets_are_the_papers_protocol():
    for preset in ("paper-em", "paper-fm"):
        config = resolve(preset)
        assert (config.network.n, config.network.m, config.network.filters) == (6, 1, 16)
        assert (config.training.epochs, config.training.steps_per_epoch) == (90, 15)
        assert config.training.batch_size is None  # all images
        assert config.training.bn_recalibration_batches == 0
        assert config.training.ema_decay == 0
        assert config.training.shared_initialization
        assert config.augmentation.brightness == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resolved_configuration_reads_back_as_itself(preset, tmp_path):
    config = resolve(preset, overrides={"training.epochs": 7})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert resolve(file=tmp_path / "config.yaml") == config


def test_single_keys_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 3, seed: 5}\n")
    config = resolve("paper-em", file, {"training.epochs": 2})
    assert (config.training.epochs, config.training.seed, config.training.steps_per_epoch) == (2, 5, 15)


def test_what_the_default_preset_chose_for_res_cr_net_alone_is_nothing_to_a_u_net():
    config = resolve(overrides={"network.architecture": "res-unet"})
    assert config.network.architecture == "res-unet"
    assert config.network.image_statistics == 0.5
    assert not hasattr(config.network, "stem_statistics")
    assert config.training == resolve().training.model_copy(update={"start": "none"})
    assert resolve().network.space_to_depth == 2


def test_the_stem_has_as_many_of_the_image_s_own_statistics_as_the_other_blocks_or_its_own_share_or_none():
    def shares(**settings):
        return ResCRNetConfig(n=3, **settings).statistics_per_block

    assert shares(image_statistics=0.5) == [0.5, 0.5, 0.5]
    assert shares(image_statistics=0.5, stem_statistics=1) == [1, 0.5, 0.5]
    assert shares(image_statistics=0.5, stem_statistics=0) == [0, 0.5, 0.5]
    assert shares(stem_statistics=1) == [0, 0, 0]
    assert resolve().network.statistics_per_block == [0.75, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_whoever_sets_the_statistics_of_the_image_sets_them_of_the_stem_too(tmp_path):
    assert resolve(overrides={"network.image_statistics": 1}).network.statistics_per_block == [1] * 6
    both = {"network.image_statistics": 1, "network.stem_statistics": 0.9}
    assert resolve(overrides=both).network.statistics_per_block == [0.9, 1, 1, 1, 1, 1]
    (tmp_path / "of_a_run_before_there_was_the_key.yaml").write_text("network: {image_statistics: 0.5}\n")
    found = resolve(file=tmp_path / "of_a_run_before_there_was_the_key.yaml").network
    assert found.statistics_per_block == [0.5] * 6


def test_overrides_are_read_as_yaml():
    texts = ["network.kernel_sizes=[3, 5]", "training.loss=tani_loss", "data.resize=null"]
    assert parse_overrides(texts) == {
        "network.kernel_sizes": [3, 5],
        "training.loss": "tani_loss",
        "data.resize": None,
    }


def test_every_loss_that_can_be_configured_exists():
    field = Config.model_fields["training"].annotation.model_fields["loss"]
    names = field.annotation.__args__
    assert set(names) == {name for name in LOSSES if name.endswith("_loss")}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epoch": 3}, "key 'training.epoch' is unknown; known keys are epochs, steps_per_epoch"),
        ({"optimizer": "sgd"}, "key 'optimizer' is unknown; known keys are preset, network"),
        ({"training.epochs": -1}, "training.epochs: Input should be greater than 0 (found -1)"),
        ({"network.m": "many"}, "network.m: Input should be a valid integer"),
        ({"network.depth": 3}, "key 'network.depth' is unknown; known keys are architecture, n, m, filters,"),
        ({"network": 3}, "network: Input should be a valid dictionary or object"),
        ({"network.architecture": "vgg"}, "network.architecture: Input should be one of 'res-cr-net', 'dense', "),
        ({"network.architecture": "vgg"}, "'res-unet', 'unet' (found 'vgg')"),
        (
            {"network.architecture": "unet", "network.n": 3},
            "key 'network.n' is unknown; known keys are architecture, dropout",
        ),
        ({"network.kernel_sizes": [2]}, "2 is even"),
        ({"data.intensity": "histogram"}, "data.intensity: Input should be 'unit', 'standard' or 'percentile'"),
    ],
)
def test_what_is_wrong_is_named(overrides, message):
    with pytest.raises(UsageError) as caught:
        resolve(overrides=overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OLD = {
    "training.average": ("training.ema_decay", 0.5),
    "training.recalibrate": ("training.bn_recalibration_batches", 3),
    "training.same_start": ("training.shared_initialization", True),
    "network.name": ("network.architecture", "dense"),
    "data.ignore": ("data.masks.ignore", 77),
    "data.instances": ("data.masks.instance_boundary", 2),
    "data.instance_boundary": ("data.masks.instance_boundary", 2),
}


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize("preset", ["laptop", "paper-em"])
def test_a_key_is_known_by_its_old_name_in_a_file_and_as_an_override(old, preset, tmp_path):
    new, value = OLD[old]
    section, key = old.split(".")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({section: {key: value}}))
    expected = resolve(preset, overrides={new: value})
    assert str(value) in str(expected)
    assert resolve(preset, tmp_path / "old.yaml") == expected
    assert resolve(preset, overrides={old: value}) == expected
    assert resolve(preset, tmp_path / "old.yaml", {new: value}) == expected  # layers may mix the names


@pytest.mark.parametrize("old", OLD)
def test_a_key_given_by_both_of_its_names_is_refused(old, tmp_path):
    new, value = OLD[old]
    with pytest.raises(UsageError) as caught:
        resolve(overrides={old: value, new: value})
    section, _, key = old.partition(".")
    assert str(caught.value) == (
        f"configuration: {section}: '{key}' is the old name of '{new.removeprefix(section + '.')}', and both are "
        "given; give one of them"
    )


def test_an_old_name_beside_a_section_that_holds_no_keys_is_refused():
    with pytest.raises(UsageError, match=r"'ignore' is now 'masks\.ignore', but 'masks' holds no keys"):
        resolve(overrides={"data.ignore": 3, "data.masks": 3})


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(
        UsageError, match="preset 'fast' is unknown; the presets are standard, laptop, paper-em, paper-fm"
    ):
        resolve("fast")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"kernel_sizes": [101, 3, 5]}, "less than or equal to 63"),
        ({"kernel_sizes": [3, 5, 65]}, "less than or equal to 63"),
        ({"dilations": [1, 3, 9007199254740978]}, "less than or equal to 4096"),
        (
            {"kernel_sizes": [3, 5, 7], "dilations": [1, 3, 1366]},
            "size 7 with dilation 1366 reaches over 4096 pixels",
        ),
    ],
)
def test_kernels_beyond_the_bounds_of_the_compiled_ones_are_refused(network, said):
    with pytest.raises(UsageError, match=said):
        resolve(overrides={f"network.{key}": value for key, value in network.items()})
