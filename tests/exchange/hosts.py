"""Run in an environment of its own, without rescrnet: what a runtime makes of the models and images of a folder.

    python hosts.py FOLDER onnx|torchscript

For each ``MODEL/SIZE.npz`` with ``image`` (1, C, H, W) and ``expected``, it prints one line of JSON: the largest
difference from ``expected``, and the seconds.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def onnx(file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda image: session.run(None, {"image": image})[0]


def torchscript(file):
    import torch

    torch.set_num_threads(1)
    model = torch.jit.load(str(file))
    return torch.__version__, lambda image: model(torch.from_numpy(image)).numpy()


def main(folder, runtime):
    load = {"onnx": onnx, "torchscript": torchscript}[runtime]
    suffix = {"onnx": "model.onnx", "torchscript": "model.pt"}[runtime]
    for file in sorted(Path(folder).glob("*/*.npz")):
        version, run = load(file.parent / suffix)
        arrays = np.load(file)
        began = time.perf_counter()
        found = run(arrays["image"])
        seconds = time.perf_counter() - began
        difference = float(np.abs(found - arrays["expected"]).max())
        line = {"version": version, "model": file.parent.name, "size": file.stem, "difference": difference}
        print(json.dumps({**line, "seconds": round(seconds, 2)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
