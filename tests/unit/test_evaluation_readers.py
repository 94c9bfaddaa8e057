"""Readers of data sets: a box of known size is written in each format and must come back where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers import FORMATS, detect, find_sequences, ours, read_sequence
from worldline.eval.readers.seven_scenes import BASELINE, COLOR_INTRINSICS, DEPTH_INTRINSICS
from worldline.eval.sequences import Sequence, pinhole
from worldline.geometry import quaternion_from_matrix
from worldline.inputs import load_views

HALF = 2.0  # the room is the cube from -HALF to HALF metres
COUNT, HEIGHT, WIDTH = 3, 90, 120
INTRINSICS = pinhole(100.0, 101.0, 58.5, 45.5)
MODEL_SIZE = 48


def pose_number(index: int) -> np.ndarray:
    """Cameras inside the box, turned and shifted."""
    angle = 0.2 * index - 0.15
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ tilt, [0.4 * index - 0.4, 0.1 * index, -0.3]
    return pose


POSES = [pose_number(index) for index in range(COUNT)]


def depth_of_box(intrinsics: np.ndarray, pose: np.ndarray, height: int, width: int) -> np.ndarray:
    """Exact depth along the optical axis of the box's walls, seen from inside."""
    rows, columns = np.indices((height, width))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        steps = (np.sign(rays) * HALF - pose[:3, 3]) / rays
    return np.where(np.abs(rays) < 1e-12, np.inf, steps).min(-1)


def save_photo(path: Path, index: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 40 * index + 60, np.uint8)).save(path)


def save_png(path: Path, depth: np.ndarray, per_metre: float = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth * per_metre).astype(np.uint16)).save(path)


def save_pfm(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f"Pf\n{depth.shape[1]} {depth.shape[0]}\n-1.0\n".encode()
    path.write_bytes(header + depth[::-1].astype("<f4").tobytes())


def save_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def numbers(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.12g}" for value in row) for row in matrix) + "\n"


def quaternion(rotation: np.ndarray) -> list[float]:
    """Scalar first."""
    return quaternion_from_matrix(torch.from_numpy(rotation)).tolist()


def write_worldline(folder: Path) -> None:
    frames = []
    for index, pose in enumerate(POSES):
        save_photo(folder / f"images/{index}.png", index)
        save_png(folder / f"depth/{index}.png", depth_of_box(INTRINSICS, pose, HEIGHT, WIDTH))
        frames.append(
            {"image": f"images/{index}.png", "width": WIDTH, "height": HEIGHT, "K": [100, 101, 58.5, 45.5],
             "T_c2w": pose.tolist(), "depth": f"depth/{index}.png"}
        )  # fmt: skip
    save_text(folder / "scene.json", json.dumps({"frames": frames}))


def write_scannet(folder: Path) -> None:
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]) @ INTRINSICS  # depth has half the resolution
    for name, matrix in (("color", INTRINSICS), ("depth", half)):
        full = np.eye(4)
        full[:3, :3] = matrix
        save_text(folder / f"intrinsic/intrinsic_{name}.txt", numbers(full))
    for index, pose in enumerate(POSES):
        save_photo(folder / f"color/{index}.png", index)
        save_png(folder / f"depth/{index}.png", depth_of_box(half, pose, HEIGHT // 2, WIDTH // 2))
        save_text(folder / f"pose/{index}.txt", numbers(pose))
    save_photo(folder / "color/10.png", 1)
    save_png(folder / "depth/10.png", np.ones((HEIGHT // 2, WIDTH // 2)))
    save_text(folder / "pose/10.txt", numbers(np.full((4, 4), -np.inf)))  # tracking was lost


def write_seven_scenes(folder: Path) -> None:
    for index, color_pose in enumerate(POSES):
        depth_pose = color_pose.copy()
        depth_pose[:3, 3] -= BASELINE * color_pose[:3, 0]
        save_photo(folder / f"frame-{index:06d}.color.png", index, 480, 640)
        depth = depth_of_box(DEPTH_INTRINSICS, depth_pose, 480, 640)
        depth[:5] = 65.535  # no value
        save_png(folder / f"frame-{index:06d}.depth.png", depth)
        save_text(folder / f"frame-{index:06d}.pose.txt", numbers(depth_pose))


def write_tum(folder: Path) -> None:
    """As the data set is: comments, depth and trajectory at other times than the photos, poses that nobody needs."""
    rgb, depth, truth = (["# color images", "# file: 'x.bag'", "# timestamp filename"] for _ in range(3))
    for index, pose in enumerate(POSES):
        time = 1305031102.175304 + index / 30
        save_photo(folder / f"rgb/{time:.6f}.png", index)
        save_png(folder / f"depth/{time + 0.008:.6f}.png", depth_of_box(INTRINSICS, pose, HEIGHT, WIDTH), 5000)
        rgb.append(f"{time:.6f} rgb/{time:.6f}.png")
        depth.append(f"{time + 0.008:.6f} depth/{time + 0.008:.6f}.png")
        w, x, y, z = quaternion(pose[:3, :3])
        values = [*pose[:3, 3], x, y, z, w]
        truth.append(f"{time - 0.004:.4f} " + " ".join(f"{value:.9f}" for value in values))
        truth.append(f"{time + 0.015:.4f} 9 9 9 0 0 0 1")
    late = 1305031103.5
    save_photo(folder / f"rgb/{late:.6f}.png", 1)
    rgb.append(f"{late:.6f} rgb/{late:.6f}.png")  # neither depth nor pose at that time
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        save_text(folder / f"{name}.txt", "\n".join(lines) + "\n")
    save_text(folder / "intrinsics.txt", "100 101 58.5 45.5\n")


def write_strecha(folder: Path) -> None:
    for index, pose in enumerate(POSES):
        save_photo(folder / f"images/{index:04d}.png", index)
        parts = (INTRINSICS, np.zeros((1, 3)), pose[:3, :3], pose[None, :3, 3], [[WIDTH, HEIGHT]])
        text = "".join(numbers(np.asarray(part)) for part in parts)
        save_text(folder / f"gt_dense_cameras/{index:04d}.png.camera", text)


def write_dtu(folder: Path) -> None:
    for index, pose in enumerate(POSES):
        save_photo(folder / f"images/{index:08d}.png", index)
        save_pfm(folder / f"depths/{index:08d}.pfm", depth_of_box(INTRINSICS, pose, HEIGHT, WIDTH))
        text = f"extrinsic\n{numbers(np.linalg.inv(pose))}\nintrinsic\n{numbers(INTRINSICS)}\n425.0 2.5\n"
        save_text(folder / f"cams/{index:08d}_cam.txt", text)


def write_habitat(folder: Path) -> None:
    """Habitat's axes: y up, the camera looks along -z; one pose as a matrix, the others as position and quaternion."""
    flip = np.diag([1.0, -1, -1, 1])
    frames = []
    for index, pose in enumerate(POSES):
        save_photo(folder / f"rgb/{index:06d}.png", index)
        (folder / "depth").mkdir(exist_ok=True)
        np.save(folder / f"depth/{index:06d}.npy", depth_of_box(INTRINSICS, pose, HEIGHT, WIDTH)[..., None])
        simulated = pose @ flip
        where = {"world_from_cam": simulated.tolist()} if index == 0 else {
            "position": simulated[:3, 3].tolist(), "rotation": quaternion(simulated[:3, :3])
        }  # fmt: skip
        frames.append({"rgb": f"rgb/{index:06d}.png", "depth": f"depth/{index:06d}.npy", **where})
    save_text(folder / "poses.json", json.dumps({"K": [100, 101, 58.5, 45.5], "frames": frames}))


def write_colmap(folder: Path, *, binary: bool = False, camera: str = "PINHOLE 120 90 100 101 59 46") -> None:
    """Points on the far wall; COLMAP has pixel centres at halves."""
    rows, columns = np.mgrid[-0.8:0.8:12j, -0.8:0.8:16j]
    points = np.stack([columns.ravel(), rows.ravel(), np.full(columns.size, HALF)], -1)
    tracks: list[list[str]] = [[] for _ in points]
    images = []
    for index, pose in enumerate(POSES):
        save_photo(folder / f"images/{index:04d}.png", index)
        inverse = np.linalg.inv(pose)
        in_camera = points @ inverse[:3, :3].T + inverse[:3, 3]
        pixels = (in_camera @ INTRINSICS.T)[:, :2] / in_camera[:, 2:] + 0.5
        inside = ((pixels > 0) & (pixels < [WIDTH, HEIGHT])).all(1)
        seen = []
        for point in np.flatnonzero(inside):
            tracks[point].append(f"{index + 1} {len(seen)}")
            seen.append(f"{pixels[point, 0]:.9f} {pixels[point, 1]:.9f} {point + 1}")
        turn = " ".join(f"{value:.12f}" for value in [*quaternion(inverse[:3, :3]), *inverse[:3, 3]])
        images += [f"{index + 1} {turn} 1 {index:04d}.png", " ".join(seen)]
    sparse = folder / "sparse" / "0"
    save_text(sparse / "cameras.txt", f"1 {camera}\n")
    save_text(sparse / "images.txt", "\n".join(images) + "\n")
    lines = [
        f"{number + 1} {x:.9f} {y:.9f} {z:.9f} 200 100 50 0.1 {' '.join(tracks[number])}"
        for number, (x, y, z) in enumerate(points)
        if tracks[number]
    ]
    save_text(sparse / "points3D.txt", "\n".join(lines) + "\n")
    if binary:
        model = pycolmap.Reconstruction(str(sparse))
        for path in sparse.glob("*.txt"):
            path.unlink()
        model.write_binary(str(sparse))


@dataclass(frozen=True)
class Case:
    write: Callable[[Path], None]
    dense: bool = True  # depth maps: nearly every pixel has truth
    posed_only: bool = False
    intrinsics: np.ndarray | None = None


CASES = {
    "worldline": Case(write_worldline),
    "scannet": Case(write_scannet),
    "7scenes": Case(write_seven_scenes, intrinsics=COLOR_INTRINSICS),
    "tum": Case(write_tum),
    "strecha": Case(write_strecha, posed_only=True),
    "dtu": Case(write_dtu),
    "habitat": Case(write_habitat),
    "colmap": Case(write_colmap, dense=False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    case, place = CASES[name], tmp_path / "set" / "scene"
    place.mkdir(parents=True)
    case.write(place)
    assert find_sequences(tmp_path) == [place]
    found = detect(place)
    assert found is not None and found.name == name
    sequence = read_sequence(place)
    assert (sequence.name, sequence.format, len(sequence)) == ("set/scene", name, COUNT)
    for index, camera in enumerate(sequence.cameras):
        np.testing.assert_allclose(camera.world_from_cam, POSES[index], atol=1e-6)
        wanted = INTRINSICS if case.intrinsics is None else case.intrinsics
        np.testing.assert_allclose(camera.intrinsics, wanted, atol=1e-6)
    check_truth(sequence, case)


def check_truth(sequence: Sequence, case: Case) -> None:
    """Every known point lies on the box, and where its pixel sees it."""
    views = load_views(list(sequence.images), size=MODEL_SIZE, fit="square")
    truth = sequence.truth(list(range(COUNT)), views)
    if case.posed_only:
        assert not truth.valid.any()
        return
    assert truth.valid.mean() > (0.9 if case.dense else 0.02)
    for index, (view, camera) in enumerate(zip(views, sequence.cameras, strict=True)):
        mask = truth.valid[index]
        off_the_walls = np.abs(np.abs(truth.points[index]).max(-1) - HALF)[mask]
        assert off_the_walls.max() < 1e-3
        pixels, depth = camera.to_model(view.transform).project(truth.points[index])
        rows, columns = np.indices(depth.shape)
        assert np.abs(pixels - np.stack([columns, rows], -1))[mask].max() < 0.75
        np.testing.assert_allclose(depth[mask], truth.depth[index][mask], rtol=1e-4)


def test_every_format_is_tested() -> None:
    assert set(CASES) == set(FORMATS)


def test_binary_reconstructions_are_read_as_well(tmp_path: Path) -> None:
    write_colmap(tmp_path, binary=True)
    check_truth(read_sequence(tmp_path), CASES["colmap"])


def test_a_depth_camera_beside_the_photo_shows_the_nearest_surface(tmp_path: Path) -> None:
    """Two planes: the near one hides the far one, also after the warp."""
    write_seven_scenes(tmp_path)
    near = depth_of_box(DEPTH_INTRINSICS, POSES[0], 480, 640)
    near[:, 300:] = 0.5
    save_png(tmp_path / "frame-000000.depth.png", near)
    sequence = read_sequence(tmp_path)
    views = load_views(list(sequence.images), size=MODEL_SIZE, fit="square")
    depth = sequence.truth([0, 1, 2], views).depth[0]
    assert np.median(depth[:, -8:]) == pytest.approx(0.5, abs=1e-3)
    # the baseline is 27 pixels of parallax at half a metre: columns of the near plane come as far left as that
    first_near = int(np.argmax((np.abs(depth - 0.5) < 1e-3).mean(0) > 0.9))
    expected = (523.4 * ((300 - 320) / 585 * 0.5 - BASELINE) / 0.5 + 320.5 - 80) * MODEL_SIZE / 480
    assert first_near == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda folder: (folder / "intrinsic/intrinsic_depth.txt").unlink(), "no intrinsic/intrinsic_depth.txt"),
        (lambda folder: save_text(folder / "intrinsic/intrinsic_color.txt", "1 2 3"), "holds 3 numbers"),
        (lambda folder: save_text(folder / "pose/0.txt", "not a number"), "not a sequence of the format 'scannet'"),
        (lambda folder: [path.unlink() for path in (folder / "color").iterdir()], "has 0 frames"),
    ],
)
def test_damaged_folders_are_refused_with_a_remedy(
    damage: Callable[[Path], object], cause: str, tmp_path: Path
) -> None:
    write_scannet(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=cause) as refused:
        read_sequence(tmp_path)
    assert refused.value.remedy


def test_intrinsics_of_another_resolution_are_noticed(tmp_path: Path) -> None:
    write_dtu(tmp_path)
    quarter = np.diag([0.25, 0.25, 1]) @ INTRINSICS
    text = f"extrinsic\n{numbers(np.eye(4))}\nintrinsic\n{numbers(quarter)}\n"
    save_text(tmp_path / "cams/00000000_cam.txt", text)
    with pytest.raises(InputError, match="do not fit its 120x90 pixels"):
        read_sequence(tmp_path)


def test_distorted_photos_are_refused(tmp_path: Path) -> None:
    write_colmap(tmp_path, camera="SIMPLE_RADIAL 120 90 100 59 46 0.05")
    with pytest.raises(InputError, match="lens distortion") as refused:
        read_sequence(tmp_path)
    assert "image_undistorter" in refused.value.remedy


def test_unknown_formats_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sequence"):
        read_sequence(tmp_path)
    with pytest.raises(InputError, match="no reader 'kitti'"):
        read_sequence(tmp_path, "kitti")
    with pytest.raises(InputError, match="cannot be read"):
        DepthMap(tmp_path / "missing.png").read()
    save_text(tmp_path / "x.tiff", "")
    with pytest.raises(InputError, match="no depth map of a known kind"):
        DepthMap(tmp_path / "x.tiff").read()


def test_the_real_7_scenes_pose_becomes_that_of_the_colour_camera() -> None:
    """Frame 0 of RedKitchen: the published pose, and the colour camera that a photometric fit found."""
    published = np.array(
        [[0.90931290, 0.27262229, -0.31422433, -0.34045634], [-0.27248618, 0.96104979, 0.04527963, 0.01646982],
         [0.31433925, 0.04444965, 0.94820935, 0.29656917], [0, 0, 0, 1]]
    )  # fmt: skip
    fitted_center = [-0.317813427, 0.009684622, 0.30439666]
    assert (published[:3, 3] + BASELINE * published[:3, 0]).tolist() == pytest.approx(fitted_center, abs=2e-4)


def test_a_list_called_scene_json_is_not_ours(tmp_path: Path) -> None:
    """nuScenes has a table of that name."""
    (tmp_path / "scene.json").write_text("[]")
    assert not ours.recognizes(tmp_path)
    assert find_sequences(tmp_path) == []
