"""Where the time of a training step goes, stage by stage, against what this machine can do: ``make profile``.

The roofline is measured in the same run: the rate of a matrix multiplication and of a copy. A stage's floor is the
longer of what its arithmetic takes at that rate and what its bytes take; its share says how close it comes. Arithmetic
counts what the mathematics needs, not what is computed twice; bytes count every tensor once a pass. The matrix
multiplication is that of float32 for bfloat16 too, whose rate is twice that here.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bench import machine

from rescrnet.config import resolve
from rescrnet.nn.build import build_network
from rescrnet.nn.losses import LOSSES
from rescrnet.ops.buffers import empty
from rescrnet.ops.pixels import moments, pixel_add, pixel_affine, pixel_products
from rescrnet.ops.separable import Affine, Separable
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.optimizer import adam

KERNELS, DILATIONS, FILTERS = (3, 5, 7), (1, 3, 5), 16
WIDTH = len(KERNELS) * FILTERS


def seconds(function, repeats=5):
    """Median time of a call, the first left out."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def roofline():
    """GFLOP/s of a matrix multiplication and GB/s of a copy, read and written."""
    a, b, out = (torch.randn(2048, 2048) for _ in range(3))
    large, copy = torch.randn(50_000_000), torch.empty(50_000_000)
    flops = 2 * 2048**3 / seconds(lambda: torch.mm(a, b, out=out), 9) / 1e9
    return flops, 2 * large.nbytes / seconds(lambda: copy.copy_(large), 9) / 1e9


def block_stages(images, height, width, dtype):
    """The sweeps of one residual block: name, call, GFLOP and GB."""
    pixels = images * height * width
    x, y = (empty(images, height, width, WIDTH, dtype=dtype).normal_() for _ in range(2))
    one, zero = torch.ones(WIDTH), torch.zeros(WIDTH)
    affine, scale = Affine(one, zero), torch.ones(images, WIDTH)
    matrix = torch.randn(images, WIDTH, WIDTH)

    def layer(channels, shared):
        kernels = tuple(torch.randn(k, k, channels) for k in KERNELS)
        pointwise = torch.randn(3, channels, FILTERS)
        return Separable(kernels, pointwise, torch.randn(3, FILTERS), DILATIONS, shared)

    def work(channels):
        return 2 * pixels * channels * (sum(k * k for k in KERNELS) + len(KERNELS) * FILTERS) / 1e9

    sweep, square = dtype.itemsize * pixels * WIDTH / 1e9, 2 * pixels * WIDTH**2 / 1e9
    first, second = layer(WIDTH, True), layer(FILTERS, False)
    yield "moments of the input", lambda: moments(x), square, sweep
    yield "first convolutions", lambda: first.forward_with_moments(x, affine, 0.1), work(WIDTH), 2 * sweep
    yield "second convolutions", lambda: second.forward(x, affine, 0.1), work(FILTERS), 2 * sweep
    yield "shortcut and sum", lambda: pixel_affine(y, scale, scale, (x, matrix)), square, 3 * sweep
    yield "second convolutions, gradient", lambda: second.backward(y, x, affine, 0.1), 2 * work(FILTERS), 3 * sweep
    yield "inner normalisation, gradient", lambda: pixel_add(y, one, x, one, zero), 0.0, 3 * sweep
    yield "first convolutions, gradient", lambda: first.backward(y, x, affine, 0.1), 2 * work(WIDTH), 3 * sweep
    yield "shortcut's weights, gradient", lambda: pixel_products(x, y), square, 2 * sweep
    yield (
        "shortcut and norm, gradient",
        lambda: pixel_affine(y, scale, scale, (x, matrix), (x, matrix)),
        2 * square,
        4 * sweep,
    )


def step_stages(images, height, width, dtype):
    """The stages of a step of the paper's network, as the training loop takes them: {name: median seconds}."""
    torch.manual_seed(0)
    net = build_network(1, 3, resolve("paper-em").network).to(memory_format=torch.channels_last).train()
    optimizer, rng = adam(net.parameters(), 1e-3), np.random.default_rng(0)
    pictures = [torch.from_numpy(rng.random((1, height, width), dtype=np.float32)) for _ in range(images)]
    truth = [torch.from_numpy(np.eye(3, dtype=np.float32)[rng.integers(0, 3, (height, width))]) for _ in range(images)]
    batches = BatchSampler(TrainingTensors(pictures, [mask.permute(2, 0, 1) for mask in truth]), resolve("paper-em"))
    measured = {}

    def timed(name, function):
        started = time.perf_counter()
        result = function()
        measured.setdefault(name, []).append(time.perf_counter() - started)
        return result

    for step in range(5):
        x, target = timed("augmentation", lambda step=step: batches.training(1, step))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            features = timed("convolutional blocks", lambda x=x: net.features(x))
            leaf = features.detach().requires_grad_()
            logits = timed("LSTM block", lambda leaf=leaf: net.head(leaf))
        top = logits.detach().requires_grad_()
        loss = timed("loss", lambda top=top, target=target: LOSSES["weighted_tani_loss"](top.softmax(1), target))
        optimizer.zero_grad()
        timed("loss, gradient", loss.backward)
        timed("LSTM block, gradient", lambda logits=logits, top=top: logits.backward(top.grad))
        timed("convolutional blocks, gradient", lambda features=features, leaf=leaf: features.backward(leaf.grad))
        timed("optimiser", optimizer.step)
    return {name: statistics.median(times[1:]) for name, times in measured.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    size = (options.images, 262, 400, getattr(torch, options.precision))
    flops, copy = roofline()
    print(f"matrix multiply {flops:.0f} GFLOP/s, copy {copy:.1f} GB/s (read and written)")
    stages = step_stages(*size)
    print(f"\nA step of {options.images} images of 262×400 in {options.precision}: {sum(stages.values()):.2f} s")
    for name, time_taken in stages.items():
        print(f"  {name:34} {time_taken:7.3f} s")
    print("\nOne residual block")
    sweeps = []
    for name, call, gflop, gigabytes in block_stages(*size):
        taken, floor = seconds(call, 3), max(gflop / flops, gigabytes / copy)
        sweeps.append({"sweep": name, "seconds": taken, "gflop": gflop, "gigabytes": gigabytes, "floor": floor})
        rate = f"{gflop / taken:5.0f} GFLOP/s {gigabytes / taken:6.1f} GB/s"
        print(f"  {name:34} {taken:7.3f} s  {rate}  {floor / taken:5.0%} of the roofline")
    total, least = (sum(sweep[key] for sweep in sweeps) for key in ("seconds", "floor"))
    print(f"  {'all':34} {total:7.3f} s  {least / total:24.0%} of the roofline")
    if options.out:
        report = {"machine": machine(), "gflops": flops, "copy": copy, "step": stages, "block": sweeps}
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
