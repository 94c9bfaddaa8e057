"""Pictures of Gaussians against closed forms and against their definition in loops."""

import math

import numpy as np
import pytest
import torch

import splatting_reference as reference
from worldline.outputs.render import harmonics, rasterize, splatting
from worldline.outputs.render.compositing import Tiling, composite
from worldline.outputs.render.projection import Lens, gaussians, project

SIZE = (17, 23)
EYE = {"world_from_cam": torch.eye(4)[None].double()}


def facing(depth=2.0, focal=10.0, center=(8.0, 6.0)):
    matrix = torch.tensor([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]], dtype=torch.float64)
    return {**EYE, "intrinsics": matrix[None], "size": (13, 17)}


def balls(depths, sigmas, opacities, colors):
    """Isotropic Gaussians on the optical axis."""
    count = len(depths)
    means = torch.tensor([[0.0, 0.0, depth] for depth in depths], dtype=torch.float64).reshape(count, 3)
    scales = torch.tensor(sigmas, dtype=torch.float64)[:, None].expand(count, 3)
    rotations = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(count, 4)
    return (
        means, scales, rotations, torch.tensor(opacities, dtype=torch.float64),
        torch.tensor(colors, dtype=torch.float64).reshape(count, -1),
    )  # fmt: skip


def equal(one, other, tolerance):
    for name in ("color", "depth", "alpha"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=tolerance, rtol=0, check_dtype=False)


def test_one_ball_has_the_values_of_the_formula():
    picture = rasterize(*balls([2.0], [0.4], [0.8], [[1.0, 0.5, 0.0]]), **facing(), background=0.25)
    variance = (0.4 * 10 / 2) ** 2 + 0.3
    rows, columns = np.mgrid[:13, :17]
    alpha = 0.8 * np.exp(-((rows - 6.0) ** 2 + (columns - 8.0) ** 2) / (2 * variance))
    alpha[alpha < 1 / 255] = 0
    np.testing.assert_allclose(picture.alpha[0], alpha, atol=1e-12)
    color = alpha[..., None] * [1.0, 0.5, 0.0] + (1 - alpha[..., None]) * 0.25
    np.testing.assert_allclose(picture.color[0], color, atol=1e-12)
    np.testing.assert_allclose(picture.depth[0], 2.0 * (alpha > 0), atol=1e-12)
    assert picture.alpha[0, 6, 8] == pytest.approx(0.8, abs=1e-12)  # the principal point is a pixel's centre


def test_two_balls_composite_by_hand_whatever_their_order():
    near, far = ([1.0, 0.0, 0.0], 0.6, 1.5), ([0.0, 1.0, 0.0], 0.9, 3.0)
    for first, second in ((near, far), (far, near)):
        args = balls([first[2], second[2]], [0.5, 0.5], [first[1], second[1]], [first[0], second[0]])
        picture = rasterize(*args, **facing(), background=(0.0, 0.0, 1.0))
        seen, left = picture.color[0, 6, 8], 0.4 * 0.1
        torch.testing.assert_close(seen, torch.tensor([0.6, 0.4 * 0.9, left], dtype=torch.float64))
        assert picture.alpha[0, 6, 8] == pytest.approx(1 - left)
        assert picture.depth[0, 6, 8] == pytest.approx((0.6 * 1.5 + 0.36 * 3.0) / (1 - left))


def test_a_turned_needle_has_the_values_of_the_formula():
    quaternion = np.array([0.8, 0.1, -0.3, 0.5])
    mean, scale = np.array([0.3, -0.2, 1.7]), np.array([0.9, 0.05, 0.2])
    lens = facing()
    args = [torch.tensor(v)[None] for v in (mean, scale, quaternion, np.array(0.7), np.array([0.2, 0.4, 0.6]))]
    picture = rasterize(*args, **lens)
    center, covariance, _ = reference.ellipse(
        mean, scale, quaternion, np.eye(4), lens["intrinsics"][0].numpy(), (13, 17), 0.3
    )
    for v, u in ((6, 8), (5, 10), (3, 6), (7, 12)):
        d = np.array([u, v]) - center
        alpha = 0.7 * np.exp(-0.5 * d @ np.linalg.solve(covariance, d))
        assert picture.alpha[0, v, u] == pytest.approx(alpha if alpha >= 1 / 255 else 0, abs=1e-12)


def test_alpha_is_capped_and_pixels_end():
    """0.999 in front leaves 1e-3; the second would leave 1e-6 and is left out; the third never comes."""
    args = balls([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [1.0, 1.0, 0.05], [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    seen = rasterize(*args, **facing(), background=0.0)
    torch.testing.assert_close(seen.color[0, 6, 8], torch.tensor([0.999, 0, 0], dtype=torch.float64))
    assert seen.depth[0, 6, 8] == pytest.approx(1.0)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_scenes_equal_their_definition(seed, opaque):
    args, lens = reference.scene(seed, opaque=opaque), reference.cameras()
    picture = rasterize(*args, **lens, size=SIZE, background=0.5)
    pose, matrix = lens["world_from_cam"][0].numpy(), lens["intrinsics"][0].numpy()
    color, depth, alpha = reference.render(*(value.numpy() for value in args), pose, matrix, SIZE, 0.5)
    for ours, theirs in ((picture.color, color), (picture.depth, depth), (picture.alpha, alpha)):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-9)


def test_single_precision_equals_double():
    single, double = (
        rasterize(*reference.scene(3, 300, dtype, opaque=True), **reference.cameras(2, dtype), size=SIZE)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.color.dtype == torch.float32
    equal(single, double, 2e-4)


def test_long_needles_keep_their_narrow_side_in_single_precision():
    """The determinant of 500 x 0.5 pixels would be noise as a difference of products in float32."""
    pictures = []
    for dtype in (torch.float32, torch.float64):
        args = (
            torch.tensor([[0.0, 0, 1]], dtype=dtype), torch.tensor([[50.0, 1e-4, 1e-4]], dtype=dtype),
            torch.tensor([[math.cos(0.4), 0, 0, math.sin(0.4)]], dtype=dtype), torch.tensor([0.9], dtype=dtype),
            torch.tensor([[1.0, 0, 0]], dtype=dtype),
        )  # fmt: skip
        lens = {name: value.to(dtype) for name, value in facing().items() if name != "size"}
        pictures.append(rasterize(*args, **lens, size=(13, 17)))
    equal(*pictures, 1e-3)
    assert 0.1 < pictures[0].alpha.mean() < 0.4


def test_cameras_do_not_influence_each_other():
    args, lens = reference.scene(4), reference.cameras(3)
    together = rasterize(*args, **lens, size=SIZE)
    for index in range(3):
        alone = rasterize(*args, **{name: value[index, None] for name, value in lens.items()}, size=SIZE)
        assert torch.equal(together.color[index], alone.color[0])
        assert torch.equal(together.depth[index], alone.depth[0])


@pytest.mark.parametrize("portion", [2, 3, 5])
@pytest.mark.parametrize("harmonic", [False, True])
def test_cameras_rendered_together_equal_cameras_alone(portion, harmonic, monkeypatch):
    """Devices project and composite many cameras at once; processors one after the other."""
    args, lens = reference.scene(8, 150), reference.cameras(5)
    lens["intrinsics"] = lens["intrinsics"] * torch.linspace(0.6, 1.4, 5)[:, None, None].double()
    if harmonic:
        draw = torch.Generator().manual_seed(0)
        args = (*args[:4], 0.3 * torch.randn(150, 9, 3, generator=draw, dtype=torch.float64))
    found = []
    for cameras in (1, portion):
        monkeypatch.setattr(splatting, "_portion", lambda means, cameras=cameras: cameras)
        leaves = [value.clone().requires_grad_() for value in (*args, *lens.values())]
        poses = dict(zip(lens, leaves[5:], strict=True))
        picture = rasterize(*leaves[:5], **poses, size=SIZE)
        loss = picture.color.square().sum() + picture.depth.sin().sum()
        found.append((picture, torch.autograd.grad(loss, leaves)))
    equal(found[0][0], found[1][0], 1e-12)
    for alone, together in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(alone, together, atol=1e-10, rtol=1e-9)


def test_the_order_of_the_gaussians_does_not_matter():
    args, lens = reference.scene(5, 200), reference.cameras()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    equal(rasterize(*args, **lens, size=SIZE), rasterize(*(v[order] for v in args), **lens, size=SIZE), 1e-12)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(
    "cut",
    [
        {"side": 1}, {"side": 3}, {"side": 8}, {"side": 64}, {"side": 4, "depth": 1}, {"side": 4, "elements": 1},
        {"side": 4, "pairs": 1}, {"side": 4, "pairs": 300}, {"side": 4, "slots": 1},
        {"side": 4, "slots": 1 << 20, "elements": 1 << 23},
        {"side": 4, "ahead": 2}, {"side": 4, "depth": 2, "ahead": 3}, {"side": 4, "depth": 3, "ahead": 2, "pairs": 300},
    ],
)  # fmt: skip
def test_cutting_up_the_work_does_not_matter(cut, opaque):
    means, scales, rotations, opacities, colors = reference.scene(6, 120, opaque=opaque)
    lens = reference.cameras()
    inverse = torch.linalg.inv(lens["world_from_cam"])
    images, gradients = [], []
    for tiling in (Tiling(SIZE, 4), Tiling(SIZE, **cut)):
        leaf = means.clone().requires_grad_()
        world = gaussians(leaf, scales, rotations, opacities)
        splats = project(world, Lens(inverse, lens["intrinsics"], SIZE, 0.01, 1e10, 0.3))
        images.append(composite(splats, colors[splats.index], tiling))
        gradients += torch.autograd.grad(images[-1].square().sum(), leaf)
    torch.testing.assert_close(images[0], images[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize(
    "place",
    [(0, 0, -2.0), (0, 0, 0.005), (0, 0, 0.01), (60.0, 0, 2.0), (0, -60.0, 2.0), (0, 0, 2e10)],
    ids=["behind", "nearer than near", "at near", "right of the image", "above it", "beyond far"],
)
def test_what_cannot_be_seen_leaves_the_background(place):
    _, *rest = balls([2.0], [0.1], [0.9], [[1.0, 0, 0]])
    picture = rasterize(torch.tensor([place], dtype=torch.float64), *rest, **facing(), background=0.3)
    assert (picture.color == 0.3).all()
    assert not picture.alpha.any()
    assert not picture.depth.any()


def test_too_faint_gaussians_leave_the_background():
    assert not rasterize(*balls([2.0], [0.5], [0.0039], [[1.0, 0, 0]]), **facing()).alpha.any()
    assert rasterize(*balls([2.0], [0.5], [0.0040], [[1.0, 0, 0]]), **facing()).alpha.any()


def test_no_gaussians_and_no_cameras():
    nothing = tuple(value[:0] for value in reference.scene(0, 10))
    picture = rasterize(*nothing, **reference.cameras(2), size=SIZE, background=(0.1, 0.2, 0.3))
    assert picture.color.shape == (2, *SIZE, 3)
    torch.testing.assert_close(picture.color[1, 3, 4], torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    unseen = {name: value[:0] for name, value in reference.cameras().items()}
    assert rasterize(*reference.scene(0, 10), **unseen, size=SIZE).depth.shape == (0, *SIZE)


def test_plain_colors_keep_any_range():
    picture = rasterize(*balls([2.0], [3.0], [0.5], [[-1.0, 4.0, 0.0]]), **facing(), background=-1.0)
    torch.testing.assert_close(picture.color[0, 6, 8], torch.tensor([-1.0, 1.5, -0.5], dtype=torch.float64))


def test_harmonics_equal_their_closed_forms():
    """Y_lm from associated Legendre functions with the Condon-Shortley sign, for every l <= 3 and m."""
    from scipy.special import lpmv

    direction = np.array([0.3, -0.7, 0.5])
    x, y, z = direction / np.linalg.norm(direction)
    azimuth, expected = np.arctan2(y, x), []
    for l in range(4):  # noqa: E741
        for m in range(-l, l + 1):
            order = abs(m)
            norm = np.sqrt((2 * l + 1) / (4 * np.pi) * math.factorial(l - order) / math.factorial(l + order))
            legendre = lpmv(order, l, z)  # holds (-1)^m
            turn = 1.0 if m == 0 else np.sqrt(2) * (np.cos(m * azimuth) if m > 0 else np.sin(order * azimuth))
            expected.append(norm * legendre * turn)
    values = harmonics.basis(torch.tensor([[x, y, z]]), 3)[0]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_harmonics_color_a_gaussian_by_the_viewing_direction():
    means, scales, rotations, opacities, _ = balls([2.0], [0.5], [0.5], [[0.0] * 3])
    coefficients = torch.zeros(1, 4, 3, dtype=torch.float64)
    coefficients[0, 0] = torch.tensor([1.0, 0.0, -9.0])
    coefficients[0, 2, 1] = 0.6  # along z
    args = (means, scales, rotations, opacities, coefficients)
    seen = rasterize(*args, **facing(), background=0.0).color[0, 6, 8] / 0.5
    expected = [0.5 + 0.28209479177, 0.5 + 0.6 * 0.4886025119, 0.0]
    torch.testing.assert_close(seen, torch.tensor(expected, dtype=torch.float64))
    flat = rasterize(*args, **facing(), background=0.0, sh_degree=0).color[0, 6, 8] / 0.5
    assert flat[1] == pytest.approx(0.5)


def test_tiles_grow_with_the_gaussians():
    small, large = (reference.scene(0, 20)[1] * factor for factor in (0.1, 10))
    sides = []
    for scales in (small, large):
        means, _, rotations, opacities, _ = reference.scene(0, 20)
        lens = reference.cameras(focal=100.0)
        world = gaussians(means, scales, rotations, opacities)
        inverse = torch.linalg.inv(lens["world_from_cam"])
        splats = project(world, Lens(inverse, lens["intrinsics"], SIZE, 0.01, 1e10, 0.3))
        sides.append(splatting._tiling(SIZE, splats).side)
    assert sides[0] < sides[1]
