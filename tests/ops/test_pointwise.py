"""The product of pixels with a matrix is PyTorch's, and so is its gradient."""

import pytest
import torch
import torch.nn.functional as F

from rescrnet.ops.pointwise import pointwise_conv2d


def gradients(function, *tensors):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    return out.detach(), *torch.autograd.grad((out * weight).sum(), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 9, 48), (1, 1, 30, 5), (3, 131, 70, 16)])
def test_result_and_gradients_are_those_of_a_linear_layer(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=generator).to(dtype) for s in (shape, (3, shape[3]), (3,)))
    close = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    for ours, theirs in zip(
        gradients(pointwise_conv2d, x, weight, bias), gradients(F.linear, x, weight, bias), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=close, atol=close * float(theirs.abs().max()))


def test_under_autocast_it_is_of_the_lower_precision_and_its_weights_gradients_are_not():
    x, weight, bias = torch.randn(2, 7, 9, 48), torch.randn(3, 48), torch.randn(3)
    with torch.autocast("cpu", torch.bfloat16):
        out, *found = gradients(pointwise_conv2d, x, weight, bias)
        expected, *theirs = gradients(F.linear, x, weight, bias)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected)
    for one, other in zip(found, theirs, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2 * float(other.abs().max()))
