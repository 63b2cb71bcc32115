"""Large buffers are used again, and never while somebody still looks at them."""

import gc
import os

import pytest
import torch

from rescrnet.ops import buffers as memory

LARGE = 300_000  # elements, above a megabyte


@pytest.fixture(autouse=True)
def nothing_idle():
    memory.release()
    yield
    memory.release()


def test_a_buffer_that_was_let_go_is_used_again():
    first = memory.empty(3, LARGE)
    place = first.data_ptr()
    assert (first.shape, first.dtype, first.is_contiguous()) == ((3, LARGE), torch.float32, True)
    del first
    assert memory.empty(LARGE, 2).data_ptr() == place


def test_a_view_keeps_its_buffer():
    whole = memory.empty(LARGE)
    view = whole.fill_(7)[5:10]
    del whole
    gc.collect()
    other = memory.empty(LARGE).zero_()
    assert other.data_ptr() != view.data_ptr()
    assert view.eq(7).all()


def test_a_graph_keeps_its_buffers_until_it_has_gone():
    x = memory.empty(LARGE).fill_(3.0)
    leaf = torch.ones(LARGE, requires_grad=True)
    product = (leaf * x).sum()
    del x
    memory.empty(LARGE).zero_()
    product.backward()
    assert leaf.grad.eq(3).all()


def test_idle_buffers_that_are_too_small_make_way_for_a_larger_one():
    small = [memory.empty(LARGE) for _ in range(3)]
    del small
    assert len(memory._idle) == 3
    large = memory.empty(2 * LARGE)
    assert len(memory._idle) < 3
    del large
    memory.release()
    assert memory._idle == []


def test_small_tensors_are_left_to_the_allocator():
    del (tensor := [memory.empty(10, 10)])[0]
    assert tensor == []
    assert memory._idle == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_buffers_of_its_own():
    held = memory.empty(LARGE).fill_(1)
    child = os.fork()
    if child == 0:
        held.numpy()[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert held.eq(1).all()
