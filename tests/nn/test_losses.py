"""The losses against the authors' recorded numbers, and against small cases worked by hand."""

import json
from functools import cache
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, one_hot

from rescrnet.errors import UsageError
from rescrnet.nn.losses import LOSSES, weights

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "parity" / "losses"
CASES = ("contour_100", "contour_310", "volume_100", "both_100")
SCORES = {"dice", "jaccard", "precision", "recall", "f1"}  # of thresholded masks: not losses
MODES = ("contour", "volume", "both")
TOLERANCE = 1e-5

needs_recordings = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded losses at {RECORDED}")


@cache
def recorded(case):
    """Return the settings and values of a case, and its arrays as (N, classes, height, width) tensors."""
    settings = json.loads((RECORDED / f"{case}.json").read_text())
    with np.load(RECORDED / f"{case}.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    arrays["y_true"] = one_hot(arrays["y_true"].long(), 3).float()
    return settings, {name: array.permute(0, 3, 1, 2).contiguous() for name, array in arrays.items()}


@needs_recordings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_every_loss_equals_the_authors_on_the_recorded_cases(case, name, dtype):
    settings, arrays = recorded(case)
    probabilities, target = arrays["y_pred"].to(dtype), arrays["y_true"].to(dtype)
    expected = pytest.approx(settings["values"][name], rel=0, abs=TOLERANCE)
    mode, smooth = settings["w_mode"], settings["smooth"]
    assert LOSSES[name](probabilities, target, weight_mode=mode).item() == expected
    assert LOSSES[name](probabilities, target, weight_mode=mode, smooth=smooth).item() == expected


@needs_recordings
@pytest.mark.parametrize("case", CASES)
def test_the_names_are_those_of_the_recorded_losses(case):
    settings, _ = recorded(case)
    assert set(LOSSES) == set(settings["values"]) - SCORES
    assert len(LOSSES) == 15


@needs_recordings
@pytest.mark.parametrize("case", CASES)
def test_every_weight_equals_the_authors_on_the_recorded_cases(case):
    settings, arrays = recorded(case)
    found = weights(arrays["y_true"], settings["w_mode"])
    torch.testing.assert_close(found, arrays["weight"], rtol=0, atol=TOLERANCE)


@needs_recordings
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_the_training_loss_equals_the_authors(case):
    settings, arrays = recorded(case)
    probabilities = arrays["y_pred"].clone().requires_grad_()
    LOSSES["weighted_tani_loss"](probabilities, arrays["y_true"], weight_mode=settings["w_mode"]).backward()
    expected = arrays["grad_weighted_tani_loss"]
    # The gradients are about 1e-5 themselves, so that the tolerance is a part of the largest.
    torch.testing.assert_close(probabilities.grad, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


# One image of 2×2 pixels and two classes. The first class has the sums Σpt = 0.5, Σp² = 0.5, Σt² = 1, Σp = 1; the
# second, its complement, has 2.5, 2.5, 3 and 3. The volume weights are 90/82 and 10/82.
TARGET = torch.tensor([[[[1, 0], [0, 0]], [[0, 1], [1, 1]]]], dtype=torch.float64)
PROBABILITIES = torch.tensor([[[[0.5, 0.5], [0, 0]], [[0.5, 0.5], [1, 1]]]], dtype=torch.float64)
LN2 = log(2)
BY_HAND = {
    "dice_coeff": 6 / 8,
    "dice_loss": 2 / 8,
    "tani_coeff_nc": 3 / (7 - 3),
    "tani_coeff": 3 / 4,
    "tani_loss": 1 / 4,
    "cce_loss": 2 * LN2 / 8,
    "weighted_dice_coeff": 140 / 240,
    "weighted_dice_loss": 100 / 240,
    "weighted_tani_coeff": (70 / 120 + 230 / 280) / 2,
    "weighted_tani_loss": (50 / 120 + 50 / 280) / 2,
    "weighted_bce_loss": LN2 * (100 / 82 + 2) / (400 / 82),
    "weighted_bce_dice_loss": LN2 * (100 / 82 + 2) / (400 / 82) + 100 / 240,
    "weighted_bce_tani_loss": LN2 * (100 / 82 + 2) / (400 / 82) + (50 / 120 + 50 / 280) / 2,
    "weighted_cce_loss": LN2 * (100 / 82) / 8,
    "weighted_cce_tani_loss": LN2 * (100 / 82) / 8 + (50 / 120 + 50 / 280) / 2,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_a_two_by_two_image_equals_the_one_worked_by_hand(name):
    found = LOSSES[name](PROBABILITIES, TARGET, weight_mode="volume", smooth=0).item()
    assert found == pytest.approx(BY_HAND[name], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dice_coeff", 2 / 3), ("tani_coeff_nc", 1.5 / 2), ("tani_coeff", (1.5 / 2 + 3.5 / 4) / 2)],
)
def test_smoothing_and_complement_of_one_class_equal_those_worked_by_hand(name, expected):
    assert LOSSES[name](PROBABILITIES[:, :1], TARGET[:, :1]).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("mode", "smooth"), [("contour", 1), ("both", 1), ("volume", 1e-5)])
def test_smoothing_defaults_to_that_of_the_weight_mode(name, mode, smooth):
    if name == "weighted_cce_tani_loss":
        smooth = 1e-5
    expected = LOSSES[name](PROBABILITIES, TARGET, weight_mode=mode, smooth=smooth)
    assert LOSSES[name](PROBABILITIES, TARGET, weight_mode=mode).item() == expected.item()


@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith("weighted")])
def test_an_unweighted_loss_is_the_same_in_every_weight_mode(name):
    values = {LOSSES[name](PROBABILITIES, TARGET, weight_mode=mode, smooth=1).item() for mode in MODES}
    assert len(values) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_has_coefficient_one_and_loss_zero(name, mode):
    target = random_target(1, 3, 12, 14)
    expected = 1.0 if "coeff" in name else 0.0
    assert LOSSES[name](target, target, weight_mode=mode).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_every_loss_equals_finite_differences(name, mode):
    generator = torch.Generator().manual_seed(1)
    target = random_target(2, 2, 3, 4)
    probabilities = torch.rand(target.shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    probabilities.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: LOSSES[name](p, target, weight_mode=mode), probabilities)
    (gradient,) = torch.autograd.grad(LOSSES[name](probabilities, target, weight_mode=mode), probabilities)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_stay_finite_where_a_certain_prediction_is_wrong(name):
    target = random_target(1, 2, 6, 5)
    probabilities = (1 - target).requires_grad_()
    loss = LOSSES[name](probabilities, target)
    loss.backward()
    assert loss.isfinite()
    assert probabilities.grad.isfinite().all()


def random_target(images, classes, height, width, seed=0):
    labels = torch.randint(classes, (images, height, width), generator=torch.Generator().manual_seed(seed))
    return one_hot(labels, classes).permute(0, 3, 1, 2).double()


def disc_target(height, width):
    """Return a disc that reaches over the left edge, and its background: (1, 2, height, width)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disc = ((rows - height // 2) ** 2 + (columns - 3) ** 2 < 12**2).double()
    return torch.stack([disc, 1 - disc])[None]


def contour_weights_one_pixel_at_a_time(target, window):
    half = window // 2
    border = np.zeros(target.shape)
    for index in np.ndindex(target.shape):
        row, column = index[2:]
        rows = slice(max(0, row - half), row + half + 1)
        columns = slice(max(0, column - half), column + half + 1)
        border[index] = 0.005 < target[index[:2]][rows, columns].mean() < 0.995
    weight = 1 + 2 * border
    return (weight / weight.mean()) ** 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contour_weights_equal_a_slow_reference_that_leaves_the_padding_out(dtype):
    target = disc_target(40, 36).to(dtype)
    found = weights(target, "contour")
    assert found.dtype == dtype
    expected = contour_weights_one_pixel_at_a_time(target.double().numpy(), 11)
    assert len(np.unique(expected)) == 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize(
    ("height", "width", "window"),
    [(150, 700, 11), (151, 160, 21), (320, 300, 21), (301, 310, 31), (600, 610, 31), (620, 601, 41)],
)
def test_the_window_grows_with_the_short_side_and_marks_the_pixels_of_a_plain_pooling(height, width, window):
    # Few pixels of the class, so that many windows hold a share close to 0.005, some exactly that.
    noise = torch.rand((1, 1, height, width), generator=torch.Generator().manual_seed(2))
    rare = (noise < 0.004).float()
    share = avg_pool2d(rare, window, stride=1, padding=window // 2, count_include_pad=False)
    border = (share > 0.005) & (share < 0.995)
    found = weights(rare, "contour")
    assert torch.equal(found > 1, border)
    assert torch.equal(weights(1 - rare, "contour") > 1, border)
    assert 0 < border.float().mean() < 1


def test_a_share_of_exactly_the_limit_is_no_border():
    # Close to the corner, the 21×21 window around pixel (9, 9) has 20×20 pixels inside: two of them are exactly 0.005.
    # One column to the left it has 20×19, and the same two are more than that.
    rare = torch.zeros(1, 1, 160, 170)
    rare[0, 0, 0, 0] = rare[0, 0, 1, 1] = 1
    for target in (rare, rare.double(), 1 - rare):
        weight = weights(target, "contour")[0, 0]
        assert weight[9, 9] < 1 < weight[9, 8]


@pytest.mark.parametrize("mode", ["contour", "both"])
def test_weights_before_squaring_keep_their_mean(mode):
    target = disc_target(40, 36)
    expected = 1 if mode == "contour" else weights(target, "volume").mean().item()
    assert weights(target, mode).sqrt().mean().item() == pytest.approx(expected, rel=1e-12)
    assert weights(target, mode).unique().numel() > 1


def test_volume_weights_equal_those_worked_by_hand():
    # Counts of 1 and 3: w = (1, 1/9), Σw = 10/9, Σw² = 82/81.
    expected = torch.tensor([90 / 82, 10 / 82], dtype=torch.float64)[None, :, None, None].expand(1, 2, 2, 2)
    torch.testing.assert_close(weights(TARGET, "volume"), expected)


def test_weights_of_both_equal_those_worked_by_hand():
    # Every window of a 2×2 image holds both classes: all of it is border. The volume weights have a mean of 50/82.
    volume, total = torch.tensor([90 / 82, 10 / 82], dtype=torch.float64), 50 / 82
    expected = ((volume + 2) * total / (total + 2)) ** 2
    torch.testing.assert_close(weights(TARGET, "both"), expected[None, :, None, None].expand(1, 2, 2, 2))


def test_an_absent_class_has_the_volume_weight_of_the_rarest_present_one():
    target = torch.cat([TARGET, torch.zeros_like(TARGET[:, :1])], dim=1)
    first, second, absent = weights(target, "volume")[0, :, 0, 0]
    assert absent == first
    assert first / second == pytest.approx(9)


@pytest.mark.parametrize("mode", MODES)
def test_weights_carry_no_gradient(mode):
    assert not weights(TARGET.clone().requires_grad_(), mode).requires_grad


@pytest.mark.parametrize(
    ("probabilities", "target", "mode", "message"),
    [
        (
            torch.zeros(2, 4, 5),
            torch.zeros(1, 2, 4, 5),
            "contour",
            "probabilities: found shape (2, 4, 5); expected (N, classes, height, width), none of them 0",
        ),
        (
            torch.zeros(1, 2, 4, 5),
            torch.zeros(1, 2, 0, 5),
            "contour",
            "target: found shape (1, 2, 0, 5); expected (N, classes, height, width), none of them 0",
        ),
        (
            torch.zeros(1, 2, 4, 5),
            torch.zeros(1, 3, 4, 5),
            "contour",
            "target: found shape (1, 3, 4, 5); expected that of probabilities, (1, 2, 4, 5)",
        ),
        (
            torch.zeros(1, 2, 4, 5),
            torch.zeros(1, 2, 4, 5, dtype=torch.uint8),
            "contour",
            "target: found dtype torch.uint8; expected torch.float32 or torch.float64",
        ),
        (
            torch.zeros(1, 2, 4, 5),
            torch.zeros(1, 2, 4, 5),
            "area",
            "weight_mode: found 'area'; expected one of contour, volume, both",
        ),
    ],
)
@pytest.mark.parametrize("name", ["tani_loss", "weighted_tani_loss"])
def test_wrong_input_is_named_with_what_was_expected(name, probabilities, target, mode, message):
    with pytest.raises(UsageError) as error:
        LOSSES[name](probabilities, target, weight_mode=mode)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("target", "mode", "argument"), [(torch.zeros(3, 4), "both", "target"), (TARGET, "none", "weight_mode")]
)
def test_weights_name_their_own_wrong_input(target, mode, argument):
    with pytest.raises(UsageError, match=f"^{argument}: found"):
        weights(target, mode)
