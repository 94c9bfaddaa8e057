"""Logs in nuScenes format, written by worlds from known geometry, are read back as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from moving_world import INSTANTS
from ring_world import HEIGHT, RATE, WIDTH, ring_world
from worldline import worlds
from worldline.errors import InputError
from worldline.inputs.logs import Log, open_log
from worldline.inputs.logs.nuscenes import _rows
from worldline.types import Camera
from worldline.worlds import truth
from worldline.worlds.cameras.rigs import RIG_SENSORS
from worldline.worlds.formats import FORMATS
from worldline.worlds.formats.plan import Plan
from worldline.worlds.rendering.views import intrinsics
from worldline.worlds.world import World

SCENES = ("test_0000000007", "test_0000000008")
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"


@pytest.fixture(scope="module")
def world() -> World:
    return ring_world()


@pytest.fixture(scope="module")
def root(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nuscenes")
    plan = Plan(HEIGHT, WIDTH, "jpg", "cpu", False, 0)
    FORMATS["nuscenes"].write(world, folder, SCENES[0], plan)
    FORMATS["nuscenes"].write(ring_world(8), folder, SCENES[1], plan)
    FORMATS["nuscenes"].finish(folder)
    return folder


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A data set that a test may damage."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


def instant_of(log: Log, timestamp: float) -> int:
    return round(RATE * (timestamp - log.steps[0].timestamp))


@pytest.mark.parametrize("sweeps", [False, True])
def test_poses_and_intrinsics_are_those_of_the_world(world: World, root: Path, sweeps: bool) -> None:
    log = open_log(root, scene=SCENES[0], sweeps=sweeps)
    assert log.sensors == RIG_SENSORS and log.rig.ground == 0.0 and not log.notes
    assert [instant_of(log, step.timestamp) for step in log.steps] == ([0, 1, 2, 3, 4] if sweeps else [0, 2, 4])
    exact = intrinsics(world.cameras, HEIGHT, WIDTH)
    for step in log.steps:
        instant = instant_of(log, step.timestamp)
        np.testing.assert_allclose(step.world_from_rig, world.world_from_rig[instant], atol=1e-6)
        assert tuple(step.images) == RIG_SENSORS
        for row, (name, image) in enumerate(step.images.items()):
            (view,) = np.flatnonzero((world.cameras.sensor == row) & (world.cameras.frame == instant))
            posed = image.world_from_rig @ log.rig.rig_from_cam[log.rig.index(name)]
            np.testing.assert_allclose(posed, world.cameras.world_from_cam[view], atol=1e-6)
            np.testing.assert_allclose(log.rig.intrinsics[row], exact[view], atol=1e-6)
            assert image.read().shape == (*log.rig.sizes[row], 3) == (HEIGHT, WIDTH, 3)


def test_lidar_points_lie_on_what_the_cameras_see(world: World, root: Path) -> None:
    met = 0
    log = open_log(root, scene=SCENES[0])
    for step in log.steps:
        assert step.lidar is not None and step.lidar.frame == "world"
        points, instant = step.lidar.points(), instant_of(log, step.timestamp)
        assert points.dtype == np.float32 and len(step.lidar.intensity()) == len(points)
        for row, image in enumerate(step.images.values()):
            camera = Camera(log.rig.intrinsics[row], image.world_from_rig @ log.rig.rig_from_cam[row], HEIGHT, WIDTH)
            pixels, depth = camera.project(points)
            inside = (depth > 0.1) & (pixels >= 0).all(-1) & (pixels <= (WIDTH - 1, HEIGHT - 1)).all(-1)
            u, v = ((pixels[inside] + 0.5) / (WIDTH, HEIGHT)).T
            seen = truth.query(world, u, v, instant, instant, instant, height=HEIGHT, width=WIDTH, sensor=row)
            same = np.abs(seen.position[:, 2] - depth[inside]) < 1e-3
            # the scanner on the roof sees what a camera does not, but nothing beyond what that sees
            assert not (~same & (seen.position[:, 2] > depth[inside])).sum() > 0.001 * inside.sum()
            met += same.sum()
    assert met > 1000


def test_photos_are_the_rendered_ones(world: World, root: Path) -> None:
    """Ties photos to poses: shuffled files would pass everything else."""
    sample = worlds.render([world], height=HEIGHT, width=WIDTH)[0]
    log = open_log(root, scene=SCENES[0], sweeps=True)
    for step in log.steps:
        instant = instant_of(log, step.timestamp)
        for row, image in enumerate(step.images.values()):
            (view,) = np.flatnonzero((world.cameras.sensor == row) & (world.cameras.frame == instant))
            difference = image.read().astype(int) - sample.images[view].numpy()
            assert np.abs(difference).mean() < 3  # JPEG


def test_choosing_sensors_and_steps(root: Path) -> None:
    names = ("CAM_BACK", "CAM_FRONT")
    log = open_log(root, scene=SCENES[1], sweeps=True, sensors=names)
    same = open_log(root, scene=SCENES[1], sweeps=True).choose(names, start=1, every=2)
    assert log.sensors == same.sensors == names and log.rig.intrinsics.shape == (2, 3, 3)
    assert len(log) == INSTANTS and log.image_count == 2 * INSTANTS and len(same) == 2
    assert [tuple(step.images) for step in same.steps] == [names, names]
    assert same.steps[0].images["CAM_BACK"].path == log.steps[1].images["CAM_BACK"].path
    np.testing.assert_array_equal(log.rig.rig_from_cam, same.rig.rig_from_cam)


def test_the_folder_of_tables_is_the_log_too(root: Path) -> None:
    assert len(open_log(root / "v1.0-worldline", scene=SCENES[0])) == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, f"2 scenes. Choose one of: {SCENES[0]}, {SCENES[1]}"),
        ({"scene": "scene-0061"}, f"no scene 'scene-0061'. Choose one of: {SCENES[0]}"),
        ({"scene": SCENES[0], "sensors": ["CAM_TOP"]}, "no camera 'CAM_TOP'. It has: CAM_FRONT, "),
        ({"scene": SCENES[0], "sensors": []}, "Name at least one"),
        ({"kind": "nuScenes"}, "no kind of log called 'nuScenes'. Choose one of: rig, nuscenes, "),
        ({"kind": "kitti"}, "is no log of kitti. Expected: "),
    ],
)
def test_mistakes(root: Path, arguments: dict, text: str) -> None:
    with pytest.raises(InputError) as error:
        open_log(root, **arguments)
    assert text in str(error.value)


def test_missing_files_are_missing_at_their_step_only(copy: Path) -> None:
    whole = open_log(copy, scene=SCENES[0], sweeps=True)
    whole.steps[2].images["CAM_BACK"].path.unlink()
    whole.steps[4].images["CAM_FRONT"].path.unlink()  # steps are made around this camera
    whole.steps[0].lidar.path.unlink()
    log = open_log(copy, scene=SCENES[0], sweeps=True)
    assert [len(step.images) for step in log.steps] == [6, 6, 5, 6, 5]
    assert [step.lidar is None for step in log.steps] == [True, False, False, False, False]
    assert log.steps[4].timestamp == whole.steps[4].timestamp  # begun by the next camera
    assert "CAM_BACK: 1 of 5 photos are missing" in log.notes and "LIDAR_TOP: 1 of 5 sweeps are missing" in log.notes
    keys = open_log(copy, scene=SCENES[0])
    assert [len(step.images) for step in keys.steps] == [6, 5, 5]


def test_a_camera_that_was_never_unpacked(copy: Path) -> None:
    for folder in ("samples", "sweeps"):
        shutil.rmtree(copy / folder / "CAM_BACK_LEFT")
    log = open_log(copy, scene=SCENES[0])
    assert log.sensors == tuple(name for name in RIG_SENSORS if name != "CAM_BACK_LEFT")
    assert any("CAM_BACK_LEFT: 3 of 3" in note for note in log.notes)
    with pytest.raises(InputError, match="no photo of CAM_BACK_LEFT"):
        open_log(copy, scene=SCENES[0], sensors=["CAM_BACK_LEFT"])
    shutil.rmtree(copy / "samples")
    with pytest.raises(InputError, match="none of the files is there"):
        open_log(copy, scene=SCENES[0])


def test_a_corrupt_photo_and_sweep_are_named_when_read(copy: Path) -> None:
    step = open_log(copy, scene=SCENES[0]).steps[0]
    image = step.images["CAM_FRONT"]
    image.path.write_bytes(image.path.read_bytes()[:300])
    with pytest.raises(InputError, match=image.path.name):
        image.read()
    step.lidar.path.write_bytes(b"1234567")
    with pytest.raises(InputError, match="damaged"):
        step.lidar.points()


def test_every_camera_has_the_pose_of_its_own_time(copy: Path) -> None:
    """As in reality: CAM_BACK shoots 40 ms after the others, when the car is 0.3 m farther."""
    before = open_log(copy, scene=SCENES[0], sweeps=True)
    tables = copy / "v1.0-worldline"
    data, poses = (json.loads((tables / f"{name}.json").read_text()) for name in ("sample_data", "ego_pose"))
    late = {row["ego_pose_token"] for row in data if "/CAM_BACK/" in row["filename"]}
    for row in [*data, *poses]:
        if row.get("ego_pose_token", row["token"]) in late:
            row["timestamp"] += 40_000
    for row in poses:
        if row["token"] in late:
            row["translation"][0] += 0.3
    (tables / "sample_data.json").write_text(json.dumps(data))
    (tables / "ego_pose.json").write_text(json.dumps(poses))
    for sweeps in (False, True):
        for step in open_log(copy, scene=SCENES[0], sweeps=sweeps).steps:
            former = before.steps[instant_of(before, step.timestamp)]
            np.testing.assert_allclose(step.world_from_rig, former.world_from_rig, atol=1e-9)
            for name, image in step.images.items():
                moved = 0.3 if name == "CAM_BACK" else 0.0
                shift = image.world_from_rig[:3, 3] - former.images[name].world_from_rig[:3, 3]
                np.testing.assert_allclose(shift, [moved, 0, 0], atol=1e-9)
                assert image.timestamp - step.timestamp == pytest.approx(0.04 if moved else 0.0, abs=1e-6)


def test_speed_of_the_vehicle_bus(copy: Path) -> None:
    assert open_log(copy, scene=SCENES[0]).steps[0].speed is None
    start = open_log(copy, scene=SCENES[0]).steps[0].timestamp
    messages = [{"utime": round(1e6 * (start + t)), "vehicle_speed": 36 + 18 * t} for t in (0.0, 0.4, 0.8)]
    (copy / "can_bus").mkdir()
    (copy / "can_bus" / f"{SCENES[0]}_vehicle_monitor.json").write_text(json.dumps(messages))
    speeds = [step.speed for step in open_log(copy, scene=SCENES[0]).steps]
    assert speeds == [pytest.approx(10.0), pytest.approx(12.5), None]  # km/h; nothing is known of the last


def test_tables_are_read_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are cut by the end of a chunk, and damage that is none of that."""
    monkeypatch.setattr("worldline.inputs.logs.nuscenes._CHUNK", 7)
    rows = [{"token": f"a{i}", "text": 'quo"te, ]', "list": [i, {"x": None}]} for i in range(20)]
    for indent in (None, 0, 2):
        (tmp_path / "t.json").write_text(json.dumps(rows, indent=indent))
        assert list(_rows(tmp_path / "t.json")) == rows
    (tmp_path / "t.json").write_text("[]")
    assert list(_rows(tmp_path / "t.json")) == []
    for damaged in (json.dumps(rows)[:-9], "", "<html>", '[{"a": 1'):
        (tmp_path / "t.json").write_text(damaged)
        with pytest.raises(InputError, match="is damaged"):
            list(_rows(tmp_path / "t.json"))


def test_tables_that_do_not_fit_together(copy: Path) -> None:
    table = copy / "v1.0-worldline" / "ego_pose.json"
    table.write_text(json.dumps(json.loads(table.read_text())[5:]))
    with pytest.raises(InputError, match="do not fit together"):
        open_log(copy, scene=SCENES[0])


def test_every_table_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or original(self, *a, **k))
    open_log(root, scene=SCENES[0], sweeps=True)
    assert all(opened.count(f"{big}.json") == 1 for big in ("sample_data", "ego_pose", "sample"))


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="no reference data beside the checkout")
def test_real_nuscenes_lidar_lies_on_the_depth_of_the_photos() -> None:
    from PIL import Image

    folder = REAL / "driving_nuscenes" / "scene0061_key"
    log = open_log(folder)
    (step,) = log.steps
    frames = {frame["sensor"]: frame for frame in json.loads((folder / "scene.json").read_text())["frames"]}
    for row, (name, image) in enumerate(step.images.items()):
        height, width = log.rig.sizes[row]
        camera = Camera(log.rig.intrinsics[row], image.world_from_rig @ log.rig.rig_from_cam[row], height, width)
        np.testing.assert_allclose(camera.world_from_cam, frames[name]["T_c2w"], atol=1e-6)
        pixels, depth = camera.project(step.lidar.points())
        stored = np.asarray(Image.open(folder / frames[name]["depth"])) / 1000.0
        x, y = np.rint(pixels).astype(int).T
        seen = (depth > 0.5) & (depth < 65) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        error = np.abs(stored[y[seen], x[seen]] - depth[seen])
        assert np.median(error) < 0.01 and seen.sum() > 1000
        assert image.read().shape == (height, width, 3)
