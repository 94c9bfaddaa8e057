"""3D Gaussians as .splat: 32 bytes each, no header, the most important first so that a viewer can show a part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.splats import splats_of, unit_quaternions
from worldline.scene import Scene

_RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write_splat(scene: Scene, folder: OutputFolder) -> Path:
    """scene.splat: position and standard deviations (float32), colour and opacity (0..255), w x y z as 128 + 128 q.

    World frame, OpenCV axes; sorted by opacity times volume, largest first.
    """
    splats = splats_of(scene)
    importance = splats.opacities.astype(np.float64) * splats.scales.astype(np.float64).prod(axis=1)
    order = np.argsort(-importance, kind="stable")
    records = np.empty(len(order), dtype=_RECORD)
    records["position"] = splats.means[order]
    records["scale"] = splats.scales[order]
    rgba = np.concatenate([splats.colors, splats.opacities[:, None]], axis=1)[order]
    records["rgba"] = np.rint(rgba.astype(np.float64) * 255).clip(0, 255)
    records["rotation"] = np.rint(unit_quaternions(splats.rotations)[order] * 128 + 128).clip(0, 255)
    with folder.file("scene.splat") as path:
        path.write_bytes(records.tobytes())
    return folder.root / "scene.splat"
