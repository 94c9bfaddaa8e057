"""Surface splatting against what is known exactly: planes, edges, single points, colours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from synthetic_scene import look_at
from worldline.errors import InputError
from worldline.outputs.render.picture import Layers, background_color, depth_colors, finer
from worldline.outputs.render.points import PointOptions, Surfels, draw_surfels
from worldline.outputs.render.surfels import flying, relief, surfels_of, thinned
from worldline.scene import SceneView
from worldline.types import Camera, ImageTransform

HEIGHT, WIDTH = 30, 40
ALL = np.ones((HEIGHT, WIDTH), bool)


def camera(pose: np.ndarray | None = None, *, scale: int = 1, focal: float = 45.0) -> Camera:
    matrix = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    return finer(Camera(matrix, np.eye(4) if pose is None else pose, HEIGHT, WIDTH), scale)


def rays(of: Camera) -> np.ndarray:
    """World directions of all pixels, of depth one."""
    rows, columns = np.mgrid[0 : of.height, 0 : of.width].astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1)
    return pixels @ np.linalg.inv(of.intrinsics).T @ of.world_from_cam[:3, :3].T


def plane_depth(of: Camera, normal: np.ndarray, offset: float) -> np.ndarray:
    """Depth of the plane normal . x = offset in every pixel."""
    return (offset - of.center @ normal) / (rays(of) @ normal)


def view_of(depth: np.ndarray, of: Camera, *, image: np.ndarray | None = None) -> SceneView:
    """A view whose pixels have these depths."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*depth.shape, 3), dtype=np.uint8) if image is None else image
    return SceneView(
        name="view", image=image, transform=ImageTransform.identity(*depth.shape), camera=of,
        points=(of.center + depth[..., None] * rays(of)).astype(np.float32), depth=depth.astype(np.float32),
        confidence=np.ones(depth.shape, np.float32), mask=depth > 0,
    )  # fmt: skip


TILTED = np.array([0.3, -0.2, 1.0])


def test_a_view_drawn_at_its_own_camera_is_itself() -> None:
    view = view_of(plane_depth(camera(), TILTED, 4.0), camera())
    drawn = draw_surfels(surfels_of(view, ALL), camera())
    assert (drawn.on((1, 1, 1)).color == view.image).all()
    np.testing.assert_allclose(drawn.depth, view.depth, rtol=1e-5)
    assert (drawn.alpha == 1).all()


def test_a_plane_has_its_depth_and_no_holes_from_anywhere() -> None:
    surfels = surfels_of(view_of(plane_depth(camera(), TILTED, 4.0), camera()), ALL)
    for eye in ((0.8, 0.3, 1.5), (-1.0, 0.4, 2.0), (0.3, 0.2, -3.0)):  # nearer (magnified), aside, farther
        target = camera(look_at(eye, (0.1, 0.0, 4.2)), scale=3)
        drawn = draw_surfels(surfels, target, PointOptions(fill=0))
        covered = drawn.alpha.numpy() > 0
        # where it must be: every pixel that sees the inner part of the photographed piece of the plane
        points = target.center + plane_depth(target, TILTED, 4.0)[..., None] * rays(target)
        pixels, _ = camera().project(points)
        margin = np.minimum(pixels, np.array([WIDTH - 1, HEIGHT - 1]) - pixels).min(-1)
        assert covered[margin > 0].all()
        assert not covered[margin < -1.3].any()  # half a pixel of its own, a quarter of overlap, the pixel filter
        expected = plane_depth(target, TILTED, 4.0)
        np.testing.assert_allclose(drawn.depth.numpy()[covered], expected[covered], rtol=2e-3)


def test_the_nearer_surface_hides_the_farther_one() -> None:
    red, blue = (np.broadcast_to(np.uint8(c), (HEIGHT, WIDTH, 3)).copy() for c in ((255, 0, 0), (0, 0, 255)))
    far = view_of(np.full((HEIGHT, WIDTH), 5.0), camera(), image=blue)
    near_depth = np.zeros((HEIGHT, WIDTH))
    near_depth[10:20, 15:25] = 3.0
    near = view_of(near_depth, camera(), image=red)
    parts = [surfels_of(far, far.mask), surfels_of(near, near.mask)]
    for order in (parts, parts[::-1]):
        color = draw_surfels(order, camera()).on((1, 1, 1)).color
        assert (color[near.mask] == (255, 0, 0)).all()
        rest = ~near.mask
        rest[9:21, 14:26] = False  # its edge is allowed a quarter of a pixel
        assert (color[rest] == (0, 0, 255)).all()


def test_a_joined_cloud_is_drawn_like_its_parts() -> None:
    first = surfels_of(view_of(plane_depth(camera(), TILTED, 4.0), camera()), ALL)
    second = surfels_of(view_of(np.full((HEIGHT, WIDTH), 3.9), camera()), np.tri(HEIGHT, WIDTH, dtype=bool))
    together, apart = draw_surfels(Surfels.join([first, second]), camera()), draw_surfels([first, second], camera())
    assert torch.allclose(together.color, apart.color, atol=1e-5)


def single(x: float, y: float, size: float = 0.02, depth: float = 2.0) -> Surfels:
    """One surfel whose centre is seen at pixel (x, y); ``size`` in pixels."""
    direction = np.linalg.inv(camera().intrinsics) @ (x, y, 1)
    points = torch.tensor(np.array([depth * direction]), dtype=torch.float32)
    axes = torch.tensor([[[size * depth / 45, 0, 0], [0, size * depth / 45, 0]]])
    normals = torch.tensor([[0.0, 0, 1]])
    return Surfels(points, axes, normals, torch.tensor([[0.2, 0.4, 0.6]]), torch.ones(1))


@pytest.mark.parametrize(("x", "y"), [(7.0, 3.0), (7.4, 2.6), (0.0, 0.0), (39.0, 29.0), (12.49, 5.51)])
def test_a_small_point_is_one_pixel_at_the_nearest_centre(x: float, y: float) -> None:
    drawn = draw_surfels(single(x, y), camera(), PointOptions(fill=0))
    assert [tuple(place) for place in drawn.alpha.nonzero().tolist()] == [(round(y), round(x))]
    assert drawn.on((1, 1, 1)).color[round(y), round(x)].tolist() == [51, 102, 153]
    assert float(drawn.depth.max()) == pytest.approx(2.0)


def test_a_point_grows_as_one_comes_closer() -> None:
    widths = []
    for depth in (4.0, 2.0, 1.0):
        drawn = draw_surfels(single(20, 15, size=8 * 2 / depth, depth=depth), camera(), PointOptions(fill=0))
        widths.append(int((drawn.alpha[15] > 0).sum()))
    assert widths == [6, 12, 24] or np.allclose(widths, [6, 12, 24], atol=1)  # 0.75 steps to both sides


def test_points_behind_and_beside_the_camera_are_not_drawn() -> None:
    clouds = [
        dataclasses.replace(single(20, 15), points=torch.tensor([place]))
        for place in ([0.0, 0, -2], [0.0, 0, 0], [90.0, 0, 1])
    ]
    behind = Surfels.join(clouds)
    assert not draw_surfels(behind, camera()).alpha.any()
    assert not draw_surfels(Surfels.none(), camera()).alpha.any()


def test_surfaces_seen_from_behind_can_be_left_out() -> None:
    surfels = surfels_of(view_of(plane_depth(camera(), TILTED, 4.0), camera()), ALL)
    behind = camera(look_at((0.2, 0.1, 8.0), (0.1, 0.0, 4.0)))
    assert draw_surfels(surfels, behind).alpha.mean() > 0.5
    assert not draw_surfels(surfels, behind, PointOptions(one_sided=True)).alpha.any()
    assert (draw_surfels(surfels, camera(), PointOptions(one_sided=True)).alpha == 1).all()


def test_pinholes_are_filled_and_real_holes_are_not() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[5, 5] = depth[5:7, 20:22] = 0  # pinholes
    depth[15:25, 10:20] = 0
    view = view_of(depth, camera(), image=grey)
    surfels = surfels_of(view, view.mask)
    plain = draw_surfels(surfels, camera(), PointOptions(fill=0, size=0.5))
    filled = draw_surfels(surfels, camera(), PointOptions(fill=2, size=0.5))
    assert plain.alpha[5, 5] == 0 and filled.alpha[5, 5] == 1 and filled.alpha[5:7, 20:22].all()
    assert not filled.alpha[17:23, 12:18].any()
    color, covered = filled.on((0, 0, 0)).color, filled.alpha.numpy() > 0
    assert (color[covered] == 90).all()
    np.testing.assert_allclose(filled.depth.numpy()[covered], 3.0, rtol=1e-5)


def test_nearby_surfaces_are_averaged_by_weight_and_distant_ones_are_not() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    dark, light = (
        view_of(depth * factor, camera(), image=np.full((HEIGHT, WIDTH, 3), level, np.uint8))
        for factor, level in ((1, 40), (1.01, 160))
    )
    parts = [surfels_of(dark, ALL), surfels_of(light, ALL)]
    merged = draw_surfels(parts, camera(), PointOptions(merge=0.02)).on((0, 0, 0)).color
    assert (np.abs(merged.astype(int) - 100) <= 2).all()
    apart = draw_surfels(parts, camera(), PointOptions(merge=0.001)).on((0, 0, 0)).color
    assert (apart == 40).all()


def test_points_between_two_surfaces_fly_and_those_of_edges_and_slopes_do_not() -> None:
    columns = np.arange(WIDTH)
    edge = np.where(columns < 20, 2.0, 5.0)
    smeared = np.interp(columns, [18, 22], [2.0, 5.0])
    ground = 1.5 * 45 / np.maximum(np.arange(HEIGHT) - 8.0, 1)  # a road up to the horizon
    ground = np.broadcast_to(ground[:, None], (HEIGHT, WIDTH)).copy()
    assert not flying(view_of(np.tile(edge, (HEIGHT, 1)), camera())).any()
    assert not flying(view_of(plane_depth(camera(), TILTED, 4.0), camera())).any()
    assert not flying(view_of(ground, camera()))[12:].any()
    found = flying(view_of(np.tile(smeared, (HEIGHT, 1)), camera()))
    assert found[:, 19:22].all() and not found[:, :18].any() and not found[:, 23:].any()


def test_the_tilt_of_a_plane_is_exact_and_ends_at_edges() -> None:
    depth = plane_depth(camera(), TILTED, 4.0)
    surface = relief(view_of(depth, camera()))
    expected = np.gradient(np.log(depth))
    for axis in (0, 1):
        np.testing.assert_allclose(surface.slopes[axis], expected[1 - axis], atol=2e-4)
    assert (surface.extents == 1).all()
    step = np.where(np.arange(WIDTH) < 20, 1.0, 2.0) * depth
    extents = relief(view_of(step, camera())).extents
    assert (extents[0][:, 19:21] < 1).all() and (extents[0][:, :19] == 1).all() and (extents[1] == 1).all()


def test_what_many_views_saw_alike_is_kept_once() -> None:
    view = view_of(plane_depth(camera(), TILTED, 4.0), camera())
    once = surfels_of(view, ALL)
    four = thinned(Surfels.join([once] * 4))
    assert len(four) == len(thinned(once)) and len(four) > 0.9 * len(once)
    mirrored = dataclasses.replace(once, normals=-once.normals)
    assert len(thinned(Surfels.join([once, mirrored]))) == 2 * len(four)  # the other side is another surface
    drawn = draw_surfels(four, camera(look_at((0.4, 0.1, 1), (0.1, 0, 4))), PointOptions(fill=0))
    assert drawn.alpha[5:25, 5:35].all()


def test_a_coarser_grid_closes_too() -> None:
    view = view_of(plane_depth(camera(), TILTED, 4.0), camera())
    coarse = surfels_of(view, ALL, step=3)
    assert len(coarse) == 10 * 13
    assert draw_surfels(coarse, camera(), PointOptions(fill=0)).alpha[1:-1, 1:-1].all()


def test_finer_cameras_see_the_same() -> None:
    points = np.array([[0.3, -0.2, 4.0]])
    coarse, fine = camera(), camera(scale=4)
    np.testing.assert_allclose((fine.project(points)[0] - 1.5) / 4, coarse.project(points)[0])
    color = torch.rand(4 * HEIGHT, 4 * WIDTH, 3)
    depth = torch.rand(4 * HEIGHT, 4 * WIDTH) + 1
    depth[:4, :4] = 0
    depth[1, 1] = 9.0
    reduced = Layers(color, depth, (depth > 0).float()).reduced(4)
    assert reduced.alpha[0, 0] == 1 / 16 and reduced.depth[0, 0] == 9.0
    assert torch.allclose(reduced.color[2, 3], color[8:12, 12:16].mean((0, 1)))


def test_backgrounds() -> None:
    assert background_color("#ff8000") == pytest.approx((1, 128 / 255, 0))
    assert background_color("black") == (0, 0, 0) and background_color(0.5) == (0.5, 0.5, 0.5)
    for wrong in ("pink-ish", "#12345", 1.5, (0.1, 0.2), (0, 0, -1)):
        with pytest.raises(InputError, match="background"):
            background_color(wrong)  # type: ignore[arg-type]


def test_depth_has_even_steps_of_inverse_depth() -> None:
    layers = Layers(torch.zeros(1, 3, 3), torch.tensor([[1.0, 4 / 3, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    colors = depth_colors(layers.on((1, 1, 1)), 1.0, 2.0, (1, 1, 1))
    assert colors[0, 2].tolist() == [255, 255, 255]
    ends = []
    for depth in (1.0, 2.0):
        one = Layers(torch.zeros(1, 1, 3), torch.tensor([[depth]]), torch.ones(1, 1)).on((1, 1, 1))
        ends.append(depth_colors(one, 1.0, 2.0, (1, 1, 1))[0, 0])
    assert colors[0, 0].tolist() == ends[0].tolist() != ends[1].tolist()
