"""Tensors on disk: safetensors whose header holds a digest, so that damage is noticed when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rescrnet.atomic import write_atomically
from rescrnet.errors import ModelError
from rescrnet.wording import one_line

DIGEST = "sha256"
"""The key of the digest in the header."""


def write_tensors(file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str], *, new: bool = False) -> None:
    """Write one safetensors file with ``header`` and a digest of header and tensors.

    Args:
        file: its path.
        tensors: any shapes and types, by name.
        header: texts that are kept with them.
        new: replace nothing.

    Raises:
        OutputError: it cannot be written, or exists and must be ``new``.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {**header, DIGEST: digest(kept, header)}
    write_atomically(file, lambda partial: save_file(kept, partial, metadata), new=new)


def read_tensors(file: Path, known: frozenset[str]) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file; nothing that it holds is run.

    Files of earlier versions have no digest. They are told from files in which its key is damaged by their header,
    which holds the ``known`` keys alone.

    Raises:
        ModelError: it is missing, no safetensors file, or not as it was written.
    """
    if not file.is_file():  # a pipe or device never ends
        raise ModelError(file, "is no file", "expected safetensors")
    try:
        with safe_open(file, framework="pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except MemoryError:
        raise
    except Exception as error:  # the library raises whatever it likes on damaged files
        raise ModelError(file, f"is no model file or is damaged ({one_line(error)})", "expected safetensors") from None
    expected = header.pop(DIGEST, None)
    if expected is None and header.keys() - known and header.keys() & known:
        unknown = ", ".join(sorted(header.keys() - known))
        raise ModelError(file, f"is damaged, its header has an unknown key ({one_line(unknown)})", "copy it again")
    if expected is not None and expected != digest(tensors, header):
        raise ModelError(file, "is damaged, it is not as it was written (its digest differs)", "copy it again")
    return header, tensors


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """What tells tensors and header from any others: a SHA-256 of names, types, shapes and values."""
    hashed = hashlib.sha256(repr(sorted(header.items())).encode("utf-8", "backslashreplace"))
    for name, tensor in sorted(tensors.items()):
        hashed.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode("utf-8", "backslashreplace"))
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def check_finite_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise :class:`ModelError` where a weight is NaN or infinite: every prediction would be."""
    wrong = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if wrong:
        raise ModelError(
            file,
            f"has weights that are NaN or infinite, in {one_line(wrong[0])}",
            "the training failed or the file is damaged: copy it again, or train with a lower learning rate",
        )
