"""A configuration that trains in a second."""

import rescrnet

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
