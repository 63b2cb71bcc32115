"""The gradient of the scan, written out, is that of its definition."""

import pytest
import torch
import torch.nn.functional as F

from rescrnet.ops import convlstm_plain
from rescrnet.ops.convlstm import continue_convlstm, convlstm
from rescrnet.ops.convlstm_plain import convlstm_scan
from rescrnet.ops.convlstm_weights import ScanWeights
from rescrnet.ops.native import has_kernels


def arguments(steps=5, directions=2, channels=3, images=2, length=6, dropout=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    double = {"generator": generator, "dtype": torch.float64}
    inputs = 2 * torch.randn(steps, directions, 4 * channels, images, length, **double)
    recurrent = torch.randn(directions, 4 * channels, 3 * channels, **double)
    factors = None
    if dropout:
        factors = 2.0 * (torch.rand(directions, 4, channels, images, length, **double) > 0.5)
    return inputs.requires_grad_(), recurrent.requires_grad_(), factors


def step_by_step(inputs, recurrent, dropout):
    """The states after every step as they are defined, with a graph of every operation."""
    _, directions, gates, images, length = inputs.shape
    hidden = cell = inputs.new_zeros(directions, gates // 4, images, length)
    states = []
    for line in inputs:
        read = [hidden] * 4 if dropout is None else [hidden * dropout[:, gate] for gate in range(4)]
        taps = [torch.cat([F.pad(h, (1, 1))[..., k : k + length] for k in range(3)], 1) for h in read]
        weights = recurrent.chunk(4, 1)
        z = [torch.einsum("dgk,dknl->dgnl", *pair) for pair in zip(weights, taps, strict=True)]
        i, f, o, g = (a + b for a, b in zip(z, line.chunk(4, 1), strict=True))
        i, f, o = ((0.2 * gate + 0.5).clamp(0, 1) for gate in (i, f, o))
        cell = f * cell + i * torch.tanh(g)
        hidden = o * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("shape", [{}, {"steps": 1}, {"length": 1}, {"steps": 130, "images": 1}, {"directions": 1}])
def test_the_gradient_is_that_of_a_graph_of_every_step(dropout, shape, monkeypatch):
    monkeypatch.setattr(convlstm_plain, "_BLOCK", 1 << 10)  # several steps, and several times several
    inputs, recurrent, factors = arguments(dropout=dropout, **shape)
    results = []
    for states in (convlstm_scan(inputs, recurrent, factors), step_by_step(inputs, recurrent, factors)):
        weight = torch.linspace(-1, 1, states.numel(), dtype=torch.float64).reshape(states.shape)
        results.append((states.detach(), *torch.autograd.grad((states * weight).sum(), (inputs, recurrent))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_gradient_passes_finite_differences():
    inputs, recurrent, factors = arguments(steps=3, channels=2, length=3, images=1, dropout=True)
    assert torch.autograd.gradcheck(lambda x, w: convlstm_scan(0.3 * x, w, factors), (inputs, recurrent))


def test_gates_saturate_at_zero_and_one():
    inputs = torch.tensor([10.0, 10.0, 10.0, 0.5]).reshape(1, 1, 4, 1, 1)  # i, f, o open, g = tanh(0.5)
    opened = convlstm_scan(inputs, torch.zeros(1, 4, 3))
    torch.testing.assert_close(opened.squeeze(), torch.tanh(torch.tanh(torch.tensor(0.5))))
    shut = convlstm_scan(inputs * torch.tensor([1, 1, -1, 1]).reshape(1, 1, 4, 1, 1), torch.zeros(1, 4, 3))
    assert shut.eq(0).all()


def weights_and_image(classes=3, filters=1, size=(2, 9, 21), dtype=torch.float32, directions=2):
    generator = torch.Generator().manual_seed(1)
    channels, (images, height, width) = filters * classes, size
    weights = ScanWeights(
        torch.randn(directions, 4 * channels, 3, classes, generator=generator),
        torch.randn(directions, 4 * channels, generator=generator),
        0.3 * torch.randn(directions, 4 * channels, 3, channels, generator=generator),
    )
    x = 2 * torch.randn(images, classes, height, width, generator=generator)
    dropout = 2.0 * (torch.rand(directions, 4, channels, images, width, generator=generator) > 0.5)
    return ScanWeights(*(tensor.to(dtype) for tensor in weights)), x.to(dtype), dropout.to(dtype)


compiled = pytest.mark.skipif(not has_kernels(), reason="no compiler")


@compiled
@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 9, 21), (1, 30, 16), (3, 5, 33), (1, 1, 50), (1, 50, 1)])
@pytest.mark.parametrize(("classes", "filters"), [(2, 1), (3, 1), (4, 2), (5, 3)])
def test_the_compiled_path_equals_the_plain_one_forward_and_gradient(classes, filters, size, with_dropout):
    results = []
    for dtype in (torch.float32, torch.float64):  # double precision has no compiled path
        weights, x, dropout = weights_and_image(classes, filters, size, dtype)
        inputs = [x.requires_grad_(), *(tensor.requires_grad_() for tensor in weights)]
        out = convlstm(x, weights, dropout if with_dropout else None)
        by = torch.linspace(-1, 1, out.numel(), dtype=dtype).reshape(out.shape)
        results.append((out.detach(), *torch.autograd.grad((out * by).sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=5e-6 * float(theirs.abs().max()))


@compiled
def test_the_scan_does_not_depend_on_the_number_of_threads():
    weights, x, dropout = weights_and_image(size=(1, 9, 67))
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        found.append((convlstm(x, weights), convlstm(x, weights, dropout)))
    torch.set_num_threads(threads)
    for several in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], several, strict=True))


@compiled
def test_the_compiled_hyperbolic_tangent_is_exact_to_rounding_everywhere():
    """One step with open gates is h = tanh(tanh(g)), two functions of one variable in a row."""
    x = torch.cat([torch.linspace(-12, 12, 20001), torch.logspace(-30, 1, 3000, dtype=torch.float64).float()])
    weights = ScanWeights(torch.zeros(2, 8, 3, 2), torch.zeros(2, 8), torch.zeros(2, 8, 3, 2))
    weights.bias[:, :6] = 10  # i, f and o open
    weights.input[0, 6:, 1] = torch.eye(2)
    out = convlstm(torch.stack([x, -x])[None, :, None], weights)
    expected = torch.tanh(torch.tanh(x.double()))
    torch.testing.assert_close(out[0, 0, 0].double(), expected, rtol=5e-7, atol=0)
    torch.testing.assert_close(out[0, 1, 0], -out[0, 0, 0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cuts", [(9,), (4, 5), (1, 7, 1)])
def test_a_scan_left_and_continued_is_the_scan(cuts, dtype):
    weights, x, _ = weights_and_image(filters=2, dtype=dtype)
    total = torch.zeros_like(x)
    for direction in (0, 1):
        one = ScanWeights(*(tensor[direction : direction + 1] for tensor in weights))
        state, rows = x.new_zeros(2, 6, len(x), x.shape[3]), list(torch.arange(9).split(cuts))
        for part in rows[:: -1 if direction else 1]:
            out, state = continue_convlstm(x[:, :, part], one, state, upwards=direction == 1)
            total[:, :, part] += out
    torch.testing.assert_close(total, convlstm(x, weights))


def test_under_autocast_the_recurrence_keeps_the_precision_of_its_weights():
    weights, x, dropout = weights_and_image()
    expected = convlstm(x.bfloat16().float(), weights, dropout)
    weights.recurrent.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        states = convlstm(x.bfloat16(), weights, dropout)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, expected)
    assert torch.isfinite(torch.autograd.grad(states.sum(), weights.recurrent)[0]).all()
