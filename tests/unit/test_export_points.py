"""Exported points, Gaussians and depth maps, decoded by independent readers."""

import dataclasses
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import plyfile
import pytest
import trimesh
from PIL import Image

import synthetic_scene
from worldline.scene import Scene
from worldline.types import Gaussians

SH_C0 = 0.5 / np.sqrt(np.pi)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    values = srgb / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def rotation_matrices(w_x_y_z: np.ndarray) -> np.ndarray:
    w, x, y, z = (w_x_y_z / np.linalg.norm(w_x_y_z, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def test_ply(exact_scene: Scene, tmp_path: Path) -> None:
    data = plyfile.PlyData.read(exact_scene.export(tmp_path, ["ply"])["ply"])
    points, colors, confidence = exact_scene.point_cloud()
    assert data.byte_order == "<" and not data.text
    vertices = data["vertex"].data
    assert vertices.dtype.names == ("x", "y", "z", "red", "green", "blue", "confidence")
    assert np.array_equal(np.stack([vertices[k] for k in "xyz"], axis=-1), points)
    assert np.array_equal(np.stack([vertices[k] for k in ("red", "green", "blue")], axis=-1), colors)
    assert np.array_equal(vertices["confidence"], confidence)


def read_glb(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and json_length % 4 == 0
    binary_length, kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert kind == b"BIN\0" and 28 + json_length + binary_length == len(data)
    return json.loads(data[20 : 20 + json_length]), data[28 + json_length :]


def test_glb_points_and_linear_colors(exact_scene: Scene, tmp_path: Path) -> None:
    path = exact_scene.export(tmp_path, ["glb"])["glb"]
    points, colors, _ = exact_scene.point_cloud()
    content = trimesh.load_scene(path)
    transform, name = content.graph["points"]
    cloud = content.geometry[name]
    assert np.allclose(transform, np.eye(4))
    assert np.allclose(cloud.vertices, points * [1, -1, -1], atol=1e-6)
    assert np.abs(cloud.colors[:, :3] / 255 - to_linear(colors)).max() < 1 / 255

    tree, buffer = read_glb(path)
    primitive = next(mesh for mesh in tree["meshes"] if mesh["name"] == "points")["primitives"][0]
    assert primitive["mode"] == 0
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    view = tree["bufferViews"][accessor["bufferView"]]
    assert accessor["componentType"] == 5126 and accessor["type"] == "VEC3" and view["byteOffset"] % 4 == 0
    exact = np.frombuffer(buffer, "<f4", accessor["count"] * 3, view["byteOffset"]).reshape(-1, 3)
    assert np.abs(exact - to_linear(colors)).max() < 1e-6
    assert len(np.unique(exact[:, 0])) == len(np.unique(colors[:, 0]))  # no tone is lost
    for item in tree["bufferViews"]:
        assert item["byteOffset"] + item["byteLength"] <= tree["buffers"][0]["byteLength"] == len(buffer)


def test_gaussians_ply_activates_to_the_values(exact_scene: Scene, tmp_path: Path) -> None:
    data = plyfile.PlyData.read(exact_scene.export(tmp_path, ["gaussians-ply"])["gaussians-ply"])["vertex"].data
    truth = exact_scene.gaussians

    def columns(*names: str) -> np.ndarray:
        return np.stack([data[name] for name in names], axis=-1).astype(np.float64)

    assert np.array_equal(columns("x", "y", "z"), truth.means)
    assert not columns("nx", "ny", "nz").any()
    assert np.allclose(np.exp(columns("scale_0", "scale_1", "scale_2")), truth.scales, rtol=1e-5)
    assert np.allclose(1 / (1 + np.exp(-data["opacity"].astype(np.float64))), truth.opacities, atol=1e-5)
    assert np.allclose(0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2"), truth.colors, atol=1e-5)
    found = rotation_matrices(columns("rot_0", "rot_1", "rot_2", "rot_3"))
    assert np.allclose(found, rotation_matrices(truth.rotations), atol=1e-5)


def covariances(rotations: np.ndarray, scales: np.ndarray) -> np.ndarray:
    axes = rotation_matrices(rotations) * scales[:, None, :]
    return axes @ np.swapaxes(axes, 1, 2)


def test_splat_bytes(exact_scene: Scene, tmp_path: Path) -> None:
    data = exact_scene.export(tmp_path, ["splat"])["splat"].read_bytes()
    truth = exact_scene.gaussians
    assert len(data) == 32 * len(truth.means)
    order = {point.tobytes(): index for index, point in enumerate(truth.means)}
    importance = []
    for offset in range(0, len(data), 32):
        *numbers, red, green, blue, alpha, w, x, y, z = struct.unpack_from("<6f8B", data, offset)
        index = order.pop(np.array(numbers[:3], np.float32).tobytes())
        assert np.array_equal(np.float32(numbers[3:]), truth.scales[index])
        assert np.abs(np.array([red, green, blue]) / 255 - truth.colors[index]).max() <= 0.5 / 255 + 1e-6
        assert abs(alpha / 255 - truth.opacities[index]) <= 0.5 / 255 + 1e-6
        found = (np.array([[w, x, y, z]]) - 128.0) / 128
        assert np.abs(rotation_matrices(found) - rotation_matrices(truth.rotations[index : index + 1])).max() < 0.04
        importance.append(truth.opacities[index] * truth.scales[index].astype(np.float64).prod())
    assert not order and np.all(np.diff(importance) <= 1e-12)


def read_spz(path: Path) -> dict[str, np.ndarray | int]:
    """A reader written from the format's description only."""
    data = gzip.decompress(path.read_bytes())
    magic, version, count, degree, bits, flags, reserved = struct.unpack_from("<IIIBBBB", data)
    assert (magic, version, degree, flags, reserved) == (0x5053474E, 2, 0, 0, 0)
    assert len(data) == 16 + count * (9 + 1 + 3 + 3 + 3)
    raw = np.frombuffer(data, np.uint8, offset=16).astype(np.int64)
    positions, alphas, colors, scales, rotations = np.split(raw, np.cumsum([9, 1, 3, 3]) * count)
    low, middle, high = positions.reshape(-1, 3, 3).transpose(2, 0, 1)
    whole = low + 256 * middle + 65536 * high
    x_y_z = rotations.reshape(-1, 3) / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (x_y_z**2).sum(axis=1)))
    return {
        "bits": bits,
        "positions": np.where(whole >= 2**23, whole - 2**24, whole) / 2.0**bits,
        "opacities": alphas / 255,
        "colors": 0.5 + SH_C0 * (colors.reshape(-1, 3) / 255 - 0.5) / 0.15,
        "scales": np.exp(scales.reshape(-1, 3) / 16 - 10),
        "rotations": np.concatenate([w[:, None], x_y_z], axis=1),
    }


def test_spz_within_quantisation(exact_scene: Scene, tmp_path: Path) -> None:
    found = read_spz(exact_scene.export(tmp_path, ["spz"])["spz"])
    truth, turn = exact_scene.gaussians, np.diag([1.0, -1.0, -1.0])  # y up, z back
    assert np.abs(found["positions"] - truth.means @ turn).max() <= 0.5 / 2 ** found["bits"] + 1e-9
    assert found["bits"] >= 16
    assert np.abs(found["opacities"] - truth.opacities).max() <= 0.5 / 255 + 1e-6
    assert np.abs(found["colors"] - truth.colors).max() <= SH_C0 * 0.5 / (0.15 * 255) + 1e-6
    assert np.abs(np.log(found["scales"]) - np.log(truth.scales)).max() <= 1 / 32 + 1e-5
    expected = turn @ covariances(truth.rotations, truth.scales.astype(np.float64)) @ turn
    size = np.linalg.norm(expected, axis=(1, 2), keepdims=True)
    # a small w is the difference of large numbers in this version of the format: compare where it is well conditioned
    clear = np.abs(truth.rotations[:, 0]) > 0.2
    error = covariances(found["rotations"], found["scales"]) - expected
    assert clear.sum() > 100 and np.abs(error / size)[clear].max() < 0.15


@pytest.mark.parametrize("extent", [1e-3, 1.0, 5000.0])
def test_spz_positions_of_any_size_fit(exact_scene: Scene, tmp_path: Path, extent: float) -> None:
    means = (np.random.default_rng(0).uniform(-1, 1, (50, 3)) * extent).astype(np.float32)
    rest = {field.name: getattr(exact_scene.gaussians, field.name)[:50] for field in dataclasses.fields(Gaussians)}
    scene = dataclasses.replace(exact_scene, gaussians=Gaussians(**{**rest, "means": means}))
    found = read_spz(scene.export(tmp_path, ["spz"])["spz"])
    assert np.abs(found["positions"] * [1, -1, -1] - means).max() <= max(extent / 2**22, 2**-21)


def test_scenes_without_gaussians_get_small_round_ones(tmp_path: Path) -> None:
    scene = synthetic_scene.make_scene(None, gaussians=False)
    written = scene.export(tmp_path, ["gaussians-ply", "splat", "spz"])
    points, colors, _ = scene.point_cloud()
    data = plyfile.PlyData.read(written["gaussians-ply"])["vertex"].data
    assert len(data) == len(points) == written["splat"].stat().st_size // 32
    assert np.array_equal(np.stack([data[k] for k in "xyz"], axis=-1), points)
    pixel_width = np.concatenate([(view.depth / view.model_camera.intrinsics[0, 0])[view.mask] for view in scene.views])
    ratio = np.exp(data["scale_0"]) / pixel_width
    assert ratio.min() > 0.25 and ratio.max() < 2
    assert np.array_equal(data["scale_0"], data["scale_2"])
    assert np.abs(read_spz(written["spz"])["colors"] * 255 - colors).max() < 2.5


@pytest.mark.parametrize(("scale", "stretch"), [("depth", 1.0), ("model", 1.0), ("depth", 40.0), ("arbitrary", 1e-4)])
def test_depth_png_fits_and_says_its_factor(exact_scene: Scene, tmp_path: Path, scale: str, stretch: float) -> None:
    views = [dataclasses.replace(view, depth=view.depth * np.float32(stretch)) for view in exact_scene.views]
    folder = dataclasses.replace(exact_scene, views=tuple(views), scale=scale).export(tmp_path, ["depth-png"])[
        "depth-png"
    ]
    document = json.loads((folder / "depth.json").read_text(encoding="utf-8"))
    factor = document["values_per_unit"]
    assert (factor == 1000) == (scale == "depth" and stretch == 1)
    for view, record in zip(views, document["files"], strict=True):
        assert record["view"] == view.name
        values = np.asarray(Image.open(folder / record["file"]))
        assert values.dtype == np.uint16 and values.shape == view.transform.original_size
        exact = synthetic_scene.surface(view.camera)[1] * stretch
        rows, columns = np.mgrid[0 : values.shape[0], 0 : values.shape[1]]
        pixels = view.transform.to_model(np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(*values.shape, 2)
        height, width = view.transform.model_size
        seen = (np.abs(pixels - [width / 2 - 0.5, height / 2 - 0.5]) < [width / 2 - 0.01, height / 2 - 0.01]).all(
            axis=-1
        )
        assert (values[~seen & ((pixels < -0.51) | (pixels > [width - 0.49, height - 0.49])).any(axis=-1)] == 0).all()
        assert (values[seen] > 0).mean() > 0.99
        error = np.abs(values / factor - exact)[values > 0]
        assert error.max() < 0.03 * exact.max() and np.median(error) < 0.003 * exact.max()


def test_masked_pixels_are_nowhere(exact_scene: Scene, tmp_path: Path) -> None:
    view = exact_scene.views[0]
    mask = view.mask.copy()
    mask[:, :64] = False
    scene = Scene(views=(dataclasses.replace(view, mask=mask),))
    written = scene.export(tmp_path, ["ply", "depth-png", "splat"])
    assert len(plyfile.PlyData.read(written["ply"])["vertex"].data) == mask.sum()
    assert written["splat"].stat().st_size == 32 * mask.sum()
    values = np.asarray(Image.open(written["depth-png"] / "holiday_IMG_1.png"))
    assert (values[:, : int(view.transform.to_original(np.array([63.0, 0]))[0])] == 0).all() and values.any()


def test_a_scene_without_a_valid_pixel_can_be_written(exact_scene: Scene, tmp_path: Path) -> None:
    view = exact_scene.views[0]
    scene = Scene(views=(dataclasses.replace(view, mask=np.zeros_like(view.mask)),))
    formats = ["glb", "ply", "gaussians-ply", "splat", "spz", "colmap", "nerfstudio", "tum", "npz", "depth-png"]
    assert list(scene.export(tmp_path, formats)) == formats
