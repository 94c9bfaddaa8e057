"""Point cloud as PLY: what MeshLab, CloudCompare and Blender open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.scene import Scene

_VERTEX = [
    ("x", "<f4"),
    ("y", "<f4"),
    ("z", "<f4"),
    ("red", "u1"),
    ("green", "u1"),
    ("blue", "u1"),
    ("confidence", "<f4"),
]


def write_ply(scene: Scene, folder: OutputFolder) -> Path:
    """points.ply: x, y, z (world frame, OpenCV axes), red, green, blue (sRGB), confidence; binary little endian."""
    with folder.file("points.ply") as path:
        write_cloud(scene, path)
    return folder.root / "points.ply"


def write_cloud(scene: Scene, path: Path) -> None:
    """The point cloud of a scene as a PLY file at ``path``."""
    from plyfile import PlyData, PlyElement

    points, colors, confidence = scene.point_cloud()
    vertices = np.empty(len(points), dtype=_VERTEX)
    vertices["x"], vertices["y"], vertices["z"] = points.T
    vertices["red"], vertices["green"], vertices["blue"] = colors.T
    vertices["confidence"] = confidence
    comments = ["worldline point cloud", "axes x right y down z forward", f"scale {scene.scale}"]
    PlyData([PlyElement.describe(vertices, "vertex")], text=False, byte_order="<", comments=comments).write(str(path))
