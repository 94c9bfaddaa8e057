"""Clips and the queries drawn from them: exact against the geometry of worlds, and unchanged by every augmentation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from synthetic_clip import make_clip, texture
from worldline import worlds
from worldline.errors import InputError
from worldline.train.clips.batches import ClipOptions, CropOptions, draw_box, draw_clip, draw_clips, square_images
from worldline.train.clips.clips import SKY, Clip, ClipTracks, from_video, load_clip, render_clip, save_clip
from worldline.train.clips.colors import ClipColors, ColorOptions, blurred
from worldline.train.clips.queries import QueryOptions, Sources, answer, draw_queries, draw_sources
from worldline.worlds.truth.queries import query

EXACT = ColorOptions(0, 0, 0, 0, 0, 0)


def test_targets_are_those_of_the_world() -> None:
    height, width = 45, 60
    sample = worlds.sample("dynamic", 12, views=3, height=height, width=width, shooting="video", rate=2.0)
    clip = from_video(sample)
    asked = draw_queries(clip, QueryOptions(600, moving=0.3), np.random.default_rng(0))
    true = query(sample.world, asked.u, asked.v, asked.t_src, asked.t_tgt, asked.t_cam, height=height, width=width)
    assert true.valid.all() and asked.has_points.all()
    moving = np.linalg.norm(true.motion, axis=-1) > 0.01
    assert moving.sum() > 20
    reach = np.linalg.norm(true.position, axis=-1)
    assert (np.abs(asked.points - true.position).max(-1) < 1e-3 * np.maximum(reach, 1)).all()  # depth is stored in half
    np.testing.assert_allclose(asked.motion, true.motion, atol=0.02)
    np.testing.assert_allclose(asked.motion[moving], true.motion[moving], rtol=0.02, atol=0.01)
    seen = asked.has_uv & true.visible
    assert seen.mean() > 0.4 and np.abs(asked.uv - true.uv)[seen].max() < 1e-3
    assert asked.has_normal.mean() > 0.95
    assert np.quantile((asked.normal * true.normal).sum(-1)[asked.has_normal], 0.01) > 0.99
    assert (asked.visible == true.visible)[asked.has_visible].mean() > 0.97
    hidden = ~true.visible & asked.has_visible
    assert hidden.sum() > 20 and (~asked.visible)[hidden].mean() > 0.9
    same = asked.t_src == asked.t_tgt
    assert asked.visible[same].all() and not asked.motion[same].any()


def test_a_pool_file_is_the_clip(tmp_path: Path) -> None:
    clip = with_tracks(make_clip())
    save_clip(clip, tmp_path / "a.safetensors")
    again = load_clip(tmp_path / "a.safetensors")
    for field in fields(Clip)[:-1]:
        np.testing.assert_allclose(getattr(again, field.name), getattr(clip, field.name), rtol=1e-3, err_msg=field.name)
    assert all(np.array_equal(getattr(again.tracks, name), value) for name, value in vars(clip.tracks).items())
    save_clip(replace(clip, tracks=None, body=None, world_from_body=None, normals=None), tmp_path / "b.safetensors")
    assert load_clip(tmp_path / "b.safetensors").body is None
    (tmp_path / "c.safetensors").write_bytes(b"no clip")
    with pytest.raises(InputError, match="not a clip"):
        load_clip(tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="neither depth nor tracks"):
        replace(clip, depth=None, tracks=None)
    with pytest.raises(InputError, match="body and world_from_body"):
        replace(clip, body=None)


def test_what_cannot_be_filmed_is_refused() -> None:
    with pytest.raises(InputError, match="not filmed"):
        render_clip("outdoor", 0)


def test_crops_mirrors_and_reversals_move_everything_together() -> None:
    """The colour of every image at (u, v), and at uv where the point is visible, is that of the surface."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        clip = make_clip(seed, frames=6)
        options = ClipOptions(
            3 + seed % 2, 64, QueryOptions(300, edges=0.0), CropOptions(area=(0.4, 1.0), zoom=0.0), EXACT
        )  # fmt: skip
        part = draw_clip(clip, options, rng)
        asked = draw_queries(part, options.queries, rng)
        images = square_images(part, 64).float()
        inner = np.abs(np.stack([asked.u, asked.v], -1) - 0.5).max(-1) < 0.47
        flat = colors_at(images, asked.t_src, asked.u, asked.v)
        body, place = surfaces(part, asked.t_src, asked.u, asked.v)
        expected = texture(body, place if part_is_upright(part) else place * (-1, 1, 1))
        smooth = inner & far_from_edges(part, asked.t_src, asked.u, asked.v)
        assert smooth.sum() > 100
        assert np.abs(flat - expected)[smooth].max() < 3
        u, v = asked.uv.T
        again = (
            smooth & asked.visible & (np.abs(asked.uv - 0.5).max(-1) < 0.47) & far_from_edges(part, asked.t_tgt, u, v)
        )
        assert again.sum() > 50
        assert np.abs(colors_at(images, asked.t_tgt, u, v) - expected)[again].max() < 3


def test_answers_agree_with_the_cameras_of_the_changed_clip() -> None:
    """Points in the camera of t_tgt, projected with the intrinsics of the crop, are uv; poses join cameras."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        part = draw_clip(make_clip(seed), ClipOptions(4, 32, crop=CropOptions()), rng)
        height, width = part.size
        sources = draw_sources(part, QueryOptions(200), rng)
        assert sources is not None
        times, cameras = (rng.integers(4, size=200) for _ in range(2))
        own, other = answer(part, sources, times, times), answer(part, sources, times, cameras)
        pixel = np.einsum("nij,nj->ni", part.intrinsics[times], own.points)
        uv = (pixel[:, :2] / pixel[:, 2:] + 0.5) / (width, height)
        np.testing.assert_allclose(uv[own.has_uv], own.uv[own.has_uv], atol=1e-4)
        assert (own.has_uv & (own.points[:, 2] > 0)).mean() > 0.5
        change = np.linalg.inv(part.world_from_cam[cameras]) @ part.world_from_cam[times]
        moved = np.einsum("nij,nj->ni", change[:, :3, :3], own.points) + change[:, :3, 3]
        np.testing.assert_allclose(moved, other.points, atol=1e-4)
        turned = np.einsum("nij,nj->ni", change[:, :3, :3], own.normal)
        np.testing.assert_allclose(turned, other.normal, atol=1e-4)
        start = answer(part, sources, sources.frame, cameras)
        np.testing.assert_allclose(other.points - start.points, other.motion, atol=1e-4)
        assert np.linalg.det(part.world_from_cam[:, :3, :3]) == pytest.approx(1, abs=1e-5)


def test_mirrored_twice_is_the_clip() -> None:
    clip = with_tracks(make_clip())
    twice = clip.mirror().mirror()
    assert all(np.allclose(getattr(twice, name), value) for name, value in vars(clip).items() if name != "tracks")
    assert np.allclose(twice.tracks.world, clip.tracks.world)
    backwards = clip.choose(range(5, -1, -1))
    assert np.array_equal(backwards.tracks.visible[:, 0], clip.tracks.visible[:, 5])
    with pytest.raises(InputError, match="not inside"):
        clip.crop(10, 10, 40, 10)


def test_times_and_edges_are_drawn_as_published() -> None:
    clip, count = make_clip(sky=False), 20_000
    options = QueryOptions(count)
    asked = draw_queries(clip, options, np.random.default_rng(0))
    plain = draw_queries(clip, replace(options, edges=0.0), np.random.default_rng(0))
    for times in (plain.t_src, asked.t_tgt, asked.t_cam):  # edges are not in all frames equally often
        assert np.abs(np.bincount(times, minlength=6) / count - 1 / 6).max() < 0.02
    assert (asked.t_tgt == asked.t_cam).mean() == pytest.approx(0.4 + 0.6 / 6, abs=0.015)
    away = [~far_from_edges(clip, part.t_src, part.u, part.v, 1) for part in (asked, plain)]
    assert away[0].mean() == pytest.approx(0.3 + 0.7 * away[1].mean(), abs=0.03) and away[1].mean() < 0.2
    moving = draw_queries(clip, replace(options, edges=0.0, moving=0.4), np.random.default_rng(0))
    card, before = ((surfaces(clip, part.t_src, part.u, part.v)[0] == 1).mean() for part in (moving, plain))
    assert card == pytest.approx(0.4 + 0.6 * before, abs=0.02) and before < 0.3
    near = draw_queries(clip, QueryOptions(count, near=((0.5, 1), (0.25, 2))), np.random.default_rng(1))
    gap = np.abs(near.t_tgt - near.t_src)
    assert (gap <= 1).mean() > 0.6 > (np.abs(asked.t_tgt - asked.t_src) <= 1).mean()
    with pytest.raises(InputError, match="shares"):
        QueryOptions(near=((0.7, 1), (0.7, 2)))


def test_boxes_fit_and_keep_the_wanted_area() -> None:
    rng = np.random.default_rng(0)
    for size in ((120, 160), (160, 120), (64, 200)):
        boxes = np.array([draw_box(size, CropOptions(zoom=0.0), rng) for _ in range(400)])
        top, left, height, width = boxes.T
        assert (top >= 0).all() and (left >= 0).all()
        assert (top + height <= size[0]).all() and (left + width <= size[1]).all()
        share = height * width / np.prod(size)
        assert share.min() > 0.28 and share.max() > 0.95 and abs(share.mean() - 0.65) < 0.05
        assert np.ptp(np.log(width / height)) > 0.5
    zoomed = [draw_box((200, 200), CropOptions(zoom=1.0), rng) for _ in range(50)]
    assert all(0.08 < box[2] * box[3] / 200**2 < 0.32 for box in zoomed)


def test_trajectories_are_asked_about_like_pixels() -> None:
    dense = make_clip()
    clip = replace(with_tracks(dense, 400), body=None, world_from_body=None)
    part = clip.mirror().crop(4, 6, 30, 40).choose([5, 3, 1])
    asked = draw_queries(part, QueryOptions(500), np.random.default_rng(0))
    assert asked.has_points.all() and asked.has_visible.all() and 0.2 < asked.visible.mean() < 0.98
    assert ((asked.u >= 0) & (asked.u <= 1) & (asked.v >= 0) & (asked.v <= 1)).all()
    inside = ((asked.uv >= 0) & (asked.uv <= 1)).all(-1)
    assert not asked.visible[~inside].any()
    assert asked.visible[asked.t_src == asked.t_tgt].all()
    same = asked.has_normal
    assert same.any() and (asked.t_src == asked.t_tgt)[same].all()  # how a track's surroundings turn is unknown
    other = dense.mirror().crop(4, 6, 30, 40).choose([5, 3, 1])
    x, y = (np.round(part * size - 0.5).astype(int) for part, size in ((asked.u, 40), (asked.v, 30)))
    exact = draw_at(other, asked.t_src, x, y)
    true = answer(other, exact, asked.t_tgt, asked.t_cam)
    sharp = np.abs(true.u - asked.u) + np.abs(true.v - asked.v) < 1e-5  # tracks that start at pixel centres
    assert sharp.sum() > 50
    np.testing.assert_allclose(asked.points[sharp], true.points[sharp], atol=1e-3)
    assert (asked.visible == true.visible)[sharp].mean() > 0.97


def test_unknown_positions_of_tracks_are_no_targets() -> None:
    clip = replace(with_tracks(make_clip(), 200), depth=None, normals=None, body=None, world_from_body=None)
    valid = clip.tracks.valid.copy()
    valid[:, 3:] = False
    world = np.where(valid[..., None], clip.tracks.world, np.nan)
    asked = draw_queries(
        replace(clip, tracks=ClipTracks(world, clip.tracks.visible, valid)), QueryOptions(300), np.random.default_rng(0)
    )
    assert (asked.t_src < 3).all()
    assert np.array_equal(asked.has_points, asked.t_tgt < 3) and not asked.has_normal.any()
    assert all(np.isfinite(part).all() for part in asked)


def test_a_clip_of_sky_has_queries_without_targets() -> None:
    clip = make_clip()
    clip.body[:], clip.depth[:] = SKY, 0
    asked = draw_queries(clip, QueryOptions(50), np.random.default_rng(0))
    assert len(asked.u) == 50 and not any(getattr(asked, name).any() for name in asked._fields if name[:4] == "has_")


def test_depth_holes_make_visibility_unknown_and_sky_hides_nothing() -> None:
    clip = replace(make_clip(sky=False), body=None, world_from_body=None)
    clip.depth[2] = 0
    sources = draw_at(clip, np.zeros(50, int), np.arange(3, 53), np.full(50, 20))
    asked = answer(clip, sources, np.full(50, 2), np.zeros(50, int))
    inside = ((asked.uv >= 0) & (asked.uv <= 1)).all(-1)
    assert inside.any() and not asked.has_visible[inside].any() and asked.has_visible[~inside].all()
    assert asked.has_points.all()


def test_clips_are_too_short_for_a_step() -> None:
    with pytest.raises(InputError, match="asks for 9 frames, a clip has 6"):
        draw_clips([make_clip()], ClipOptions(9, 32), np.random.default_rng(0))


def test_the_same_draw_is_the_same_batch_and_colors_are_shared_by_a_clip() -> None:
    clips = [make_clip(seed) for seed in range(3)]
    options = ClipOptions(4, 32, QueryOptions(64))
    first, again = (draw_clips(clips, options, np.random.default_rng(5)).develop() for _ in range(2))
    assert torch.equal(first.images, again.images) and torch.equal(first.targets.points, again.targets.points)
    assert first.images.shape == (3, 4, 3, 32, 32) and 0 <= first.images.min() < first.images.max() <= 1
    colors = ClipColors.draw(40, ColorOptions(), np.random.default_rng(0))
    images = torch.rand(40, 1, 3, 16, 16).expand(-1, 2, -1, -1, -1)
    found = colors.apply(images)
    assert torch.equal(found[:, 0], found[:, 1])
    grey = (found.amax(2) - found.amin(2)).flatten(1).amax(1) < 1e-5
    assert 2 <= grey.sum() <= 16 and 8 <= (colors.sigma > 0).sum() <= 26
    flat = torch.full((1, 3, 9, 9), 0.3)
    torch.testing.assert_close(blurred(flat, 1.3), flat)
    dot = torch.zeros(1, 1, 15, 15)
    dot[..., 7, 7] = 1
    spread = (blurred(dot, 1.5)[0, 0].sum(0) * (torch.arange(15) - 7) ** 2).sum()
    assert spread == pytest.approx(1.5**2, rel=0.1)


def with_tracks(clip: Clip, count: int = 30) -> Clip:
    """The clip with the ways of some of its pixels."""
    sources = draw_sources(replace(clip, tracks=None), QueryOptions(count, edges=0.0), np.random.default_rng(9))
    assert sources is not None
    frames = len(clip)
    every = Sources(*(np.repeat(part, frames, 0) for part in sources))
    times = np.tile(np.arange(frames), count)
    world = replace(clip, world_from_cam=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)))
    positions = answer(world, every, times, times).points.reshape(count, frames, 3)
    visible = answer(clip, every, times, times).visible.reshape(count, frames)
    return replace(clip, tracks=ClipTracks(positions, visible, np.ones((count, frames), bool)))


def draw_at(clip: Clip, frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> Sources:
    """Surfaces behind given pixels."""
    depth = clip.depth[frame, y, x].astype(np.float64)
    rays = np.einsum("nij,nj->ni", np.linalg.inv(clip.intrinsics[frame]), np.stack([x, y, np.ones_like(x)], -1))
    pose = clip.world_from_cam[frame]
    world = np.einsum("nij,nj->ni", pose[:, :3, :3], rays * depth[:, None]) + pose[:, :3, 3]
    row = np.zeros_like(x) if clip.body is None else clip.body[frame, y, x].astype(int)
    row[row == SKY] = 0
    normal = clip.normals[frame, y, x] / 127.0
    return Sources(np.stack([x, y], -1).astype(float), frame, world, normal, row)


def surfaces(clip: Clip, frame: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Body of the pixels at (u, v) and their places in the frame of the body."""
    height, width = clip.size
    x, y = (np.round(part * size - 0.5).astype(int) for part, size in ((u, width), (v, height)))
    sources = draw_at(clip, frame, x, y)
    back = np.linalg.inv(clip.world_from_body[frame, sources.row])
    return sources.row, np.einsum("nij,nj->ni", back[:, :3, :3], sources.world) + back[:, :3, 3]


def part_is_upright(clip: Clip) -> bool:
    """Whether the clip is not mirrored: the wall's normal points to +x."""
    wall = clip.normals[clip.body == 0]
    return bool(wall[0, 0] > 0)


def far_from_edges(clip: Clip, frame: np.ndarray, u: np.ndarray, v: np.ndarray, reach: int = 3) -> np.ndarray:
    """No change of body within some pixels."""
    height, width = clip.size
    x, y = (np.round(np.clip(part, 0, 1) * size - 0.5).astype(int) for part, size in ((u, width), (v, height)))
    bodies = np.stack([
        clip.body[frame, np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
        for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)
    ])  # fmt: skip
    return (bodies == bodies[0]).all(0)


def colors_at(images: torch.Tensor, frame: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear colours of square images at image coordinates."""
    grid = torch.from_numpy(np.stack([u, v], -1).astype(np.float32)) * 2 - 1
    found = grid_sample(
        images[torch.from_numpy(frame)], grid[:, None, None], align_corners=False, padding_mode="border"
    )
    return found[:, :, 0, 0].numpy()
