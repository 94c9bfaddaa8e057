"""The layout that users write by hand, grouping of free-running cameras, and mistakes in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from worldline.errors import InputError
from worldline.inputs.logs import LOG_KINDS, open_log
from worldline.inputs.logs.poses import PoseTrack
from worldline.inputs.logs.rig import seconds
from worldline.inputs.logs.steps import Shot, group

K = [300.0, 301.0, 31.5, 23.5]
MOUNT = {"translation": [1.7, 0.0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5]}
START = 1_700_000_000


def write_rig(folder: Path, sensors: dict, **more: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rig.json").write_text(json.dumps({"sensors": sensors, **more}))
    return folder


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (200, 30, 10)).save(path)


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """Two cameras at 10 per second, the second 20 ms later; poses from 0.05 s to 0.35 s; three formats of LiDAR."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat([-0.5, 0.5, -0.5, 0.5]).as_matrix(), [1.7, 0.4, 1.5]
    sensors = {
        "front": {"intrinsics": K, "rig_from_cam": MOUNT, "width": 64, "height": 48},
        "left": {"intrinsics": [[300, 0, 31.5], [0, 301, 23.5], [0, 0, 1]], "rig_from_cam": matrix.tolist()},
    }
    root = write_rig(tmp_path / "drive", sensors, ground=-0.2, license="mine", lidar={"columns": 5})
    for step in range(5):
        photo(root / "front" / f"{START + 0.1 * step:.6f}.png")
        photo(root / "left" / f"{10**9 * START + 10**8 * step + 2 * 10**7}.jpg")  # nanoseconds
    lines = ["# t tx ty tz qx qy qz qw"]
    for time in (0.05, 0.35):
        x, y, z, w = Rotation.from_euler("z", 2 * time).as_quat()
        lines.append(f"{START + time:.6f} {10 * time} 0 0 {x} {y} {z} {w}")
    (root / "poses.csv").write_text("\n".join(lines))
    points = np.array([[5, 0, 0, 0.5, 7], [np.nan, 0, 0, 0, 0], [6, 1, 0, 0.25, 7]], np.float32)
    (root / "lidar").mkdir()
    np.save(root / "lidar" / f"{START}.npy", points)
    (root / "lidar" / f"{START + 0.1:.1f}.bin").write_bytes(points.tobytes())
    vertices = np.array([tuple(row[:4]) for row in points], [(n, "f4") for n in ("x", "y", "z", "intensity")])
    PlyData([PlyElement.describe(vertices, "vertex")]).write(root / "lidar" / f"{START + 0.2:.1f}.ply")
    return root


def test_a_rig_by_hand(rig: Path) -> None:
    log = open_log(rig)
    assert (log.name, log.license, log.sensors, len(log), log.image_count) == (
        "drive",
        "mine",
        ("front", "left"),
        5,
        10,
    )
    assert repr(log).startswith("Log(drive: 5 steps in 0.4 s, sensors front, left; rig ")
    assert log.rig.ground == -0.2 and log.rig.sizes == ((48, 64), (48, 64))
    np.testing.assert_allclose(log.rig.intrinsics[0], log.rig.intrinsics[1])
    np.testing.assert_allclose(log.rig.rig_from_cam[0, :3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    for index, step in enumerate(log.steps):
        assert step.timestamp == pytest.approx(START + 0.1 * index, abs=1e-6)
        assert step.images["left"].timestamp == pytest.approx(START + 0.1 * index + 0.02, abs=1e-6)
        assert step.speed is None and step.images["front"].read().shape == (48, 64, 3)


def test_poses_are_interpolated_and_never_extrapolated(rig: Path) -> None:
    log = open_log(rig)
    for sensor, offset in (("front", 0.0), ("left", 0.02)):
        for index, step in enumerate(log.steps):
            time, pose = 0.1 * index + offset, step.images[sensor].world_from_rig
            if 0.05 <= time <= 0.35:
                np.testing.assert_allclose(pose[:3, 3], [10 * time, 0, 0], atol=1e-5)
                np.testing.assert_allclose(pose[:3, :3], Rotation.from_euler("z", 2 * time).as_matrix(), atol=1e-5)
            else:
                assert pose is None
    assert log.notes == ("4 of 10 photos lie before the first or after the last pose and have none",)
    (rig / "poses.csv").unlink()
    assert open_log(rig).notes == () and open_log(rig).steps[2].world_from_rig is None


def test_lidar_files(rig: Path) -> None:
    steps = open_log(rig).steps
    assert [None if step.lidar is None else step.lidar.frame for step in steps] == ["rig", "world", "world", None, None]
    np.testing.assert_allclose(steps[0].lidar.points(), [[5, 0, 0], [6, 1, 0]])
    turn = Rotation.from_euler("z", 0.2).as_matrix()
    for step, time in ((1, 0.1), (2, 0.2)):
        turn = Rotation.from_euler("z", 2 * time).as_matrix()
        expected = np.array([[5.0, 0, 0], [6, 1, 0]]) @ turn.T + [10 * time, 0, 0]
        np.testing.assert_allclose(steps[step].lidar.points(), expected, atol=1e-5)
        assert steps[step].lidar.intensity().tolist() == [0.5, 0.25]
    for step in steps[:3]:
        step.lidar.path.write_bytes(b"ply\n1234567")
        with pytest.raises(InputError, match="damaged"):
            step.lidar.points()
    steps[0].lidar.path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        steps[0].lidar.points()


def test_times_from_a_table(rig: Path) -> None:
    for number, path in enumerate(sorted((rig / "left").iterdir())):
        path.rename(path.with_name(f"{number:04d}.jpg"))
    assert any("look like frame numbers" in note for note in open_log(rig, sensors=["left"]).notes)
    rows = [f"{number:04d}.jpg,{START + 0.1 * number + 0.02:.6f}" for number in range(5)]
    (rig / "left" / "times.csv").write_text("\n".join(["file,timestamp", *rows]))
    log = open_log(rig)
    assert log.image_count == 10 and log.steps[3].images["left"].path.name == "0003.jpg"
    (rig / "left" / "times.csv").write_text("\n".join([*rows, "0005.jpg"]))
    with pytest.raises(InputError, match=r"'0005\.jpg' is wrong"):
        open_log(rig)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("12", 12.0), ("12.25", 12.25), ("1700000000", 1.7e9), ("1700000000250", 1.7e9 + 0.25),
        ("1532402927612460", 1532402927.61246), ("1532402927612460123", 1532402927.61246),
    ],
)  # fmt: skip
def test_times_in_file_names(name: str, expected: float) -> None:
    assert seconds(name) == pytest.approx(expected, abs=5e-7)
    assert seconds("5000000000", 1e-9) == 5.0
    for wrong in ("nan", "photo", ""):
        with pytest.raises(ValueError, match=r"time|float"):
            seconds(wrong)


def test_nothing_of_the_calibration_need_be_known(tmp_path: Path) -> None:
    root = write_rig(tmp_path / "bare", {"a": {}, "b": {}})
    photo(root / "a" / "0.5.png")
    photo(root / "b" / "0.6.png")
    log = open_log(root)
    assert log.rig.intrinsics is None and log.rig.rig_from_cam is None and log.rig.sizes == ((48, 64),) * 2
    assert len(log) == 1 and tuple(log.steps[0].images) == ("a", "b")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"sensors": {}}, "describes no sensors"),
        ({"sensors": [1]}, "describes no sensors"),
        ({"time_unit": "minutes"}, "time unit 'minutes'"),
        ({"sensors": {"front": {"intrinsics": K}, "left": {}}}, "no intrinsics of left"),
        ({"sensors": {"front": {"intrinsics": [1, 2]}}}, "intrinsics of front"),
        ({"sensors": {"front": {"intrinsics": [-300, 300, 1, 1]}}}, "intrinsics of front"),
        ({"sensors": {"front": {"rig_from_cam": {"translation": [0, 0, 0]}}}}, "rig_from_cam of front"),
        ({"sensors": {"front": {"rig_from_cam": np.diag([1.0, 1, 2, 1]).tolist()}}}, "rig_from_cam of front"),
        ({"sensors": {"front": {"width": 640, "height": 480}}}, "64x48 pixels, and .* says 640x480"),
        ({"lidar": {"rig_from_lidar": [1, 2]}}, "The LiDAR in .*rig.json is wrong"),
        ({"sensors": {"top": {}}}, "none of the files is there"),
        ({"ground": "low"}, "The ground in .* is 'low'"),
    ],
)
def test_mistakes_in_the_description(rig: Path, change: dict, cause: str) -> None:
    content = json.loads((rig / "rig.json").read_text()) | change
    (rig / "rig.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=cause):
        open_log(rig)


def test_mistakes_in_files(rig: Path) -> None:
    (rig / "poses.csv").write_text(f"{START} 0 0 0 0 0 0 1\n{START + 1} 0 0 0\n")
    with pytest.raises(InputError, match="line 2 is no pose"):
        open_log(rig)
    (rig / "poses.csv").write_text(f"{START} 0 0 0 0 0 0 0\n")  # a quaternion of length 0
    with pytest.raises(InputError, match="line 1 is no pose"):
        open_log(rig)
    (rig / "poses.csv").unlink()
    photo(rig / "front" / "last.png")
    with pytest.raises(InputError, match="is no timestamp"):
        open_log(rig)
    (rig / "front" / "last.png").unlink()
    (rig / "rig.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        open_log(rig)


def test_mistakes_in_the_call(rig: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, cause in (
        (tmp_path / "empty", "is empty"),
        (tmp_path, "no log of a known kind"),
        (tmp_path / "x", "does not exist"),
    ):
        with pytest.raises(InputError, match=cause) as error:
            open_log(path)
        assert all(name in error.value.remedy for name in LOG_KINDS)
    with pytest.raises(InputError, match="is a file"):
        open_log(rig / "rig.json")
    with pytest.raises(InputError, match="no sweeps"):
        open_log(rig, sweeps=True)
    with pytest.raises(InputError, match=r"no camera 'right'\. It has: front, left"):
        open_log(rig, sensors=["right"])
    for wrong in ({"start": 5}, {"start": -1}, {"every": 0}, {"start": 2, "stop": 2}):
        with pytest.raises(InputError, match="No step is left"):
            open_log(rig).choose(**wrong)
    with pytest.raises(InputError, match="no sensor 'right'"):
        open_log(rig).choose(["right"])


def shots(times: list[float]) -> list[Shot]:
    return [Shot(time, Path("x")) for time in times]


def test_grouping_of_free_running_cameras() -> None:
    rng = np.random.default_rng(3)
    times = {
        name: np.sort(np.arange(50) * 0.1 + rng.uniform(-0.012, 0.012, 50)) + shift
        for name, shift in (("a", 0), ("b", 0.02))
    }
    moments, notes = group({name: shots(each.tolist()) for name, each in times.items()})
    assert len(moments) == 50 and not notes
    assert all(abs(m.shots["a"].timestamp - m.shots["b"].timestamp) < 0.07 for m in moments)


def test_grouping_with_gaps_and_other_rates() -> None:
    # a fails from 0.5 to 1.0; b goes on and keeps the time line whole
    a, b = [0.1 * i for i in range(20) if not 5 <= i < 10], [0.1 * i + 0.01 for i in range(20)]
    moments, notes = group({"a": shots(a), "b": shots(b)}, shots([0.1 * i for i in range(20)]))
    assert len(moments) == 20 and not notes
    assert [len(m.shots) for m in moments] == [2] * 5 + [1] * 5 + [2] * 10
    assert [m.timestamp for m in moments] == sorted(m.timestamp for m in moments)
    assert all(m.lidar is not None for m in moments)
    # a camera that is twice as fast: every second photo belongs to no step, and is named
    moments, notes = group({"a": shots([0.1 * i for i in range(10)]), "b": shots([0.05 * i for i in range(19)])})
    assert len(moments) == 10 and all(len(m.shots) == 2 for m in moments)
    assert notes == ["b: 9 of 19 photos belong to no step"]
    # one that is slower is absent from some steps
    moments, _ = group({"a": shots([0.1 * i for i in range(10)]), "b": shots([0.3 * i for i in range(4)])})
    assert [len(m.shots) for m in moments] == [2, 1, 1] * 3 + [2]


def test_a_pose_track_takes_the_shorter_way_and_sorts_its_times() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("z", [[350], [0], [10]], degrees=True).as_matrix()
    track = PoseTrack(np.array([0.0, 2.0, 1.0]), poses[[0, 2, 1]])
    halfway = Rotation.from_matrix(track.at(0.5)[:3, :3]).as_euler("zyx", degrees=True)[0]
    assert halfway == pytest.approx(-5)
    assert (
        track.at(-0.01) is None and track.at(2.01) is None and PoseTrack(np.zeros(0), np.zeros((0, 4, 4))).at(0) is None
    )
    np.testing.assert_array_equal(track.at(2.0), poses[2])
