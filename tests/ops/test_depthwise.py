"""The grid-phase convolution is the dilated convolution."""

import pytest
import torch
import torch.nn.functional as F

from rescrnet.ops.depthwise import depthwise_conv2d


def plain(x, weight, dilation):
    return F.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=x.shape[1])


@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9, 11])
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (13, 4), (20, 31)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [3, 16])
def test_it_equals_the_dilated_convolution_forward_and_gradient(channels, dilation, kernel_size, size, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *size, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(channels, 1, kernel_size, kernel_size, generator=generator, dtype=dtype, requires_grad=True)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12

    results = []
    for path in (depthwise_conv2d, plain):
        y = path(x, weight, dilation)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), (x, weight))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max() + 1))


def test_the_memory_layout_makes_no_difference():
    x = torch.randn(2, 16, 12, 9, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(16, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    last = depthwise_conv2d(x.contiguous(memory_format=torch.channels_last), weight, 2)
    torch.testing.assert_close(depthwise_conv2d(x, weight, 2), last, rtol=0, atol=0)


def test_a_single_dot_is_drawn_as_the_mirrored_kernel_spread_by_the_dilation():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    weight = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = torch.zeros(5, 5)
    expected[::2, ::2] = torch.arange(9.0).reshape(3, 3).flip(0, 1)
    torch.testing.assert_close(depthwise_conv2d(x, weight, 2)[0, 0], expected)
