"""One task of the benchmark with this package, or with a peer of it, in a process of its own.

``python ours.py TASK [arguments]`` prints one line of JSON.
"""

import json
import os
import sys
import time

import numpy as np
import torch

from rescrnet.classes import ClassEntry
from rescrnet.config import resolve
from rescrnet.model import ModelCard, SegmentationModel, load
from rescrnet.nn.build import build_network
from rescrnet.nn.losses import LOSSES
from rescrnet.ops.buffers import keep_freed_memory
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.optimizer import adam

CLASSES = [ClassEntry(value=index, name=name) for index, name in enumerate(("other", "membrane", "mitochondrion"))]
PEERS = ("unet", "residual-unet")


def since_start():
    """Seconds since the process was started, by the clock of who started it."""
    return time.time() - float(os.environ["BENCHMARK_START"])


def network(name):
    """The network called ``name``: one of ours by its configuration, or a peer's at its own defaults."""
    if name == "unet":
        from monai.networks.nets import BasicUNet

        return BasicUNet(spatial_dims=2, in_channels=1, out_channels=3)
    if name == "residual-unet":
        from monai.networks.nets import UNet

        return UNet(2, 1, 3, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    settings = json.loads(name) if name.startswith("{") else {}
    return build_network(1, 3, resolve("paper-em", overrides={f"network.{k}": v for k, v in settings.items()}).network)


def train(name, steps, precision="float32", batch=8, height=262, width=400):
    """Steps of training with augmentation and optimiser: the first from the start of the process, then the others."""
    torch.manual_seed(0)
    batch, height, width = int(batch), int(height), int(width)
    net = network(name).to(memory_format=torch.channels_last).train()
    optimizer = adam(net.parameters(), 1e-3)
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.random((1, height, width), dtype=np.float32)) for _ in range(batch)]
    masks = [torch.from_numpy(np.eye(3, dtype=np.float32)[rng.integers(0, 3, (height, width))]) for _ in range(batch)]
    data = TrainingTensors(images, [mask.permute(2, 0, 1) for mask in masks])
    batches = BatchSampler(data, resolve("paper-em"))
    seconds, first = [], None
    for step in range(int(steps)):
        begun = time.perf_counter()
        x, target = batches.training(1, step)
        if name in PEERS:  # these want sides of whole multiples of 16
            x, target = (images[..., : height // 16 * 16, : width // 16 * 16] for images in (x, target))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(x)
        loss = LOSSES["weighted_tani_loss"](logits.float().softmax(1), target, weight_mode="contour")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first or since_start()
        seconds.append(time.perf_counter() - begun)
    return {"first": first, "seconds": seconds[1:], "parameters": sum(p.numel() for p in net.parameters())}


def infer(name, side, repeats):
    """Whole images through the network, to probabilities."""
    height, width = (262, 400) if side == "paper" else (int(side), int(side))
    if name in PEERS:
        height, width = height // 16 * 16, width // 16 * 16
    else:  # as `rescrnet predict` does
        keep_freed_memory()
    net = network(name).to(memory_format=torch.channels_last).eval()
    x = torch.rand(1, 1, height, width).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(int(repeats) + 1):
            begun = time.perf_counter()
            net(x).softmax(1)
            seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds[1:], "parameters": sum(p.numel() for p in net.parameters())}


def make_model(path):
    """A model file of the paper's network with random weights."""
    from rescrnet.intensity import IntensityScaling

    torch.manual_seed(0)
    intensity = IntensityScaling(offset=(0.0,), scale=(1.0,))
    card = ModelCard(network=resolve("paper-em").network, in_channels=1, classes=CLASSES, intensity=intensity)
    SegmentationModel.untrained(card).save(path)
    load(path)
    return {}


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    print(json.dumps({"train": train, "infer": infer, "make_model": make_model}[task](*arguments)))
