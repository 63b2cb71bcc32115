"""The bidirectional ConvLSTM against a reference written straight from its definition, loop by loop."""

import numpy as np
import pytest
import torch

from rescrnet.nn.convlstm import BidirectionalConvLSTM


def convolve(picture, kernel):
    """'Same' convolution of (L, classes, in) with (3, classes, in, out), Keras' padding; loops only."""
    length, classes, _ = picture.shape
    before = (classes - 1) // 2
    out = np.zeros((length, classes, kernel.shape[-1]))
    for row in range(length):
        for column in range(classes):
            for dy in range(3):
                for dx in range(classes):
                    y, x = row + dy - 1, column + dx - before
                    if 0 <= y < length and 0 <= x < classes:
                        out[row, column] += picture[y, x] @ kernel[dy, dx]
    return out


def one_direction(sequence, kernel, recurrent, bias):
    """(T, L, classes, 1) → (T, L, classes, filters); kernels (4, filters, in, 3, classes), gates i, f, o, g."""
    filters = recurrent.shape[1]

    def gate(index, picture, hidden):
        inputs = convolve(picture, kernel[index].transpose(2, 3, 1, 0))
        return inputs + convolve(hidden, recurrent[index].transpose(2, 3, 1, 0)) + bias[index]

    hidden = np.zeros((*sequence.shape[1:3], filters))
    cell, states = np.zeros_like(hidden), []
    for picture in sequence:
        i, f, o = (np.clip(0.2 * gate(index, picture, hidden) + 0.5, 0, 1) for index in range(3))
        cell = f * cell + i * np.tanh(gate(3, picture, hidden))
        hidden = o * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("filters", [1, 2])
def test_it_equals_the_definition(classes, filters):
    torch.manual_seed(1)
    module = BidirectionalConvLSTM(classes, filters).double().eval()
    with torch.no_grad():
        module.bias.uniform_(-1, 1)
    x = torch.randn(2, classes, 5, 6, dtype=torch.float64)

    kernel, recurrent, bias = (p.detach().numpy() for p in (module.input_kernel, module.recurrent_kernel, module.bias))
    expected = []
    for image in x.numpy():
        rows = image.transpose(1, 2, 0)[..., None]  # (H, W, classes, 1)
        down = one_direction(rows, kernel[0], recurrent[0], bias[0])
        up = one_direction(rows[::-1], kernel[1], recurrent[1], bias[1])[::-1]
        expected.append((down + up).sum(-1).transpose(2, 0, 1))

    np.testing.assert_allclose(module(x).detach().numpy(), np.array(expected), atol=1e-12)


def test_recurrent_dropout_keeps_one_mask_a_sequence_and_acts_in_training_only():
    torch.manual_seed(0)
    module = BidirectionalConvLSTM(3, dropout=0.5)
    x = torch.randn(1, 3, 4, 5)
    factors = module.dropout_factors(x)
    assert factors.shape == (2, 4, 3, 1, 5)
    assert set(factors.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_the_forget_gate_starts_open_and_recurrent_kernels_orthogonal():
    module = BidirectionalConvLSTM(3)
    assert module.bias[:, 1].eq(1).all()
    assert module.bias[:, [0, 2, 3]].eq(0).all()
    matrix = module.recurrent_kernel[0].detach().permute(2, 3, 4, 0, 1).reshape(9, 4)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(4), atol=1e-6, rtol=0)
