"""Samples of procedural worlds: every product against another path to the same number."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError, OutputError
from worldline.worlds.cameras import photos as cameras
from worldline.worlds.rendering import cast as casting
from worldline.worlds.rendering.views import Tiling

SEED = worlds.TEST_SEEDS[0]


@pytest.fixture(scope="module")
def sample() -> worlds.WorldSample:
    return worlds.sample("rooms", SEED, views=4, height=96, width=128)


def in_camera(points: torch.Tensor, world_from_cam: torch.Tensor) -> torch.Tensor:
    inverse = torch.linalg.inv(world_from_cam)
    return points.double() @ inverse[:3, :3].T + inverse[:3, 3]


def test_shapes_and_types(sample):
    assert sample.images.shape == (4, 96, 128, 3)
    assert sample.images.dtype == torch.uint8
    assert sample.depth.shape == (4, 96, 128)
    assert sample.depth.dtype == sample.points.dtype == sample.normals.dtype == torch.float32
    assert sample.intrinsics.dtype == sample.world_from_cam.dtype == torch.float64
    assert sample.instance.dtype == torch.int32
    assert sample.valid.all()  # rooms are closed
    rotation = sample.world_from_cam[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(sample.intrinsics[:, :2, 2], torch.tensor([63.5, 47.5], dtype=torch.float64))


def test_points_are_the_unprojected_depth(sample):
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).double()
    for view in range(4):
        rays = pixels @ torch.linalg.inv(sample.intrinsics[view]).T
        local = rays * sample.depth[view].double()[..., None]
        pose = sample.world_from_cam[view]
        expected = local @ pose[:3, :3].T + pose[:3, 3]
        assert (expected - sample.points[view]).abs().max() < 1e-5


def test_points_of_one_view_lie_on_the_depth_of_another(sample):
    """A new ray from camera b to a's point meets that point, or something nearer; never anything behind it."""
    world = worlds.describe("rooms", SEED, views=4)
    tables = casting.pack([world], "cpu")
    met = 0
    for a, b in ((0, 1), (1, 0), (2, 0), (3, 2)):
        local = in_camera(sample.points[a], sample.world_from_cam[b])
        pixel = local @ sample.intrinsics[b].T
        pixel = pixel[..., :2] / pixel[..., 2:]
        inside = (local[..., 2] > 0.1) & (pixel >= 0).all(-1) & (pixel <= torch.tensor([127.0, 95.0])).all(-1)
        x, y = (c.float().view(1, -1, 64) for c in pixel.unbind(-1))
        packets, _, _ = Tiling(1, 1, 96, 128).rays(x, y, sample.intrinsics[b : b + 1], sample.world_from_cam[b : b + 1])
        depth = casting.cast(tables, packets)[0].view(96, 128).double()
        assert (depth[inside] < local[..., 2][inside] * 1.0001 + 1e-4).float().mean() > 0.9995  # grazing round-off
        visible = inside & (local[..., 2] < depth + 0.02)
        # the rest are surfaces less than 2 cm behind another: a wall behind a picture
        assert ((local[..., 2] - depth)[visible].abs() < 1e-4).double().mean() > 0.95
        met += int(visible.sum())
        # the stored depth map of b says the same at the nearest pixel where the surface is smooth
        near_x, near_y = (c.round().long().clamp_min(0) for c in pixel.unbind(-1))
        near_x, near_y = near_x.clamp_max(127), near_y.clamp_max(95)
        stored = sample.depth[b][near_y, near_x].double()
        same = visible & (sample.instance[b][near_y, near_x] == sample.instance[a])
        assert ((stored - local[..., 2]).abs()[same] < 0.05 * stored[same]).double().mean() > 0.95
    assert met > 5000


def test_normals_are_unit_face_the_camera_and_match_the_points(sample):
    assert torch.allclose(sample.normals.norm(dim=-1), torch.ones(4, 96, 128), atol=1e-5)
    centers = sample.world_from_cam[:, None, None, :3, 3].float()
    facing = (sample.normals * (sample.points - centers)).sum(-1)
    assert (facing <= 1e-6).all()
    right = (sample.points[:, :, 2:] - sample.points[:, :, :-2])[:, 1:-1]
    down = (sample.points[:, 2:] - sample.points[:, :-2])[:, :, 1:-1]
    middle = sample.normals[:, 1:-1, 1:-1]
    smooth = torch.ones_like(middle[..., 0], dtype=torch.bool)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            rows, columns = slice(dy, dy + 94), slice(dx, dx + 126)
            smooth &= (sample.normals[:, rows, columns] * middle).sum(-1) > 0.999
            smooth &= sample.instance[:, rows, columns] == sample.instance[:, 1:-1, 1:-1]
    numeric = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    agreement = (numeric * middle).sum(-1)[smooth]
    assert smooth.float().mean() > 0.5
    assert (agreement > 0.99).float().mean() > 0.97  # parallel faces of one object make the rest
    assert agreement.median() > 0.99999


def test_a_seed_is_reproducible(sample):
    again = worlds.sample("rooms", SEED, views=4, height=96, width=128)
    for name in ("images", "depth", "normals", "instance", "intrinsics", "world_from_cam"):
        assert torch.equal(getattr(sample, name), getattr(again, name)), name
    other = worlds.sample("rooms", SEED + 1, views=4, height=96, width=128)
    assert not torch.equal(sample.world_from_cam, other.world_from_cam)


def test_a_seed_is_one_scene_at_every_resolution(sample):
    fine = worlds.sample("room", SEED, views=4, height=288, width=384)  # three times: centres of pixels coincide
    assert torch.equal(fine.world_from_cam, sample.world_from_cam)
    assert (
        (fine.depth[:, 1::3, 1::3] - sample.depth).abs() < 1e-3
    ).float().mean() > 0.999  # but for round-off at edges
    assert (fine.instance[:, 1::3, 1::3] == sample.instance).float().mean() > 0.999
    coarse = torch.nn.functional.avg_pool2d(fine.images.permute(0, 3, 1, 2).float(), 3).permute(0, 2, 3, 1)
    assert (coarse - sample.images.float()).abs().mean() < 12  # same picture up to aliasing and noise


def test_more_views_extend_fewer(sample):
    longer = worlds.describe("rooms", SEED, views=9)
    assert np.array_equal(longer.cameras.world_from_cam[:4], sample.world_from_cam.numpy())
    assert np.array_equal(longer.photo.seed[:4], worlds.describe("rooms", SEED, views=4).photo.seed)


def test_a_batch_is_its_samples(sample):
    batch = worlds.sample_batch("rooms", [SEED + 1, SEED], views=4, height=96, width=128)
    assert [s.seed for s in batch] == [SEED + 1, SEED]
    assert torch.equal(batch[1].instance, sample.instance)
    assert torch.allclose(batch[1].depth, sample.depth, rtol=1e-5)
    assert (batch[1].images.float() - sample.images.float()).abs().mean() < 0.1


def test_photos_are_textured_and_exposed(sample):
    shown = sample.images.float()
    assert 40 < shown.mean() < 200
    assert (shown.flatten(1).std(1) > 15).all()


def test_splits_are_disjoint():
    ranges = sorted((worlds.TRAIN_SEEDS, worlds.VALIDATION_SEEDS, worlds.TEST_SEEDS), key=lambda r: r.start)
    for before, after in pairwise(ranges):
        assert before.stop <= after.start
    assert all(len(r) >= 1000 for r in ranges)


def exact_overlap(sample: worlds.WorldSample, a: int, b: int) -> float:
    """Share of a's pixels that b sees, at the sample's own resolution, with a tight depth test."""
    height, width = sample.depth.shape[1:]
    local = in_camera(sample.points[a], sample.world_from_cam[b])
    pixel = local @ sample.intrinsics[b].T
    x, y = (pixel[..., :2] / pixel[..., 2:].clamp_min(1e-6)).round().long().unbind(-1)
    inside = (local[..., 2] > 0.05) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    there = sample.depth[b][y.clamp(0, height - 1), x.clamp(0, width - 1)].double()
    return float((inside & (local[..., 2] < there * 1.03 + 0.02)).double().mean())


def test_camera_sets_overlap_and_keep_their_distance():
    worst, all_overlaps = 1.0, []
    for seed in worlds.TEST_SEEDS[10:18]:
        sample = worlds.sample("rooms", seed, views=6, height=48, width=48)
        assert sample.depth.min() >= 0.3
        fov = 2 * torch.atan(24 / sample.intrinsics[:, 0, 0])
        assert ((fov.rad2deg() >= 49.9) & (fov.rad2deg() <= 90.1)).all()
        assert (fov == fov[0]).all()
        height = sample.world_from_cam[:, 2, 3]
        assert ((height >= 0.79) & (height <= 2.01)).all()
        for view in range(1, 6):
            best = max(exact_overlap(sample, view, earlier) for earlier in range(view))
            all_overlaps.append(best)
            worst = min(worst, best)
    overlaps = np.array(all_overlaps)
    assert worst > 0.12
    assert ((overlaps > 0.25) & (overlaps < 0.95)).mean() > 0.9
    assert 0.35 < overlaps.mean() < 0.8
    assert overlaps.std() > 0.08  # sets differ


def test_cameras_stay_clear_of_solids():
    for seed in worlds.TRAIN_SEEDS[:25]:
        world = worlds.describe("rooms", seed, views=6)
        centers = world.cameras.world_from_cam[:, :3, 3]
        # the corner of a 90 degree view then sees nothing below z = 0.3
        assert cameras.distance_to_solids(centers, world.primitives).min() >= 0.5
        assert (centers > world.room_low + 0.5).all()
        assert (centers < world.room_high - 0.5).all()


def test_rooms_hold_objects_of_every_kind():
    kinds, counts = set(), []
    for seed in worlds.TRAIN_SEEDS[:12]:
        world = worlds.describe("rooms", seed, views=1)
        kinds |= set(world.primitives.kind.tolist())
        counts.append(world.primitives.object_id.max() - 5)
        size = (world.room_high - world.room_low)[:2]
        assert ((size >= 3) & (size <= 8)).all()
        assert (world.primitives.center >= world.room_low - 0.05).all()
        assert (world.primitives.center <= world.room_high + 0.05).all()
    assert kinds == {0, 1, 2, 3}
    assert min(counts) >= 8


def test_principal_point_and_focal_options():
    sample = worlds.sample("rooms", SEED, views=3, height=40, width=60, principal_offset=0.05, focal_per_view=True)
    offset = sample.intrinsics[:, :2, 2] - torch.tensor([29.5, 19.5], dtype=torch.float64)
    assert offset.abs().max() > 0
    assert offset.abs().max() <= 0.05 * 60
    assert len(set(sample.intrinsics[:, 0, 0].tolist())) == 3


@pytest.mark.parametrize(
    "arguments", [{"layout": "moon"}, {"views": 0}, {"views": 1000}, {"seed": -1}, {"height": 0}, {"width": -5}]
)
def test_bad_arguments_are_explained(arguments):
    given = {"layout": "rooms", "seed": 1, "views": 2, "height": 16, "width": 16, **arguments}
    with pytest.raises(InputError) as caught:
        worlds.sample(given.pop("layout"), given.pop("seed"), **given)
    assert caught.value.remedy


def test_write_makes_whole_folders_and_keeps_existing_ones(tmp_path):
    first = worlds.write("rooms", 2, tmp_path, views=2, height=24, width=32)
    assert len(first) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in first)  # no temporary folders left
    scene = json.loads((first[0] / "scene.json").read_text())
    sample = worlds.sample("rooms", worlds.TEST_SEEDS[0], views=2, height=24, width=32)
    for view, frame in enumerate(scene["frames"]):
        assert (frame["width"], frame["height"]) == (32, 24)
        image = np.asarray(Image.open(first[0] / frame["image"]))
        assert np.array_equal(image, sample.images[view].numpy())
        depth = np.asarray(Image.open(first[0] / frame["depth"]))
        assert depth.dtype == np.uint16
        assert np.abs(depth / 1000.0 - sample.depth[view].numpy()).max() <= 0.501e-3
        assert np.allclose(frame["T_c2w"], sample.world_from_cam[view].numpy())
        matrix = sample.intrinsics[view].numpy()
        assert np.allclose(frame["K"], [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])
    marker = first[1] / "scene.json"
    marker.write_text("mine")
    second = worlds.write("rooms", 3, tmp_path, views=2, height=24, width=32, image_format="jpg")
    assert len(second) == 1
    assert marker.read_text() == "mine"
    assert (second[0] / "images" / "000000.jpg").exists()


def test_write_explains_bad_choices(tmp_path):
    with pytest.raises(InputError):
        worlds.write("rooms", 1, tmp_path, split="tset")
    with pytest.raises(InputError):
        worlds.write("rooms", 1, tmp_path, image_format="bmp")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError):
        worlds.write("rooms", 1, file / "below")
