"""Prediction on many processes and machines: Dask distributed runs the tasks of a stream.

The workers share the scratch folder, the images and the results by path, and each loads the model once. A task does the
same wherever it runs, so one worker or many make the same bytes, and a worker that dies costs no more than its task.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from rescrnet.errors import OutputError, RescrnetError, UsageError
from rescrnet.inference.resources import Executor, Sequential
from rescrnet.inference.stream import Stream, Task
from rescrnet.model import SegmentationModel, load
from rescrnet.ops.buffers import keep_freed_memory
from rescrnet.wording import one_line

_MODEL = "model.safetensors"
_FAILURES = 20  # workers that may die over one task until it is held to be the cause
_START = 3  # seconds that a process takes to import Dask, and to be done
_ASK = """
import asyncio, logging, sys
logging.disable()
try:  # what a foreign server sends is taken for the size of a message
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
except ImportError:
    pass
from distributed import Security, rpc
async def ask(address):
    async with rpc(address, connection_args=Security().get_connection_args("client"), timeout=6) as scheduler:
        return "workers" in await asyncio.wait_for(scheduler.identity(), 6)
try:
    print("yes" if asyncio.run(ask(sys.argv[1])) else "it is no scheduler", flush=True)
except BaseException as error:
    print(str(error) or type(error).__name__, flush=True)
import os
os._exit(0)
"""
_one_at_a_time = Lock()  # memory is planned for one task a process


class Cluster:
    """An executor whose tasks run on the workers of a Dask client."""

    remote = True  # what workers write into an array of this process is lost

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, stream: Stream, tasks: list[Task]) -> Iterator[Task]:
        """Have ``tasks`` done, each after those that it needs, and yield each when it is done."""
        from distributed import KilledWorker, as_completed

        stream.model.save(stream.folder / _MODEL)
        settings = {field.name: getattr(stream, field.name) for field in fields(stream) if field.init}
        del settings["model"], settings["tell"]  # each worker loads the one, and what it tells nobody hears
        futures: dict[Task, Any] = {}
        for task in tasks:
            needs = [futures[needed] for needed in stream.needs(task) if needed in futures]
            futures[task] = self.client.submit(_run, str(stream.model.device), settings, task, needs, pure=False)
        task_of = {future.key: task for task, future in futures.items()}
        try:
            for future in as_completed(list(futures.values()), loop=self.client.loop):
                future.result()
                yield task_of[future.key]
        except KilledWorker:
            raise RescrnetError(
                stream.name,
                f"{_FAILURES} workers in turn died over the same task",
                "look into their logs, they may have too little memory (--memory says what each may use); the same "
                "command goes on",
            ) from None
        finally:
            self.client.cancel(list(futures.values()))


def executor(workers: int | None = None, address: str | None = None) -> contextlib.AbstractContextManager[Executor]:
    """What does the work: this process, or a :func:`cluster` where workers or an address are asked for."""
    if workers is None and address is None:
        return contextlib.nullcontext(Sequential())
    return cluster(workers, address)


@contextlib.contextmanager
def cluster(workers: int | None = None, address: str | None = None, patience: float = 7) -> Iterator[Cluster]:
    """A local cluster of so many processes, or the one whose scheduler is at ``address`` and answers in ``patience`` s.

    Raises :class:`UsageError` where Dask distributed is not installed or the scheduler cannot be reached.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        option = "--workers" if address is None else "--dask"
        raise UsageError(
            option, "needs Dask distributed, which is not installed", "pip install 'rescrnet[scale]'"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        if address is None:
            threads = max(1, (os.cpu_count() or 1) // (workers or 1))
            stack.enter_context(
                dask.config.set(
                    {
                        "distributed.scheduler.allowed-failures": _FAILURES,
                        # One thread of Dask's, as many of PyTorch's as there are cores for.
                        "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": threads,
                    }
                )
            )
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    dashboard_address=":0",
                    silence_logs=logging.CRITICAL,
                )
            )
        else:
            _check_answers(address, patience)
        client = stack.enter_context(Client(address, timeout=patience, set_as_default=False))
        yield Cluster(client)


def _check_answers(address: str, patience: float) -> None:
    """Raise :class:`UsageError` where no scheduler answers at ``address`` in ``patience`` seconds.

    Dask's client tries for ever, some of it after it has failed, and takes whatever a foreign server sends for sizes of
    messages. So the first bytes are asked for beforehand, in a process that can be ended, whatever it is doing.
    """
    import dask

    asking = [sys.executable, "-c", _ASK, address]
    # Dask's own name for what it hands on to its workers: certificates may be set in this process alone.
    inherited = {**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(dask.config.global_config)}
    try:
        asked = subprocess.run(asking, capture_output=True, timeout=patience + _START, check=False, env=inherited)
        said = asked.stdout.decode("utf-8", "replace")
        reason = "" if said.startswith("yes") else said or "it is no scheduler"
    except subprocess.TimeoutExpired:
        reason = f"nothing in {patience:g} s"
    except (ValueError, OSError) as error:  # it holds a null byte, or is longer than an argument may be
        reason = one_line(error)
    if reason:
        raise UsageError(
            f"--dask {address}",
            f"no scheduler answers there ({one_line(reason)[:200]})",
            "expected an address such as tcp://host:8786; for tls:// set Dask's distributed.comm.tls as well",
        )


def _run(device: str, settings: dict[str, Any], task: Task, needs: list[None]) -> None:
    with _one_at_a_time:
        keep_freed_memory()
        file = settings["folder"] / _MODEL
        if not file.is_file():
            raise OutputError(
                settings["folder"], "a worker does not see this scratch folder", "choose one on a shared disk"
            )
        model = _load(file, file.stat().st_mtime_ns, device)
        Stream(model, **settings).run(Task(*task))


@lru_cache(maxsize=1)
def _load(file: Path, changed: int, device: str) -> SegmentationModel:
    return load(file, device)
