"""The convolutional part, tile by tile."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from rescrnet.inference.features import regions, roll_features
from rescrnet.inference.region import Region
from rescrnet.nn.network import ResCRNet

VARIANTS = {
    "chain": {},
    "dense": {"architecture": "dense", "n": 5},
    "very dense": {"architecture": "very-dense", "n": 5},
    "stem only": {"n": 1},
    "sum": {"merge": "sum"},
    "pointwise kernels": {"kernel_sizes": [1], "dilations": [1]},
    "set by block": {
        "filters": [2, 3, 4],
        "kernel_sizes": [[5], [1, 3], [3]],
        "dilations": [[2], [1, 4], [1]],
    },
}
SHAPE = (53, 47)


def network_of(channels=2, **settings):
    """A small network whose batch normalisation is not the identity."""
    torch.manual_seed(0)
    small = {"n": 3, "filters": 3, "kernel_sizes": [3, 5], "dilations": [1, 2]}
    network = ResCRNet(channels, 3, **{**small, **settings})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias)
    return network.eval()


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).random((1, 2, *SHAPE), dtype=np.float32))


def reader(image):
    def read(region):
        assert 0 <= region.y0 < region.y1 <= image.shape[2]
        assert 0 <= region.x0 < region.x1 <= image.shape[3]
        return image[:, :, region.y0 : region.y1, region.x0 : region.x1]

    return read


TILES = {
    "whole": (0, 53, 0, 47),
    "corner": (0, 20, 0, 11),
    "middle": (25, 27, 20, 31),
    "one pixel": (30, 31, 17, 18),
    "last row": (52, 53, 0, 47),
    "near the edges": (3, 50, 7, 40),
    "other corner": (40, 53, 29, 47),
}


@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_tile_equals_its_part_of_the_whole(settings, tile, rows, image):
    network, tile = network_of(**settings), Region(*tile)
    whole = network.features(image)[:, :, tile.y0 : tile.y1, tile.x0 : tile.x1]
    made = [(region, part.clone()) for region, part in roll_features(network, reader(image), tile, SHAPE, rows)]
    torch.testing.assert_close(torch.cat([part for _, part in made], dim=2), whole, atol=1e-5, rtol=1e-5)
    assert [region.y0 for region, _ in made] == [tile.y0, *(region.y1 for region, _ in made[:-1])]
    assert all(region.height == part.shape[2] <= rows for region, part in made)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_the_halo_is_where_the_gradient_of_one_pixel_ends(settings):
    network = network_of(**settings)
    with torch.enable_grad():
        image = torch.rand(1, 2, 61, 63, requires_grad=True)
        network.requires_grad_(False)
        network.features(image)[0, :, 30, 31].sum().backward()
        seen = image.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    found = regions(Region(30, 31, 31, 32), [block.reach for block in network.conv_blocks], (61, 63))[0]
    assert found == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)


def test_the_halo_of_the_papers_network_is_180_pixels():
    tile = Region(1000, 1001, 1000, 1001)
    extents = regions(tile, [block.reach for block in ResCRNet(1, 3).conv_blocks], (2000, 2000))
    assert extents[0] == (820, 1181, 820, 1181)
    assert all(outside.width - inside.width == 60 for outside, inside in pairwise(extents))


def test_a_block_reads_no_further_than_the_image():
    assert regions(Region(0, 5, 2, 9), [4], (6, 20))[0] == (0, 6, 0, 13)
