"""The kernels whose images are bfloat16 compute what those of float32 compute, where no digit is lost."""

import pytest
import torch

from rescrnet.ops.native import has_kernels
from rescrnet.ops.pixels import moments, pixel_add, pixel_affine, pixel_products
from rescrnet.ops.separable import Affine, Separable

pytestmark = pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no compiler, or no avx512_bf16")

CASES = {
    "paper": ((3, 5, 7), (1, 3, 5), 48, 16, (2, 70, 83)),
    "one-by-one-and-large": ((1, 9, 3), (1, 2, 4), 32, 32, (1, 20, 500)),
    "one-line": ((7,), (5,), 16, 16, (1, 1, 37)),
    "one-column": ((5,), (4,), 16, 16, (3, 41, 1)),
    "several-tiles": ((3, 7), (2, 1), 16, 16, (1, 167, 901)),
}
dtypes = (torch.float32, torch.bfloat16)


@pytest.fixture
def digits():
    """Sparse tensors of -1, 0 and 1: their sums have few digits, and are exact in either type."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, share=1.0):
        values = torch.randint(-1, 2, shape, generator=generator)
        return (values * (torch.rand(shape, generator=generator) < share)).float()

    return draw


def assert_equal(narrow, wide):
    for name, expected in wide.items():
        assert float(expected.abs().max()) > 0, name
        torch.testing.assert_close(
            narrow[name].to(expected.dtype), expected, rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("summed", [False, True], ids=["side-by-side", "summed"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "of-its-own"])
@pytest.mark.parametrize("case", CASES)
def test_convolution_and_gradient_of_whole_numbers_are_exact(case, shared, summed, digits):
    sizes, dilations, channels, filters, shape = CASES[case]
    width, out = channels if shared else channels * len(sizes), filters if summed else filters * len(sizes)
    x, gradient, factor = digits(*shape, width), digits(*shape, out), 2 ** digits(shape[0], out)
    depthwise = tuple(digits(k, k, channels, share=0.3) for k in sizes)
    pointwise, bias = digits(len(sizes), channels, filters, share=0.2), digits(len(sizes), filters)
    layer = Separable(depthwise, pointwise, bias, dilations, shared, summed)
    affine = Affine(torch.full((width,), 2.0), torch.ones(width))
    found = []
    for dtype in dtypes:
        image, grad_result = x.to(dtype), gradient.to(dtype)
        result, statistics = layer.forward_with_moments(image, affine, 0.5)
        grad_image, grad_affine, grad_weights = layer.backward(grad_result, image, affine, 0.5, factor)
        gradients = {"image": grad_image, **grad_affine._asdict(), **grad_weights._asdict()}
        kernels = {f"depthwise {k}": kernel for k, kernel in zip(sizes, gradients.pop("depthwise"), strict=True)}
        mean, variance = statistics
        found.append({"result": result, "mean": mean, "variance": variance, **gradients, **kernels})
        assert result.dtype == grad_image.dtype == dtype
    assert_equal(*reversed(found))


def test_sums_and_affine_maps_of_whole_numbers_are_exact(digits):
    n, width, out = 2, 48, 32
    x, y = digits(n, 9, 31, width), digits(n, 9, 31, out)
    matrix_x, matrix_y = digits(n, width, out, share=0.5), digits(n, out, out, share=0.5)
    found = []
    for dtype in dtypes:
        image, other = x.to(dtype), y.to(dtype)
        sums, products = pixel_products(image, other)
        mean, covariance = moments(image)
        scale, shift = torch.full((n, out), 2.0), torch.ones(n, out)
        mapped = pixel_affine(other.clone(), scale, shift, (image, matrix_x), (other, matrix_y))
        added = pixel_add(image.clone(), torch.full((width,), 2.0), image, torch.ones(width), torch.ones(width))
        found.append({"sums": sums, "products": products, "mapped": mapped, "added": added})
        # What is subtracted from a pixel before it is squared has many digits.
        torch.testing.assert_close(mean, x.double().mean((0, 1, 2)), rtol=0, atol=2e-3)
        torch.testing.assert_close(covariance, x.flatten(0, 2).double().t().cov(correction=0), rtol=0, atol=5e-3)
    assert_equal(*reversed(found))
