"""What the commands say and do of several models that are one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rescrnet.errors import UsageError
from rescrnet.terminal import echo
from rescrnet.wording import count

if TYPE_CHECKING:
    from rescrnet.config import Config
    from rescrnet.model import SegmentationModel
    from rescrnet.training.hardware import Hardware


def train_members(
    data: Path, out: Path, config: Config, seeds: str, val: str | None, from_: Path | None, hardware: Hardware
) -> None:
    """What ``train --seeds`` does."""
    from rescrnet.training.seeds import train_seeds

    chosen = _parsed(seeds)
    model = train_seeds(data, out, config, seeds=chosen, val=val, start=from_, hardware=hardware, member=_say)
    _finished(model, out)


def resume_members(data: Path, out: Path, hardware: Hardware, *, changed: bool) -> None:
    """What ``train --resume`` does with a folder of ``train --seeds``; nothing of it can be ``changed``."""
    from rescrnet.training.seeds import resume_seeds

    if changed:
        raise UsageError(
            "--resume", f"{out} holds several runs, which keep their epochs", "leave out --epochs, --max-time"
        )
    _finished(resume_seeds(data, out, hardware=hardware, member=_say), out)


def print_ensemble(model: SegmentationModel) -> None:
    """Say of a model that is several that it is: a folder may have been named by mistake."""
    from rescrnet.ensemble import Ensemble

    if isinstance(model, Ensemble):
        echo(f"note: the model is the mean of {model.described}", err=True)


def _parsed(text: str) -> int | list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text}", "is no number", "expected how many, as 5, or a list, as 0,1,2") from None
    return numbers if "," in text else numbers[0]


def _say(name: str, number: int, of: int) -> None:
    echo(f"{name}, {number} of {of}", err=True)


def _finished(model: SegmentationModel, out: Path) -> None:
    from rescrnet.ensemble import Ensemble

    if isinstance(model, Ensemble):
        echo(f"{count(len(model.members), 'member')}, temperature {model.temperature:.2f}: {out}")
