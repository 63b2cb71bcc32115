"""Losses and overlap coefficients of Res-CR-Net, and the weight maps of the weighted ones.

All of them are a handful of formulas over sums. The sums run over the batch, the classes and the pixels together, and
every formula takes a weight for each summand; the unweighted ones are the same formulas with the weight 1. A pixel that
has no class in the target is unlabelled: no sum, count or mean has it.

==========================  ====================================================================
name                        value (p: probabilities, t: target, w: weight, s: smooth)
==========================  ====================================================================
``dice_coeff``              D = (2 Σ w p t + s) / (Σ w p + Σ w t + s), with w = 1
``tani_coeff_nc``           T = (Σ w p t + s) / (Σ w (p² + t²) - Σ w p t + s), with w = 1
``tani_coeff``              T̃ = (T(p, t) + T(1 - p, 1 - t)) / 2, with w = 1
``cce_loss``                C = mean of -w t log p over classes, pixels and batch, with w = 1
``dice_loss``               1 - D, with w = 1
``tani_loss``               1 - T̃, with w = 1
``weighted_dice_coeff``     D
``weighted_dice_loss``      1 - D
``weighted_tani_coeff``     T̃
``weighted_tani_loss``      1 - T̃, the loss that the authors train with
``weighted_bce_loss``       B = Σ -(w t log p + (1 - t) log(1 - p)) / Σ w
``weighted_bce_dice_loss``  B + 1 - D
``weighted_bce_tani_loss``  B + 1 - T̃
``weighted_cce_loss``       C
``weighted_cce_tani_loss``  C + 1 - T̃
==========================  ====================================================================

D is the soft Dice coefficient, T and T̃ are the Tanimoto coefficient without and with complement
(https://arxiv.org/abs/1904.00592), all three as in the Res-CR-Net paper. The names, and the formulas that the paper
leaves out, are those of the authors' published implementation.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rescrnet.errors import UsageError

WeightMode = Literal["contour", "volume", "both"]

# (largest short side of the image, side of the pooling window): a border grows with the image.
_WINDOWS = ((150, 11), (300, 21), (600, 31), (inf, 41))

# Keeps logarithms finite; the value is Keras' own.
_EPSILON = 1e-7


class LossFunction(Protocol):
    """What :data:`LOSSES` holds: a scalar score of predicted probabilities against the truth."""

    def __call__(
        self,
        probabilities: Tensor,
        target: Tensor,
        *,
        weight_mode: WeightMode = "contour",
        smooth: float | None = None,
    ) -> Tensor:
        """Score a batch.

        Parameters
        ----------
        probabilities
            (N, classes, height, width), float32 or float64, in [0, 1]. The score is differentiable with respect to it.
        target
            The one-hot truth, of the same shape, float32 or float64. Pixels without a class are unlabelled and left
            out: their predictions have no gradient. (With a single class every pixel is labelled.)
        weight_mode
            See :func:`weights`. An unweighted score reads only the default of ``smooth`` from it.
        smooth
            The paper's s, added to numerator and denominator. By default 1, or 1e-5 in ``volume`` mode;
            ``weighted_cce_tani_loss`` has 1e-5 in every mode, as the authors' has.

        Returns
        -------
        Tensor
            0-dimensional. A coefficient is in [0, 1], 1 where prediction and truth agree; a loss is at least 0,
            and 0 where they agree, or where no pixel is labelled.

        Raises
        ------
        UsageError
            On a wrong shape, dtype or ``weight_mode``.
        """


@torch.no_grad()
def weights(target: Tensor, weight_mode: WeightMode = "contour") -> Tensor:
    """Weight of every pixel of every class in a weighted loss.

    ``contour`` gives the pixels close to an outline of their class three times the weight of the others, so that
    touching objects stay apart; the map is scaled to a mean of 1, then squared. ``volume`` makes up for classes of
    unequal area: the weight of a class goes with its pixel count to the power of -2, times Σw / Σw² over the classes.
    ``both`` adds the border to the volume weights, keeps their total, then squares.

    Parameters
    ----------
    target
        The one-hot truth, (N, classes, height, width), float32 or float64. Pixels without a class are unlabelled:
        they neither make a border nor count in an area or a mean.
    weight_mode
        ``contour``, ``volume`` or ``both``.

    Returns
    -------
    Tensor
        Weights, of the shape and dtype of ``target``, without gradient: positive, and 0 at unlabelled pixels.

    Notes
    -----
    A class that the batch does not hold weighs as much as the rarest one that it does, as in
    https://arxiv.org/abs/1904.00592; the power of -2 alone would make it infinite.

    The contour scheme is that of the Res-CR-Net paper, after https://doi.org/10.1038/s41592-018-0261-2.
    """
    _check_mask("target", target)
    _check_weight_mode(weight_mode)
    labelled = labelled_pixels(target)
    base = labelled * (torch.ones_like(target) if weight_mode == "contour" else _volume_weights(target))
    if weight_mode == "volume":
        return base
    raised = base + 2 * _border(target, labelled)
    smallest = torch.finfo(target.dtype).tiny  # where no pixel is labelled, all is 0
    return (raised * (base.mean() / raised.mean().clamp(min=smallest))).square()


def labelled_pixels(target: Tensor) -> Tensor:
    """1 where a pixel has a class, 0 where it is unlabelled: (N, classes, H, W) → (N, 1, H, W), same dtype.

    With a single class every pixel is labelled.
    """
    if target.shape[1] == 1:
        return torch.ones_like(target)
    return (target.sum(1, keepdim=True) > 0).to(target.dtype)


def _volume_weights(target: Tensor) -> Tensor:
    """Give each class one weight by its area; (N, classes, height, width)."""
    # Fractions instead of counts: the weights are the same for any unit, so that unlabelled pixels in the total
    # change nothing, and count^-4 can underflow.
    fraction = target.mean(dim=(0, 2, 3))
    rarest = fraction.masked_fill(fraction == 0, 1).amin()
    weight = fraction.clamp(min=rarest) ** -2
    weight = weight * weight.sum() / weight.square().sum()
    return weight[:, None, None].expand_as(target)


def _border(target: Tensor, labelled: Tensor) -> Tensor:
    """Mark with 1 the labelled pixels whose window is neither almost empty nor almost filled by their class."""
    short_side = min(target.shape[-2:])
    window = next(size for longest, size in _WINDOWS if short_side <= longest)
    # Neither padding nor unlabelled pixels count as area, so that the edge of an image, or of what a brush has painted,
    # is not taken for a border.
    area = _window_sum(labelled, window).clamp(min=1)
    share = _window_sum(target, window) / area
    return labelled * ((share > 0.005) & (share < 0.995))


def _window_sum(mask: Tensor, window: int) -> Tensor:
    """Sum over a square window around each pixel, with zeros outside of the image."""
    # A square window is a column of rows, and the sum over either is the difference of two running totals. Pixel counts
    # are whole numbers, exact in float32, and divided only once, so that a share of exactly 0.005 cannot land on the
    # other side of the limit.
    half = window // 2
    for axis, sides in ((2, (0, 0, half + 1, half)), (3, (half + 1, half))):
        total, size = F.pad(mask, sides).cumsum(axis), mask.shape[axis]
        mask = total.narrow(axis, window, size) - total.narrow(axis, 0, size)
    return mask


# A formula reads probabilities, target, weight (all of one shape) and smooth.
_Formula = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def _dice(probabilities: Tensor, target: Tensor, weight: Tensor, smooth: float) -> Tensor:
    both = (weight * probabilities * target).sum()
    each = (weight * (probabilities + target)).sum()
    return (2 * both + smooth) / (each + smooth)


def _tanimoto(probabilities: Tensor, target: Tensor, weight: Tensor, smooth: float) -> Tensor:
    both = (weight * probabilities * target).sum()
    each = (weight * (probabilities.square() + target.square())).sum()
    return (both + smooth) / (each - both + smooth)


def _tanimoto_with_complement(probabilities: Tensor, target: Tensor, weight: Tensor, smooth: float) -> Tensor:
    foreground = _tanimoto(probabilities, target, weight, smooth)
    background = _tanimoto(1 - probabilities, 1 - target, weight, smooth)
    return (foreground + background) / 2


def _binary_cross_entropy(probabilities: Tensor, target: Tensor, weight: Tensor, smooth: float) -> Tensor:
    probabilities = probabilities.clamp(_EPSILON, 1 - _EPSILON)
    # The authors weight the pixels of the class alone, yet divide by the weight of all.
    surprise = weight * target * probabilities.log() + (1 - target) * (1 - probabilities).log()
    return -surprise.sum() / weight.sum()


def _categorical_cross_entropy(probabilities: Tensor, target: Tensor, weight: Tensor, smooth: float) -> Tensor:
    surprise = weight * target * probabilities.clamp(_EPSILON, 1 - _EPSILON).log()
    return -surprise.sum() / surprise.numel()


def _one_minus(coefficient: _Formula) -> _Formula:
    return lambda *arguments: 1 - coefficient(*arguments)


def _sum(first: _Formula, second: _Formula) -> _Formula:
    return lambda *arguments: first(*arguments) + second(*arguments)


def _loss(formula: _Formula, *, weighted: bool, default_smooth: float = 1.0, perfect: float = 0.0) -> LossFunction:
    """Make a formula a loss: check the input, fill in the weights and the smoothing, leave unlabelled pixels out.

    ``perfect`` is the value where prediction and truth agree.
    """

    def loss(
        probabilities: Tensor,
        target: Tensor,
        *,
        weight_mode: WeightMode = "contour",
        smooth: float | None = None,
    ) -> Tensor:
        _check_mask("probabilities", probabilities)
        _check_mask("target", target)
        _check_weight_mode(weight_mode)
        if probabilities.shape != target.shape:
            expected = f"expected that of probabilities, {tuple(probabilities.shape)}"
            raise UsageError("target", f"found shape {tuple(target.shape)}", expected)
        if smooth is None:
            smooth = 1e-5 if weight_mode == "volume" else default_smooth
        weight = weights(target, weight_mode) if weighted else torch.ones_like(target)
        labelled = labelled_pixels(target)[:, 0] > 0
        if not labelled.any():
            return (perfect + 0 * probabilities).mean()
        if not labelled.all():
            probabilities, target, weight = (x.movedim(1, -1)[labelled] for x in (probabilities, target, weight))
        return formula(probabilities, target, weight, smooth)

    return loss


def _check_mask(argument: str, tensor: Tensor) -> None:
    if tensor.ndim != 4 or tensor.numel() == 0:
        expected = "expected (N, classes, height, width), none of them 0"
        raise UsageError(argument, f"found shape {tuple(tensor.shape)}", expected)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise UsageError(argument, f"found dtype {tensor.dtype}", "expected torch.float32 or torch.float64")


def _check_weight_mode(weight_mode: str) -> None:
    if weight_mode not in get_args(WeightMode):
        raise UsageError("weight_mode", f"found {weight_mode!r}", f"expected one of {', '.join(get_args(WeightMode))}")


_dice_loss = _one_minus(_dice)
_tanimoto_loss = _one_minus(_tanimoto_with_complement)
_coefficient = partial(_loss, weighted=False, perfect=1.0)
_plain = partial(_loss, weighted=False)
_weighted = partial(_loss, weighted=True)

LOSSES: dict[str, LossFunction] = {
    "dice_coeff": _coefficient(_dice),
    "dice_loss": _plain(_dice_loss),
    "tani_coeff_nc": _coefficient(_tanimoto),
    "tani_coeff": _coefficient(_tanimoto_with_complement),
    "tani_loss": _plain(_tanimoto_loss),
    "cce_loss": _plain(_categorical_cross_entropy),
    "weighted_dice_coeff": _coefficient(_dice, weighted=True),
    "weighted_dice_loss": _weighted(_dice_loss),
    "weighted_tani_coeff": _coefficient(_tanimoto_with_complement, weighted=True),
    "weighted_tani_loss": _weighted(_tanimoto_loss),
    "weighted_bce_loss": _weighted(_binary_cross_entropy),
    "weighted_bce_dice_loss": _weighted(_sum(_binary_cross_entropy, _dice_loss)),
    "weighted_bce_tani_loss": _weighted(_sum(_binary_cross_entropy, _tanimoto_loss)),
    "weighted_cce_loss": _weighted(_categorical_cross_entropy),
    "weighted_cce_tani_loss": _weighted(
        _sum(_categorical_cross_entropy, _tanimoto_loss),
        default_smooth=1e-5,
    ),
}
"""Every loss and coefficient by name; the table at the top of this file says what each is."""
