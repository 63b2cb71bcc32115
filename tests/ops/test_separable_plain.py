"""The separable convolution in PyTorch, phase by phase, is the dilated convolution and the product that define it."""

import pytest
import torch
import torch.nn.functional as F

from rescrnet.ops import separable_plain
from rescrnet.ops.separable_plain import separable_conv2d


def plain(x, depthwise, pointwise, bias, dilation):
    padding = dilation * (depthwise.shape[-1] // 2)
    inner = F.conv2d(x, depthwise, padding=padding, dilation=dilation, groups=x.shape[1])
    return F.conv2d(inner, pointwise[:, :, None, None], bias)


def arguments(channels, kernel_size, size, dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, channels, *size), (channels, 1, kernel_size, kernel_size), (4, channels), (4,)
    return [torch.randn(*shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


# 40 is larger than every image but one, which is taken some phases, or lines of one, at a time.
@pytest.mark.parametrize("dilation", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (13, 4), (20, 31), (150, 130)])
@pytest.mark.parametrize(("dtype", "channels"), [(torch.float32, 16), (torch.float64, 3)])
def test_it_equals_its_definition_forward_and_gradient(channels, dilation, kernel_size, size, dtype, monkeypatch):
    monkeypatch.setattr(separable_plain, "_CHUNK", 1 << 15)
    tensors = arguments(channels, kernel_size, size, dtype)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    results = []
    for path in (separable_conv2d, plain):
        y = path(*tensors, dilation)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), tensors)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max() + 1))


@pytest.mark.parametrize("dilation", [1, 2, 9])
def test_the_gradient_passes_finite_differences(dilation):
    tensors = arguments(2, 5, (5, 4), torch.float64)
    assert torch.autograd.gradcheck(lambda *args: separable_conv2d(*args, dilation), tensors)


def test_the_memory_layout_makes_no_difference():
    x, *weights = arguments(16, 3, (12, 9), torch.float32)
    last = separable_conv2d(x.contiguous(memory_format=torch.channels_last), *weights, 2)
    torch.testing.assert_close(separable_conv2d(x, *weights, 2), last, rtol=0, atol=0)


def test_under_autocast_it_computes_in_the_type_asked_for():
    tensors = arguments(16, 3, (12, 9), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = separable_conv2d(*tensors, 2)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in tensors)
