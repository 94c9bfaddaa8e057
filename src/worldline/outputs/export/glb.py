"""Points and cameras as binary glTF, which every 3D viewer and browser opens."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from worldline.errors import InputError
from worldline.outputs.export.folder import OutputFolder
from worldline.scene import Scene, SceneView
from worldline.types import Camera

GLTF_FROM_WORLD = np.diag([1.0, -1.0, -1.0])  # glTF: y up, z towards the viewer
_FRUSTUM_SHARE = 0.06  # length of a frustum as a share of the scene's median depth
_FRUSTUM_COLOR = (170, 12, 6, 255)  # linear; a strong red
_FLOAT = 5126
_UNLIT = "KHR_materials_unlit"
_GLTF_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def write_glb(scene: Scene, folder: OutputFolder) -> Path:
    """scene.glb: node "points" and one node of lines "camera_0000" per view with a pose.

    glTF axes (y up): glTF = diag(1, -1, -1) world. Colours are linear, as glTF demands, and floating point: 8 linear
    bits lose dark tones, and trimesh misreads 16. A frustum ends at the outer edges of the photo as shown.
    """
    import trimesh
    from trimesh.exchange.gltf import export_glb

    points, colors, _ = scene.point_cloud()
    content = trimesh.Scene()
    if len(points):
        cloud = trimesh.PointCloud(points @ GLTF_FROM_WORLD)
        content.add_geometry(cloud, node_name="points", geom_name="points")
    length = _FRUSTUM_SHARE * _median_depth(scene.views)
    for index, view in enumerate(scene.views):
        if view.pose_status != "failed":
            name = f"camera_{index:04d}"
            path = trimesh.load_path(frustum(view.camera, length) @ GLTF_FROM_WORLD)
            path.colors = np.tile(np.array(_FRUSTUM_COLOR, np.uint8), (len(path.entities), 1))
            content.add_geometry(path, node_name=name, geom_name=name)
    if content.is_empty:
        raise InputError("There is nothing to show: no valid point and no camera.", "Check the scene's warnings.")
    with folder.file("scene.glb") as target:
        target.write_bytes(_finished(export_glb(content), _linear(colors)))
    return folder.root / "scene.glb"


def frustum(camera: Camera, length: float) -> Float64[np.ndarray, "8 2 3"]:
    """Eight line segments in the world frame: centre to the four corners of the photo, and the photo's outline."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    corners = np.array([[-0.5, -0.5, 1], [right, -0.5, 1], [right, bottom, 1], [-0.5, bottom, 1]])
    rays = corners @ np.linalg.inv(camera.intrinsics).T
    ends = length * rays @ camera.world_from_cam[:3, :3].T + camera.center
    spokes = [(camera.center, end) for end in ends]
    outline = [(ends[i], ends[(i + 1) % 4]) for i in range(4)]
    return np.array(spokes + outline)


def _median_depth(views: tuple[SceneView, ...]) -> float:
    depths = np.concatenate([np.zeros(0, np.float32), *(view.depth[view.mask] for view in views)])
    return float(np.median(depths)) if len(depths) else 1.0


def _linear(colors: UInt8[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """sRGB bytes -> linear light in [0, 1]."""
    srgb = np.arange(256) / 255
    table = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colors]


def _finished(glb: bytes, colors: Float32[np.ndarray, "n 3"]) -> bytes:
    """The same file with colours for the points (trimesh writes 8-bit ones only) and materials that need no light.

    A GLB is a 12-byte header and two chunks, each with a length and a kind: JSON, then the buffer it points into.
    """
    json_length, _ = struct.unpack_from("<II", glb, 12)
    tree = json.loads(glb[20 : 20 + json_length])
    buffer = glb[28 + json_length :]
    for material in tree["materials"]:
        material["extensions"] = {_UNLIT: {}}
    tree["extensionsUsed"] = [_UNLIT]
    points = next((mesh for mesh in tree["meshes"] if mesh["name"] == "points"), None)
    if points is not None:
        buffer = _add_colors(tree, points, buffer, colors)
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text + struct.pack("<II", len(buffer), _BINARY_CHUNK) + buffer
    return struct.pack("<III", _GLTF_MAGIC, 2, 12 + len(chunks)) + chunks


def _add_colors(
    tree: dict[str, Any], points: dict[str, Any], buffer: bytes, colors: Float32[np.ndarray, "n 3"]
) -> bytes:
    """Append the colours to the buffer and make the tree point to them; returns the new buffer."""
    buffer += bytes(-len(buffer) % 4)
    data = colors.astype("<f4").tobytes()
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(data)})
    tree["accessors"].append(
        {
            "bufferView": len(tree["bufferViews"]) - 1,
            "componentType": _FLOAT,
            "type": "VEC3",
            "count": len(colors),
        }
    )
    points["primitives"][0]["attributes"]["COLOR_0"] = len(tree["accessors"]) - 1
    buffer += data
    tree["buffers"] = [{"byteLength": len(buffer)}]
    return buffer
