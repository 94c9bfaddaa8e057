"""Logs of KITTI, DDAD and our own data sets, written here from known geometry by the formulas of their makers."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ring_world import HEIGHT, WIDTH, ring_world
from worldline.errors import InputError
from worldline.inputs.logs import Log, open_log, ring_neighbors
from worldline.types import Camera
from worldline.worlds.cameras.rigs import RIG_SENSORS
from worldline.worlds.formats import FORMATS
from worldline.worlds.formats.plan import Plan

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
DRIVE, START = "2011_09_26_drive_0001_sync", datetime.datetime(2011, 9, 26, 13, 2, 25, tzinfo=datetime.UTC)
POINTS = np.random.default_rng(5).uniform((8, -4, -2), (30, 4, 2), (40, 3))  # before the rig at its start
COUNT = 5
FLU_AXES = Rotation.from_matrix([[0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera from forward-left-up
P_RECT = {  # focal length, centre, and baselines of the four cameras times focal length
    "00": [721.5, 0, 609.6, 0, 0, 721.5, 172.9, 0, 0, 0, 1, 0],
    "01": [721.5, 0, 609.6, -387.6, 0, 721.5, 172.9, 0, 0, 0, 1, 0],
    "02": [721.5, 0, 609.6, 44.86, 0, 721.5, 172.9, 0.2163, 0, 0, 1, 0.002746],
    "03": [721.5, 0, 609.6, -339.5, 0, 721.5, 172.9, 2.2, 0, 0, 1, 0.002730],
}


def text(values: object) -> str:
    return " ".join(f"{value:.12e}" for value in np.ravel(values))


def motion(rotation: Rotation, translation: object) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation
    return matrix


def photo(path: Path, mode: str = "RGB", size: tuple[int, int] = (62, 19)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 90 if mode == "L" else (10, 90, 200)).save(path)


def pixels_of(log: Log, step: int, sensor: str, points: np.ndarray) -> np.ndarray:
    image, row = log.steps[step].images[sensor], log.rig.index(sensor)
    camera = Camera(log.rig.intrinsics[row], image.world_from_rig @ log.rig.rig_from_cam[row], *log.rig.sizes[row])
    return camera.project(points)[0]


# --- KITTI ----------------------------------------------------------------------------------------------------------

LIDAR_FROM_IMU = motion(Rotation.from_euler("xyz", [0.01, -0.005, 0.003]), [-0.81, 0.32, -0.80])
CAM_FROM_LIDAR = motion(FLU_AXES * Rotation.from_euler("xyz", [0.002, 0.01, -0.004]), [-0.004, -0.076, -0.27])
RECTIFY = motion(Rotation.from_euler("xyz", [0.01, 0.009, -0.004]), np.zeros(3))


def drive_at(time: float) -> np.ndarray:
    """8 m/s to the north-east, turning slowly."""
    heading = np.array([0.3 + 0.2 * time, 0.01, -0.02])
    return motion(Rotation.from_euler("ZYX", heading), [6.0 * time, 5.0 * time, 0.1 * time])


def stamp(second: float) -> str:
    return f"{START + datetime.timedelta(seconds=second):%Y-%m-%d %H:%M:%S.%f}000"


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    day = tmp_path / "2011_09_26"
    drive = day / DRIVE
    for sensor in P_RECT:
        for number in range(COUNT):
            photo(drive / f"image_{sensor}" / "data" / f"{number:010d}.png", "L" if sensor < "02" else "RGB")
        lines = [stamp(0.1 * number + 0.001 * int(sensor)) for number in range(COUNT)]
        (drive / f"image_{sensor}" / "timestamps.txt").write_text("\n".join(lines) + "\n")
    cameras = "".join(f"P_rect_{name}: {text(values)}\n" for name, values in P_RECT.items())
    head = "calib_time: 09-Jan-2012 13:57:47\n"
    (day / "calib_cam_to_cam.txt").write_text(
        f"{head}corner_dist: 9.95e-02\nR_rect_00: {text(RECTIFY[:3, :3])}\n{cameras}"
    )
    for name, matrix in (("calib_imu_to_velo.txt", LIDAR_FROM_IMU), ("calib_velo_to_cam.txt", CAM_FROM_LIDAR)):
        (day / name).write_text(f"{head}R: {text(matrix[:3, :3])}\nT: {text(matrix[:3, 3])}\n")
    (drive / "oxts" / "data").mkdir(parents=True)
    (drive / "velodyne_points" / "data").mkdir(parents=True)
    times = [0.1 * number - 0.02 for number in range(COUNT + 1)]
    for number, time in enumerate(times):
        pose = drive_at(time)
        yaw, pitch, roll = Rotation.from_matrix(pose[:3, :3]).as_euler("ZYX")
        scale = np.cos(np.radians(49.0)) * 6378137.0
        east, north = pose[:2, 3] - drive_at(times[0])[:2, 3]
        mercator = scale * np.log(np.tan(np.pi * (90 + 49.0) / 360)) + north
        latitude = np.degrees(2 * np.arctan(np.exp(mercator / scale))) - 90
        row = [latitude, 8.4 + np.degrees(east / scale), 110 + pose[2, 3], roll, pitch, yaw, 5, 6, 7.8, 0, 0] + [0] * 19
        (drive / "oxts" / "data" / f"{number:010d}.txt").write_text(" ".join(f"{value:.15g}" for value in row))
        if number < COUNT:
            world_from_lidar = drive_at(0.1 * number + 0.003) @ np.linalg.inv(LIDAR_FROM_IMU)
            local = (POINTS - world_from_lidar[:3, 3]) @ world_from_lidar[:3, :3]
            rows = np.c_[local, np.full(len(local), 0.25)].astype("<f4")
            (drive / "velodyne_points" / "data" / f"{number:010d}.bin").write_bytes(rows.tobytes())
    (drive / "oxts" / "timestamps.txt").write_text("\n".join(stamp(time) for time in times))
    lines = [stamp(0.1 * number + 0.003) for number in range(COUNT)]
    (drive / "velodyne_points" / "timestamps.txt").write_text("\n".join(lines))
    return day


def test_kitti_cameras_see_points_where_the_chain_of_matrices_puts_them(kitti: Path) -> None:
    log = open_log(kitti)
    assert log.name == DRIVE and log.sensors == ("image_00", "image_01", "image_02", "image_03") and len(log) == COUNT
    origin = drive_at(-0.02)[:3, 3]
    for step in range(COUNT):
        for name, values in P_RECT.items():
            time = 0.1 * step + 0.001 * int(name)
            local = np.c_[POINTS, np.ones(len(POINTS))] @ np.linalg.inv(drive_at(time)).T
            chain = np.reshape(values, (3, 4)) @ RECTIFY @ CAM_FROM_LIDAR @ LIDAR_FROM_IMU @ local.T
            expected = (chain[:2] / chain[2]).T
            # latitudes and yaw are interpolated; both are nearly linear within 0.1 s
            np.testing.assert_allclose(pixels_of(log, step, f"image_{name}", POINTS - origin), expected, atol=0.02)
        np.testing.assert_allclose(log.steps[step].lidar.points(), POINTS - origin, atol=2e-3)
        assert log.steps[step].speed == pytest.approx(7.8)
        assert log.steps[step].lidar.intensity() == pytest.approx(0.25)
    assert log.steps[0].images["image_00"].read().shape == (19, 62, 3)  # grey becomes RGB
    assert log.rig.ground == pytest.approx(-0.93, abs=0.08)  # the inertial unit's nominal height
    assert log.steps[1].images["image_02"].timestamp == pytest.approx(START.timestamp() + 0.102, abs=1e-6)


def test_kitti_cameras_are_all_neighbours(kitti: Path) -> None:
    neighbors = ring_neighbors(open_log(kitti).rig)
    assert all(len(found) == 3 for found in neighbors.values())


def test_kitti_photos_before_the_first_pose_have_none(kitti: Path) -> None:
    oxts = kitti / DRIVE / "oxts"
    lines = (oxts / "timestamps.txt").read_text().splitlines()
    (oxts / "timestamps.txt").write_text("\n".join(["", *lines[1:]]))  # the first one was lost
    log = open_log(kitti, sensors=["image_02"])
    assert [step.images["image_02"].world_from_rig is None for step in log.steps] == [True] + [False] * 4
    assert log.steps[0].lidar.frame == "rig" and log.steps[1].lidar.frame == "world"
    assert any("1 of 5 photos lie before" in note for note in log.notes)


def test_kitti_with_files_missing(kitti: Path) -> None:
    (kitti / DRIVE / "image_02" / "data" / "0000000002.png").unlink()
    (kitti / DRIVE / "velodyne_points" / "data" / "0000000001.bin").unlink()
    log = open_log(kitti / DRIVE)  # the drive itself
    assert [len(step.images) for step in log.steps] == [4, 4, 3, 4, 4]
    assert [step.lidar is None for step in log.steps] == [False, True, False, False, False]
    (kitti / "calib_imu_to_velo.txt").unlink()
    with pytest.raises(InputError, match=r"calib_imu_to_velo\.txt"):
        open_log(kitti)


def test_kitti_drives_that_are_not_rectified_are_no_log(kitti: Path) -> None:
    (kitti / DRIVE).rename(kitti / "2011_09_26_drive_0001_extract")
    for path in (kitti, kitti / "2011_09_26_drive_0001_extract"):
        with pytest.raises(InputError, match="_sync"):
            open_log(path, kind="kitti")


@pytest.fixture
def odometry(tmp_path: Path) -> Path:
    poses = [motion(Rotation.from_euler("y", 0.02 * i), [0.1 * i, 0, 0.9 * i]) for i in range(COUNT)]
    for sequence in ("00", "11"):
        folder = tmp_path / "sequences" / sequence
        for sensor in ("image_0", "image_2"):
            for number in range(COUNT):
                photo(folder / sensor / f"{number:06d}.png")
        rows = "".join(f"P{int(name)}: {text(values)}\n" for name, values in P_RECT.items())
        (folder / "calib.txt").write_text(f"{rows}Tr: {text(CAM_FROM_LIDAR[:3])}\n")
        (folder / "times.txt").write_text("".join(f"{0.1037 * number:e}\n" for number in range(COUNT)))
        (folder / "velodyne").mkdir()
        (folder / "velodyne" / "000000.bin").write_bytes(np.c_[POINTS, np.ones(len(POINTS))].astype("<f4").tobytes())
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "00.txt").write_text("".join(f"{text(pose[:3])}\n" for pose in poses))
    return tmp_path


def test_kitti_odometry(odometry: Path) -> None:
    with pytest.raises(InputError, match=r"2 scenes\. Choose one of: 00, 11"):
        open_log(odometry)
    log = open_log(odometry, scene="00")
    assert log.sensors == ("image_0", "image_2") and log.rig.ground == -1.65 and len(log) == COUNT
    in_first_camera = POINTS @ FLU_AXES.as_matrix().T  # the published world has the axes of camera 0, ours of the rig
    for step in range(COUNT):
        pose = motion(Rotation.from_euler("y", 0.02 * step), [0.1 * step, 0, 0.9 * step])
        local = np.c_[in_first_camera, np.ones(len(POINTS))] @ np.linalg.inv(pose).T
        chain = np.reshape(P_RECT["02"], (3, 4)) @ local.T
        np.testing.assert_allclose(pixels_of(log, step, "image_2", POINTS), (chain[:2] / chain[2]).T, atol=1e-6)
        assert log.steps[step].timestamp == pytest.approx(0.1037 * step)
    np.testing.assert_allclose(log.steps[0].world_from_rig, np.eye(4), atol=1e-9)
    lidar = log.steps[0].lidar.points().astype(np.float64)
    moved = np.c_[POINTS, np.ones(len(POINTS))] @ CAM_FROM_LIDAR.T
    np.testing.assert_allclose(lidar @ FLU_AXES.as_matrix().T, moved[:, :3], atol=1e-4)
    without = open_log(odometry / "sequences" / "11")
    assert without.steps[0].world_from_rig is None and "the sequence has no poses" in without.notes
    assert without.steps[0].lidar.frame == "rig"
    (odometry / "poses" / "00.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match="1 poses for 5 photos"):
        open_log(odometry, scene="00")


# --- DDAD -----------------------------------------------------------------------------------------------------------


def dgp_pose(matrix: np.ndarray) -> dict:
    """As protocol buffers write it: zeros may be left out."""
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    parts = {"translation": dict(zip("xyz", matrix[:3, 3].tolist(), strict=True))}
    parts["rotation"] = {"qw": float(w), "qx": float(x), "qy": float(y), "qz": float(z)}
    return {key: {k: v for k, v in values.items() if v != 0.0} for key, values in parts.items()}


@pytest.fixture
def ddad(tmp_path: Path) -> Path:
    scene = tmp_path / "ddad_train_val" / "000000"
    mounts = {"LIDAR": np.eye(4), "CAMERA_05": motion(FLU_AXES.inv(), [1.6, 0.4, 1.4])}
    mounts["CAMERA_01"] = motion(Rotation.from_euler("z", 1.0) * FLU_AXES.inv(), [1.65, 0.2, 1.35])
    lens = {"fx": 2160.0, "fy": 2150.0, "cx": 950.0, "cy": 600.0}
    (scene / "calibration").mkdir(parents=True)
    calibration = {
        "names": list(mounts), "extrinsics": [dgp_pose(m) for m in mounts.values()], "intrinsics": [{}, lens, lens]
    }  # fmt: skip
    (scene / "calibration" / "abc.json").write_text(json.dumps(calibration))
    data, samples = [], []
    for step in range(3):
        keys = []
        for name, mount in mounts.items():
            time = 0.1 * step + (0.0 if name == "LIDAR" else 0.05)
            kind = "point_cloud" if name == "LIDAR" else "image"
            file = f"{'point_cloud' if name == 'LIDAR' else 'rgb'}/{name}/{step}.{'npz' if name == 'LIDAR' else 'png'}"
            datum = {"filename": file, "pose": dgp_pose(drive_at(time) @ mount), "height": 19, "width": 62}
            clock = f"2019-09-30T15:38:57.{round(1e6 * time):06d}Z"
            keys.append(f"{name}{step}")
            data.append({"key": keys[-1], "id": {"name": name, "timestamp": clock}, "datum": {kind: datum}})
            (scene / file).parent.mkdir(parents=True, exist_ok=True)
            if kind == "image":
                photo(scene / file)
            else:
                np.savez(scene / file, data=np.c_[POINTS, np.ones(len(POINTS))].astype(np.float32))
        clock = f"2019-09-30T15:38:57.{100000 * step:06d}Z"
        samples.append({"id": {"timestamp": clock}, "datum_keys": keys, "calibration_key": "abc"})
    (scene / "scene_123.json").write_text(json.dumps({"name": "", "samples": samples, "data": data}))
    return tmp_path


def test_ddad(ddad: Path) -> None:
    for path in (ddad, ddad / "ddad_train_val", ddad / "ddad_train_val" / "000000"):
        log = open_log(path)
        assert log.name == "000000" and log.sensors == ("CAMERA_01", "CAMERA_05") and len(log) == 3
    for step, each in enumerate(log.steps):
        for image in each.images.values():
            np.testing.assert_allclose(image.world_from_rig, drive_at(0.1 * step + 0.05), atol=1e-9)
        place = drive_at(0.1 * step)
        np.testing.assert_allclose(each.lidar.points(), POINTS @ place[:3, :3].T + place[:3, 3], atol=1e-4)
    np.testing.assert_allclose(log.rig.rig_from_cam[1, :3, 3], [1.6, 0.4, 1.4])
    np.testing.assert_allclose(log.rig.intrinsics[0], [[2160, 0, 950], [0, 2150, 600], [0, 0, 1]])
    assert log.steps[0].images["CAMERA_01"].read().shape == (19, 62, 3) and not log.notes


def test_ddad_damage_and_lens(ddad: Path) -> None:
    scene = ddad / "ddad_train_val" / "000000"
    calibration = json.loads((scene / "calibration" / "abc.json").read_text())
    calibration["intrinsics"][2]["k1"] = -0.3
    (scene / "calibration" / "abc.json").write_text(json.dumps(calibration))
    assert any(note.startswith("CAMERA_01: the calibration states lens") for note in open_log(ddad).notes)
    (scene / "scene_123.json").write_text('{"samples": [{}]}')
    with pytest.raises(InputError, match="is no DGP scene"):
        open_log(ddad)


# --- our own data sets ----------------------------------------------------------------------------------------------


def test_our_scenes_agree_with_the_same_scene_in_nuscenes_format(tmp_path: Path) -> None:
    world, plan = ring_world(), Plan(HEIGHT, WIDTH, "png", "cpu", False, 0)
    FORMATS["ours"].write(world, tmp_path, "scene", plan)
    log = open_log(tmp_path / "scene")
    assert log.sensors == RIG_SENSORS and len(log) == len(world.world_from_rig) and not log.notes
    for instant, step in enumerate(log.steps):
        np.testing.assert_allclose(step.world_from_rig, world.world_from_rig[instant], atol=1e-9)
        for row, image in enumerate(step.images.values()):
            (view,) = np.flatnonzero((world.cameras.sensor == row) & (world.cameras.frame == instant))
            posed = image.world_from_rig @ log.rig.rig_from_cam[row]
            np.testing.assert_allclose(posed, world.cameras.world_from_cam[view], atol=1e-6)
    floor = log.steps[2].lidar.points()[:, 2]
    assert floor.min() > -1e-3 and np.median(floor) < 0.01  # the world's ground, not the scanner's
    part = open_log(tmp_path / "scene", sensors=["CAM_BACK", "CAM_FRONT"])
    np.testing.assert_allclose(part.rig.rig_from_cam[1], log.rig.rig_from_cam[0], atol=1e-9)
    (tmp_path / "scene" / "scene.json").write_text('{"frames": [{"image": 3}]}')
    with pytest.raises(InputError, match="does not describe frames"):
        open_log(tmp_path / "scene")


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="no reference data beside the checkout")
def test_real_kitti_points_lie_at_their_observations() -> None:
    folder = REAL / "driving_kitti_odometry" / "sequence_1"
    log, points = open_log(folder), np.load(folder / "points.npy")
    assert len(log) == 24 and log.sensors == ("image_0",)
    errors = []
    for point, frame, u, v in np.load(folder / "observations.npy"):
        errors.append(np.linalg.norm(pixels_of(log, int(frame), "image_0", points[int(point)][None]) - (u, v)))
    assert np.median(errors) < 0.3  # pixels; 61 with other poses
    assert log.steps[3].images["image_0"].read().shape == (193, 640, 3)
