"""Train a model from a labelled folder."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessRaisedException

from rescrnet import errors
from rescrnet.atomic import check_free
from rescrnet.checking.check import warnings_of
from rescrnet.classes import ClassEntry, MaskDeclaration
from rescrnet.config import Config, resolve
from rescrnet.datasets.dataset import Dataset, load_dataset
from rescrnet.errors import DataError, UsageError
from rescrnet.intensity import Intensity
from rescrnet.intensity_profile import Histogram
from rescrnet.model import ModelCard, SegmentationModel, load, pick_device
from rescrnet.nn.initialization import start_alike
from rescrnet.nn.network import ResCRNet
from rescrnet.training.batches import Prepared
from rescrnet.training.folder import RunFolder, environment
from rescrnet.training.progress import ProgressDisplay, Silent
from rescrnet.training.trainer import Display, Trainer

_PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}


@dataclass(frozen=True)
class Hardware:
    """What to train on.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: processes on this machine, each with a device of its own; they share every batch.
        nodes: machines, each running the same command under the cluster's launcher.
        precision: ``float32``, or mixed ``bfloat16`` or ``float16``.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "float32"

    def fabric(self) -> Fabric:
        """Lightning Fabric for this hardware. Raises :class:`UsageError` for what is not there."""
        if self.precision not in _PRECISIONS:
            raise UsageError(f"--precision {self.precision}: is unknown; expected {', '.join(_PRECISIONS)}")
        if self.devices < 1 or self.nodes < 1:
            raise UsageError(f"--devices {self.devices} --nodes {self.nodes}: expected at least one of each")
        accelerator = pick_device(self.device).type
        if self.precision == "float16" and accelerator != "cuda":
            raise UsageError(f"--precision float16: needs a CUDA device, found {accelerator}; use bfloat16 or float32")
        strategy = "auto" if self.devices * self.nodes == 1 else "ddp" if self.nodes > 1 else "ddp_spawn"
        return Fabric(
            accelerator=accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            precision=_PRECISIONS[self.precision],
            strategy=strategy,
        )


def train(
    data: str | Path,
    out: str | Path,
    config: Config | str = "laptop",
    *,
    val: str | None = None,
    hardware: Hardware = Hardware(),
    max_minutes: float | None = None,
    display: Display | None = None,
) -> SegmentationModel:
    """Train a model from a labelled folder into a new run folder, and return the best one.

    Args:
        data: the dataset folder (layouts: :func:`rescrnet.datasets.layouts.find_pairs`).
        out: a new folder for the run: ``config.yaml``, ``run.json``, ``history.csv``, ``best.safetensors``,
            ``last.safetensors`` and the state that :func:`resume` needs.
        config: a preset's name, or a configuration from :func:`rescrnet.configure`.
        val: how to split off validation images where the dataset does not: a fraction, names, or a folder.
        hardware: what to train on.
        max_minutes: stop at the end of the last epoch that fits into this time.
        display: is told how it goes; a progress bar on standard error where left out.

    Returns:
        The model with the lowest validation loss.

    Raises:
        RescrnetError: the data, the configuration, the hardware or the folder is at fault; one line with the remedy.
    """
    config = resolve(config) if isinstance(config, str) else config
    fabric = hardware.fabric()
    if _is_first():
        check_free(Path(out))
    dataset = load_dataset(data, val, ignore=config.data.masks.ignore, instances=config.data.masks.instance_boundary)
    said = {key: value for key in ("ignore", "instance_boundary") if (value := getattr(config.data.masks, key))}
    dataset = replace(dataset, warnings=tuple(map(str, warnings_of(Path(data), val, said))))
    facts = {
        "status": "running",
        "dataset": _dataset_facts(dataset, val),
        "hardware": asdict(hardware),
        "environment": environment(),
    }
    return _launch(fabric, _Job(dataset, config, RunFolder(Path(out)), facts, max_minutes, display))


def resume(
    data: str | Path,
    out: str | Path,
    *,
    epochs: int | None = None,
    hardware: Hardware = Hardware(),
    max_minutes: float | None = None,
    display: Display | None = None,
) -> SegmentationModel:
    """Continue a stopped run after its last completed epoch, with its own configuration.

    On the same machine it ends with the weights of a run never stopped. Arguments, result and errors are those of
    :func:`train`; ``epochs`` changes the number of epochs.
    """
    folder = RunFolder(Path(out))
    facts, config = folder.read_facts(), folder.read_config()
    if epochs is not None:
        training = config.training.model_copy(update={"epochs": epochs})
        config = config.model_copy(update={"training": training})
    fabric = hardware.fabric()
    dataset = load_dataset(
        data,
        facts["dataset"]["val_argument"],
        ignore=config.data.masks.ignore,
        instances=config.data.masks.instance_boundary,
    )
    now = _dataset_facts(dataset, facts["dataset"]["val_argument"])
    known = {**facts["dataset"], "classes": [ClassEntry(**entry).model_dump() for entry in facts["dataset"]["classes"]]}
    for key in ("train", "val", "channels", "classes"):
        if now[key] != known[key]:
            raise DataError(f"{data}: its {key} are not those that {out} was trained with; expected the same dataset")
    facts = {**facts, "status": "running", "hardware": asdict(hardware)}
    return _launch(fabric, _Job(dataset, config, folder, facts, max_minutes, display))


@dataclass(frozen=True)
class _Job:
    """What every process of a run is handed."""

    dataset: Dataset
    config: Config
    folder: RunFolder
    facts: dict[str, Any]
    max_minutes: float | None
    display: Display | None


def _launch(fabric: Fabric, job: _Job) -> SegmentationModel:
    config, folder = job.config, job.folder
    _check_shares(config.training.batch_size or len(job.dataset.train), job.facts["hardware"])
    torch.manual_seed(config.training.seed)
    model = SegmentationModel.untrained(_card(job.dataset, config))
    if config.training.shared_initialization and isinstance(model.network, ResCRNet):
        start_alike(model.network)
    status = "stopped"
    try:
        fabric.launch(partial(_run, model, job))
        status = "finished"
    except ProcessRaisedException as error:
        raise _raised_in_process(error) from None
    finally:
        if _is_first() and folder.exists:
            folder.close({**job.facts, "status": status})
    return load(folder.path)


def _check_shares(batch: int, hardware: dict[str, Any]) -> None:
    processes = hardware["devices"] * hardware["nodes"]
    if batch % processes:
        raise UsageError(
            f"--devices: {processes} processes cannot share a batch of {batch} evenly; "
            "set training.batch_size to a multiple"
        )


def _raised_in_process(error: ProcessRaisedException) -> Exception:
    """What a spawned process raised: one of ours as it was, for the user; anything else as it came."""
    name, _, message = str(error).strip().splitlines()[-1].partition(": ")
    kind = getattr(errors, name.removeprefix("rescrnet.errors."), None)
    return kind(message) if name.startswith("rescrnet.errors.") and kind else error


def _run(model: SegmentationModel, job: _Job, fabric: Fabric) -> None:
    """What every process does."""
    display = (job.display or ProgressDisplay()) if fabric.is_global_zero else Silent()
    trainer = Trainer(
        fabric,
        model,
        Prepared.of(job.dataset.train, model),
        Prepared.of(job.dataset.val, model),
        job.config,
        job.folder,
        display,
        None if job.max_minutes is None else 60 * job.max_minutes,
    )
    display.data(job.dataset)
    if fabric.is_global_zero:
        job.folder.create(job.config, job.facts)
    fabric.barrier()
    trainer.resume()
    trainer.run()


def _card(dataset: Dataset, config: Config) -> ModelCard:
    return ModelCard(
        network=config.network,
        in_channels=dataset.channels,
        masks=MaskDeclaration(
            classes=dataset.classes,
            ignore=list(dataset.table.ignore),
            instance_boundary=dataset.table.reader.instances,
        ),
        intensity=Intensity.fit((sample.image for sample in dataset.train), config.data.intensity),
        histogram=Histogram.fit(sample.image for sample in dataset.train),
        resize=config.data.resize,
        training={
            "dataset": dataset.folder.resolve().name,
            "train": [sample.stem for sample in dataset.train],
            "val": [sample.stem for sample in dataset.val],
            "config": config.model_dump(mode="json"),
            "rescrnet": version("rescrnet"),
            "torch": torch.__version__,
        },
    )


def _dataset_facts(dataset: Dataset, val: str | None) -> dict[str, Any]:
    return {
        "folder": str(dataset.folder.resolve()),
        # Absolute where it is a folder: a run may be resumed and reported from elsewhere.
        "val_argument": str(Path(val).resolve()) if val and Path(val).is_dir() else val,
        "train": [sample.stem for sample in dataset.train],
        "val": [sample.stem for sample in dataset.val],
        "channels": dataset.channels,
        "classes": [entry.model_dump() for entry in dataset.classes],
        "table": dataset.table.rows(),
        "notes": dataset.notes,
    }


def _is_first() -> bool:
    """Whether this is the first process of all, as cluster launchers number them."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
