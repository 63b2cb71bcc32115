"""What a run trains on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from lightning_fabric import Fabric

from rescrnet.errors import UsageError
from rescrnet.model import pick_device
from rescrnet.nn.build import Network
from rescrnet.nn.network import ResCRNet
from rescrnet.ops.native import has_kernels, only_kernels_share

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

    @property
    def processes(self) -> int:
        """All of them together."""
        return self.devices * self.nodes

    def fabric(self) -> Fabric:
        """Lightning Fabric for this hardware. Raises :class:`UsageError` for what is not there."""
        if self.precision not in _PRECISIONS:
            raise UsageError(f"--precision {self.precision}", "is unknown", f"expected {', '.join(_PRECISIONS)}")
        if self.devices < 1 or self.nodes < 1:
            raise UsageError(f"--devices {self.devices} --nodes {self.nodes}", "expected at least one of each")
        accelerator = pick_device(self.device).type
        if self.precision == "float16" and accelerator != "cuda":
            raise UsageError(
                "--precision float16", f"needs a CUDA device, found {accelerator}", "use bfloat16 or float32"
            )
        return Fabric(
            accelerator=accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            precision=_PRECISIONS[self.precision],
            strategy="auto" if self.processes == 1 else "ddp" if self.nodes > 1 else "ddp_spawn",
        )

    def check_batch(self, size: int) -> None:
        """Raise :class:`UsageError` where the processes cannot share a batch of ``size`` evenly."""
        if size % self.processes:
            raise UsageError(
                "--devices",
                f"{self.processes} processes cannot share a batch of {size} evenly",
                "set training.batch_size to a multiple",
            )


_SMALL = 1 << 17  # pixels of a step whose single operations are not worth a second thread


def threads_for(network: Network, device: torch.device, pixels: int) -> AbstractContextManager[None]:
    """Within it, steps of so many ``pixels`` take the threads that they take least time with.

    Of Res-CR-Net the kernels share most of a step, and the hundreds of small operations around them are done sooner by
    one thread: 108 to 112 ms instead of 130 to 136 for a step of ``standard`` and two threads.
    """
    small = pixels <= _SMALL and device.type == "cpu"
    return only_kernels_share() if small and isinstance(network, ResCRNet) and has_kernels() else nullcontext()
