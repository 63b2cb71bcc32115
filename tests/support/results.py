"""Results to write, and sinks to write them to."""

import numpy as np

from rescrnet.classes import ClassEntry
from rescrnet.images.open import wrap
from rescrnet.outputs.sinks import open_sink, output_paths
from tests.support.folders import noise

CLASSES = [ClassEntry(name="background"), ClassEntry(name="Zelle µ", color="#ff0000"), ClassEntry(name="fibre")]
KINDS = ["png", "tiff", "ome-zarr"]
SIZE = (61, 83)


def classes_of(shape=SIZE):
    return noise(shape) % 3


def probabilities_of(shape=SIZE):
    """(…, Y, X, classes) that sum to one."""
    values = noise((*shape, 3)).astype(np.float32) + 1
    return values / values.sum(-1, keepdims=True)


def write_blocks(sink, values, height=20, width=33):
    """Write a plane, or several, in blocks of no particular order."""
    planes = values if values.ndim == (4 if values.dtype.kind == "f" else 3) else values[None]
    rows, columns = planes.shape[1:3]
    places = [(p, y, x) for p in range(len(planes)) for y in range(0, rows, height) for x in range(0, columns, width)]
    for p, y, x in np.random.default_rng(0).permutation(places).tolist():
        sink.write(y, x, planes[p, y : y + height, x : x + width], p)


def begin(out, scratch, kind, stack=None, probabilities=False):
    stack = stack or wrap(noise(SIZE))
    paths = output_paths(out, "cell", stack, kind, of="probabilities" if probabilities else "classes")
    return open_sink(paths, stack, CLASSES, scratch, kind, of="probabilities" if probabilities else "classes")


def names(folder):
    return sorted(path.name for path in folder.iterdir())
