"""Results as sentences that can be put into a paper, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescrnet.config import Config
from rescrnet.evidence.budget import in_words
from rescrnet.evidence.plan import Plan
from rescrnet.evidence.statistics import how_interval
from rescrnet.wording import count

COVERAGE = 0.949
"""Share of the intervals of eight images that held the true mean, in simulated trials of skewed scores in [0, 1] (beta
with parameters 8 and 2). benchmarks/results has it for other numbers of images, and for scores with outliers."""
COVERAGE_OF_OUTLIERS = 0.573
"""The same, where one image in ten fails."""


def crossval_words(plan: Plan, stats: Mapping[str, Any], config: Config) -> dict[str, str]:
    """``result`` and ``methods``: what was found, and how."""
    name = _NAMES.get(config.network.architecture, config.network.architecture)
    classes = ", ".join(
        f"{of_class} {with_interval(scores['dice'])}"
        for of_class, scores in stats["classes"].items()
        if scores["dice"]["mean"] == scores["dice"]["mean"]
    )
    nsd = stats["scores"]["mean_nsd_2"]
    return {
        "result": (
            f"In {plan.folds}-fold cross-validation over {_images(plan)}, {name} reached a mean intersection over "
            f"union of {with_interval(stats['scores']['mean_iou'], said=True)}. Dice coefficients: {classes}. The "
            f"normalised surface Dice at a tolerance of 2 pixels was {with_interval(nsd)}."
        ),
        "methods": crossval_methods(plan, config, name),
    }


def crossval_methods(plan: Plan, config: Config, name: str) -> str:
    """The paragraph of the methods."""
    training, data = config.training, config.data
    # In a time the program divides the steps into epochs itself.
    epochs = f"for {training.epochs} epochs, with {training.steps_per_epoch} steps an epoch"
    time = f"for {in_words(plan.seconds)} each" if plan.seconds else epochs
    groups = len({image.group for image in plan.images})
    one, several = ("patch", "patches") if data.patch_size else ("whole image", "whole images")
    size = f" of {data.patch_size} pixels" if data.patch_size else ""
    if training.batch_size is None:
        per_step = f"{several}{size} from all training images"
    else:
        per_step = f"one {one}{size}" if training.batch_size == 1 else f"{training.batch_size} {several}{size}"
    optimizer = f"{_OPTIMIZERS[training.optimizer]} at a learning rate of {training.learning_rate:g}"
    return (
        f"The images were divided into {plan.folds} folds; images of one animal, stack or larger image, copies, and "
        f"views of one place stayed in one fold. For each fold, {count(len(plan.seeds), 'model')} ({name}, rescrnet "
        f"{plan.rescrnet}, preset {config.preset}, {_seeds(plan)}) were trained on all other folds {time}, with "
        f"{per_step} a step, {optimizer} and the loss {training.loss}. "
        f"{_STARTS[training.start]}No epoch was chosen: the last weights predicted the "
        "fold, so that no test image had a part in training. Scores were computed for each image, averaged over the "
        "models, then over the images; a class that the reference of an image does not hold has no score there. "
        f"Intervals of 95 % are by {how_interval(groups)} over independent groups of images; in simulations, bootstrap "
        f"intervals of eight images held the true mean in {COVERAGE:.0%} of trials."
    )


_OPTIMIZERS = {"adam": "Adam", "muon": "Muon for the weights of convolutions and Adam for the others,"}
_STARTS = {
    "none": "",
    "micrographs": "The convolutional blocks started from weights of the program, learnt from other micrographs. ",
}
_NAMES = {"res-cr-net": "Res-CR-Net", "res-unet": "a residual U-Net", "unet": "a U-Net"}


def with_interval(found: Mapping[str, Any], *, said: bool = False) -> str:
    """``0.78 (0.74 to 0.82)``."""
    if found["mean"] != found["mean"]:
        return "–"
    if found["low"] != found["low"]:
        return f"{found['mean']:.3f} (too few independent images for an interval)"
    level = "95 % interval " if said else ""
    return f"{found['mean']:.3f} ({level}{found['low']:.3f} to {found['high']:.3f})"


def _images(plan: Plan) -> str:
    groups = len({image.group for image in plan.images})
    images = count(len(plan.images), "image")
    return images if groups == len(plan.images) else f"{images} of {groups} groups"


def _seeds(plan: Plan) -> str:
    return (
        "seed " + ", ".join(map(str, plan.seeds))
        if len(plan.seeds) == 1
        else f"seeds {plan.seeds[0]} to {plan.seeds[-1]}"
    )


def compare_words(plan: Plan, stats: Mapping[str, Any]) -> dict[str, str]:
    """``result`` and ``methods`` of a comparison."""
    reference = stats["reference"]
    said = [_verdict(name, found, reference, plan.margin) for name, found in stats["differences"].items()]
    budget = f"{in_words(plan.seconds)} on the clock" if plan.seconds else f"{plan.updates} updates"
    return {
        "result": f"Over {_images(plan)} in {plan.folds} folds, with {budget} for each training: {'; '.join(said)}.",
        "methods": (
            f"The methods {', '.join(plan.methods)} were trained on the same {plan.folds} folds with the same "
            f"{count(len(plan.seeds), 'seed')}, taking turns, each for {budget}; the plan was fixed before the first "
            f"result. Images of one animal, stack or larger image, copies, and views of one place stayed in one fold. "
            "The mean intersection over union of each image was averaged over the seeds, and its differences to "
            f"{reference} over the images of each fold. They were tested with the corrected resampled t-test of Nadeau "
            "and Bengio (with the share of test images of four folds, where there are more) against no difference and "
            f"against a margin of {plan.margin:g}, with Holm's correction over the methods, at a level of 0.05. A "
            "method is called better or worse if it differs significantly and by at "
            "least the margin, equivalent if a difference of the margin is ruled out, and otherwise undecided."
        ),
    }


def _verdict(name: str, found: Mapping[str, Any], reference: str, margin: float) -> str:
    by = f"{found['mean']:+.3f} of mean IoU, {found['low']:+.3f} to {found['high']:+.3f}"
    if found["low"] != found["low"]:
        by = f"{found['mean']:+.3f} of mean IoU, too few folds for an interval"
    return {
        "better": f"{name} is better than {reference} ({by})",
        "worse": f"{name} is worse than {reference} ({by})",
        "equivalent": f"{name} and {reference} are equivalent within {margin:g} ({by})",
        "undecided": f"between {name} and {reference} these images do not decide ({by})",
    }[found["verdict"]]


def curve_words(plan: Plan, stats: Mapping[str, Any]) -> dict[str, str]:
    """``result`` and ``methods`` of a learning curve."""
    gain, largest = stats["more_images"], plan.sizes[-1]
    by = f"{gain['mean']:+.3f} of mean IoU ({gain['low']:+.3f} to {gain['high']:+.3f})"
    said = {
        "yes": f"yes, likely by {by}",
        "no": f"hardly, by {by}, which is less than {plan.margin:g}",
        "cannot tell": f"cannot tell; the best guess is {by}" if gain["low"] == gain["low"] else "cannot tell",
    }[gain["answer"]]
    epochs = plan.settings.get("training", {}).get("epochs")
    time = in_words(plan.seconds) if plan.seconds else f"{epochs} epochs"
    steps = ", ".join(f"{with_interval(one)} with {size}" for size, one in stats["sizes"].items())
    return {
        "question": f"Would {gain['number']} more images help?",
        "answer": said[0].upper() + said[1:] + ".",
        "result": (
            f"Mean intersection over union by the number of training images: {steps}. Would {gain['number']} more "
            f"images than {largest} help? {said[0].upper() + said[1:]}."
        ),
        "methods": (
            f"Models were trained on {', '.join(map(str, plan.sizes))} images, drawn at random from all but one of "
            f"{plan.folds} folds, each number of images containing the smaller ones, with "
            f"{count(len(plan.seeds), 'seed')}, each for {time}, and tested on the fold left out. What more images "
            "would add was extrapolated by a line over the logarithm of the number of images, fitted for each tested "
            f"image to the last three numbers; its interval of 95 % is by {how_interval(plan.folds)} over folds."
        ),
    }
