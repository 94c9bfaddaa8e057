"""Gradients of pictures of Gaussians against finite differences, and what must not disturb them."""

import pytest
import torch

import splatting_reference as reference
from worldline.outputs.render import rasterize

SIZE = (7, 9)
LENS = reference.cameras(2, focal=8.0, center=(4.2, 3.1))


def pictures(*values):
    *args, poses, matrices = values
    seen = rasterize(*args, world_from_cam=poses, intrinsics=matrices, size=SIZE, background=0.5)
    return seen.color, seen.depth, seen.alpha


def leaves(seed, count, opaque=False):
    values = [*reference.scene(seed, count, opaque=opaque), LENS["world_from_cam"], LENS["intrinsics"]]
    values[0] = values[0] * 0.5 + torch.tensor([0, 0, 1.0])
    return [value.clone().requires_grad_() for value in values]


@pytest.mark.parametrize("opaque", [False, True])
def test_gradients_of_everything_equal_finite_differences(opaque):
    assert torch.autograd.gradcheck(pictures, leaves(1, 10, opaque), fast_mode=True)


def test_each_gradient_equals_its_finite_difference():
    moving = [value[:1].detach().requires_grad_() for value in leaves(2, 3, opaque=True)]
    fixed = [value[1:].detach() for value in leaves(2, 3, opaque=True)[:5]]

    def colors(*values):
        args = [torch.cat(pair) for pair in zip(values[:5], fixed, strict=True)]
        return rasterize(*args, world_from_cam=values[5], intrinsics=values[6], size=(3, 4)).color

    assert torch.autograd.gradcheck(colors, moving)


def test_gradients_of_harmonics_equal_finite_differences():
    values = leaves(3, 5)
    draw = torch.Generator().manual_seed(0)
    values[4] = (0.2 * torch.randn(5, 16, 3, generator=draw, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(pictures, values, fast_mode=True)


def test_gradients_in_single_precision_equal_double():
    found = []
    for dtype in (torch.float64, torch.float32):
        values = [v.detach().to(dtype).requires_grad_() for v in leaves(4, 200, opaque=True)]
        color, depth, alpha = pictures(*values)
        found.append(torch.autograd.grad(color.square().sum() + depth.sum() + alpha.sum(), values))
    for exact, single in zip(*found, strict=True):
        assert (exact - single).norm() < 2e-3 * exact.norm()


def test_unseen_and_capped_gaussians_have_no_gradient():
    means = torch.tensor([[0.0, 0, -1], [0, 0, 1]], dtype=torch.float64, requires_grad=True)
    opacities = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    scales = torch.full((2, 3), 50.0, dtype=torch.float64)
    rotations = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(2, 4)
    colors = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lens = reference.cameras(1, focal=8.0, center=(4.0, 3.0))
    lens["world_from_cam"] = torch.eye(4, dtype=torch.float64)[None]
    picture = rasterize(means, scales, rotations, opacities, colors, **lens, size=SIZE, background=0.0)
    picture.color.sum().backward()
    assert not means.grad[0].any()
    assert not opacities.grad[0].any()
    assert not opacities.grad[1].any()  # alpha is at its cap of 0.999 everywhere


def test_an_empty_picture_has_gradients_of_zero():
    values = leaves(5, 10)
    moved = [values[0] - torch.tensor([0, 0, 100.0], dtype=torch.float64), *values[1:]]
    sum(part.sum() for part in pictures(*moved)).backward()
    assert not values[0].grad.any()


def test_mixed_precision_around_does_not_reach_inside():
    values = [v.detach().float().requires_grad_() for v in leaves(6, 50)]
    plain = pictures(*values)
    expected = torch.autograd.grad(plain[0].sum(), values[0])[0]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = pictures(*values)
        found = torch.autograd.grad(mixed[0].sum(), values[0])[0]
        assert torch.get_float32_matmul_precision() == "medium"  # as it was found
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(plain[0], mixed[0])
    torch.testing.assert_close(found, expected)


def test_a_picture_can_be_fitted():
    """Steepest descent on position and colour makes one picture look like another."""
    target = pictures(*leaves(7, 6))[0].detach()
    values = [value.detach() for value in leaves(7, 6)]
    moving = [(values[0] + 0.08).requires_grad_(), (values[4] * 0.5).requires_grad_()]
    optimizer = torch.optim.Adam(moving, lr=0.02)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = (pictures(moving[0], *values[1:4], moving[1], *values[5:])[0] - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
