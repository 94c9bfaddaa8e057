"""Official files of video benchmarks: small ones are written in each format and must come back as they were."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from worldline.errors import InputError
from worldline.eval.video.readers import kitti, rgbd, scannet, sequences, sintel, sintel_files, tapvid, tapvid3d
from worldline.eval.video.readers.safe_pickle import load_arrays
from worldline.eval.video.trajectory import Trajectory
from worldline.eval.video.trajectory_files import read_matrices, read_tum, write_tum

RNG = np.random.default_rng(0)


def poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    made = np.tile(np.eye(4), (count, 1, 1))
    made[:, :3, :3] = Rotation.random(count, random_state=1).as_matrix()
    made[:, :3, 3] = rng.uniform(-2, 2, (count, 3))
    return made


def photo(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value % 256, np.uint8)).save(path)


def depth_png(path: Path, metres: float, per_metre: float, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((size[1], size[0]), round(metres * per_metre), np.uint16)
    values[0, 0] = 0  # not known
    Image.fromarray(values).save(path)


# --- pickles -------------------------------------------------------------------------------------------------------


def davis() -> dict[str, dict[str, np.ndarray]]:
    return {
        "goat": {
            "video": RNG.integers(0, 256, (3, 6, 8, 3), np.uint8),
            "points": RNG.random((2, 3, 2), np.float32),
            "occluded": np.array([[0, 1, 0], [1, 1, 0]], bool),
        }
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_come_back(protocol: int, tmp_path: Path) -> None:
    content = {
        "nested": [davis(), (1, 2.5, "text", b"bytes", None, True)],
        "orders": [np.arange(6.0).reshape(2, 3).T, np.arange(4, dtype=">i2"), np.float32(2.5), np.zeros((0, 3))],
        7: np.array(3),
    }
    path = tmp_path / "content.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = load_arrays(path)
    np.testing.assert_equal(found, content)
    assert found["orders"][1].dtype == np.dtype(">i2") and found["orders"][2].dtype == np.float32


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_hostile_pickles_are_refused_before_they_act(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attacks = [
        Harm(os.mkdir, str(trace)),
        Harm(eval, f"__import__('os').mkdir({str(trace)!r})"),
        Harm(getattr, 1, "real"),
        Harm(np.save, str(trace), 0),
        Harm(np.frombuffer, b"12345678", "f8"),
        np.random.default_rng(0),
        np.array([Harm(os.mkdir, str(trace))], dtype=object),
        np.array([("a", 1)], dtype=[("name", "U3"), ("n", "i4")]),
        Path("file"),
    ]
    for number, attack in enumerate(attacks):
        path = tmp_path / f"attack{number}.pkl"
        path.write_bytes(pickle.dumps({"video": attack}, protocol))
        with pytest.raises(InputError, match=str(path)):
            load_arrays(path)
    assert not trace.exists() and not trace.with_suffix(".npy").exists()


def test_broken_pickles_are_named(tmp_path: Path) -> None:
    whole = pickle.dumps(davis())
    hidden_objects = (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\ntcnumpy\ndtype\n"
    )
    hidden_objects += b"(S'O8'\nI0\nI1\ntRI00\nS'\\x10\\x20\\x30\\x40\\x50\\x60\\x70\\x00'\ntb."  # a pointer as text
    loop = b"(lp0\ng0\na."
    for content in (whole[: len(whole) // 2], b"", b"\x80", b"no pickle", hidden_objects, loop):
        path = tmp_path / "broken.pkl"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.pkl"):
            load_arrays(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_arrays(tmp_path / "none.pkl")


def test_tap_vid(tmp_path: Path) -> None:
    (tmp_path / "tapvid_davis.pkl").write_bytes(pickle.dumps(davis()))
    stored = davis()["goat"]
    jpegs = []
    for _ in range(3):
        buffer = io.BytesIO()
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    (tmp_path / "kinetics_0.pkl").write_bytes(pickle.dumps([{**stored, "video": jpegs}]))
    paths = tapvid.find_pickles(tmp_path)
    (shard,), (goat,) = (list(tapvid.read_videos(path)) for path in paths)
    assert (
        shard.name == "kinetics_0/0"
        and shard.frames.shape == (3, 6, 8, 3)
        and abs(int(shard.frames[0, 0, 0, 0]) - 90) < 3
    )
    assert goat.name == "tapvid_davis/goat" and goat.visible.tolist() == [[True, False, True], [False, False, True]]
    assert goat.on_raster.max() <= 256 and goat.points.shape == (2, 3, 2)
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps({"a": {**stored, "points": np.zeros((1, 2))}}))
    with pytest.raises(InputError, match="must be"):
        list(tapvid.read_videos(tmp_path / "wrong.pkl"))
    (tmp_path / "short.pkl").write_bytes(pickle.dumps({"a": {"video": stored["video"]}}))
    with pytest.raises(InputError, match="incomplete"):
        list(tapvid.read_videos(tmp_path / "short.pkl"))


# --- TAPVid-3D -----------------------------------------------------------------------------------------------------


def test_tapvid3d_clips_and_predictions(tmp_path: Path) -> None:
    mini = Path(__file__).parents[1] / "parity" / "data" / "video" / "metrics_tracks" / "tapvid3d_mini"
    clip = tapvid3d.read_clip(mini / "gt" / "video_0.npz")
    assert clip.frames().shape == (6, *clip.size, 3) and clip.cam_from_world is not None
    tapvid3d.write_clip(tmp_path / "adt" / "copy.npz", clip)
    again = tapvid3d.read_clip(tmp_path / "adt" / "copy.npz")
    for name in ("jpegs", "queries", "intrinsics", "cam_from_world"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    np.testing.assert_array_equal(again.tracks.points, clip.tracks.points)
    assert tapvid3d.read_clip(mini / "gt" / "video_1.npz").cam_from_world is None
    tapvid3d.write_prediction(tmp_path / "copy.npz", clip.tracks.points, clip.tracks.visible)
    np.testing.assert_array_equal(tapvid3d.read_prediction(tmp_path / "copy.npz").points, clip.tracks.points)
    assert list(tapvid3d.find_clips(tmp_path)) == ["adt"] and list(tapvid3d.find_clips(mini / "gt")) == ["gt"]
    with pytest.raises(InputError, match="no images_jpeg_bytes"):
        tapvid3d.read_clip(mini / "pred" / "video_0.npz")
    (tmp_path / "text.npz").write_text("no file of numpy")
    with pytest.raises(InputError, match="cannot be read"):
        tapvid3d.read_clip(tmp_path / "text.npz")


# --- Sintel --------------------------------------------------------------------------------------------------------


def make_sintel(root: Path, names: tuple[str, ...], frames: int = 3) -> np.ndarray:
    cam_from_world = poses(frames)
    for name in names:
        for index in range(frames):
            stem = f"frame_{index + 1:04d}"
            photo(root / "training" / "final" / name / f"{stem}.png", 10 * index)
            sintel_files.write_dpt(root / "training" / "depth" / name / f"{stem}.dpt", np.full((6, 8), 1.5 + index))
            sintel_files.write_cam(
                root / "training" / "camdata_left" / name / f"{stem}.cam",
                np.array([[9.0, 0, 3.5], [0, 9, 2.5], [0, 0, 1]]), cam_from_world[index],
            )  # fmt: skip
    return cam_from_world


def test_binary_files_of_sintel_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.dpt"
    path.write_bytes(struct.pack("<fii6f", 202021.25, 3, 2, *range(6)))  # as the data set's own sample code writes it
    np.testing.assert_array_equal(sintel_files.read_dpt(path), [[0, 1, 2], [3, 4, 5]])
    copy = tmp_path / "b.dpt"
    sintel_files.write_dpt(copy, sintel_files.read_dpt(path))
    assert copy.read_bytes() == path.read_bytes()

    cam = tmp_path / "a.cam"
    cam.write_bytes(struct.pack("<f9d12d", 202021.25, *range(1, 10), *range(12)))
    matrix, pose = sintel_files.read_cam(cam)
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]] and pose[1].tolist() == [4, 5, 6, 7]
    assert pose[3].tolist() == [0, 0, 0, 1]
    sintel_files.write_cam(tmp_path / "b.cam", matrix, pose)
    assert (tmp_path / "b.cam").read_bytes() == cam.read_bytes()

    flo = tmp_path / "a.flo"
    flo.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 1.0, 2.0, 1e10, 0.0))
    flow, known = sintel_files.read_flo(flo)
    assert flow.tolist() == [[[1, 2], [0, 0]]] and known.tolist() == [[True, False]]
    sintel_files.write_flo(tmp_path / "b.flo", flow)
    np.testing.assert_array_equal(sintel_files.read_flo(tmp_path / "b.flo")[0], flow)

    for broken in (path.read_bytes()[:-2], path.read_bytes()[:-4], b"JUNK" + path.read_bytes()[4:], b"PIEH"):
        (tmp_path / "c.dpt").write_bytes(broken)
        with pytest.raises(InputError, match=r"c\.dpt"):
            sintel_files.read_dpt(tmp_path / "c.dpt")


def test_sintel_sequences(tmp_path: Path) -> None:
    cam_from_world = make_sintel(tmp_path, ("alley_2", "alley_1", "temple_3"))
    videos = sintel.read_sintel(tmp_path)
    assert [video.name for video in videos] == ["alley_2", "temple_3"]  # alley_1's camera stands still
    assert [v.name for v in sintel.read_sintel(tmp_path / "training", all_sequences=True)] == [
        "alley_1",
        "alley_2",
        "temple_3",
    ]
    assert videos[0].frames()[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert videos[0].depth()[:, 0, 0].tolist() == [1.5, 2.5, 3.5]
    np.testing.assert_allclose(videos[0].world_from_cam @ cam_from_world, np.tile(np.eye(4), (3, 1, 1)), atol=1e-12)
    assert len(sintel.MOVING) == 14
    (tmp_path / "training" / "camdata_left" / "alley_2" / "frame_0002.cam").unlink()
    with pytest.raises(InputError, match=r"frame_0002\.cam"):
        sintel.read_sintel(tmp_path)
    with pytest.raises(InputError, match="clean pass"):
        sintel.read_sintel(tmp_path, rendering="clean")


# --- KITTI ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw", ["2011_09_26/{drive}/image_02/data", "raw/{drive}/image_02/data", "val/{drive}/image_02/data"]
)
def test_kitti_depth(tmp_path: Path, raw: str) -> None:
    drive = "2011_09_26_drive_0002_sync"
    for index in range(5, 120):  # KITTI has no depth for the first and last five frames
        photo(tmp_path / raw.format(drive=drive) / f"{index:010d}.png", index)
        depth_png(tmp_path / "val" / drive / "proj_depth/groundtruth/image_02" / f"{index:010d}.png", index / 10, 256)
    photo(tmp_path / raw.format(drive=drive) / f"{0:010d}.png", 0)
    depth_png(tmp_path / "train" / drive / "proj_depth/groundtruth/image_02" / "0000000005.png", 1, 256)
    (video,) = kitti.read_kitti(tmp_path)
    assert (video.name, len(video)) == (drive, 110)
    assert video.images[0].stem == video.depths[0].stem == "0000000005"
    depth = video.depth()
    assert depth[0, 0, 0] == 0 and depth[10, 1, 1] == 1.5 and depth[1, 1, 1] == pytest.approx(0.6, abs=1 / 512)


def test_kitti_gathered_and_odometry(tmp_path: Path) -> None:
    for index in range(3):
        photo(tmp_path / "val_selection_cropped/image_gathered/d_02" / f"{index:010d}.png", index)
        depth_png(tmp_path / "val_selection_cropped/groundtruth_depth_gathered/d_02" / f"{index:010d}.png", 2, 256)
        photo(tmp_path / "odometry/sequences/00/image_2" / f"{index:06d}.png", index)
    true = poses(3)
    (tmp_path / "odometry/poses").mkdir()
    np.savetxt(tmp_path / "odometry/poses/00.txt", true[:, :3].reshape(3, 12))
    (gathered,) = kitti.read_kitti(tmp_path)
    assert gathered.name == "d_02" and gathered.world_from_cam is None
    (drive,) = kitti.read_kitti(tmp_path / "odometry")
    np.testing.assert_allclose(drive.world_from_cam, true)
    assert drive.depths is None
    with pytest.raises(InputError, match="no depth"):
        drive.depth()
    (tmp_path / "val_selection_cropped/image_gathered/d_02/0000000001.png").unlink()
    with pytest.raises(InputError, match="lacks the photo"):
        kitti.read_kitti(tmp_path)


# --- Bonn, TUM -----------------------------------------------------------------------------------------------------


def make_rgbd(folder: Path, count: int, depth_lag: float = 0.005, lost: tuple[int, ...] = ()) -> np.ndarray:
    """Photos at 30 Hz, depth a little later, poses at 60 Hz; some depth maps were lost in the recording."""
    times = 1548266000 + np.arange(count) / 30
    for index, time in enumerate(times):
        photo(folder / "rgb" / f"{time:.5f}.png", index)
        if index not in lost:
            depth_png(folder / "depth" / f"{time + depth_lag:.5f}.png", 1 + index / 100, 5000)
    true = poses(2 * count)
    write_tum(folder / "groundtruth.txt", Trajectory(1548266000 + np.arange(2 * count) / 60, true))
    return true


def test_bonn_pairs_by_time_or_by_number(tmp_path: Path) -> None:
    true = make_rgbd(tmp_path / "rgbd_bonn_crowd2", 145, lost=(0, 50))
    (by_time,) = rgbd.read_bonn(tmp_path)
    assert len(by_time) == 109  # photo 50 has no depth
    assert by_time.depth()[:, 1, 1] == pytest.approx(1 + np.delete(np.arange(30, 140), 20) / 100, abs=1e-3)
    np.testing.assert_allclose(by_time.world_from_cam[0], true[60], atol=1e-9)
    (by_number,) = rgbd.read_bonn(tmp_path, pairing="index")
    assert len(by_number) == 110
    assert by_number.depth()[[0, -1], 1, 1] == pytest.approx([1.31, 2.41], abs=1e-3)  # one map, then two maps late
    np.testing.assert_allclose(by_number.world_from_cam[0], true[30], atol=1e-9)
    assert [video.name for video in rgbd.read_bonn(tmp_path / "rgbd_bonn_crowd2")] == ["rgbd_bonn_crowd2"]
    with pytest.raises(InputError, match="no sequence of Bonn"):
        rgbd.read_bonn(tmp_path / "rgbd_bonn_crowd2" / "rgb")


def test_bonn_as_prepared_by_others(tmp_path: Path) -> None:
    folder = tmp_path / "rgbd_bonn_balloon2"
    for index in range(4):
        photo(folder / "rgb_110" / f"{index}.png", index)
        depth_png(folder / "depth_110" / f"{index}.png", 1 + index, 5000)
    write_tum(folder / "groundtruth_110.txt", Trajectory(np.arange(4.0), poses(4)))
    (video,) = rgbd.read_bonn(tmp_path)
    assert len(video) == 4 and video.depth()[2, 3, 3] == 3


def test_tum_dynamics_every_third_photo_with_a_pose(tmp_path: Path) -> None:
    true = make_rgbd(tmp_path / "freiburg3_walking", 300)
    (video,) = rgbd.read_tum_dynamics(tmp_path)
    assert len(video) == 90 and video.depths is None
    np.testing.assert_allclose(video.world_from_cam[:3], true[[0, 6, 12]], atol=1e-9)


# --- ScanNet -------------------------------------------------------------------------------------------------------


def test_scannet_prepared_and_exported(tmp_path: Path) -> None:
    true = poses(7)
    true[3] = -np.inf
    prepared, exported = tmp_path / "a" / "scene0707_00", tmp_path / "b" / "scene0707_00"
    for index in range(7):
        photo(prepared / "color_90" / f"{index}.jpg", index)
        depth_png(prepared / "depth_90" / f"{index}.png", 1 + index, 1000)
        photo(exported / "color" / f"{index + 4}.jpg", index)  # 4 … 10: numbers, not text, order them
        depth_png(exported / "depth" / f"{index + 4}.png", 1 + index, 1000)
        (exported / "pose").mkdir(exist_ok=True)
        np.savetxt(exported / "pose" / f"{index + 4}.txt", true[index])
    np.savetxt(prepared / "pose_90.txt", true.reshape(7, 16))
    (video,) = scannet.read_scannet(tmp_path / "a")
    assert len(video) == 7 and np.isnan(video.world_from_cam[3]).all()
    np.testing.assert_allclose(video.world_from_cam[4], true[4])
    assert video.depth()[:, 2, 2].tolist() == [1, 2, 3, 4, 5, 6, 7]
    (raw,) = scannet.read_scannet(tmp_path / "b")
    assert [path.stem for path in raw.images] == ["4", "7", "10"] and raw.intrinsics is None
    (exported / "intrinsic").mkdir()
    np.savetxt(exported / "intrinsic" / "intrinsic_depth.txt", np.diag([5.0, 6.0, 1.0, 1.0]))
    assert scannet.read_scannet(exported)[0].intrinsics.shape == (3, 3, 3)


# --- any sequence --------------------------------------------------------------------------------------------------


def test_sequences_of_other_readers_are_videos(tmp_path: Path) -> None:
    true, frames = poses(6), []
    for index in range(6):
        photo(tmp_path / "walk" / "images" / f"{index}.png", index, (16, 12))
        depth_png(tmp_path / "walk" / "depth" / f"{index}.png", 1 + index, 1000)  # half the size of the photos
        frames.append({"image": f"images/{index}.png", "width": 16, "height": 12, "K": [10, 10, 7.5, 5.5],
                       "T_c2w": true[index].tolist(), "depth": f"depth/{index}.png"})  # fmt: skip
    (tmp_path / "walk" / "scene.json").write_text(json.dumps({"frames": frames}))
    (video,) = sequences.read_sequences(tmp_path, step=2, most=2)
    assert len(video) == 2 and video.depth()[:, 2, 2].tolist() == [1, 3]
    np.testing.assert_allclose(video.world_from_cam, true[:4:2])
    np.testing.assert_allclose(video.intrinsics[0], [[5, 0, 3.5], [0, 5, 2.5], [0, 0, 1]])
    del frames[0]["depth"]
    np.save(tmp_path / "walk" / "points.npy", np.zeros((1, 3)))
    np.save(tmp_path / "walk" / "observations.npy", np.zeros((1, 4)))
    (tmp_path / "walk" / "scene.json").write_text(json.dumps({"frames": frames}))
    assert sequences.read_sequences(tmp_path)[0].depths is None  # depth of some frames only is no depth of the video
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scene.json").write_text(json.dumps({"frames": frames[:1]}))
    said: list[str] = []
    assert len(sequences.read_sequences(tmp_path, left_out=said)) == 1 and "neither depth" in said[0]
    with pytest.raises(InputError, match="no sequence"):
        sequences.read_sequences(tmp_path / "walk" / "images")


# --- trajectories --------------------------------------------------------------------------------------------------


def test_tum_text_comes_back_and_mistakes_are_named(tmp_path: Path) -> None:
    path, true = tmp_path / "t.txt", Trajectory(1.3e9 + np.arange(5) / 30, poses(5))
    write_tum(path, true)
    found = read_tum(path)
    np.testing.assert_array_equal(found.times, true.times)
    np.testing.assert_allclose(found.world_from_cam, true.world_from_cam, atol=1e-14)
    path.write_text("# a comment\n2.0 0 0 0 0 0 0 2\n\n1.0, 1, 2, 3, 0, 0, 0.7071, 0.7071 # turned about z\n")
    found = read_tum(path)  # any length of quaternion, scalar last, sorted by time
    assert found.times.tolist() == [1, 2]
    np.testing.assert_allclose(found.world_from_cam[0, :3], [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]], atol=1e-12)
    for content, message in (("1 2 3\n", "lines of"), ("1 0 0 0 0 0 0 0\n", "orientation"), ("a b\n", "no number")):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_tum(path)


def test_rows_of_matrices(tmp_path: Path) -> None:
    true = poses(4)
    np.savetxt(tmp_path / "12.txt", true[:, :3].reshape(4, 12))
    np.savetxt(tmp_path / "16.txt", true.reshape(4, 16))
    for name in ("12", "16"):
        np.testing.assert_allclose(read_matrices(tmp_path / f"{name}.txt"), true)
