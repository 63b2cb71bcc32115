"""A fully convolutional network and DeepLabv3 on MobileNetV3, as torchvision builds them, untrained, small.

Long et al. 2015, arXiv:1411.4038; Chen et al. 2017, arXiv:1706.05587; Howard et al. 2019, arXiv:1905.02244. They train
with the recipe of ``dynunet``. Weights are drawn, since those of photographs want three channels.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.errors import UsageError
from rescrnet.evidence.dynunet import fit_on_patches
from rescrnet.evidence.methods import Fitted, Task
from rescrnet.wording import one_line

_WIDTH = 960  # channels that the backbone ends with
_MOMENTUM = 0.1  # of batch statistics; torchvision's 0.01 remembers the drawn weights for hundreds of steps


def fit_torchvision(task: Task, name: str) -> Fitted:
    """Train ``fcn`` or ``deeplab`` within the budget."""
    return fit_on_patches(task, name, partial(build, name))


def build(name: str, channels: int, classes: int, side: int) -> nn.Module:
    """The network: images of any ``side``, (N, channels, H, W) → logits (N, classes, H, W)."""
    models = _models(name)
    heads = {"fcn": models.segmentation.fcn.FCNHead, "deeplab": models.segmentation.deeplabv3.DeepLabHead}
    backbone = models.mobilenet_v3_large(weights=None, dilated=True).features
    stem = backbone[0][0]
    backbone[0][0] = nn.Conv2d(channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, bias=False)
    network = _Coarse(backbone, heads[name](_WIDTH, classes))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    return network


def _models(name: str) -> Any:
    try:
        return import_module("torchvision.models")
    except (ImportError, RuntimeError, OSError) as error:  # its compiled part was made for another PyTorch
        raise UsageError(
            f"method '{name}'",
            f"torchvision does not fit this PyTorch ({one_line(error)})",
            "install both from one index, or leave it out of --methods",
        ) from None


class _Coarse(nn.Module):
    """A backbone that sees an image at a fraction of its size, a head, and the way back by interpolation."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → logits (N, classes, H, W)."""
        coarse = self.head(self.backbone(x))
        return F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)
