"""Train a model from a labelled folder."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessRaisedException

from rescrnet.checking.check import load_dataset
from rescrnet.classes import MaskDeclaration
from rescrnet.config import DEFAULT_PRESET, Config, resolve
from rescrnet.datasets.dataset import Dataset
from rescrnet.errors import DataError, RescrnetError, UsageError
from rescrnet.intensity import IntensityScaling
from rescrnet.intensity_profile import IntensityProfile
from rescrnet.locks import locked
from rescrnet.model import ModelCard, SegmentationModel, TrainedOn, load, pick_device
from rescrnet.model_folder import BEST
from rescrnet.nn.build import Initialization
from rescrnet.objects.fit import fit_settings
from rescrnet.training.batches import TrainingTensors
from rescrnet.training.budget import planned
from rescrnet.training.folder import Environment, RunDataset, RunFolder, RunRecord
from rescrnet.training.hardware import Hardware
from rescrnet.training.processes import check_main_starts_again, stop_if_trial
from rescrnet.training.progress import ProgressBar, ProgressReporter
from rescrnet.training.scale import check_resize, fitted, masks_of
from rescrnet.training.start import pretrained, start_from, with_network_of
from rescrnet.training.trainer import Trainer
from rescrnet.validation import Validation, parse_validation
from rescrnet.wording import as_text

_LARGE_PATCH, _LARGER = 4096, 4  # pixels; times the side of the largest image


def train(
    data: str | Path | Dataset,
    out: str | Path,
    config: Config | str = DEFAULT_PRESET,
    *,
    val: str | None = None,
    start: SegmentationModel | None = None,
    hardware: Hardware | None = None,
    max_minutes: float | None = None,
    progress: ProgressReporter | None = None,
) -> SegmentationModel:
    """Train a model from a labelled folder into a new run folder, and return the best one.

    Args:
        data: the dataset folder (layouts: :func:`rescrnet.datasets.layouts.look_through`), or a dataset in memory.
        out: a new folder for the run: ``config.yaml``, ``run.json``, ``history.csv``, ``best.safetensors``,
            ``last.safetensors`` and the state that :func:`resume` needs.
        config: a preset's name, or a configuration from :func:`rescrnet.configure`.
        val: how to split off validation images where the dataset does not: a fraction, names, or a folder.
        start: a model whose weights training goes on from, with its network; where its classes are others, what maps
            features to classes starts anew.
        hardware: what to train on; one process on the best device of this machine where left out.
        max_minutes: stop at the end of the last epoch that fits into this time.
        progress: hears how it goes; a progress bar on standard error where left out.

    Returns:
        The model with the lowest validation loss.

    Raises:
        RescrnetError: the data, the configuration, the hardware or the folder is at fault; one line with the remedy.
    """
    stop_if_trial()
    config = resolve(config) if isinstance(config, str) else config
    hardware = hardware or Hardware()
    fabric = hardware.fabric()
    folder = RunFolder(Path(out))
    with locked(folder.path) if _is_first() else nullcontext():
        if _is_first():
            folder.check_free()
        if start is not None:
            config = with_network_of(start, config)
        job = _new_job(data, folder, config, val, hardware, max_minutes, progress)
        return _launch(fabric, replace(job, start=start or pretrained(job.config)))


def _new_job(
    data: str | Path | Dataset,
    folder: RunFolder,
    config: Config,
    val: str | None,
    hardware: Hardware,
    max_minutes: float | None,
    progress: ProgressReporter | None,
) -> _Job:
    validation = None if val is None else parse_validation(val)
    begun = time.monotonic()
    dataset = _dataset(data, val, config)
    record = RunRecord(
        status="running",
        dataset=_described(dataset, validation),
        hardware=hardware,
        environment=Environment.here(),
    )
    _check_sizes(dataset, config)
    if config.data.resize:
        check_resize(dataset, config.data.resize)
    if config.training.budget and hardware.nodes > 1:
        raise UsageError(
            "training.budget", "each machine would plan by itself", "give the number of epochs on several machines"
        )
    config = planned(fitted(config, masks_of(dataset)), dataset, begun, pick_device(hardware.device))
    return _Job(dataset, config, folder, record, max_minutes, progress, begun)


def _check_sizes(dataset: Dataset, config: Config) -> None:
    """Refuse patches and sizes that have nothing to do with the images: they would take all memory."""
    if not dataset.train:
        raise DataError(dataset.folder, "has no image to train on", "expected some that do not validate")
    largest = max(max(sample.mask.shape) for sample in dataset.train)
    most = max(_LARGE_PATCH, _LARGER * largest)
    for key, side in (("patch_size", config.data.patch_size), ("resize", max(config.data.resize or (0,)))):
        if side and side > most:
            raise UsageError(
                f"data.{key}", f"is {side} pixels, the largest image has {largest}", f"expected at most {most}"
            )


def resume(
    data: str | Path | Dataset,
    out: str | Path,
    *,
    epochs: int | None = None,
    hardware: Hardware | None = None,
    max_minutes: float | None = None,
    progress: ProgressReporter | None = None,
) -> SegmentationModel:
    """Continue a stopped run after its last completed epoch, with its own configuration.

    On the same machine it ends with the weights of a run never stopped. Arguments, result and errors are those of
    :func:`train`; ``epochs`` changes the number of epochs.
    """
    stop_if_trial()
    hardware = hardware or Hardware()
    fabric = hardware.fabric()
    folder = RunFolder(Path(out))
    folder.read_record()  # that there is one
    with locked(folder.path) if _is_first() else nullcontext():
        return _launch(fabric, _continued_job(data, folder, epochs, hardware, max_minutes, progress))


def _continued_job(
    data: str | Path | Dataset,
    folder: RunFolder,
    epochs: int | None,
    hardware: Hardware,
    max_minutes: float | None,
    progress: ProgressReporter | None,
) -> _Job:
    begun = time.monotonic()
    record, config = folder.read_record(), folder.read_config()
    if epochs is not None:
        training = config.training.model_copy(update={"epochs": epochs, "budget": None})
        config = config.model_copy(update={"training": training})
    validation = record.dataset.validation
    dataset = _dataset(data, None if validation is None else str(validation), config)
    check_same_dataset(dataset, folder)
    record = record.model_copy(update={"status": "running", "hardware": hardware})
    return _Job(dataset, config, folder, record, max_minutes, progress, begun)


def check_same_dataset(dataset: Dataset, folder: RunFolder) -> None:
    """Raise :class:`DataError` where ``dataset`` is not what a run was trained with."""
    record = folder.read_record()
    now = _described(dataset, record.dataset.validation)
    for key in ("train", "val", "channels", "classes"):
        if getattr(now, key) != getattr(record.dataset, key):
            raise DataError(
                dataset.folder,
                f"its {key} are not those that {folder.path} was trained with",
                "expected the same dataset",
            )


def _dataset(data: str | Path | Dataset, val: str | None, config: Config) -> Dataset:
    return data if isinstance(data, Dataset) else load_dataset(data, val, declared=declared_in(config))


def declared_in(config: Config) -> dict[str, Any]:
    """What the configuration says of the masks."""
    return {key: value for key, value in config.data.masks if value}


@dataclass(frozen=True)
class _Job:
    """What every process of a run is handed."""

    dataset: Dataset
    config: Config
    folder: RunFolder
    record: RunRecord
    max_minutes: float | None
    progress: ProgressReporter | None
    begun: float
    start: SegmentationModel | None = None


def _launch(fabric: Fabric, job: _Job) -> SegmentationModel:
    config, folder = job.config, job.folder
    job.record.hardware.check_batch(config.training.batch_size or len(job.dataset.train))
    if job.record.hardware.devices > 1 and job.record.hardware.nodes == 1:
        check_main_starts_again()
    torch.manual_seed(config.training.seed)
    initialization: Initialization = "shared" if config.training.shared_initialization else "independent"
    model = SegmentationModel.untrained(card_for(job.dataset, config), initialization)
    if job.start is not None:
        started_from = start_from(model, job.start)
        if model.card.trained:
            provenance = model.card.trained.model_copy(update={"started_from": started_from})
            model.card = model.card.model_copy(update={"provenance": provenance})
    errors = get_context("spawn").SimpleQueue() if job.record.hardware.devices > 1 else None
    status = "stopped"
    try:
        fabric.launch(partial(_run, model, job, errors))
        status = "finished"
    except ProcessRaisedException:
        if errors is None or errors.empty():
            raise
        raise errors.get() from None
    finally:
        if _is_first() and folder.exists:
            folder.close(job.record.model_copy(update={"status": status}))
    model = load(folder.path)
    if status == "finished" and _is_first():
        keep_object_settings(model, job.dataset, folder)
    return model


def keep_object_settings(model: SegmentationModel, dataset: Dataset, folder: RunFolder) -> None:
    """Fit how objects are told apart on the training images, and keep that in the model of a run."""
    settings = fit_settings(model, dataset.train)
    if settings:
        model.card = model.card.model_copy(update={"objects": settings})
        model.save(folder.path / BEST)


def _run(model: SegmentationModel, job: _Job, errors: SimpleQueue[RescrnetError] | None, fabric: Fabric) -> None:
    """What every process does. What a user can fix is handed over whole; PyTorch hands on a traceback alone."""
    try:
        _train(model, job, fabric)
    except RescrnetError as error:
        if errors is not None:
            errors.put(error)
        raise


def _train(model: SegmentationModel, job: _Job, fabric: Fabric) -> None:
    progress = (job.progress or ProgressBar()) if fabric.is_global_zero else ProgressReporter()
    trainer = Trainer(
        fabric,
        model,
        TrainingTensors.of(job.dataset.train, model),
        TrainingTensors.of(job.dataset.val, model),
        job.config,
        job.folder,
        progress,
        None if job.max_minutes is None else 60 * job.max_minutes,
        job.begun,
    )
    progress.data(job.dataset)
    if fabric.is_global_zero:
        job.folder.create(job.config, job.record)
    fabric.barrier()
    trainer.resume()
    trainer.run()


def card_for(dataset: Dataset, config: Config) -> ModelCard:
    """The card of a model that is to be trained on ``dataset``: its scaling is fitted to the training images."""
    return ModelCard(
        network=config.network,
        in_channels=dataset.channels,
        masks=MaskDeclaration(
            classes=dataset.classes,
            ignore=list(dataset.table.ignore),
            instance_boundary=dataset.table.reader.instances,
        ),
        intensity=IntensityScaling.fit((sample.image for sample in dataset.train), config.data.intensity),
        intensity_profile=IntensityProfile.fit(sample.image for sample in dataset.train),
        pixel_size=dataset.pixel_size,
        axes=dataset.axes,
        resize=config.data.resize,
        provenance=TrainedOn(
            dataset=as_text(dataset.folder.resolve().name),
            train=[as_text(sample.stem) for sample in dataset.train],
            val=[as_text(sample.stem) for sample in dataset.val],
            config=config,
            rescrnet=version("rescrnet"),
            torch=torch.__version__,
        ),
    )


def _described(dataset: Dataset, validation: Validation | None) -> RunDataset:
    """What the run folder says of the dataset."""
    return RunDataset(
        folder=as_text(str(dataset.folder.resolve())),
        validation=validation,
        train=[as_text(sample.stem) for sample in dataset.train],
        val=[as_text(sample.stem) for sample in dataset.val],
        channels=dataset.channels,
        classes=dataset.classes,
        table=dataset.table.rows(),
        notes=[as_text(note) for note in dataset.notes],
    )


def _is_first() -> bool:
    """Whether this is the first process of all, as cluster launchers number them."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
