"""Published preparation of nuScenes: crops with their intrinsics, and LiDAR maps (Driv3R; vectors of random data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from worldline.inputs.logs.crops import crop_depth, crop_image, crop_intrinsics, lidar_maps, published_halves
from worldline.types import Camera

DATA = load_file(Path(__file__).parent / "data" / "driv3r" / "data.safetensors")
SIDES = {"a": 48, "b": 56}
NUSCENES_FRONT = np.array(
    [[1266.417203046554, 0, 816.2670197447984], [0, 1266.417203046554, 491.50706579294757], [0, 0, 1]]
)
PUBLISHED_FRONT = {"left": (315.1971740722656, 203.15980529785156), "right": (315.1971740722656, 28.6597900390625)}


def halves(case: str):
    size = DATA[f"crop.{case}.image_u8"].shape[:2]
    return zip(("left", "right"), published_halves(size, SIDES[case]), strict=True)


@pytest.mark.parametrize("case", SIDES)
def test_crops(case: str) -> None:
    for name, transform in halves(case):
        expected = DATA[f"crop.{case}.{name}.image_u8"]
        np.testing.assert_array_equal(crop_image(DATA[f"crop.{case}.image_u8"], transform), expected)


@pytest.mark.parametrize("case", SIDES)
def test_depth_crops(case: str) -> None:
    for name, transform in halves(case):
        found = crop_depth(DATA[f"crop.{case}.depth"], transform)
        np.testing.assert_allclose(found, DATA[f"crop.{case}.{name}.depth"], atol=1e-4)


@pytest.mark.parametrize("case", SIDES)
def test_intrinsics_of_crops(case: str) -> None:
    for name, transform in halves(case):
        found = crop_intrinsics(DATA[f"crop.{case}.intrinsics"].astype(np.float64), transform, official=True)
        np.testing.assert_allclose(found, DATA[f"crop.{case}.{name}.intrinsics"], atol=2e-5)


def test_intrinsics_of_the_front_camera() -> None:
    for name, transform in zip(PUBLISHED_FRONT, published_halves(), strict=True):
        found = crop_intrinsics(NUSCENES_FRONT, transform, official=True)
        np.testing.assert_allclose((found[0, 0], found[0, 2]), PUBLISHED_FRONT[name], atol=1e-4)
        np.testing.assert_allclose((found[1, 1], found[1, 2]), (315.1971740722656, 122.33065032958984), atol=1e-4)


def test_lidar_maps() -> None:
    lidar = DATA["lidar.lidar_to_world"].astype(np.float64)
    points = DATA["lidar.points"][:, :3] @ lidar[:3, :3].T + lidar[:3, 3]
    height, width = DATA["lidar.valid_mask"].shape[1:]
    pose = DATA["lidar.camera_to_world"].astype(np.float64)
    camera = Camera(DATA["lidar.intrinsics"].astype(np.float64), pose, height, width)
    maps = lidar_maps(points, camera, official=True)
    np.testing.assert_array_equal(maps.valid, DATA["lidar.valid_mask"][0])
    np.testing.assert_allclose(maps.points, DATA["lidar.pts3d"][0], atol=1e-4)
    # the published depth map comes from another function, which moves points outside to the border and lets points
    # behind the camera win; where it does neither, the maps agree
    inner = np.zeros_like(maps.valid)
    inner[1:-1, 1:-1] = True
    comparable = inner & maps.valid & (DATA["lidar.depth_map"] > 0)
    assert comparable.sum() > 50
    np.testing.assert_allclose(maps.depth[comparable], DATA["lidar.depth_map"][comparable], atol=1e-4)
    # nearest wins: never farther than the published choice, and pixels are centred
    nearest = lidar_maps(points, camera)
    assert nearest.valid.sum() > 50 and (nearest.depth[nearest.valid] > 0).all()
