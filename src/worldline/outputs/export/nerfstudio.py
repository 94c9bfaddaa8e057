"""nerfstudio's transforms.json, which instant-ngp and most radiance-field trainers read as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.images import ExportImage, write_images
from worldline.outputs.export.ply import write_cloud
from worldline.scene import Scene

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes: y up, looking along -z


def write_nerfstudio(scene: Scene, folder: OutputFolder) -> Path:
    """nerfstudio/: transforms.json, images/ and points.ply; returns the folder.

    ``transform_matrix`` is world_from_cam with OpenGL camera axes; the world frame is the scene's own, so
    ``applied_transform`` is the identity and points.ply needs no change. As in COLMAP, whose cameras nerfstudio takes
    over, the centre of the top-left pixel is (0.5, 0.5), hence half a pixel on cx and cy.
    """
    images = write_images(scene, folder, "nerfstudio/images")
    with folder.file("nerfstudio/points.ply") as path:
        write_cloud(scene, path)
    document = {
        "camera_model": "OPENCV",
        "ply_file_path": "points.ply",
        "applied_transform": np.eye(4)[:3].tolist(),
        "frames": [_frame(image) for image in images],
    }
    with folder.file("nerfstudio/transforms.json") as path:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder.root / "nerfstudio"


def _frame(image: ExportImage) -> dict[str, Any]:
    intrinsics = image.camera.intrinsics
    frame: dict[str, Any] = {
        "file_path": f"images/{image.file_name}",
        "name": image.view.name,
        "w": int(image.camera.width),
        "h": int(image.camera.height),
        "fl_x": float(intrinsics[0, 0]),
        "fl_y": float(intrinsics[1, 1]),
        "cx": float(intrinsics[0, 2] + 0.5),
        "cy": float(intrinsics[1, 2] + 0.5),
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "transform_matrix": (image.camera.world_from_cam @ _OPENGL_FROM_OPENCV).tolist(),
    }
    if image.view.timestamp is not None:
        frame["time"] = float(image.view.timestamp)
    return frame
