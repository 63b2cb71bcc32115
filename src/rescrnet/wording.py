"""Small pieces of messages, each written in one way."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories: control and format characters, halves of pairs, line ends
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the others stand for bytes
_HARMLESS = "\u200c\u200d"  # that join and part letters and emoji


def one_line(error: BaseException | str) -> str:
    """What a library says of an error, in one line; the name of its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def as_text(name: str) -> str:
    """A name that can be written anywhere: bytes of a file name that are no UTF-8 become ``\\xff``, halves of a pair
    of UTF-16, as JSON may hold, ``\\ud800``; all else stays.
    """
    whole = _HALF.sub(lambda half: _escaped(half[0]), name)
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: object, *, keep: str = "") -> str:
    """A text in which what must not reach a terminal or page is written out, as ``\\x1b`` and ``\\u202e``.

    They are control characters but those to ``keep``, format characters that turn text around or hide, and bytes of a
    file name that are no UTF-8. All others stay as they are.
    """
    return "".join(c if _is_harmless(c, keep) else _escaped(c) for c in as_text(str(text)))


def _is_harmless(c: str, keep: str) -> bool:
    return " " <= c <= "~" or c in keep or c in _HARMLESS or unicodedata.category(c) not in _UNSEEN


def _escaped(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


def count(number: int, noun: str) -> str:
    """``"1 image"``, ``"3 images"``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(shape: Sequence[int]) -> str:
    """Height and width, the first two of ``shape``, as ``"262×400"``."""
    return f"{shape[0]}×{shape[1]}"


def channels(number: int) -> str:
    """``"grey"``, ``"RGB"``, or ``"2 channels"``."""
    return {1: "grey", 3: "RGB"}.get(number, count(number, "channel"))
