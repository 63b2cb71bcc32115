"""The model that a verb is given, which may be several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rescrnet.terminal import echo

if TYPE_CHECKING:
    from rescrnet.model import SegmentationModel


def load_model(path: Path, device: str, *, test_time_augmentation: bool) -> SegmentationModel:
    """Load a model, and say of one that is several that it is: a folder may have been named by mistake."""
    from rescrnet.ensemble import Ensemble, load

    model = load(path, device, test_time_augmentation=test_time_augmentation)
    if isinstance(model, Ensemble):
        echo(f"note: the model is the mean of {model.described}", err=True)
    return model
