"""How the blocks of each variant of Res-CR-Net are joined (paper, "Architecture of Res-CR-Net").

The rule uses ``+`` alone. So it joins the tensors of the network, and as well counts of what a Keras graph adds up
(:mod:`rescrnet.exchange.keras_graph`) or of the maps that are in memory (:mod:`rescrnet.inference.plan`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rescrnet.config import ResCRNetConfig, Variant

T = TypeVar("T")


def join(variant: Variant, index: int, output: T, total: T) -> tuple[T, ...]:
    """What the blocks after block ``index`` read, by the variant of the network.

    Args:
        variant: its name.
        index: of the block, from 0.
        output: of this block; anything that can be added.
        total: the last entry of what was returned for the block before, its sum of all outputs so far; any for block 0.

    Returns:
        What the next block reads, and in a network that still has to add it elsewhere, the sum of the outputs so far.
    """
    joined: tuple[T, ...] = _JOIN[variant](index, output, total)
    return joined


def dropouts(config: ResCRNetConfig) -> list[float]:
    """The dropout after each block. A single one is not for the stem of the denser networks."""
    rates: list[float] = config.per_block("dropout")
    if not isinstance(config.dropout, list) and config.architecture != "res-cr-net":
        rates[0] = 0.0
    return rates


def _chain(index: int, output: Any, total: Any) -> tuple[Any, ...]:
    return (output,)


def _dense(index: int, output: Any, total: Any) -> tuple[Any, ...]:
    """Every block from the third adds what came before it."""
    if index == 0:
        return (output,)
    return (output, total + output) if index == 1 else (output + total,)


def _very_dense(index: int, output: Any, total: Any) -> tuple[Any, ...]:
    """Every block adds what all blocks before it gave to the next."""
    if index == 0:
        return (output,)
    output = total + output
    return output, total + output


_JOIN: dict[Variant, Callable[[int, Any, Any], tuple[Any, ...]]] = {
    "res-cr-net": _chain,
    "dense": _dense,
    "very-dense": _very_dense,
}
VARIANTS = tuple(_JOIN)
