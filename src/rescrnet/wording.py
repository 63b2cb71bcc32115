"""Small pieces of messages, each written in one way."""

from __future__ import annotations

from collections.abc import Sequence


def one_line(error: BaseException | str) -> str:
    """What a library says of an error, in one line; the name of its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def as_text(name: str) -> str:
    """A name that can be written anywhere: bytes of a file name that are no UTF-8 become ``\\xff``, all else stays."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def count(number: int, noun: str) -> str:
    """``"1 image"``, ``"3 images"``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(shape: Sequence[int]) -> str:
    """Height and width, the first two of ``shape``, as ``"262×400"``."""
    return f"{shape[0]}×{shape[1]}"


def channels(number: int) -> str:
    """``"grey"``, ``"RGB"``, or ``"2 channels"``."""
    return {1: "grey", 3: "RGB"}.get(number, count(number, "channel"))
