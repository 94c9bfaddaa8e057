"""The pool keeps scenes exactly, and every augmentation stays geometrically true."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldline.errors import InputError
from worldline.train import data
from worldline.train.batches import ColorChange, draw_batch
from worldline.train.correspondence import choose_views, overlap
from worldline.train.data import PosedImages


@pytest.fixture
def scene() -> PosedImages:
    """Slanted planes in front of two cameras, one pixel invalid."""
    size, rng = 32, np.random.default_rng(0)
    intrinsics = np.tile(np.array([[40, 0, 15.0], [0, 42, 16.5], [0, 0, 1]], np.float32), (2, 1, 1))
    poses = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    angle = 0.3
    poses[1, :3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    poses[1, :3, 3] = [0.5, -0.2, 0.1]
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    depth = np.stack([1 / (0.3 + 0.003 * x + 0.001 * y), 1 / (0.2 + 0.002 * x - 0.002 * y)]).astype(np.float32)
    depth[0, 5, 7] = 0
    return PosedImages(rng.integers(0, 255, (2, size, size, 3), dtype=np.uint8), depth, intrinsics, poses)


def reproject(scene: PosedImages) -> np.ndarray:
    """Pixel of every point in its own camera."""
    cam_from_world = np.linalg.inv(scene.world_from_cam)
    local = np.einsum("vij,vhwj->vhwi", cam_from_world[:, :3, :3], scene.points) + cam_from_world[:, None, None, :3, 3]
    pixels = np.einsum("vij,vhwj->vhwi", scene.intrinsics, local)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pixels[..., :2] / pixels[..., 2:]


def grid(size: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)


def test_pool_round_trip(scene, tmp_path):
    data.save_scene(scene, tmp_path / "a.safetensors")
    back = data.load_scene(tmp_path / "a.safetensors")
    assert np.array_equal(back.images, scene.images)
    assert np.array_equal(back.valid, scene.valid)
    np.testing.assert_allclose(back.depth, scene.depth, rtol=1e-3)
    assert data.pool_files(tmp_path) == [tmp_path / "a.safetensors"]
    (tmp_path / "b.safetensors").write_text("nonsense")
    with pytest.raises(InputError, match="not a scene"):
        data.load_scene(tmp_path / "b.safetensors")


def test_points_and_mirrored_points_reproject_to_their_pixels(scene):
    for candidate in (scene, data.mirror(scene), data.shrink(scene, 16), data.mirror(data.shrink(scene, 16))):
        error = np.abs(reproject(candidate) - grid(candidate.depth.shape[1]))
        assert error[candidate.valid].max() < 1e-3


def test_mirror_negates_world_x(scene):
    expected = scene.points[:, :, ::-1] * [-1, 1, 1]
    mask = scene.valid[:, :, ::-1]
    np.testing.assert_allclose(data.mirror(scene).points[mask], expected[mask], atol=1e-5)


def test_shrunk_planes_stay_planes(scene):
    small = data.shrink(scene, 16)
    size = 16
    x, y = 2 * grid(size)[..., 0] + 0.5, 2 * grid(size)[..., 1] + 0.5
    exact = 1 / (0.2 + 0.002 * x - 0.002 * y)
    np.testing.assert_allclose(small.depth[1], exact, rtol=1e-5)
    assert small.valid.all()  # the block with one invalid pixel keeps its nearest surface
    with pytest.raises(InputError, match="cannot be reduced"):
        data.shrink(scene, 15)


def test_colours_change_but_stay_in_range(scene):
    colors = torch.from_numpy(scene.images)[None].float() / 255
    changed, again = (ColorChange.draw(1, 2, np.random.default_rng(1)).apply(colors) for _ in range(2))
    assert changed.shape == colors.shape
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - colors).abs().mean() > 0.005
    assert torch.equal(changed, again)


def test_batches_are_reproducible_and_check_the_number_of_views(scene):
    first, second = (draw_batch([scene, scene], np.random.default_rng(3), 2, 16).develop() for _ in range(2))
    assert first.images.shape == (2, 2, 3, 16, 16)
    assert first.points.shape == (2, 2, 16, 16, 3)
    assert torch.equal(first.images, second.images)
    assert first.images.abs().max() <= 1
    assert torch.equal((first + second).images[2:], second.images)
    with pytest.raises(InputError, match="asks for 3 views"):
        draw_batch([scene], np.random.default_rng(3), 3, 16)


def test_developed_points_are_those_of_the_scene(scene):
    batch = draw_batch([scene], np.random.default_rng(0), 2, 32, augment=False).develop()
    order = [0, 1] if torch.equal(batch.world_from_cam[0, 0], torch.eye(4)) else [1, 0]
    valid = scene.valid[order]
    assert np.array_equal(batch.valid[0].numpy(), valid)
    np.testing.assert_allclose(batch.points[0].numpy()[valid], scene.points[order][valid], atol=1e-5)
    np.testing.assert_allclose(batch.images[0].permute(0, 2, 3, 1).numpy(), scene.images[order] / 127.5 - 1, atol=1e-6)


def test_views_of_nothing_but_sky_give_a_finite_batch(scene):
    sky = replace(scene, depth=np.zeros_like(scene.depth))
    half = replace(scene, depth=scene.depth * np.float32([[[0]], [[1]]]))
    batch = draw_batch([sky, half], np.random.default_rng(0), 2, 16).develop()
    assert torch.isfinite(batch.points).all() and torch.isfinite(batch.images).all()
    assert not batch.valid[0].any() and (batch.matches[0] == -1).all()
    assert {choose_views(overlap(half), 1, np.random.default_rng(seed))[0] for seed in range(9)} == {1}


def test_chosen_views_are_connected(scene):
    shares = overlap(scene, stride=4)
    assert np.diag(shares).min() > 0.95
    assert shares.shape == (2, 2)
    chain = np.eye(6) + 0.5 * (np.eye(6, k=1) + np.eye(6, k=-1))
    for seed in range(20):
        chosen = choose_views(chain, 3, np.random.default_rng(seed))
        assert max(chosen) - min(chosen) == 2  # three neighbours of the chain
    turned = scene.world_from_cam.copy()
    turned[1, :3, :3] = np.diag([-1, 1, -1])
    apart = PosedImages(scene.images, scene.depth, scene.intrinsics, turned)
    assert overlap(apart, stride=4)[0, 1] == 0
