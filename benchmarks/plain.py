"""The plain PyTorch path against itself at another revision, in turns: ``python benchmarks/plain.py 2dee64c^``.

Each measurement is a process of its own with one thread, which runs the paper's network on one grey image: forward
without gradient, or a training step without the optimiser. Time is that of the processor, so that others on the machine
disturb it less; the table has the least of all calls, and the peak of the process less that of its imports.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "src"


def measured(source, side, mode, calls):
    """Least processor time of a call, seconds, and memory, MB, with the code below ``source``."""
    environment = {**os.environ, "PYTHONPATH": str(source), "RESCRNET_NATIVE": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(side), mode, str(calls)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def measure(side, mode, calls):
    """Print what :func:`measured` returns, of the code that is imported."""
    import resource
    import time

    import torch

    from rescrnet.nn.network import ResCRNet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, x, times = ResCRNet(1, 3).train(mode == "step"), torch.randn(1, 1, side, side), []
    imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(calls):
        started = time.process_time()
        with torch.set_grad_enabled(mode == "step"):
            out = network(x).square().mean()
        if mode == "step":
            out.backward()
        times.append(time.process_time() - started)
    print(json.dumps([min(times), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - imports) / 1024]))


def main():
    """Print a row of the table for every size and mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a revision of git")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 1024], help="of the images, pixels")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--calls", type=int, default=3, help="in each process")
    arguments = parser.parse_args()
    archive = subprocess.run(
        ["git", "archive", arguments.before, "."], cwd=HERE, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        print("| | before | now | ratio | memory before | now |\n| --- | --- | --- | --- | --- | --- |")
        for side in arguments.sides:
            for mode in ("forward", "step"):
                found = {folder: [], HERE: []}
                for _ in range(arguments.rounds):
                    for source, results in found.items():
                        results.append(measured(source, side, mode, arguments.calls))
                (before, old), (now, new) = ([min(column) for column in zip(*r, strict=True)] for r in found.values())
                row = f"{before:.2f} s | {now:.2f} s | {before / now:.2f} | {old:.0f} MB | {new:.0f} MB"
                print(f"| {mode}, {side}×{side} | {row} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main()
