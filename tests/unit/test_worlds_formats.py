"""Data sets in the layouts of others, each read back without the code that wrote it."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from moving_world import INSTANTS, moving_world
from worldline import worlds
from worldline.errors import InputError, OutputError
from worldline.worlds import truth
from worldline.worlds.formats import FORMATS
from worldline.worlds.formats.nuscenes_tables import TABLES, VERSION, category_of
from worldline.worlds.formats.plan import Plan, photographs
from worldline.worlds.world import World

HEIGHT, WIDTH = 60, 80
PLAN = Plan(HEIGHT, WIDTH, "jpg", "cpu", True, 150)


@pytest.fixture(scope="module")
def drive() -> World:
    """A rig of two cameras in the open, with a sliding and a turning box."""
    return moving_world(rig=True, open_air=True)


@pytest.fixture(scope="module")
def truth_of_drive(drive: World) -> worlds.WorldSample:
    return worlds.render([drive], height=HEIGHT, width=WIDTH)[0]


# --- nuScenes -------------------------------------------------------------------------------------------------------


class Tables:
    """A reader of our own: every table by token."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = {name: json.loads((root / VERSION / f"{name}.json").read_text()) for name in TABLES}
        self.by_token = {name: {row["token"]: row for row in rows} for name, rows in self.rows.items()}

    def get(self, table: str, token: str) -> dict:
        return self.by_token[table][token]

    def channel(self, data: dict) -> str:
        calibrated = self.get("calibrated_sensor", data["calibrated_sensor_token"])
        return self.get("sensor", calibrated["sensor_token"])["channel"]

    def pose(self, row: dict) -> np.ndarray:
        w, x, y, z = row["rotation"]
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat([x, y, z, w]).as_matrix(), row["translation"]
        return matrix

    def global_from_sensor(self, data: dict) -> np.ndarray:
        ego = self.pose(self.get("ego_pose", data["ego_pose_token"]))
        return ego @ self.pose(self.get("calibrated_sensor", data["calibrated_sensor_token"]))

    def points(self, data: dict) -> np.ndarray:
        return np.fromfile(self.root / data["filename"], np.float32).reshape(-1, 5)


@pytest.fixture(scope="module")
def nuscenes(drive: World, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    root = tmp_path_factory.mktemp("nuscenes")
    FORMATS["nuscenes"].write(drive, root, "test_0000000007", PLAN)
    FORMATS["nuscenes"].finish(root)
    return Tables(root)


def test_nuscenes_links_lead_somewhere(nuscenes: Tables) -> None:
    """Every foreign key of every row of all 13 tables."""
    targets = {"calibrated_sensor": "calibrated_sensor", "ego_pose": "ego_pose", "sample": "sample", "scene": "scene",
               "log": "log", "sensor": "sensor", "instance": "instance", "category": "category",
               "visibility": "visibility", "first_sample": "sample", "last_sample": "sample",
               "first_annotation": "sample_annotation", "last_annotation": "sample_annotation",
               "attribute": "attribute"}  # fmt: skip
    links = 0
    for name, rows in nuscenes.rows.items():
        assert rows, name
        assert len({row["token"] for row in rows}) == len(rows)
        for row in rows:
            for key, value in row.items():
                if key in ("prev", "next"):
                    assert value == "" or value in nuscenes.by_token[name]
                elif key.endswith("_token") or key.endswith("_tokens"):
                    table = targets[key.removesuffix("s").removesuffix("_token")]
                    for token in [value] if isinstance(value, str) else value:
                        assert token in nuscenes.by_token[table], (name, key)
                        links += 1
    assert links > 60


def test_nuscenes_chains_run_through_time(nuscenes: Tables) -> None:
    (scene,) = nuscenes.rows["scene"]
    sample = nuscenes.get("sample", scene["first_sample_token"])
    assert scene["nbr_samples"] == len(nuscenes.rows["sample"]) == 1  # half a second at 10 instants per second
    assert sample["prev"] == sample["next"] == ""
    for channel in ("left", "right", "LIDAR_TOP"):
        chain = [row for row in nuscenes.rows["sample_data"] if nuscenes.channel(row) == channel]
        assert len(chain) == INSTANTS
        row = next(r for r in chain if r["prev"] == "")
        times = []
        while True:
            times.append(row["timestamp"])
            assert (nuscenes.root / row["filename"]).is_file()
            assert row["filename"].startswith("samples/" if row["is_key_frame"] else "sweeps/")
            if row["next"] == "":
                break
            row = nuscenes.get("sample_data", row["next"])
        assert np.diff(times).tolist() == [100_000] * (INSTANTS - 1)
        assert sum(r["is_key_frame"] for r in chain) == 1


def test_nuscenes_lidar_points_lie_on_the_depth_of_the_cameras(
    nuscenes: Tables, drive: World, truth_of_drive: worlds.WorldSample
) -> None:
    """LiDAR -> ego -> global -> ego -> camera -> pixel, as the public readers do, against the rendered depth."""
    data = nuscenes.rows["sample_data"]
    met = 0
    for camera in (row for row in data if row["fileformat"] == "jpg"):
        lidar = next(r for r in data if r["fileformat"] == "pcd" and r["timestamp"] == camera["timestamp"])
        points = nuscenes.points(lidar)[:, :3].astype(np.float64)
        chain = np.linalg.inv(nuscenes.global_from_sensor(camera)) @ nuscenes.global_from_sensor(lidar)
        local = points @ chain[:3, :3].T + chain[:3, 3]
        matrix = np.array(nuscenes.get("calibrated_sensor", camera["calibrated_sensor_token"])["camera_intrinsic"])
        local = local[local[:, 2] > 0.1]
        pixel = (local @ matrix.T)[:, :2] / local[:, 2:]
        inside = (pixel >= 0).all(-1) & (pixel <= (WIDTH - 1, HEIGHT - 1)).all(-1)
        pixel, depth = pixel[inside], local[inside, 2]
        instant = round((camera["timestamp"] - data[0]["timestamp"]) / 100_000)
        sensor = drive.sensors.index(nuscenes.channel(camera))
        (view,) = np.flatnonzero((drive.cameras.sensor == sensor) & (drive.cameras.frame == instant))
        # the scanner stands elsewhere and sees what the camera does not, but nothing beyond what the camera sees
        u, v = ((pixel + 0.5) / (WIDTH, HEIGHT)).T
        answers = truth.query(drive, u, v, instant, instant, instant, height=HEIGHT, width=WIDTH, sensor=sensor)
        same = np.abs(answers.position[:, 2] - depth) < 1e-3
        assert same.mean() > 0.6 and (same | (answers.position[:, 2] < depth)).mean() > 0.999
        # and the rendered depth at the nearest pixel says so too, but for outlines and the ground's slope
        x, y = np.rint(pixel[same]).astype(int).T
        stored = truth_of_drive.depth[view].numpy()[y, x]
        assert (np.abs(stored - depth[same]) < 0.1 * stored).mean() > 0.9
        met += same.sum()
        picture = Image.open(nuscenes.root / camera["filename"])
        assert picture.size == (WIDTH, HEIGHT) == (camera["width"], camera["height"])
    assert met > 1000


def test_nuscenes_boxes_hold_the_points_of_their_things(nuscenes: Tables, drive: World) -> None:
    """Boxes against closed forms, and all LiDAR returns of the two boxes inside them (no others are as high up)."""
    assert len(nuscenes.rows["instance"]) == 2  # the pillar stands still and is no vehicle
    for annotation in nuscenes.rows["sample_annotation"]:
        sample = nuscenes.get("sample", annotation["sample_token"])
        lidar = next(
            r for r in nuscenes.rows["sample_data"]
            if r["sample_token"] == sample["token"] and r["is_key_frame"] and r["fileformat"] == "pcd"
        )  # fmt: skip
        pose, points = nuscenes.global_from_sensor(lidar), nuscenes.points(lidar)[:, :3]
        points = points @ pose[:3, :3].T + pose[:3, 3]
        box = nuscenes.pose(annotation)
        local = (points - box[:3, 3]) @ box[:3, :3]
        width, length, height = annotation["size"]
        inside = (np.abs(local) <= 0.5 * np.array([length, width, height]) + 1e-3).all(-1)
        assert inside.sum() == annotation["num_lidar_pts"] > 20
        beside = (np.abs(local) <= 0.5 * np.array([length, width, height]) + 0.15).all(-1) & ~inside
        assert (points[beside, 2] < 0.01).all()  # only the ground is near
    sliding, turning = nuscenes.rows["sample_annotation"]
    assert np.allclose(sliding["translation"], [-0.4, 3.0, 0.5]) and np.allclose(sliding["size"], [0.8, 1.0, 1.0])
    assert np.allclose(turning["translation"], [1.5, 3.0, 0.4]) and np.allclose(turning["size"], [0.8] * 3)
    assert np.allclose(turning["rotation"], [np.cos(0.15), 0, 0, np.sin(0.15)])
    assert turning["visibility_token"] == "4"


def test_nuscenes_scenes_join_in_the_tables(nuscenes: Tables, drive: World, tmp_path: Path) -> None:
    FORMATS["nuscenes"].write(replace(drive, seed=8), tmp_path, "test_0000000008", PLAN)
    assert not (tmp_path / VERSION).exists()
    shutil.copy(nuscenes.root / "scenes" / "test_0000000007.json", tmp_path / "scenes")
    FORMATS["nuscenes"].finish(tmp_path)
    both = Tables(tmp_path)
    assert [row["name"] for row in both.rows["scene"]] == ["test_0000000007", "test_0000000008"]
    assert len(both.rows["sample_data"]) == 2 * len(nuscenes.rows["sample_data"])
    assert both.rows["sensor"] == nuscenes.rows["sensor"]
    assert both.rows["category"] == nuscenes.rows["category"]
    record = tmp_path / "scenes" / "test_0000000008.json"
    record.write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        FORMATS["nuscenes"].finish(tmp_path)


def test_categories_follow_size_and_motion() -> None:
    assert category_of(np.array([4.4, 1.8, 1.5]), False) == "vehicle.car"
    assert category_of(np.array([7.0, 2.4, 3.2]), True) == "vehicle.truck"
    assert category_of(np.array([11.5, 2.5, 3.1]), True) == "vehicle.bus.rigid"
    assert category_of(np.array([0.5, 0.6, 1.75]), True) == "human.pedestrian.adult"
    assert category_of(np.array([0.5, 0.5, 1.7]), False) == "human.pedestrian.adult"  # stands
    assert category_of(np.array([0.6, 0.7, 1.1]), False) is None  # a bin
    assert category_of(np.array([4.0, 1.3, 2.45]), False) is None  # a bus shelter
    assert category_of(np.array([1.8, 0.6, 1.8]), True) == "vehicle.bicycle"
    assert category_of(np.array([12.0, 9.0, 8.0]), False) is None  # a house
    assert category_of(np.array([0.3, 0.3, 0.3]), True) == "movable_object.pushable_pullable"


# --- TAPVid-3D ------------------------------------------------------------------------------------------------------


def test_tapvid3d_tracks_project_onto_their_queries(tmp_path: Path) -> None:
    world = moving_world()
    FORMATS["tapvid3d"].write(world, tmp_path, "clip", PLAN)
    sample = worlds.render([world], height=HEIGHT, width=WIDTH)[0]
    with np.load(tmp_path / "clip.npz", allow_pickle=False) as clip:
        images, queries, tracks = clip["images_jpeg_bytes"], clip["queries_xyt"], clip["tracks_XYZ"]
        visible, lens, cam_from_world = clip["visibility"], clip["fx_fy_cx_cy"], clip["extrinsics_w2c"]
    assert tracks.shape == (INSTANTS, 150, 3) and visible.shape == (INSTANTS, 150) and visible.dtype == bool
    at = queries[:, 2].astype(int), np.arange(150)
    pixel = tracks[..., :2] / tracks[..., 2:] * lens[:2] + lens[2:]
    assert np.abs(pixel[at] - queries[:, :2]).max() < 1e-3
    assert visible[at].all()
    # their pixels count from the corner: the middle of the image is its half
    assert lens[2:].tolist() == [WIDTH / 2, HEIGHT / 2]
    depth = sample.depth.numpy()[queries[:, 2].astype(int), *np.floor(queries[:, 1::-1]).astype(int).T]
    assert np.abs(depth - tracks[at][:, 2]).max() < 1e-3
    decoded = [np.asarray(Image.open(io.BytesIO(bytes(image)))) for image in images]
    assert len(decoded) == INSTANTS and decoded[0].shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded[2].astype(float) - sample.images[2].numpy()).mean() < 6
    in_world = np.einsum(
        "tij,tnj->tni", np.linalg.inv(cam_from_world)[:, :3, :3], tracks - cam_from_world[:, None, :3, 3]
    )
    moved = np.abs(in_world - in_world[:1]).max((0, 2))
    assert (moved < 1e-4).any() and (moved > 0.1).any()
    shown = sample.instance.numpy()
    y, x = (np.clip(np.floor(pixel[..., k]).astype(int), 0, s - 1) for k, s in ((1, HEIGHT), (0, WIDTH)))
    own = shown[at[0], *np.floor(queries[:, 1::-1]).astype(int).T]
    assert (shown[np.arange(INSTANTS)[:, None], y, x] == own)[visible].mean() > 0.95


def test_tapvid3d_writes_a_clip_per_sensor_and_leaves_old_ones(drive: World, tmp_path: Path) -> None:
    (tmp_path / "clip_left.npz").write_text("mine")
    FORMATS["tapvid3d"].write(drive, tmp_path, "clip", PLAN)
    assert (tmp_path / "clip_left.npz").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip_left.npz", "clip_right.npz"]


# --- COLMAP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["room", "drive"])
def test_colmap_reads_the_reconstruction_with_tiny_errors(kind: str, drive: World, tmp_path: Path) -> None:
    world = drive if kind == "drive" else worlds.describe("rooms", worlds.TEST_SEEDS[0], views=4, principal_offset=0.03)
    FORMATS["colmap"].write(world, tmp_path, "scene", PLAN)
    model = pycolmap.Reconstruction(str(tmp_path / "scene" / "sparse" / "0"))
    sample = worlds.render([world], height=HEIGHT, width=WIDTH)[0]
    assert model.num_reg_images() == world.views and model.num_points3D() > 50
    worst = 0.0
    for image in model.images.values():
        assert (
            np.abs(
                image.cam_from_world().matrix() - np.linalg.inv(sample.world_from_cam[image.image_id - 1])[:3].numpy()
            ).max()
            < 1e-9
        )
        camera = model.cameras[image.camera_id]
        matrix = sample.intrinsics[image.image_id - 1].numpy()
        assert np.allclose(camera.params, [matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5])
        assert Image.open(tmp_path / "scene" / "images" / image.name).size == (WIDTH, HEIGHT)
        for seen in image.points2D:
            point = image.cam_from_world() * model.points3D[seen.point3D_id].xyz
            worst = max(worst, float(np.abs(camera.img_from_cam(point) - seen.xy).max()))
    assert worst < 0.1  # the bar of the project; it is round-off here
    assert worst < 1e-3
    assert all(point.track.length() >= 2 for point in model.points3D.values())
    # the two boxes move: no point of them can be in a reconstruction
    xyz = np.array([point.xyz for point in model.points3D.values()])
    if kind == "drive":
        assert not ((np.abs(xyz - [0.4, 3.0, 0.5]) < [1.3, 0.45, 0.49]).all(1)).any()
        assert {image.name.split("/")[0] for image in model.images.values()} == {"left", "right"}


# --- ours -----------------------------------------------------------------------------------------------------------


def read_flo(path: Path) -> np.ndarray:
    data = path.read_bytes()
    assert np.frombuffer(data, "<f4", 1)[0] == np.float32(202021.25)
    width, height = np.frombuffer(data, "<i4", 2, 4)
    return np.frombuffer(data, "<f4", -1, 12).reshape(height, width, 2)


def test_ours_of_a_rig_has_masks_flow_and_lidar(
    drive: World, truth_of_drive: worlds.WorldSample, tmp_path: Path
) -> None:
    FORMATS["ours"].write(drive, tmp_path, "scene", PLAN)
    folder = tmp_path / "scene"
    scene = json.loads((folder / "scene.json").read_text())
    frames = scene["frames"]
    assert [frame["sensor"] for frame in frames[:3]] == ["left", "right", "left"]
    for view, frame in enumerate(frames):
        instance = np.asarray(Image.open(folder / frame["instance"])).astype(int) - 1
        assert np.array_equal(instance, truth_of_drive.instance[view].numpy())
        dynamic = np.asarray(Image.open(folder / frame["dynamic"])) > 0
        assert np.array_equal(dynamic, truth_of_drive.dynamic[view].numpy())
        assert (np.asarray(Image.open(folder / frame["depth"]))[instance < 0] == 0).all()
        assert frame["timestamp"] == pytest.approx(0.1 * frame["time_index"])
    assert any((np.asarray(Image.open(folder / frame["dynamic"])) > 0).any() for frame in frames)
    forward = frames[0]["flow_forward"]
    assert frames[forward["to"]]["sensor"] == "left" and frames[forward["to"]]["time_index"] == 1
    flow = read_flo(folder / forward["file"])
    assert flow.shape == (HEIGHT, WIDTH, 2)
    sky = truth_of_drive.instance[0].numpy() < 0
    assert (flow[sky] > 1e9).all() and (np.abs(flow[~sky]) < 100).all()
    back = frames[forward["to"]]["flow_backward"]
    assert back["to"] == 0 and Image.open(folder / back["hidden"]).size == (WIDTH, HEIGHT)
    lidar = scene["lidar"][3]
    rows, pose = np.load(folder / lidar["file"]), np.array(lidar["T_l2w"])
    points = rows[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    assert np.abs(points[rows[:, 5] == 4, 2]).max() < 1e-4  # the ground
    centre = points[rows[:, 5] == 6].mean(0)
    assert abs(centre[0] - (-0.4 + 3 * 0.2)) < 0.3  # the sliding box at the fourth instant


def test_depth_beyond_sixteen_bits_is_no_value(tmp_path: Path) -> None:
    world = moving_world(open_air=True)
    wide = replace(world, room_low=np.array([-200.0, -3.0, 0.0]), room_high=np.array([200.0, 200.0, 50.0]))
    FORMATS["ours"].write(wide, tmp_path, "scene", PLAN)
    depth = np.asarray(Image.open(tmp_path / "scene" / "depth" / "000000.png"))
    exact = worlds.render([wide], height=HEIGHT, width=WIDTH)[0].depth[0].numpy()
    assert (exact > 65.6).any()
    assert (depth[exact > 65.54] == 0).all() and (depth[(exact > 0) & (exact < 65.5)] > 0).all()


# --- all ------------------------------------------------------------------------------------------------------------


def test_an_interruption_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def save(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("worldline.worlds.formats.ours.save_map", save)
    with pytest.raises(KeyboardInterrupt):
        worlds.write("rooms", 3, tmp_path, views=2, height=16, width=16)
    assert [p.name for p in tmp_path.iterdir()] == [f"rooms_{worlds.TEST_SEEDS[0]:010d}"]
    monkeypatch.undo()
    assert len(worlds.write("rooms", 3, tmp_path, views=2, height=16, width=16)) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_photos_rendered_in_portions_are_the_photos_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also their exposure: a film must not flicker where a portion ends."""
    world = worlds.describe("rooms", worlds.TEST_SEEDS[0], views=5)
    whole = worlds.render([world], height=24, width=32)[0]
    monkeypatch.setattr("worldline.worlds.formats.plan._PIXELS", 2 * 24 * 32)
    plan = replace(PLAN, height=24, width=32)
    seen = [(row, sample.images[view]) for row, sample, view in photographs(world, np.arange(5), plan)]
    assert [row for row, _ in seen] == list(range(5))
    for row, image in seen:
        assert (image.int() - whole.images[row].int()).abs().double().mean() < 0.2, row


@pytest.mark.parametrize("format", ["colmap", "tapvid3d"])
def test_write_resumes_in_every_format(format: str, tmp_path: Path) -> None:
    options = {"format": format, "views": 2, "height": 32, "width": 48, "tracks": 40}
    seen: list[tuple[int, int, str]] = []
    first = worlds.write("rooms", 1, tmp_path, **options, progress=lambda *step: seen.append(step))
    assert len(first) == 1 and first[0].exists()
    assert worlds.write("rooms", 1, tmp_path, **options) == []
    assert seen == [(1, 1, f"rooms_{worlds.TEST_SEEDS[0]:010d}")]
    assert len(worlds.write("rooms", 2, tmp_path, **options)) == 1


def test_nuscenes_needs_a_rig(drive: World, tmp_path: Path) -> None:
    loose = replace(drive, world_from_rig=np.stack([np.eye(4)] * INSTANTS))
    with pytest.raises(InputError, match="left moves"):
        FORMATS["nuscenes"].check(loose)
    with pytest.raises(InputError, match="rig"):
        worlds.write("rooms", 1, tmp_path / "none", format="nuscenes")
    assert not (tmp_path / "none").exists()
