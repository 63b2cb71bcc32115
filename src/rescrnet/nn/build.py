"""The network that a configuration names."""

from rescrnet.config import NetworkConfig, UNetConfig
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet

Network = ResCRNet | UNet


def build_network(in_channels: int, classes: int, config: NetworkConfig) -> Network:
    """Freshly drawn weights. Raises :class:`UsageError` where a comparator's library is missing."""
    if isinstance(config, UNetConfig):
        return UNet(in_channels, classes, config)
    return ResCRNet(in_channels, classes, config)
