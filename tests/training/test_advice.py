"""Where another network may do better, `check` names it; the masks tell."""

import numpy as np
import pytest

from rescrnet.datasets.thickness import border_lengths
from rescrnet.training.advice import better_network
from rescrnet.training.estimate import Estimate
from rescrnet.training.scale import Drawn


def drawn(mask, classes=2):
    mask = np.asarray(mask, np.uint8)
    return Drawn(np.bincount(mask.ravel(), minlength=classes), border_lengths(mask, classes), max(mask.shape))


def lines(width, apart):
    return np.broadcast_to(np.arange(200) % apart < width, (160, 200))


@pytest.mark.parametrize(
    ("masks", "network"),
    [
        ([drawn(lines(5, 30))], "res-unet"),  # membranes
        ([drawn(1 - lines(5, 30)), drawn(1 - lines(5, 20))], "res-unet"),  # whichever class is the thin one
        ([drawn(lines(20, 60))], None),  # thick
        ([drawn(lines(4, 100))], None),  # few
        ([drawn(lines(5, 30) + 2 * (np.arange(160)[:, None] < 20) * (1 - lines(5, 30)), 3)], None),  # and more
        ([drawn(lines(0, 30))], None),  # one class
        ([], None),
    ],
)
def test_outlines_alone_are_for_the_residual_u_net(masks, network):
    assert better_network(masks) == network


def test_the_estimate_names_the_network_and_how_to_find_out():
    expected = Estimate(100.0, None, 0.1, "standard", 48, rival="res-unet")
    assert "--network res-unet may score higher" in str(expected)
    assert "compare --methods res-cr-net,res-unet" in str(expected)
    assert "res-unet" not in str(Estimate(100.0, None, 0.1, "standard", 48))
