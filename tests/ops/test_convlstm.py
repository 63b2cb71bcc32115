"""The gradient of the scan, written out, is that of its definition."""

import pytest
import torch

from rescrnet.ops.convlstm import _scan, convlstm_scan


def arguments(steps=5, directions=2, channels=3, images=2, length=6, dropout=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    double = {"generator": generator, "dtype": torch.float64}
    inputs = 2 * torch.randn(steps, directions, 4 * channels, images, length, **double)
    recurrent = torch.randn(directions, 4 * channels, 3 * channels, **double)
    factors = None
    if dropout:
        factors = 2.0 * (torch.rand(directions, 4, channels, images, length, **double) > 0.5)
    return inputs.requires_grad_(), recurrent.requires_grad_(), factors


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("shape", [{}, {"steps": 1}, {"length": 1}, {"steps": 130, "images": 1}, {"directions": 1}])
def test_the_gradient_is_that_of_a_graph_of_every_step(dropout, shape):
    inputs, recurrent, factors = arguments(dropout=dropout, **shape)
    results = []
    for states in (convlstm_scan(inputs, recurrent, factors), _scan(inputs, recurrent, factors)[0]):
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


def test_under_autocast_the_recurrence_keeps_the_precision_of_its_weights():
    inputs, recurrent, factors = (x if x is None else x.detach().float() for x in arguments(dropout=True))
    inputs = inputs.bfloat16()
    expected = convlstm_scan(inputs.float(), recurrent, factors)
    recurrent.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        states = convlstm_scan(inputs, recurrent, factors)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, expected)
    assert torch.isfinite(torch.autograd.grad(states.sum(), recurrent)[0]).all()
