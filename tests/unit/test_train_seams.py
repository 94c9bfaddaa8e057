"""The loss on jumps between neighbouring patches."""

import math

import pytest
import torch

from worldline.train import losses
from worldline.train.seams import seam_loss

PATCH = 4


def wall(rows=1, views=2, size=8, distance=2.0):
    """Points of a wall in front of the reference: neighbours are 0.1 apart."""
    y, x = torch.meshgrid(*[0.1 * torch.arange(size, dtype=torch.float32)] * 2, indexing="ij")
    points = torch.stack([x, y, torch.full_like(x, distance)], -1).expand(rows, views, -1, -1, -1).clone()
    return points, torch.ones(points.shape[:-1], dtype=torch.bool)


def shifted_right_half(points, shift):
    """Every patch right of the border moves by a vector."""
    torn = points.clone()
    torn[..., PATCH:, :] += torch.tensor(shift)
    return torn


def test_exact_points_of_any_unit_have_no_seams():
    points, valid = wall()
    assert seam_loss(3 * points, points, valid, PATCH) == pytest.approx(0, abs=1e-6)


def test_a_tear_costs_about_its_length():
    points, valid = wall(distance=50.0)  # far away: the shared factor hardly changes
    torn = shifted_right_half(points, (0.0, 0.0, 1e-3))
    unit = losses.normalize(points, valid)[1]
    pairs, borders = 7, 1  # per row of 8 pixels; the columns along the border hardly change
    expected = PATCH * borders / pairs * 1e-3 / unit.item()
    assert seam_loss(torn, points, valid, PATCH).item() == pytest.approx(expected, rel=0.05)


def test_a_tear_cannot_be_hidden_inside_a_patch():
    points, valid = wall(distance=50.0)
    torn = shifted_right_half(points, (0.0, 0.0, 2e-3))
    hidden = torn.clone()  # the two columns at the border meet in the middle, and leave a groove on either side
    hidden[..., PATCH - 1, 2] += 1e-3
    hidden[..., PATCH, 2] -= 1e-3
    assert seam_loss(hidden, points, valid, PATCH) > 0.99 * seam_loss(torn, points, valid, PATCH)


def test_a_shift_of_everything_is_no_seam():
    points, valid = wall()
    moved = points + torch.tensor((0.3, 0.0, 0.0))
    assert seam_loss(moved, points, valid, PATCH) < 0.1 * losses.regression_loss(moved, points, valid).sum()


def test_edges_of_depth_and_invalid_pixels_are_left_out():
    points, valid = wall(distance=200.0)
    target = shifted_right_half(points, (0.0, 0.0, 10.0))  # half of the wall lies further back: its border is an edge
    assert seam_loss(points, target, valid, PATCH).item() < 1e-3  # as a tear it would cost 0.03
    points, valid = wall()
    predicted = shifted_right_half(points, (0.0, 0.0, 0.5)).requires_grad_()
    unknown = points.clone()
    unknown[..., PATCH:, :] = math.nan
    half = valid.clone()
    half[..., PATCH:] = False
    loss = seam_loss(predicted, unknown, half, PATCH)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(predicted.grad).all()


def test_nothing_to_compare_is_zero():
    points, valid = wall()
    assert seam_loss(points, points, torch.zeros_like(valid), PATCH) == 0


def test_parts_on_several_devices_add_up_to_the_whole():
    torch.manual_seed(0)
    points, valid = wall(rows=4)
    predicted = points + 0.01 * torch.randn_like(points)
    valid[0, :, :, :5] = False  # the parts have different numbers of pairs
    counts = []
    seam_loss(predicted, points, valid, PATCH, lambda count: counts.append(count) or count)
    parts = 0.0
    for part in (slice(0, 1), slice(1, 4)):
        shared = iter(counts)
        parts += seam_loss(predicted[part], points[part], valid[part], PATCH, lambda _, shared=shared: next(shared))
    assert parts == pytest.approx(seam_loss(predicted, points, valid, PATCH).item(), rel=1e-5)


def test_it_mends_what_it_measures():
    points, valid = wall()
    offset = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([offset], lr=0.02)
    mask = torch.zeros_like(points)
    mask[..., PATCH:, :] = 1
    start = torch.tensor((0.05, -0.02, 0.03))
    for _ in range(60):
        optimizer.zero_grad()
        seam_loss(points + mask * (start + offset), points, valid, PATCH).backward()
        optimizer.step()
    assert torch.linalg.vector_norm(start + offset) < 0.4 * torch.linalg.vector_norm(start)
