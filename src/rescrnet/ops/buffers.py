"""Large buffers whose pages are used again.

The first touch of fresh memory costs several times what writing to it does, and the C library hands large blocks back
to the system whenever they are freed. A step of training frees and asks for the same buffers over and over.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import sys
import threading
import weakref

import numpy as np
import torch
from torch import Tensor

_LARGE = 1 << 20  # bytes; below it the C library keeps what is freed
_HUGE_PAGE = 1 << 21
_idle: list[mmap.mmap] = []
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not while a thread has the lock, which the child would not have to give it back
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A contiguous tensor with any content, like ``torch.empty``, in memory used before where there is some."""
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE or torch.compiler.is_compiling():
        return torch.empty(shape, dtype=dtype)
    block = _take(size)
    array = np.frombuffer(block, np.uint8, size)
    # The tensor holds the array and nobody else does: when it goes, all views of the tensor have gone.
    weakref.finalize(array, _give_back, block).atexit = False
    return torch.from_numpy(array).view(dtype).view(shape)


def empty_with(x: Tensor, *shape: int) -> Tensor:
    """As :func:`empty`, of the type and on the device of ``x``."""
    return empty(*shape, dtype=x.dtype) if x.device.type == "cpu" else x.new_empty(shape)


def _take(size: int) -> mmap.mmap:
    with _lock:
        fitting = [block for block in _idle if len(block) >= size]
        if fitting:
            block = min(fitting, key=len)
            _idle.remove(block)
            return block
        # What is idle is too small: it makes way.
        freed = 0
        while _idle and freed < size:
            freed += len(_idle.pop())
    return _map(-(-size // _HUGE_PAGE) * _HUGE_PAGE)


def _map(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Private, or a forked process would write into the buffers of the one that it came from.
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _give_back(block: mmap.mmap) -> None:
    with _lock:
        _idle.append(block)


def release() -> None:
    """Hand all idle buffers back to the system."""
    with _lock:
        _idle.clear()


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, to use it again, where the C library is glibc.

    Otherwise most arrays come on fresh pages, which the system first clears; that can take longer than computing them.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        c = ctypes.CDLL(None)
        if hasattr(c, "gnu_get_libc_version"):
            c.mallopt(_M_MMAP_THRESHOLD, 2**25)  # its largest; above it a heap with holes would take too much
            c.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
