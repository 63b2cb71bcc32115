"""What the name of a file says: which image it belongs to, and whether it is a mask, or something made beside one."""

from __future__ import annotations

import re
import unicodedata

_SEPARATOR = r"[ _.\-]"
_MASK_WORDS = (
    r"masks?|msks?|mask[ _-]of|labels?|label[ _-]?(?:image|map|mask)s?|labell?ed|lbls?|segm?|segmentations?|"
    r"(?:simple|instance|semantic)[ _-]segmentation|object[ _-](?:predictions?|identities)|"
    r"classified(?:[ _-]images?)?|annos?|annotations?|annotated|ground[ _-]?truths?|gts?"
)
_RARER_WORDS = r"manual|binary|binari[sz]ed|bw|targets?|predicted|predictions?|truth|segmented|l"
_WORD, _RARER = (
    re.compile(rf"(?:^|{_SEPARATOR}+|(?=\())(?:{words}|\((?:{words})\)|images?|imgs?|raw|ome|cp)(?=$|{_SEPARATOR})")
    for words in (_MASK_WORDS, f"{_MASK_WORDS}|{_RARER_WORDS}")
)
_MASK = re.compile(rf"(?:^|{_SEPARATOR}|\()(?:{_MASK_WORDS})-?\d{{0,2}}(?:$|{_SEPARATOR}|\))")
_SUFFIX_INSIDE = re.compile(r"\.(?:tiff?|png|jpe?g|bmp|svs|ndpi|czi|lif|nd2|mrcs?|rec|dm[34])(?=$|[ _.-])")
_BY_PRODUCT = re.compile(
    rf"(?P<name>.+?){_SEPARATOR}(?P<what>(?:object[ _-])?probabilities|uncertainty|features|overlay|flows|outlines)"
)


def plain(stem: str) -> str:
    """A stem without case, and its letters composed: a Mac writes ``ö`` as two characters."""
    return unicodedata.normalize("NFC", stem).casefold()


def name_of(stem: str, *, rarer: bool = False) -> str:
    """What is left of a stem without case, the suffix of an image in it, and words such as ``mask``, ``img``, ``ome``.

    ``a.tif_mask``, ``a (mask)``, ``Mask of a.tif``, ``img_a`` and ``a`` are ``a``. Nothing is left of ``mask`` itself.
    Words such as ``target`` or ``bw``, which images may have too, are taken off where the ``rarer`` ones are asked for.
    """
    name, before, word = plain(stem), None, _RARER if rarer else _WORD
    while name != before:
        before = name
        name = word.sub("", _SUFFIX_INSIDE.sub("", name))
        name = name.lstrip(" _.-") if name != before else name
    return name


def is_mask_name(stem: str) -> bool:
    """Whether a stem says of itself that it is a mask, as ``cell-labels`` does."""
    return _MASK.search(plain(stem)) is not None


def by_product(stem: str) -> tuple[str, str] | None:
    """The name of what a program made an ``overlay``, ``flows`` or ``probabilities`` of, and that word; else none."""
    found = _BY_PRODUCT.fullmatch(plain(stem))
    return (name_of(found["name"]), found["what"]) if found else None


def between(name: str, longer: str) -> tuple[str, str] | None:
    """What stands before and after ``name`` in a ``longer`` one, as words of their own; none where it is not in it.

    Both are as :func:`name_of` gives them. ``a`` stands in ``a_bw`` and ``x-a``, not in ``ab``.
    """
    if name and longer.startswith(name) and re.match(_SEPARATOR, longer[len(name) :]):
        return "", longer[len(name) :]
    if name and longer.endswith(name) and re.search(_SEPARATOR + "$", longer[: -len(name)]):
        return longer[: -len(name)], ""
    return None
