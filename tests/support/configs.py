"""Configurations that train in a second."""

import rescrnet

SMALLEST = {
    "network.n": 1,
    "network.filters": 2,
    "data.patch_size": 32,
    "training.epochs": 1,
    "training.steps_per_epoch": 1,
    "training.bn_recalibration_batches": 1,
}

TINY = {
    "network.n": 2,
    "network.filters": 2,
    "data.patch_size": 24,
    "training.steps_per_epoch": 2,
    "training.batch_size": 2,
    "training.bn_recalibration_batches": 2,
    "training.epochs": 3,
}


def tiny(**changes):
    overrides = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
    if overrides.get("network.architecture") in ("unet", "res-unet"):  # which have one size
        del overrides["network.n"], overrides["network.filters"]
    return rescrnet.configure("laptop", overrides=overrides)
