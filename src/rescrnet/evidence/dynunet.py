"""nnU-Net's recipe on MONAI's DynUNet: network, augmentation, loss and schedule, at a size that a processor can train.

F. Isensee et al., nnU-Net, Nature Methods 18 (2021), https://doi.org/10.1038/s41592-020-01008-z. Other than there: two
patches of at most 256 pixels a step rather than what fills a GPU, one network rather than five, no mirrored copies when
predicting, and no epochs: the learning rate falls with the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.evidence.methods import Fitted, Task

_PATCH, _SMALLEST, _BATCH = 256, 4, 2  # pixels of a patch, pixels of the coarsest map, patches a step
_FILTERS = (32, 64, 128, 256, 512, 512, 512)
_UPDATES = 1000  # where nothing limits them
_RATE, _MOMENTUM, _DECAY, _POWER = 0.01, 0.99, 3e-5, 0.9
_HEADS = (1.0, 0.5, 0.25)  # weights of the outputs, the finest first
_CLIP = 12.0
_FOREGROUND = 1 / 3  # of the patches are centred on a pixel that is not of the first class


def fit_dynunet(task: Task) -> Fitted:
    """Train it within the budget."""
    return fit_on_patches(task, "dynunet", build)


def fit_on_patches(task: Task, name: str, build: Callable[[int, int, int], nn.Module]) -> Fitted:
    """Train a network with nnU-Net's recipe within the budget.

    Args:
        task: what to train on.
        name: of the method, for messages.
        build: makes the network, of channels, classes and the side of a patch in pixels. It maps (N, channels, side,
            side) to logits of that size, and while it trains to several of them, (N, heads, classes, side, side).
    """
    torch.manual_seed(task.seed)
    rng = np.random.default_rng(task.seed)
    side = _side(task.dataset.train)
    classes, channels = len(task.dataset.classes), task.dataset.channels
    network = build(channels, classes, side)
    optimizer = torch.optim.SGD(network.parameters(), _RATE, momentum=_MOMENTUM, nesterov=True, weight_decay=_DECAY)
    augment = augmentation(task.seed)
    images = [standardised(sample.image) for sample in task.dataset.train]
    started, update = time.monotonic(), 0
    while (done := _done(task, update, time.monotonic() - started)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - done) ** _POWER
        network.train()
        drawn = [_patch(images, task.dataset.train, side, augment, rng) for _ in range(_BATCH)]
        loss = _loss(network(torch.stack([image for image, _ in drawn])), torch.stack([mask for _, mask in drawn]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        update += 1
        task.heard(min(1.0, done))
    spent, epoch = time.monotonic() - started, max(1, len(images) // _BATCH)
    if task.budget.seconds is not None and update < epoch:
        raise task.budget.too_small(name, spent * epoch / max(1, update), "one epoch")
    network.eval()
    return Fitted(_predictor(network, side), sum(weights.numel() for weights in network.parameters()), update)


def _done(task: Task, update: int, spent: float) -> float:
    if task.budget.seconds is not None:
        return spent / task.budget.seconds
    return update / (task.budget.updates or _UPDATES)


def _side(samples: Sequence[Sample]) -> int:
    """Of the patches: 256 pixels, or the power of two that the smallest image holds, where that is smaller."""
    smallest = min(min(sample.mask.shape) for sample in samples)
    return int(min(_PATCH, 2 ** max(5, int(np.log2(smallest)))))


def build(channels: int, classes: int, side: int) -> nn.Module:
    """The network for patches of ``side`` pixels: halved until four remain, the finest three maps supervised."""
    nets: Any = import_module("monai.networks.nets")
    levels = min(len(_FILTERS), int(np.log2(side // _SMALLEST)) + 1)
    strides = [1] + [2] * (levels - 1)
    network: nn.Module = nets.DynUNet(
        2,
        channels,
        classes,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=_FILTERS[:levels],
        deep_supervision=True,
        deep_supr_num=min(len(_HEADS) - 1, levels - 2),
    )
    return network


def augmentation(seed: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """nnU-Net's augmentation, in its order and with its probabilities, of ``image`` and ``mask``, (C, H, W)."""
    monai: Any = import_module("monai.transforms")
    image = ["image"]
    chain = monai.Compose(
        [
            monai.RandAffined(
                ["image", "mask"], prob=0.2, rotate_range=np.pi, mode=["bilinear", "nearest"], padding_mode="zeros"
            ),
            monai.RandAffined(
                ["image", "mask"],
                prob=0.2,
                scale_range=(-0.3, 0.4),
                mode=["bilinear", "nearest"],
                padding_mode="zeros",
            ),
            monai.RandGaussianNoised(image, prob=0.1, std=0.1**0.5),
            monai.RandGaussianSmoothd(image, prob=0.2, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0)),
            monai.RandScaleIntensityd(image, factors=0.25, prob=0.15),
            monai.RandScaleIntensityFixedMeand(image, factors=0.25, preserve_range=True, prob=0.15),
            monai.RandSimulateLowResolutiond(image, prob=0.25, zoom_range=(0.5, 1.0), upsample_mode="bilinear"),
            monai.RandAdjustContrastd(image, prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            monai.RandAdjustContrastd(image, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            monai.RandFlipd(["image", "mask"], prob=0.5, spatial_axis=0),
            monai.RandFlipd(["image", "mask"], prob=0.5, spatial_axis=1),
            monai.ToTensord(["image", "mask"], track_meta=False),
        ]
    )
    chain.set_random_state(seed)
    return chain  # type: ignore[no-any-return]


def standardised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """YXC → (C, Y, X), each channel of each image with zero mean and unit deviation."""
    moved = np.moveaxis(image, -1, 0)
    mean, deviation = moved.mean((1, 2), keepdims=True), moved.std((1, 2), keepdims=True)
    return np.ascontiguousarray((moved - mean) / np.maximum(deviation, 1e-6), np.float32)


def _patch(
    images: Sequence[NDArray[np.float32]],
    samples: Sequence[Sample],
    side: int,
    augment: Callable[[dict[str, Any]], dict[str, Any]],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """A patch (C, side, side) and its class indices (side, side), 255 where nothing is known."""
    which = int(rng.integers(len(images)))
    image, mask = images[which], samples[which].mask
    # One more than the class, so that what the augmentation pads with is no class; 255 + 1 is 0 in uint8.
    label = mask + np.uint8(1)
    height, width = mask.shape
    top, left = (int(rng.integers(max(1, length - side + 1))) for length in (height, width))
    if rng.random() < _FOREGROUND and (there := [c for c in np.unique(label) if c > 1]):
        y, x = rng.choice(np.argwhere(label == rng.choice(there)))
        top, left = (
            int(np.clip(centre - side // 2, 0, max(0, length - side))) for centre, length in ((y, height), (x, width))
        )
    found = augment(
        {
            "image": image[:, top : top + side, left : left + side],
            "mask": label[None, top : top + side, left : left + side].astype(np.float32),
        }
    )
    indices = found["mask"][0].round().long() - 1
    return found["image"].float(), torch.where(indices < 0, IGNORE, indices)


def _loss(outputs: Tensor, masks: Tensor) -> Tensor:
    """Dice and cross-entropy of the outputs (N, heads, classes, H, W), or of the only one (N, classes, H, W)."""
    heads = outputs.unbind(1) if outputs.ndim == 5 else (outputs,)
    weights = _HEADS[: len(heads)]
    losses = [weight * _dice_and_entropy(head, masks) for weight, head in zip(weights, heads, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


def _dice_and_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    labelled = masks != IGNORE
    if not labelled.any():
        return 0 * logits.sum()
    entropy = F.cross_entropy(logits, masks, ignore_index=IGNORE)
    truth = F.one_hot(torch.where(labelled, masks, 0), logits.shape[1]).movedim(-1, 1) * labelled[:, None]
    p = logits.softmax(1) * labelled[:, None]
    both, each = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))
    dice = (2 * both + 1e-5) / (each + 1e-5)
    return entropy - dice[1:].mean()  # the first class is background there


def _predictor(network: nn.Module, side: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Predicts patches that overlap by half, weighted towards their centres."""
    inferers: Any = import_module("monai.inferers")

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        x = torch.from_numpy(standardised(image))[None]
        with torch.inference_mode():
            logits = inferers.sliding_window_inference(x, side, 1, network, overlap=0.5, mode="gaussian")
        probabilities: NDArray[np.float32] = logits[0].softmax(0).numpy()
        return probabilities

    return predict
