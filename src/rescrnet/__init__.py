"""Res-CR-Net: semantic segmentation of microscopy images from a few labelled examples.

The names below are all that most programs need; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rescrnet.config import Config
    from rescrnet.config import resolve as configure
    from rescrnet.errors import RescrnetError
    from rescrnet.exchange.keras import import_keras, load_keras
    from rescrnet.inference.array import Resources, predict_array
    from rescrnet.inference.files import predict_files
    from rescrnet.model import SegmentationModel, load
    from rescrnet.nn.network import ResCRNet
    from rescrnet.reporting.page import report
    from rescrnet.scoring.evaluate import evaluate
    from rescrnet.training.hardware import Hardware
    from rescrnet.training.train import resume, train

_HOME = {
    "Config": "rescrnet.config:Config",
    "Hardware": "rescrnet.training.hardware:Hardware",
    "ResCRNet": "rescrnet.nn.network:ResCRNet",
    "RescrnetError": "rescrnet.errors:RescrnetError",
    "Resources": "rescrnet.inference.array:Resources",
    "SegmentationModel": "rescrnet.model:SegmentationModel",
    "configure": "rescrnet.config:resolve",
    "evaluate": "rescrnet.scoring.evaluate:evaluate",
    "import_keras": "rescrnet.exchange.keras:import_keras",
    "load": "rescrnet.model:load",
    "load_keras": "rescrnet.exchange.keras:load_keras",
    "predict_array": "rescrnet.inference.array:predict_array",
    "predict_files": "rescrnet.inference.files:predict_files",
    "report": "rescrnet.reporting.page:report",
    "resume": "rescrnet.training.train:resume",
    "train": "rescrnet.training.train:train",
}

__all__ = [
    "Config",
    "Hardware",
    "ResCRNet",
    "RescrnetError",
    "Resources",
    "SegmentationModel",
    "configure",
    "evaluate",
    "import_keras",
    "load",
    "load_keras",
    "predict_array",
    "predict_files",
    "report",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rescrnet' has no attribute '{name}'")
    module, attribute = _HOME[name].split(":")
    return getattr(import_module(module), attribute)
