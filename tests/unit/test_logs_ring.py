"""Neighbours on a rig, and squares that cover wide photos."""

from __future__ import annotations

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.inputs.logs import field_overlap, ring_neighbors
from worldline.inputs.logs.crops import crop_intrinsics, lidar_maps, published_halves, square_crops
from worldline.inputs.logs.poses import FLU_FROM_CV
from worldline.types import Camera, Rig
from worldline.worlds.cameras.rigs import draw_calibration

NUSCENES_RING = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
SIZE = (90, 160)


def rig_of(yaws: list[float], fov: float, places: list[tuple[float, float, float]] | None = None) -> Rig:
    """Cameras that look to the left by the given degrees."""
    mounts = []
    for index, yaw in enumerate(np.radians(yaws)):
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        turn[:3, 3] = places[index] if places else 0.0
        mounts.append(turn @ FLU_FROM_CV)
    focal = 0.5 * SIZE[1] / np.tan(np.radians(fov) / 2)
    matrix = np.array([[focal, 0, 79.5], [0, focal, 44.5], [0, 0, 1]])
    names = tuple(f"c{index}" for index in range(len(yaws)))
    return Rig(names, [matrix] * len(yaws), mounts, (SIZE,) * len(yaws))


def nuscenes_rig(seed: int) -> Rig:
    drawn = draw_calibration(np.random.default_rng(seed))
    matrices = []
    for fov, (dx, dy) in zip(drawn.fov, drawn.principal_offset, strict=True):
        focal = 800 / np.tan(fov / 2)
        matrices.append([[focal, 0, 799.5 + 1600 * dx], [0, focal, 449.5 + 1600 * dy], [0, 0, 1]])
    return Rig(drawn.sensors, matrices, drawn.rig_from_cam, ((900, 1600),) * 6)


@pytest.mark.parametrize("seed", range(20))
def test_six_cameras_form_a_ring(seed: int) -> None:
    rig = nuscenes_rig(seed)
    neighbors = ring_neighbors(rig)
    for place, name in enumerate(NUSCENES_RING):
        assert set(neighbors[name]) == {NUSCENES_RING[place - 1], NUSCENES_RING[(place + 1) % 6]}
    # names and order of the sensors play no part
    order = np.random.default_rng(seed).permutation(6)
    renamed = Rig(
        tuple(f"s{i}" for i in order), rig.intrinsics[order], rig.rig_from_cam[order], ((900, 1600),) * 6
    )  # fmt: skip
    again = ring_neighbors(renamed)
    for place, name in enumerate(rig.sensors):
        assert {rig.sensors[int(other[1:])] for other in again[f"s{place}"]} == set(neighbors[name])


def test_narrow_cameras_of_a_ring_have_the_next_directions() -> None:
    neighbors = ring_neighbors(rig_of([0, 60, 120, 180, 240, 300], 40))
    assert [set(neighbors[f"c{i}"]) for i in range(6)] == [{f"c{(i + 1) % 6}", f"c{(i - 1) % 6}"} for i in range(6)]
    assert {len(found) for found in ring_neighbors(rig_of([0, 120, 240], 60)).values()} == {2}


def test_stereo_single_and_opposite_cameras() -> None:
    stereo = rig_of([0, 0], 90, [(0, 0.27, 1.6), (0, -0.27, 1.6)])
    assert ring_neighbors(stereo) == {"c0": ("c1",), "c1": ("c0",)}
    assert ring_neighbors(rig_of([0], 90)) == {"c0": ()}
    assert ring_neighbors(rig_of([0, 180], 90)) == {"c0": (), "c1": ()}
    assert ring_neighbors(Rig(("a", "b"))) == {"a": (), "b": ()}


def test_overlap_is_the_share_of_rays() -> None:
    """Two cameras of 90 degrees, turned by 45: the common 45 degrees are half of each image."""
    shares = field_overlap(rig_of([0, 45], 90))
    np.testing.assert_allclose(np.diag(shares), 1)
    assert shares[0, 1] == pytest.approx(shares[1, 0], abs=1e-9)
    assert 0.3 < shares[0, 1] < 0.5  # the rows above and below fan out
    assert field_overlap(Rig(("a",))) is None


def test_the_place_of_a_camera_counts_near_by() -> None:
    """Parallel narrow cameras 1 m apart see the same at infinity, and 43 % less at 10 m: overlap is the larger."""
    apart = rig_of([0, 0], 13, [(0, 0.5, 0), (0, -0.5, 0)])
    assert field_overlap(apart)[0, 1] == 1.0
    # turned away from each other by their own field of view they share nothing far away, but do at 10 m
    toed_in = rig_of([-14, 14], 26, [(0, 0.5, 0), (0, -0.5, 0)])
    assert 0 < field_overlap(toed_in)[0, 1] < 0.2


@pytest.mark.parametrize("size", [(900, 1600), (1600, 900), (375, 1242), (224, 224), (100, 101), (10, 300)])
@pytest.mark.parametrize("side", [224, 64])
def test_squares_cover_the_photo(size: tuple[int, int], side: int) -> None:
    crops = square_crops(size, side)
    resized = crops[0].resized_size
    axis = int(size[1] >= size[0])
    starts = [crop.crop_offset[axis] for crop in crops]
    assert min(resized) == side == crops[0].model_size[0] and {crop.resized_size for crop in crops} == {resized}
    assert starts[0] == 0 and starts[-1] + side == resized[axis]
    steps = np.diff(starts)
    assert (steps <= side * 7 / 8).all() and (not len(steps) or np.ptp(steps) <= 1)
    assert all(crop.crop_offset[1 - axis] == 0 and crop.inside.all() for crop in crops)
    fewest = 1 if resized[axis] == side else 2
    assert len(crops) >= fewest and (len(crops) == fewest or resized[axis] > side * 1.8)


def test_the_squares_of_nuscenes_are_the_published_ones() -> None:
    assert tuple(square_crops((900, 1600), 224)) == published_halves()
    with pytest.raises(InputError, match="covered"):
        square_crops((0, 5), 224)
    with pytest.raises(InputError, match="no left and right"):
        published_halves((300, 200))


def test_exact_intrinsics_of_a_crop_see_the_same_pixels() -> None:
    matrix = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
    points = np.random.default_rng(0).uniform((-3, -2, 4), (3, 2, 30), (50, 3))
    whole = Camera(matrix, np.eye(4), 900, 1600)
    for crop in published_halves():
        part = Camera(crop_intrinsics(matrix, crop), np.eye(4), 224, 224)
        np.testing.assert_allclose(part.project(points)[0], crop.to_model(whole.project(points)[0]), atol=1e-9)
    left, right = published_halves()
    published = [crop_intrinsics(matrix, crop, official=True) for crop in (left, right)]
    assert published[0][0, 2] - published[1][0, 2] == pytest.approx(174.5)  # half a pixel more than they are apart


def test_the_nearest_lidar_point_wins_and_pixels_are_rounded() -> None:
    camera = Camera(np.array([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]]), np.eye(4), 9, 9)
    points = np.array([[0, 0, 5.0], [0.06, 0, 1.0], [0, 0, 9.0], [0, 0, -3.0], [9, 0, 1.0]])
    ours, published = lidar_maps(points, camera), lidar_maps(points, camera, official=True)
    assert ours.depth[4, 4] == 5 and ours.depth[4, 5] == 1 and ours.valid.sum() == 2
    assert published.depth[4, 4] == 9 and published.valid.sum() == 1
    assert ours.points[4, 5] == pytest.approx([0.06, 0, 1])
