"""Every variant of the kernels that this machine can run, and the plain path, by the clock and in turns.

``python benchmarks/variants.py [--variants 0 avx2 avx512] [--rounds 3] [--json FILE]``

Forward is inference with the paper's network, a step its forward and gradient with the loss; the last column is a step
of ``standard``, whose blocks compute on squares of 2×2 pixels. One image of noise; each measurement is a process of its
own. Median of the rounds and, in the JSON, all of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

CASES = ("forward 256", "step 256", "forward 1024", "step 1024", "standard 256")
CHILD, RESULT = "--measure", "milliseconds "


def measure(variant):
    """Of each case the median, milliseconds, in this process, which was started with that variant."""
    import torch

    from rescrnet.config import resolve
    from rescrnet.nn.build import build_network
    from rescrnet.nn.losses import LOSSES
    from rescrnet.training.hardware import threads_for

    found = {}
    for case in CASES:
        kind, side = case.split()
        config = resolve("standard" if kind == "standard" else "paper-em")
        network = build_network(1, 3, config.network).to(memory_format=torch.channels_last)
        x = torch.rand(1, 1, int(side), int(side))
        masks = torch.nn.functional.one_hot((3 * x[:, 0]).long().clamp(max=2), 3).permute(0, 3, 1, 2).float()
        network.train(kind != "forward")

        def once(network=network, x=x, masks=masks, config=config):
            with torch.autocast("cpu", torch.bfloat16, enabled=variant.endswith("bf16")):
                logits = network(x)
            if network.training:
                loss = LOSSES[config.training.loss](logits.float().softmax(1), masks, weight_mode="contour")
                network.zero_grad()
                torch.autograd.backward(loss)

        times = []
        repeats = 9 if int(side) <= 256 else 3
        pixels = int(side) ** 2
        with torch.set_grad_enabled(network.training), threads_for(network, x.device, pixels):
            for _ in range(1 + repeats):
                started = time.perf_counter()
                once()
                times.append(1000 * (time.perf_counter() - started))
        found[case] = statistics.median(times[1:])
    return found


def main():
    """Measure all variants round by round, and print the table."""
    from bench import machine

    from rescrnet.ops.native import VARIANTS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["0", *VARIANTS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for _ in range(options.rounds):
        for variant in options.variants:
            done = subprocess.run(
                [sys.executable, __file__, CHILD, variant],
                env={**os.environ, "RESCRNET_NATIVE": variant},
                capture_output=True,
                text=True,
                check=False,
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
            if lines:
                found.setdefault(variant, []).append(json.loads(lines[0].removeprefix(RESULT)))
            else:
                print(f"{variant}: {done.stderr.strip().splitlines()[-1]}")
    print("| milliseconds | " + " | ".join(CASES) + " |")
    for variant, rounds in found.items():
        medians = [statistics.median(one[case] for one in rounds) for case in CASES]
        print(f"| {'plain path' if variant == '0' else variant} | " + " | ".join(f"{ms:.0f}" for ms in medians) + " |")
    if options.json:
        report = {"machine": machine(), "variants": found}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        print(RESULT + json.dumps(measure(sys.argv[2])))
    else:
        main()
