"""Res-CR-Net: semantic segmentation of microscopy images from a few labelled examples.

The names below are all that most programs need; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Config": "rescrnet.config:Config",
    "Hardware": "rescrnet.training.hardware:Hardware",
    "ObjectOptions": "rescrnet.objects.folder:ObjectOptions",
    "ObjectSettings": "rescrnet.object_settings:ObjectSettings",
    "Publication": "rescrnet.exchange.publication:Publication",
    "ReadOptions": "rescrnet.inference.options:ReadOptions",
    "ResCRNet": "rescrnet.nn.network:ResCRNet",
    "RescrnetError": "rescrnet.errors:RescrnetError",
    "Resources": "rescrnet.inference.resources:Resources",
    "SegmentationModel": "rescrnet.model:SegmentationModel",
    "WriteOptions": "rescrnet.inference.options:WriteOptions",
    "check": "rescrnet.checking.check:check",
    "compare": "rescrnet.evidence.compare:compare",
    "configure": "rescrnet.config:resolve",
    "crossval": "rescrnet.evidence.crossval:crossval",
    "curve": "rescrnet.evidence.curve:curve",
    "evaluate": "rescrnet.scoring.evaluate:evaluate",
    "find_subjects": "rescrnet.objects.subjects:find_subjects",
    "export": "rescrnet.exchange.export:export",
    "import_bioimageio": "rescrnet.exchange.bioimageio_import:import_bioimageio",
    "import_keras": "rescrnet.exchange.keras:import_keras",
    "load": "rescrnet.ensemble:load",
    "load_keras": "rescrnet.exchange.keras:load_keras",
    "predict_array": "rescrnet.inference.array:predict_array",
    "predict_files": "rescrnet.inference.folder:predict_files",
    "report": "rescrnet.reporting.page:report",
    "resume": "rescrnet.training.train:resume",
    "resume_seeds": "rescrnet.training.seeds:resume_seeds",
    "train": "rescrnet.training.train:train",
    "train_seeds": "rescrnet.training.seeds:train_seeds",
    "write_objects": "rescrnet.objects.folder:write_objects",
}
"""Every public name, and the module and the name there that it stands for."""

__all__ = list(_PUBLIC)

# Type checkers follow no table; a test holds these imports to it.
if TYPE_CHECKING:
    from rescrnet.checking.check import check as check
    from rescrnet.config import Config as Config
    from rescrnet.config import resolve
    from rescrnet.ensemble import load as load
    from rescrnet.errors import RescrnetError as RescrnetError
    from rescrnet.evidence.compare import compare as compare
    from rescrnet.evidence.crossval import crossval as crossval
    from rescrnet.evidence.curve import curve as curve
    from rescrnet.exchange.bioimageio_import import import_bioimageio as import_bioimageio
    from rescrnet.exchange.export import export as export
    from rescrnet.exchange.keras import import_keras as import_keras
    from rescrnet.exchange.keras import load_keras as load_keras
    from rescrnet.exchange.publication import Publication as Publication
    from rescrnet.inference.array import predict_array as predict_array
    from rescrnet.inference.folder import predict_files as predict_files
    from rescrnet.inference.options import ReadOptions as ReadOptions
    from rescrnet.inference.options import WriteOptions as WriteOptions
    from rescrnet.inference.resources import Resources as Resources
    from rescrnet.model import SegmentationModel as SegmentationModel
    from rescrnet.nn.network import ResCRNet as ResCRNet
    from rescrnet.object_settings import ObjectSettings as ObjectSettings
    from rescrnet.objects.folder import ObjectOptions as ObjectOptions
    from rescrnet.objects.folder import write_objects as write_objects
    from rescrnet.objects.subjects import find_subjects as find_subjects
    from rescrnet.reporting.page import report as report
    from rescrnet.scoring.evaluate import evaluate as evaluate
    from rescrnet.training.hardware import Hardware as Hardware
    from rescrnet.training.seeds import resume_seeds as resume_seeds
    from rescrnet.training.seeds import train_seeds as train_seeds
    from rescrnet.training.train import resume as resume
    from rescrnet.training.train import train as train

    configure = resolve
else:

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'rescrnet' has no attribute '{name}'")
        module, attribute = _PUBLIC[name].split(":")
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
