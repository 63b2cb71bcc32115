"""The network that a configuration names."""

from typing import Literal

from torch import nn

from rescrnet.config import NetworkConfig, UNetConfig
from rescrnet.nn.initialization import share_kernels
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet
from rescrnet.ops.native import choice


class Members(nn.ModuleList):
    """The networks of several models that predict as one; as a network it cannot be called."""


Network = ResCRNet | UNet | Members
Initialization = Literal["independent", "shared"]


def build_network(
    in_channels: int, classes: int, config: NetworkConfig, initialization: Initialization = "independent"
) -> ResCRNet | UNet:
    """A network with freshly drawn weights.

    Args:
        in_channels: channels of the images.
        classes: number of classes.
        config: which network.
        initialization: every kernel drawn by itself, or ``shared``: all kernels of one shape start equal, as in the
            authors' network. Of the comparators every kernel is drawn by itself in either case.

    Raises:
        UsageError: a setting does not fit the others, a comparator's library is missing, or RESCRNET_NATIVE asks for
            kernels that there are not.
    """
    choice()  # what is wrong with it is said once, before any image is read
    if isinstance(config, UNetConfig):
        return UNet(in_channels, classes, config)
    network = ResCRNet(in_channels, classes, config)
    if initialization == "shared":
        share_kernels(network)
    return network
