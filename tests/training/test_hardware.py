"""How many threads a training step takes, and for what."""

import pytest
import torch

from rescrnet.config import resolve
from rescrnet.nn.network import ResCRNet
from rescrnet.ops import native
from rescrnet.training.hardware import threads_for

CPU = torch.device("cpu")
SMALL, LARGE = 256 * 256, 8 * 262 * 400


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kernels(monkeypatch):
    """A library whose kernel notes how many threads it is given."""
    given = []

    class Library:
        @staticmethod
        def noting_avx2(threads):
            given.append(threads.value)
            return 0

    monkeypatch.setattr(native, "choice", lambda: native.Choice("avx2", "of the test"))
    monkeypatch.setattr(native, "_library", lambda: (Library, ""))
    return given


def threads_of_kernels(given):
    native.call("noting", torch.float32)
    return given[-1]


def test_in_small_steps_only_kernels_are_shared_among_threads(two_threads, kernels):
    with threads_for(ResCRNet(1, 2), CPU, SMALL):
        assert (torch.get_num_threads(), threads_of_kernels(kernels)) == (1, 2)
        with threads_for(ResCRNet(1, 2), CPU, SMALL):
            assert (torch.get_num_threads(), threads_of_kernels(kernels)) == (1, 2)
        assert (torch.get_num_threads(), threads_of_kernels(kernels)) == (1, 2)
    assert (torch.get_num_threads(), threads_of_kernels(kernels)) == (2, 2)


def test_in_large_steps_without_kernels_and_for_a_u_net_all_is_shared(two_threads, kernels, monkeypatch):
    pytest.importorskip("monai")
    from rescrnet.nn.unet import UNet

    unet = UNet(1, 2, resolve(overrides={"network.architecture": "res-unet"}).network)
    for network, pixels in ((ResCRNet(1, 2), LARGE), (unet, SMALL)):
        with threads_for(network, CPU, pixels):
            assert torch.get_num_threads() == 2
    monkeypatch.setattr(native, "choice", lambda: native.Choice(None, "none"))
    with threads_for(ResCRNet(1, 2), CPU, SMALL):
        assert torch.get_num_threads() == 2


def test_the_threads_come_back_after_an_error(two_threads, kernels):
    with pytest.raises(ValueError, match="stopped"), threads_for(ResCRNet(1, 2), CPU, SMALL):
        raise ValueError("stopped")
    assert (torch.get_num_threads(), threads_of_kernels(kernels)) == (2, 2)
