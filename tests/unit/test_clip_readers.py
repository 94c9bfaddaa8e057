"""Readers of public video data sets give back the world that the data was made from, to a tenth of a pixel."""

import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import formats_video
from formats_video import Film, film, filmed_world
from worldline.errors import InputError
from worldline.train.clips.clips import SKY, Clip, from_video, save_clip
from worldline.train.clips.readers import READERS, open_clips
from worldline.train.clips.readers.files import npz_rows
from worldline.train.clips.readers.rgbd import onto_depth
from worldline.train.clips.readers.vkitti import Order, agreed_order, euler
from worldline.worlds.truth import query
from worldline.worlds.truth.tracks import PointTracks, sample_tracks

HEIGHT, WIDTH = 60, 80
EVERY = range(5)


@pytest.fixture(scope="module")
def video() -> Film:
    return film(filmed_world(), HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def indoors() -> Film:
    return film(filmed_world(fov=0.9, open_air=False), HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def tracks(video: Film) -> PointTracks:
    return sample_tracks(video.world, 60, height=HEIGHT, width=WIDTH)


def read(kind: str, root: Path, frames: range | list[int] = EVERY, longest: int | None = None) -> Clip:
    (sequence,) = open_clips(kind, root, frames=1).sequences
    return sequence.read(list(frames), longest)


def check_points(clip: Clip, video: Film, frames: range | list[int] = EVERY, thin: int = 1, moves: bool = True) -> None:
    """Carry the points of every frame to every other one as the clip says, and compare with the world's truth."""
    frames, count = list(frames), 80
    generator = np.random.default_rng(0)
    rows, columns = (generator.integers(0, edge, count) for edge in clip.size)
    u, v = (((x * thin + thin // 2) + 0.5) / size for x, size in ((columns, WIDTH), (rows, HEIGHT)))
    intrinsics, poses = clip.intrinsics.astype(np.float64), clip.world_from_cam.astype(np.float64)
    checked = carried = 0
    for a, source in enumerate(frames):
        depth = np.asarray(clip.depth)[a, rows, columns].astype(np.float64)
        local = np.stack([columns, rows, np.ones(count)], -1) @ np.linalg.inv(intrinsics[a]).T * depth[:, None]
        world = local @ poses[a, :3, :3].T + poses[a, :3, 3]
        body = np.zeros(count, int) if clip.body is None else clip.body[a, rows, columns].astype(int)
        for b, target in enumerate(frames):
            truth = query(video.world, u, v, source, target, target, height=HEIGHT, width=WIDTH)
            if clip.body is not None:
                np.testing.assert_array_equal(body == SKY, ~truth.valid)
            used = truth.valid & (depth > 0) & (moves | (truth.body == 0))
            motion = np.broadcast_to(np.eye(4), (count, 4, 4))
            if clip.world_from_body is not None:
                bodies, own = clip.world_from_body.astype(np.float64), np.where(body == SKY, 0, body)
                motion = bodies[b, own] @ np.linalg.inv(bodies[a, own])
            moved = np.einsum("nij,nj->ni", motion[:, :3, :3], world) + motion[:, :3, 3]
            seen = (moved - poses[b, :3, 3]) @ poses[b, :3, :3]
            np.testing.assert_allclose(seen[used], truth.position[used], atol=0.02)
            ahead = used & (truth.position[:, 2] > 0.3)
            pixel = (seen[ahead] / seen[ahead, 2:]) @ intrinsics[b].T
            exact = (truth.uv[ahead] * [WIDTH, HEIGHT] - 0.5 - thin // 2) / thin
            assert np.linalg.norm(pixel[:, :2] - exact, axis=1).max() < 0.1
            checked += int(ahead.sum())
            carried += int((ahead & (truth.body > 0)).sum())
    assert checked > 100 * len(frames) and (carried > 5 * len(frames) or not moves)


def check_normals(clip: Clip, video: Film, degrees: float, known: float) -> None:
    """Normals in the axes of the cameras: 98 % of those that are there, and a share that must be there."""
    theirs = np.einsum("tji,thwj->thwi", video.world_from_cam[:, :3, :3], video.normals)
    ours = np.einsum("tji,thwj->thwi", clip.world_from_cam[:, :3, :3], np.asarray(clip.normals) / 127)
    there = np.asarray(clip.normals).any(-1) & (video.depth > 0)
    assert there.sum() > known * (video.depth > 0).sum()
    cosine = (theirs * ours).sum(-1)[there] / np.linalg.norm(ours[there], axis=-1)
    assert np.percentile(np.degrees(np.arccos(np.clip(cosine, -1, 1))), 98) < degrees


def check_tracks(clip: Clip, tracks: PointTracks, frames: list[int], valid: np.ndarray) -> None:
    """Trajectories in the frames of the cameras and on the images."""
    ours = clip.tracks
    assert ours is not None and ours.world.shape == (60, 3, 3)
    np.testing.assert_array_equal(ours.valid, valid)
    np.testing.assert_array_equal(ours.visible, tracks.visible[frames].T & valid)
    for b, target in enumerate(frames):
        local = (ours.world[:, b] - clip.world_from_cam[b, :3, 3]) @ clip.world_from_cam[b, :3, :3]
        np.testing.assert_allclose(local[valid[:, b]], tracks.position[target][valid[:, b]], atol=1e-4)
        good = valid[:, b] & (tracks.position[target][:, 2] > 0.3)
        pixel = (local[good] / local[good, 2:]) @ clip.intrinsics[b].T
        assert np.linalg.norm(pixel[:, :2] - tracks.pixel[target][good], axis=1).max() < 0.1


def check_images(clip: Clip, video: Film) -> None:
    assert np.abs(clip.images.astype(int) - video.images).mean() < 2.0
    assert clip.images.dtype == np.uint8


@pytest.mark.parametrize("second", [False, True], ids=["first", "V2"])
def test_tartanair_is_ned_and_centered(video: Film, tmp_path: Path, second: bool) -> None:
    clip = read("tartanair", formats_video.write_tartanair(tmp_path, video, second=second))
    np.testing.assert_array_equal(clip.images, video.images)
    check_points(clip, video, moves=False)
    check_normals(clip, video, 2.0, 0.7)
    assert (np.asarray(clip.body) == SKY).any() and clip.world_from_body is not None
    np.testing.assert_allclose(clip.times, np.arange(5) / 10)


def test_vkitti_has_centimetres_inverse_extrinsics_and_vehicles(video: Film, tmp_path: Path) -> None:
    clip = read("vkitti", formats_video.write_vkitti(tmp_path, video))
    check_images(clip, video)
    check_points(clip, video)
    check_normals(clip, video, 2.0, 0.5)


def test_vkitti_takes_the_order_of_angles_from_the_file(video: Film, tmp_path: Path) -> None:
    check_points(read("vkitti", formats_video.write_vkitti(tmp_path, video, order="ZXY")), video)


def test_vkitti_leaves_out_vehicles_without_a_pose(video: Film, tmp_path: Path) -> None:
    clip = read("vkitti", formats_video.write_vkitti(tmp_path, video, hidden=((1, 0),)))
    lost = video.body == 1
    assert lost.any() and not np.asarray(clip.depth)[lost].any()
    assert (np.asarray(clip.depth)[video.body == 2] > 0).all()
    check_points(clip, video)
    later = read("vkitti", tmp_path, [2, 3, 4])
    assert (np.asarray(later.depth)[lost[2:]] > 0).all()


def test_vkitti_keeps_parked_vehicles_whose_pose_is_not_listed_throughout(tmp_path: Path) -> None:
    world = filmed_world()
    poses = np.repeat(world.motion.world_from_body[:1], 5, 0)
    parked = film(replace(world, motion=replace(world.motion, world_from_body=poses)), HEIGHT, WIDTH)
    clip = read("vkitti", formats_video.write_vkitti(tmp_path, parked, hidden=((1, 0), (3, 0), (4, 1))))
    assert (np.asarray(clip.depth)[parked.body > 0] > 0).all()
    check_points(clip, parked)


def angles_of(rotations: np.ndarray, order: Order) -> np.ndarray:
    """Angles about y, x, z; the inverse of ``euler``, by SciPy."""
    places, sign = order
    angles = np.zeros((len(rotations), 3))
    angles[:, list(places)] = Rotation.from_matrix(rotations).as_euler("".join("YXZ"[k] for k in places))
    return angles * [sign, 1, 1]


def test_the_order_of_angles_is_found_or_refused() -> None:
    generator = np.random.default_rng(0)
    angles, other = generator.uniform(-1, 1, (2, 30, 3))
    cam_from_world = euler(other, ((0, 1, 2), 1.0))
    orders: list[Order] = [((0, 1, 2), 1.0), ((2, 0, 1), 1.0), ((0, 1, 2), -1.0)]
    for order in orders:
        camera = angles_of(cam_from_world @ euler(angles, order), order)
        assert agreed_order(angles, camera, cam_from_world) == order
    assert agreed_order(angles, generator.uniform(-1, 1, (30, 3)), cam_from_world) is None


@pytest.mark.parametrize("exported", [False, True], ids=["generator", "exported"])
def test_kubric_has_distances_blender_axes_and_palettes(indoors: Film, tmp_path: Path, exported: bool) -> None:
    clip = read("kubric", formats_video.write_kubric(tmp_path, indoors, exported=exported))
    np.testing.assert_array_equal(clip.images, indoors.images)
    check_points(clip, indoors)
    check_normals(clip, indoors, 1.0, 0.99)
    np.testing.assert_allclose(clip.times, np.arange(5) / 10)


def test_kubric_has_a_sky_and_normals_from_depth(video: Film, tmp_path: Path) -> None:
    clip = read("kubric", formats_video.write_kubric(tmp_path, video, exported=False, normals=False))
    check_points(clip, video)
    check_normals(clip, video, 2.0, 0.7)


@pytest.mark.parametrize("blender", [False, True], ids=["opencv", "blender"])
def test_point_odyssey_in_both_conventions(video: Film, tracks: PointTracks, tmp_path: Path, blender: bool) -> None:
    root = formats_video.write_point_odyssey(tmp_path, video, tracks, blender=blender, compressed=blender)
    frames = [1, 3, 4]
    clip = read("pointodyssey", root, frames)
    check_points(clip, video, frames, moves=False)
    check_normals(read("pointodyssey", root), video, 2.0, 0.95)
    valid = np.ones((60, 3), bool)
    valid[:2, 2] = False
    check_tracks(clip, tracks, frames, valid)


@pytest.mark.parametrize("isotropic", [False, True])
def test_dynamic_replica_has_pytorch3d_cameras(tmp_path: Path, isotropic: bool) -> None:
    world = filmed_world(fov=1.2)
    lens = replace(world.cameras, principal_offset=np.tile([0.04, -0.03], (5, 1)))
    video = film(replace(world, cameras=lens), HEIGHT, WIDTH)
    tracks = sample_tracks(video.world, 60, height=HEIGHT, width=WIDTH)
    root = formats_video.write_dynamic_replica(tmp_path, video, tracks, isotropic=isotropic, above=isotropic)
    frames = [1, 2, 4]
    clip = read("dynamicreplica", root, frames)
    np.testing.assert_array_equal(clip.images, video.images[frames])
    np.testing.assert_allclose(clip.times, np.array(frames) / 30)
    check_points(clip, video, frames, moves=False)
    check_normals(clip, video.choose(frames), 2.0, 0.5)
    check_tracks(clip, tracks, frames, np.ones((60, 3), bool))


def test_dynamic_replica_refuses_cameras_that_do_not_fit_and_files_with_code(
    video: Film, tracks: PointTracks, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not fall onto traj_2d"):
        read("dynamicreplica", formats_video.write_dynamic_replica(tmp_path, video, tracks, noise=4.0))
    for path in tmp_path.rglob("*.pth"):
        torch.save({"traj_3d_world": Path("x")}, path)
    with pytest.raises(InputError, match=r"\.pth cannot be read \(it holds more than tensors"):
        read("dynamicreplica", tmp_path)


def test_point_odyssey_refuses_cameras_that_do_not_fit(video: Film, tracks: PointTracks, tmp_path: Path) -> None:
    root = formats_video.write_point_odyssey(tmp_path, video, tracks, blender=False, noise=5.0)
    with pytest.raises(InputError, match=r"anno\.npz has cameras under which trajs_3d does not fall onto trajs_2d"):
        read("pointodyssey", root)


def test_rgbd_resamples_colours_and_skips_lost_frames(video: Film, tmp_path: Path) -> None:
    color = film(video.world, 2 * HEIGHT, 2 * WIDTH)
    root = formats_video.write_rgbd(tmp_path, video, color, lost=(2,))
    frames = [0, 1, 3, 4]
    clip = open_clips("rgbd", root, frames=4).draw(np.random.default_rng(0))
    np.testing.assert_allclose(clip.times * 30, frames)
    check_points(clip, video.choose(frames), frames, moves=False)
    check_normals(clip, video.choose(frames), 2.0, 0.5)
    assert np.abs(clip.images.astype(int) - video.images[frames]).mean() < 3.0
    with pytest.raises(InputError, match="too few frames with a camera"):
        open_clips("rgbd", root, frames=5).draw(np.random.default_rng(0))


def test_colours_keep_their_place_under_another_lens() -> None:
    color = np.array([[50.0, 0, 70.0], [0, 50.0, 52.0], [0, 0, 1]])
    depth = np.array([[22.0, 0, 31.0], [0, 22.0, 22.5], [0, 0, 1]])
    x, y = np.meshgrid(np.arange(140), np.arange(104))
    ramp = np.stack([x, y, x * 0], -1).astype(np.uint8)
    result = onto_depth(ramp, color, depth, 44, 60).astype(float)[4:-4, 4:-4]
    rows, columns = np.mgrid[4:40, 4:56]
    np.testing.assert_allclose(result[..., 0], (columns - 31.0) / 22 * 50 + 70, atol=0.51)
    np.testing.assert_allclose(result[..., 1], (rows - 22.5) / 22 * 50 + 52, atol=0.51)


def test_pool_clips_are_read_back(video: Film, tmp_path: Path) -> None:
    save_clip(from_video(video.sample), tmp_path / "dynamic-0000000007.safetensors")
    check_points(read("pool", tmp_path), video)
    small = read("pool", tmp_path, longest=20)
    assert small.size == (20, 26)
    check_points(small, video, thin=3)


def test_thinned_clips_stay_exact(video: Film, tmp_path: Path) -> None:
    clip = read("vkitti", formats_video.write_vkitti(tmp_path, video), longest=20)
    assert clip.size == (20, 26)
    check_points(clip, video, thin=3)


def test_windows_are_drawn_by_the_generator_and_read_alone(video: Film, tmp_path: Path) -> None:
    root = formats_video.write_tartanair(tmp_path, video)
    source = open_clips("tartanair", root, frames=2, strides=(1, 3))
    seen = {tuple(np.round(source.draw(np.random.default_rng(seed)).times * 10).astype(int)) for seed in range(40)}
    assert {b - a for a, b in seen} == {1, 2, 3} and min(seen)[0] == 0 and max(b for _, b in seen) == 4
    first, again = (source.draw(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    for path in (root / "abandoned" / "Easy" / "P000" / "depth_left").glob("00000[13]*"):
        path.write_bytes(b"")  # not touched by a window of even frames
    assert len(open_clips("tartanair", root, frames=3, strides=(2, 2)).draw(np.random.default_rng(0))) == 3


def test_rows_of_a_large_archive_need_little_memory(tmp_path: Path) -> None:
    whole = np.zeros((300, 10_000, 3), np.float32)  # 36 MB
    whole[:, 5, 1] = np.arange(300)
    np.savez_compressed(tmp_path / "anno.npz", trajs_3d=whole)
    del whole
    tracemalloc.start()
    rows = npz_rows(tmp_path / "anno.npz", "trajs_3d", [120, 3, 120])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(rows[:, 5, 1], [120, 3, 120])
    assert peak < 6e6


DAMAGE = {  # what is broken: the file, how, and what the message must say
    "cut": ("depth_00001.png", lambda path: path.write_bytes(path.read_bytes()[:60]), "depth_00001.png"),
    "8 bits": (
        "depth_00001.png",
        lambda path: shutil.copy(path.parents[2] / "rgb" / "Camera_0" / "rgb_00001.jpg", path),
        "depth_00001.png cannot be read (pixels are RGB, not 16-bit gray)",
    ),
    "columns": ("extrinsic.txt", lambda path: path.write_text("frame cameraID\n0 0\n"), "extrinsic.txt"),
    "row": ("extrinsic.txt", lambda path: path.write_text(path.read_text()[:400]), "extrinsic.txt"),
    "poses": ("pose.txt", lambda path: path.unlink(), "pose.txt is missing"),
    "labels": ("instancegt_00001.png", lambda path: path.unlink(), "no instance map of frame 1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_file_is_named(video: Film, tmp_path: Path, kind: str) -> None:
    root = formats_video.write_vkitti(tmp_path, video)
    name, change, words = DAMAGE[kind]
    (path,) = root.rglob(name)
    change(path)
    with pytest.raises(InputError) as error:
        read("vkitti", root)
    assert words in error.value.cause and error.value.remedy and "\n" not in error.value.cause


def test_bad_folders_and_kinds(video: Film, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Choose one of: kubric"):
        open_clips("sintel", tmp_path)
    for kind in READERS:
        with pytest.raises(InputError, match=str(tmp_path)):
            open_clips(kind, tmp_path)
    root = formats_video.write_tartanair(tmp_path, video)
    with pytest.raises(InputError, match="the longest has 5"):
        open_clips("tartanair", root, frames=16)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        open_clips("kubric", tmp_path / "nowhere")
    (poses,) = root.rglob("pose_left.txt")
    poses.write_text("0 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match="has 1 poses for 5 images"):
        read("tartanair", root)
