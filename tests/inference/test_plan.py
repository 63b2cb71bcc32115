"""How an image is divided."""

import pytest

from rescrnet.errors import UsageError
from rescrnet.inference.budget import PROGRAM
from rescrnet.inference.plan import Cost, choose_tiling, whole_bytes
from rescrnet.nn.network import ResCRNet
from tests.support.pictures import model_of

GB = 10**9


@pytest.fixture(scope="module")
def network():
    return ResCRNet(1, 3)


def test_an_image_that_fits_is_not_divided(network):
    assert choose_tiling(network, (262, 400), GB) is None


@pytest.mark.parametrize("shape", [(8192, 8192), (50_000, 64), (64, 50_000), (316_000, 316_000)])
@pytest.mark.parametrize("memory", [GB // 2, GB, 4 * GB])
def test_what_is_divided_fits_the_memory(network, shape, memory):
    tiling, cost = choose_tiling(network, shape, memory), Cost.of(network)
    if tiling is None:
        assert cost.whole(shape) < memory - PROGRAM
        return
    assert cost.tile(tiling.tile[1], tiling.rows, shape[1]) < memory - PROGRAM
    assert cost.scan(tiling.strip, tiling.segment, max(shape)) < memory - PROGRAM
    assert tiling.strip <= tiling.segment
    assert all(side % tiling.block == 0 or side == length for side, length in zip(tiling.tile, shape, strict=True))


def test_more_memory_wastes_less(network):
    cost = Cost.of(network)
    tilings = [choose_tiling(network, (8192, 8192), memory) for memory in (GB // 2, GB, 2 * GB, 4 * GB)]
    wastes = [cost.waste(tiling.tile[1], tiling.rows, 8192) for tiling in tilings]
    assert wastes == sorted(wastes, reverse=True)
    assert wastes[1] < (1.4 if cost.compiled else 1.6)


def test_tiles_are_about_equal(network):
    tiling = choose_tiling(network, (8200, 8200), GB)
    assert tiling.tile[0] == 4160  # two of them, not 8192 and 8
    columns = -(-8200 // tiling.tile[1])
    assert 8200 - (columns - 1) * tiling.tile[1] > tiling.tile[1] - 64 * columns


def test_too_little_memory_is_refused_with_what_would_do(network):
    with pytest.raises(
        UsageError, match=r"--memory 330MB: is too little for this model; give at least (\d+)MB"
    ) as said:
        choose_tiling(network, (8192, 8192), 330_000_000)
    enough = int(str(said.value).split("at least ")[1].removesuffix("MB")) * 10**6
    assert choose_tiling(network, (8192, 8192), enough) is not None


def test_the_same_image_is_divided_alike_every_time(network):
    assert choose_tiling(network, (9000, 7000), GB) == choose_tiling(ResCRNet(1, 3), (9000, 7000), GB)


def test_a_model_that_resizes_needs_the_memory_of_the_resized_image_and_of_the_image_around_it():
    model, shape = model_of(resize=(20, 30)), (5000, 5000)
    assert whole_bytes(model_of(), (20, 30)) < whole_bytes(model, shape) < whole_bytes(model_of(), shape) / 2
    assert whole_bytes(model, shape) > 5000 * 5000 * 4 * 4


def test_the_windows_for_the_statistics_of_the_image_must_fit_into_the_memory():
    network = ResCRNet(1, 3, space_to_depth=2, image_statistics=0.5)
    least = Cost.of(network).sample((9000, 9000))
    assert least > 64 << 20
    with pytest.raises(UsageError, match="is too little for this model; give at least"):
        choose_tiling(network, (9000, 9000), PROGRAM + least // 2)
    assert choose_tiling(network, (9000, 9000), PROGRAM + 2 * least) is not None
    assert Cost.of(ResCRNet(1, 3)).sample((9000, 9000)) == 0
