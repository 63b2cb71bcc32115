"""U-Net and residual U-Net, the paper's comparators, as MONAI builds them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.config import UNetConfig
from rescrnet.errors import UsageError

_FILTERS = (16, 32, 64, 128, 256)
_MULTIPLE = 2 ** (len(_FILTERS) - 1)  # the sides that four halvings divide


class UNet(nn.Module):
    """MONAI's U-Net of five levels, with two residual units a level (``res-unet``) or none (``unet``).

    Images of any size: they are padded to a multiple of 16 by their border, and the result is cropped.

    Args:
        in_channels: channels of the images.
        classes: number of classes.
        config: which of the two, and its dropout.

    Raises:
        UsageError: MONAI is not installed.
    """

    def __init__(self, in_channels: int, classes: int, config: UNetConfig) -> None:
        super().__init__()
        try:
            from monai.networks.nets.unet import UNet as MonaiUNet
        except ImportError:
            raise UsageError(
                f"network '{config.architecture}'",
                "needs MONAI, which is not installed",
                "pip install 'rescrnet[unet]'",
            ) from None
        self.config, self.in_channels, self.classes = config, in_channels, classes
        self.unet = MonaiUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=classes,
            channels=_FILTERS,
            strides=(2,) * (len(_FILTERS) - 1),
            num_res_units=2 if config.architecture == "res-unet" else 0,
            norm="batch",
            dropout=config.dropout,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → logits (N, classes, H, W)."""
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        logits: Tensor = self.unet(padded)[:, :, :height, :width]
        return logits

    def features(self, x: Tensor) -> Tensor:
        """All that holds batch normalisation, which here is the whole network: (N, in_channels, H, W) → logits.

        Recomputing the running statistics runs nothing but this; of Res-CR-Net it leaves out the ConvLSTMs.
        """
        logits: Tensor = self(x)
        return logits
