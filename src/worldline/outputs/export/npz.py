"""Everything as one numpy archive, for people's own scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.scene import Scene

_PIXEL_ARRAYS = {"images": "image", "points": "points", "depths": "depth", "confidences": "confidence", "masks": "mask"}


def write_npz(scene: Scene, folder: OutputFolder) -> Path:
    """scene.npz: cameras of the photos and of the network input, and every per-pixel array at model size.

    Per-pixel arrays are stacked [V, h, w, ...] when all views have one model size and otherwise stored per view with a
    number appended (``depths_0000``). Loads with ``allow_pickle=False``.
    """
    views = scene.views
    arrays: dict[str, np.ndarray] = {
        "names": np.array([view.name for view in views], dtype=np.str_),
        "pose_statuses": np.array([view.pose_status for view in views], dtype=np.str_),
        "timestamps": np.array([np.nan if view.timestamp is None else view.timestamp for view in views], np.float64),
        "scale": np.array(scene.scale),
        "world_from_cam": np.array([view.camera.world_from_cam for view in views]).reshape(-1, 4, 4),
        "intrinsics": np.array([view.camera.intrinsics for view in views]).reshape(-1, 3, 3),
        "sizes": np.array([view.transform.original_size for view in views], np.int64).reshape(-1, 2),
        "model_intrinsics": np.array([view.model_camera.intrinsics for view in views]).reshape(-1, 3, 3),
        "model_sizes": np.array([view.transform.model_size for view in views], np.int64).reshape(-1, 2),
        "model_from_original": np.array([view.transform.model_from_original for view in views]).reshape(-1, 3, 3),
    }
    one_size = len({view.transform.model_size for view in views}) == 1
    for key, attribute in _PIXEL_ARRAYS.items():
        if one_size:
            arrays[key] = np.stack([getattr(view, attribute) for view in views])
        else:
            arrays |= {f"{key}_{index:04d}": getattr(view, attribute) for index, view in enumerate(views)}
    with folder.file("scene.npz") as path, path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # newer stubs take ** for allow_pickle
    return folder.root / "scene.npz"
