"""The compiled residual block is the residual block written in PyTorch."""

import os
import time

import pytest
import torch

from rescrnet.nn import fused
from rescrnet.nn.blocks import ConvResBlock
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.ops.native import has_kernels
from rescrnet.ops.separable import Affine, Cut, Separable
from tests.support.weights import draw_weights

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no compiler")

CASES = {
    "paper": ((48, 16, [3, 5, 7], [1, 3, 5]), {}, (2, 70, 83)),
    "stem": ((1, 16, [3, 5, 7], [1, 3, 5]), {"stem": True}, (2, 40, 33)),
    "colour-stem": ((3, 16, [3, 5], [2, 3]), {"stem": True}, (1, 9, 7)),
    "summed": ((16, 16, [3, 5, 7], [1, 3, 5]), {"merge": "sum"}, (2, 40, 33)),
    "odd-kernels-wide-filters": ((48, 32, [1, 9, 3], [1, 2, 4]), {}, (1, 20, 500)),
    "one-line": ((16, 16, [3, 7], [5, 1]), {}, (1, 1, 37)),
    "one-column": ((16, 16, [5], [4]), {}, (3, 41, 1)),
    "wider-than-a-tile": ((16, 16, [3, 5], [3, 1]), {}, (1, 67, 901)),
}


def block_of(case, dtype, kind=FusedConvResBlock):
    arguments, options, _ = CASES[case]
    block = kind(*arguments, dropout=0.3, **options).to(dtype)
    draw_weights(block)
    return block


def image_of(case, block, dtype):
    arguments, _, (n, height, width) = CASES[case]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(n, arguments[0], height, width, generator=generator).to(dtype) + 0.3
    return x, torch.randn(n, block.out_channels, height, width, generator=generator).to(dtype)


def trained(case, dtype, kind=FusedConvResBlock):
    """Result, gradients and running statistics of one pass in training."""
    block = block_of(case, dtype, kind).train()
    x, by = image_of(case, block, dtype)
    x.requires_grad_()
    torch.manual_seed(5)
    out = block(x)
    gradients = torch.autograd.grad((out * by).sum(), [x, *block.parameters()])
    names = ["result", "image", *(name for name, _ in block.named_parameters()), *(n for n, _ in block.named_buffers())]
    return dict(zip(names, [out.detach(), *gradients, *block.buffers()], strict=True))


@pytest.mark.parametrize("case", CASES)
def test_result_gradients_and_statistics_of_training_equal_the_plain_ones(case):
    ours, theirs = trained(case, torch.float32), trained(case, torch.float64, ConvResBlock)
    rough = trained(case, torch.float32, ConvResBlock)
    for name, expected in theirs.items():
        # The gradient of a bias before a normalisation is zero except for rounding: as much as PyTorch makes is fine.
        size, noise = float(expected.abs().max()), float((rough[name].double() - expected).abs().max())
        torch.testing.assert_close(
            ours[name].double(),
            expected.double(),
            rtol=0,
            atol=1e-5 * size + 5 * noise,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("case", CASES)
def test_evaluation_equals_the_plain_one(case):
    def evaluated(dtype, kind):
        block = block_of(case, dtype, kind).eval()
        with torch.no_grad():
            return block(image_of(case, block, dtype)[0])

    expected = evaluated(torch.float64, ConvResBlock)
    close = 2e-6 * float(expected.abs().max())
    ours = evaluated(torch.float32, FusedConvResBlock)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=close)


@pytest.mark.parametrize("cut", [Cut(top=15), Cut(bottom=15, right=15), Cut(15, 15, 15, 15), Cut(3, 1, 14, 0)])
@pytest.mark.parametrize("given", [True, False], ids=["room", "no room"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
def test_a_cut_half_gives_the_inner_part_of_the_whole(cut, given, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(FusedConvResBlock, "infers_compiled", lambda block, x: False)
    block = block_of("paper", torch.float32).eval()
    x, _ = image_of("paper", block, torch.float32)
    large = torch.empty(2, 100, 100, 48).permute(0, 3, 1, 2)

    def room(like):
        channels, height, width = like.shape[1:]
        return torch.empty(2, height, width, channels).permute(0, 3, 1, 2) if given else None

    @torch.no_grad()
    def both():
        y, whole = cut.crop(block.first(x)), cut.crop(block(x))
        yield block.first(x, cut, room(y)), y
        large[:, :, : whole.shape[2], : whole.shape[3]] = cut.crop(x)
        for shortcut in (cut.crop(x), large[:, :, : whole.shape[2], : whole.shape[3]]):
            yield block.second(block.first(x), shortcut, cut, room(whole)), whole

    for made, expected in both():
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_do_not_depend_on_the_number_of_threads(case):
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 3, 4):
        torch.set_num_threads(count)
        found.append(trained(case, torch.float32))
    torch.set_num_threads(threads)
    for name, tensor in found[0].items():
        for other in found[1:]:
            assert torch.equal(tensor, other[name]), name


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
@pytest.mark.skipif(not hasattr(time, "thread_time"), reason="this system does not tell whose time it was")
def test_an_image_as_small_as_a_training_patch_is_shared_among_threads(monkeypatch):
    sizes, threads = (3, 5, 7), torch.get_num_threads()
    torch.set_num_threads(1)  # PyTorch's own would count, too
    depthwise, pointwise = tuple(torch.ones(k, k, 48) for k in sizes), torch.ones(3, 48, 16)
    layer = Separable(depthwise, pointwise, torch.ones(3, 16), (1, 3, 5), True, False)
    x, affine, share = torch.randn(1, 128, 128, 48), Affine(torch.ones(48), torch.zeros(48)), []
    for count in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        gradient = layer.forward(x, affine, 0.1)
        all_before, own_before = time.process_time(), time.thread_time()
        for _ in range(10):
            layer.backward(gradient, x, affine, 0.1)
        share.append(1 - (time.thread_time() - own_before) / (time.process_time() - all_before))
    torch.set_num_threads(threads)
    assert share[0] < 0.05
    assert share[1] > share[0] + 0.05  # a half of it on an idle machine


def test_the_gradients_of_the_weights_do_not_depend_on_whether_the_images_is_asked_for():
    found = []
    for asked in (True, False):
        block = block_of("paper", torch.float32).train()
        x, by = image_of("paper", block, torch.float32)
        torch.manual_seed(5)
        (block(x.requires_grad_(asked)) * by).sum().backward()
        found.append({name: parameter.grad for name, parameter in block.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_it_is_used_where_it_can_be_and_nowhere_else():
    block = block_of("paper", torch.float32)
    x, _ = image_of("paper", block, torch.float32)
    assert block.train().trains_compiled(x)
    assert not block.infers_compiled(x)
    block.eval()
    assert not block.trains_compiled(x)
    assert not block.infers_compiled(x)  # the gradient through running statistics is PyTorch's
    with torch.no_grad():
        assert block.infers_compiled(x)
        assert not block.double().infers_compiled(x.double())
        block.float()
        assert not FusedConvResBlock(16, 8, [3], [1]).eval().infers_compiled(x)


def in_mixed_precision(function, *arguments):
    with torch.autocast("cpu", torch.bfloat16):
        return function(*arguments)


@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no avx512_bf16")
@pytest.mark.parametrize("case", CASES)
def test_bfloat16_strays_little_more_than_pytorchs_own(case):
    mixed, expected = in_mixed_precision(trained, case, torch.float32), trained(case, torch.float64, ConvResBlock)
    theirs = in_mixed_precision(trained, case, torch.float32, ConvResBlock)
    assert mixed["result"].dtype == torch.bfloat16
    for name, tensor in expected.items():
        ours, rough = (float((found[name] - tensor).double().norm()) for found in (mixed, theirs))
        size = float(tensor.double().norm())
        assert ours <= 2 * rough + 0.05 * size, f"{name}: {ours / size:.3f}, PyTorch {rough / size:.3f}"


@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no avx512_bf16")
def test_bfloat16_does_not_depend_on_the_number_of_threads():
    found, threads = [], torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(in_mixed_precision(trained, "paper", torch.float32))
    torch.set_num_threads(threads)
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name


@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no avx512_bf16")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_predicts_about_what_float32_predicts_into_room_of_either_type(dtype):
    block = block_of("paper", torch.float32).eval()
    x, _ = image_of("paper", block, torch.float32)
    with torch.no_grad():
        expected = block(x)
        mixed = in_mixed_precision(block, x)
        room = torch.empty_like(expected, dtype=dtype, memory_format=torch.channels_last)
        made = in_mixed_precision(lambda: block.second(block.first(x), x, out=room))
    assert mixed.dtype == torch.bfloat16
    assert made.data_ptr() == room.data_ptr()
    assert torch.equal(made, mixed.to(dtype))
    assert float((mixed - expected).norm() / expected.norm()) < 0.01


def test_under_autocast_a_processor_without_bfloat16_keeps_float32(monkeypatch):
    monkeypatch.setattr(fused, "has_kernels", lambda dtype=torch.float32: dtype == torch.float32 and has_kernels())
    block, found = block_of("paper", torch.float32).train(), []
    x, _ = image_of("paper", block, torch.float32)
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(block(x))
    assert torch.equal(*found)
