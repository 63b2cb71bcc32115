"""One task of the benchmark with the authors' network under TensorFlow, in a process and an environment of its own.

``python authors.py TASK PARITY [arguments]`` prints one line of JSON. The network is read from
``PARITY/em_paper/architecture.json``; the loss is the paper's weighted Tanimoto with complement. Their augmentation is
left out, in their favour.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras


def since_start():
    """Seconds since the process was started, by the clock of who started it."""
    return time.time() - float(os.environ["BENCHMARK_START"])


def network(parity, height, width, weights=True):
    layers = json.loads(Path(parity, "em_paper", "architecture.json").read_text(encoding="utf-8"))
    for layer in layers["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"][1:3] = [height, width]
    model = keras.models.model_from_json(json.dumps(layers))
    if weights:
        model.load_weights(f"{parity}/em_paper/weights.h5")
    return model


def contour_weights(target):
    border = tf.nn.avg_pool2d(target, 21, 1, "SAME")
    raised = 1 + 2 * tf.cast((border > 0.005) & (border < 0.995), tf.float32)
    return tf.square(raised / tf.reduce_mean(raised))


def loss(target, probabilities):
    weight = contour_weights(target)

    def tanimoto(t, p):
        both = tf.reduce_sum(weight * t * p)
        return (both + 1) / (tf.reduce_sum(weight * (t * t + p * p)) - both + 1)

    return 1 - (tanimoto(target, probabilities) + tanimoto(1 - target, 1 - probabilities)) / 2


def train(parity, steps):
    model = network(parity, 262, 400, weights=False)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    rng = np.random.default_rng(0)
    x = rng.random((8, 262, 400, 1), dtype=np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (8, 262, 400))]
    seconds, first = [], None
    for _ in range(int(steps)):
        begun = time.perf_counter()
        model.train_on_batch(x, y)
        first = first or since_start()
        seconds.append(time.perf_counter() - begun)
    return {"first": first, "seconds": seconds[1:]}


def infer(parity, side, repeats):
    height, width = (262, 400) if side == "paper" else (int(side), int(side))
    model = network(parity, height, width)
    call = tf.function(lambda image: model(image, training=False))
    x = tf.constant(np.random.default_rng(0).random((1, height, width, 1), dtype=np.float32))
    call(x).numpy()
    seconds = []
    for _ in range(int(repeats)):
        begun = time.perf_counter()
        call(x).numpy()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds}


def predict(parity, folder, out):
    """Read every PNG of a folder, write a mask of class indices for each."""
    from PIL import Image

    model = network(parity, 262, 400)
    Path(out).mkdir()
    for file in sorted(Path(folder).iterdir()):
        image = np.asarray(Image.open(file), np.float32) / 255
        probabilities = model.predict_on_batch(image[None, :, :, None])
        Image.fromarray(probabilities[0].argmax(-1).astype(np.uint8)).save(Path(out) / file.name)
    return {"seconds": [since_start()]}


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    print(json.dumps({"train": train, "infer": infer, "predict": predict}[task](*arguments)))
