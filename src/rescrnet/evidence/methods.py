"""Methods by name, our own and others, and those of users: each trains on some images and predicts others."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rescrnet.config import Config
from rescrnet.datasets.dataset import Dataset
from rescrnet.errors import RescrnetError, UsageError
from rescrnet.evidence.budget import Budget
from rescrnet.wording import one_line

Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""An image, YXC float32 normalised to [0, 1] → probabilities (classes, Y, X) float32."""

CRF = "+crf"
"""The end of the name of a method with a conditional random field behind it."""


def _unheard(share: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Task:
    """What a method is to do.

    Attributes:
        dataset: ``train`` is what to train on; ``val`` is its first image again, to watch the training by.
        seed: same seed, same result, as far as the method can.
        budget: what the training may take.
        config: the settings of our own network and of the comparators.
        folder: for whatever the method wants to keep; may hold what an interrupted call left.
        heard: told the share of the training that is done, from 0 to 1.
    """

    dataset: Dataset
    seed: int
    budget: Budget
    config: Config
    folder: Path
    heard: Callable[[float], None] = _unheard


@dataclass(frozen=True)
class Fitted:
    """What a method has learnt.

    Attributes:
        predict: see :data:`Predictor`.
        parameters: how many numbers were learnt.
        updates: how many steps of the optimiser were made.
    """

    predict: Predictor
    parameters: int | None = None
    updates: int | None = None


class Fit(Protocol):
    """Trains a method."""

    def __call__(self, task: Task) -> Fitted:
        """Do ``task``. Raises :class:`RescrnetError` where the budget is too small or a library is missing."""


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: for files and tables.
        identity: changes whenever the method does.
        fit: trains it.
        needs: the packages that it needs besides ours, and the extra of ours that brings each.
        counts_updates: whether it can be held to a number of updates.
    """

    name: str
    identity: str
    fit: Fit
    needs: Mapping[str, str] = field(default_factory=dict)
    counts_updates: bool = True

    def check_installed(self) -> None:
        """Raise :class:`UsageError` where a library of it is missing."""
        for library, extra in self.needs.items():
            if importlib.util.find_spec(library) is None:
                raise UsageError(
                    f"method '{self.name}'",
                    f"needs {library}, which is not installed",
                    f"pip install 'rescrnet[{extra}]', or leave it out of --methods",
                )

    def with_crf(self) -> Method:
        """The same method with a conditional random field behind it; it is trained by itself."""

        def fit(task: Task) -> Fitted:
            refined: Fitted = import_module("rescrnet.evidence.crf").behind(self.fit(task))
            return refined

        needs = {**self.needs, "pydensecrf": "crf"}
        return replace(self, name=self.name + CRF, identity=f"{self.identity}, crf 1", fit=fit, needs=needs)


def _later(module: str, function: str, **settings: Any) -> Fit:
    """A function that is imported when it is called: libraries of methods are large."""

    def fit(task: Task) -> Fitted:
        fitted: Fitted = getattr(import_module(f"rescrnet.evidence.{module}"), function)(task, **settings)
        return fitted

    return fit


def _network(architecture: str, **needs: str) -> Method:
    return Method(architecture, "network", _later("networks", "fit_network", architecture=architecture), needs)


def _of_torchvision(name: str) -> Method:
    fit = _later("torchvision_networks", "fit_torchvision", name=name)
    return Method(name, f"{name} 1", fit, {"torchvision": "deeplab", "monai": "deeplab"})


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _network("res-cr-net"),
        _network("dense"),
        _network("very-dense"),
        _network("res-unet", monai="unet"),
        _network("unet", monai="unet"),
        Method("dynunet", "dynunet 1", _later("dynunet", "fit_dynunet"), {"monai": "compare"}),
        _of_torchvision("fcn"),
        _of_torchvision("deeplab"),
        Method("forest", "forest 1", _later("forest", "fit_forest"), {"sklearn": "compare"}, counts_updates=False),
        Method("prior", "prior 1", _later("methods", "fit_prior"), counts_updates=False),
    )
}
"""All methods that come with the program; the first one is what others are compared with unless said otherwise."""


def fit_prior(task: Task) -> Fitted:
    """No method at all: every pixel has each class with the share that it has among the training images."""
    classes = len(task.dataset.classes)
    counts = sum((np.bincount(s.mask.ravel(), minlength=256)[:classes] for s in task.dataset.train), np.zeros(classes))
    shares = (counts / max(1.0, float(counts.sum()))).astype(np.float32)
    return Fitted(lambda image: np.broadcast_to(shares[:, None, None], (classes, *image.shape[:2])).copy(), classes)


def find_methods(names: Sequence[str]) -> dict[str, Method]:
    """The methods of these names; ``my_file.py:function`` is a user's own, and any may end with ``+crf``.

    Raises :class:`UsageError` for an unknown or repeated name, or a library that is missing.
    """
    found: dict[str, Method] = {}
    for name in names:
        plain = name.removesuffix(CRF)
        method = _of_user(plain) if ":" in plain else METHODS.get(plain)
        if method is None:
            expected = f"expected {', '.join(METHODS)}, or my_file.py:function; each may end with {CRF}"
            raise UsageError(f"--methods {name}", "is unknown", expected)
        method = method if plain == name else method.with_crf()
        if method.name in found:
            raise UsageError(f"--methods {name}", "is given twice", "give each method once, each under its own name")
        method.check_installed()
        found[method.name] = method
    return found


def _of_user(text: str) -> Method:
    """A function ``fit(dataset, seed, budget) -> predictor`` in a file."""
    file, _, name = text.rpartition(":")
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--methods {text}", f"{path} cannot be read ({error.strerror})", "expected my_file.py:function"
        ) from None
    if name in METHODS or not name.isidentifier():
        raise UsageError(f"--methods {text}", f"'{name}' is taken or no name", "call the function otherwise")
    digest = hashlib.sha256(source).hexdigest()
    module_name = f"rescrnet_method_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--methods {text}", f"{path} is no Python file", "expected my_file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"--methods {text}", f"{path} cannot be imported ({type(error).__name__}: {one_line(error)})", "correct it"
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"--methods {text}", f"{path} has no function '{name}'", "expected my_file.py:function")
    return Method(name, digest, partial(_fit_of_user, name, function), counts_updates=False)


def _fit_of_user(name: str, function: Callable[..., Any], task: Task) -> Fitted:
    try:
        result = function(task.dataset, task.seed, task.budget)
    except RescrnetError:
        raise
    except Exception as error:
        raise UsageError(
            f"method '{name}'", f"failed ({type(error).__name__}: {one_line(error)})", "correct its function"
        ) from error
    fitted = result if isinstance(result, Fitted) else Fitted(result)
    if not callable(fitted.predict):
        raise UsageError(f"method '{name}'", f"returned {type(result).__name__}", "expected a function of an image")
    return fitted


def predict(method: Method, fitted: Fitted, image: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """The probabilities (classes, Y, X) of an image. Raises :class:`UsageError` where they are none."""
    expected = (classes, *image.shape[:2])
    try:
        probabilities = np.asarray(fitted.predict(image), np.float32)
    except RescrnetError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        if method.name.removesuffix(CRF) in METHODS:
            raise
        raise UsageError(
            f"method '{method.name}'",
            f"its predictor failed ({type(error).__name__}: {one_line(error)})",
            "correct its function",
        ) from error
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        found = f"predicted {probabilities.shape}" if probabilities.shape != expected else "predicted NaN"
        raise UsageError(f"method '{method.name}'", found, f"expected probabilities {expected}, (classes, Y, X)")
    return probabilities
