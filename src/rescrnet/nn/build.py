"""The network that a configuration names."""

from rescrnet.config import NetworkConfig
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet

Network = ResCRNet | UNet


def build_network(in_channels: int, classes: int, config: NetworkConfig) -> Network:
    """Freshly drawn weights. Raises :class:`UsageError` where a comparator's library is missing."""
    kind = UNet if config.architecture in ("unet", "res-unet") else ResCRNet
    return kind(in_channels, classes, config)
