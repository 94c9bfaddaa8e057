"""Depth maps as 16-bit PNG, pixel for pixel on the photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt16

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.images import export_stems
from worldline.scene import Scene, SceneView

_LARGEST = 65535
_PER_METRE = 1000.0


def write_depth_png(scene: Scene, folder: OutputFolder) -> Path:
    """depth/NAME.png per view at the size of the photo as shown, and depth/depth.json with the factor.

    depth = value / ``values_per_unit``; 0 = no valid depth there (masked, or outside what the network saw). Values are
    millimetres where the scale is metric and nothing exceeds 65.535 m; else the factor makes the largest depth fit.
    """
    largest = max((float(view.depth[view.mask].max()) for view in scene.views if view.mask.any()), default=1.0)
    factor = _LARGEST / largest
    if scene.metric:
        factor = min(factor, _PER_METRE)
    files = []
    for view, stem in zip(scene.views, export_stems(scene), strict=True):
        name = f"{stem}.png"
        with folder.file(f"depth/{name}") as path:
            _save(_values(depth_at_photo_size(view), factor), path)
        files.append({"view": view.name, "file": name})
    document = {
        "values_per_unit": factor,
        "unit": "metre" if scene.metric else "unit of the scene",
        "scale": scene.scale,
        "invalid": 0,
        "files": files,
    }
    with folder.file("depth/depth.json") as path:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder.root / "depth"


def depth_at_photo_size(view: SceneView) -> Float32[np.ndarray, "height width"]:
    """Depth of the nearest model pixel for every pixel of the photo as shown; 0 where there is no valid one."""
    transform = view.transform
    (height, width), (model_height, model_width) = transform.original_size, transform.model_size
    affine = transform.model_from_original  # scale and shift only, so rows and columns can be mapped apart
    columns = np.rint(affine[0, 0] * np.arange(width) + affine[0, 2]).astype(np.int64)
    rows = np.rint(affine[1, 1] * np.arange(height) + affine[1, 2]).astype(np.int64)
    inside = ((rows >= 0) & (rows < model_height))[:, None] & ((columns >= 0) & (columns < model_width))[None, :]
    nearest = np.ix_(rows.clip(0, model_height - 1), columns.clip(0, model_width - 1))
    return np.where(inside & view.mask[nearest], view.depth[nearest], np.float32(0))


def _values(depth: Float32[np.ndarray, "height width"], factor: float) -> UInt16[np.ndarray, "height width"]:
    """Rounded, and kept apart from 0 = invalid."""
    values = np.rint(depth.astype(np.float64) * factor).clip(1, _LARGEST)
    return np.where(depth > 0, values, 0).astype(np.uint16)


def _save(values: UInt16[np.ndarray, "height width"], path: Path) -> None:
    from PIL import Image

    Image.fromarray(values).save(path)
