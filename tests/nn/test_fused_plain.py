"""The residual block in few sweeps, without compiled kernels, is the residual block written in PyTorch."""

import pytest
import torch

from rescrnet.nn.blocks import ConvResBlock
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.ops import pixels_plain, separable_plain
from rescrnet.ops.separable import Cut
from tests.support.weights import draw_weights

CASES = {
    "paper": ((48, 16, [3, 5, 7], [1, 3, 5]), {}, (2, 30, 43)),
    "stem": ((1, 16, [3, 5, 7], [1, 3, 5]), {"stem": True}, (2, 40, 33)),
    "no-phase-is-ragged": ((6, 4, [3, 5], [2, 3]), {}, (2, 12, 18)),
    "summed": ((5, 5, [3, 5, 7], [1, 3, 5]), {"merge": "sum"}, (2, 21, 33)),
    "odd-kernels": ((12, 4, [1, 9, 3], [1, 2, 4]), {}, (1, 20, 50)),
    "one-line": ((6, 3, [3, 7], [5, 1]), {}, (1, 1, 37)),
    "one-column": ((4, 4, [5], [4]), {}, (3, 41, 1)),
    "dilation-beyond-the-image": ((4, 2, [3, 5], [9, 40]), {}, (2, 7, 11)),
}


@pytest.fixture(autouse=True)
def _without_kernels(monkeypatch):
    monkeypatch.setenv("RESCRNET_NATIVE", "0")


@pytest.fixture(params=["whole", "phases", "lines"])
def parts(request, monkeypatch):
    """How much is taken at a time: whole batches, some phases of an image, or some lines of one phase."""
    monkeypatch.setattr(separable_plain, "_CHUNK", {"whole": 1 << 20, "phases": 2500, "lines": 300}[request.param])
    monkeypatch.setattr(pixels_plain, "_PART", 1 << 20 if request.param == "whole" else 200)


def block_of(case, kind, dtype=torch.float64):
    arguments, options, _ = CASES[case]
    block = kind(*arguments, dropout=0.3, **options).to(dtype)
    draw_weights(block)
    return block


def image_of(case, dtype=torch.float64):
    arguments, _, (n, height, width) = CASES[case]
    generator = torch.Generator().manual_seed(4)
    return torch.randn(n, arguments[0], height, width, generator=generator).to(dtype) + 3


def trained(case, kind):
    """Result, gradients and running statistics of one pass in training."""
    block, x = block_of(case, kind).train(), image_of(case).requires_grad_()
    torch.manual_seed(5)
    out = block(x)
    by = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    found = {"result": out.detach(), **dict(block.named_buffers())}
    names = ["image", *(name for name, _ in block.named_parameters())]
    gradients = torch.autograd.grad((out * by).sum(), [x, *block.parameters()])
    return {**found, **dict(zip(names, gradients, strict=True))}


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("case", CASES)
def test_result_gradients_and_statistics_of_training_equal_those_of_its_definition(case):
    ours, theirs = trained(case, FusedConvResBlock), trained(case, ConvResBlock)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        # The gradient of a bias before a normalisation is zero except for rounding.
        atol = 1e-9 * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluation_equals_its_definition_whole_and_in_halves(case, dtype):
    block, x = block_of(case, FusedConvResBlock, dtype).eval(), image_of(case, dtype)
    with torch.no_grad():
        expected = block_of(case, ConvResBlock).eval()(x.double())
        found = [block(x), block.second(block.first(x), x)]
    for made in found:
        close = (2e-6 if dtype == torch.float32 else 1e-14) * float(expected.abs().max())
        torch.testing.assert_close(made.double(), expected, rtol=0, atol=close)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("given", [True, False], ids=["room", "no room"])
def test_a_cut_half_gives_the_inner_part_of_the_whole(given):
    block, x, cut = block_of("paper", FusedConvResBlock).eval(), image_of("paper"), Cut(3, 1, 14, 0)
    with torch.no_grad():
        first, whole = cut.crop(block.first(x)), cut.crop(block(x))
        rooms = [
            torch.empty_like(part, memory_format=torch.channels_last) if given else None for part in (first, whole)
        ]
        torch.testing.assert_close(block.first(x, cut, rooms[0]), first)
        torch.testing.assert_close(block.second(block.first(x), cut.crop(x), cut, rooms[1]), whole)


def test_the_gradients_of_the_weights_do_not_depend_on_whether_the_images_is_asked_for():
    found = []
    for asked in (True, False):
        block = block_of("paper", FusedConvResBlock).train()
        torch.manual_seed(5)
        block(image_of("paper").requires_grad_(asked)).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in block.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_statistics_far_from_zero_keep_their_digits():
    """A channel a thousand deviations from zero, whose square a float32 cannot hold to a deviation."""
    x = torch.randn(1, 90, 95, 3, generator=torch.Generator().manual_seed(0)) + 1000
    pivot = torch.full((3,), 999.0)
    beyond = torch.cat([x, pivot.expand(1, 4, 95, 3)], 1)  # with some that do not count
    for mean, covariance in (pixels_plain.moments(x), pixels_plain.moments(beyond, x[..., 0].numel(), pivot)):
        exact = x.double().flatten(0, 2)
        torch.testing.assert_close(mean, exact.mean(0), rtol=0, atol=1e-5)
        torch.testing.assert_close(covariance, exact.t().cov(correction=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_under_autocast_a_cpu_keeps_float32(training):
    block, found = block_of("paper", FusedConvResBlock, torch.float32).train(training), []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = block(image_of("paper", torch.float32))
            gradients = torch.autograd.grad(out.square().sum(), list(block.parameters())) if training else []
        found.append([out, *gradients])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
