"""The photos of a scene as one small picture of tiles, for the cameras in a web page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from worldline.scene import Scene, SceneView

_WIDTH, _MOST, _COLUMNS, _QUALITY = 128, 120, 12, 82


def atlas_of(scene: Scene) -> tuple[dict[str, Any] | None, dict[int, dict[str, Any]]]:
    """The photos as a JPEG of equal tiles, each stretched to its tile; of many photos an even choice.

    Returns:
        the picture as a data URI with its number of tiles (across, down), None without views; and per view chosen its
        ``tile`` (column, row) and ``picture``: the part of the photo as shown that it shows, (left, top, right, bottom)
        in pixels at their outer edges.
    """
    from PIL import Image

    posed = [
        index for index, view in enumerate(scene.views) if view.pose_status != "failed" and view.transform.used_share
    ]
    if not posed:
        return None, {}
    chosen = [posed[k] for k in np.unique(np.linspace(0, len(posed) - 1, min(len(posed), _MOST)).round().astype(int))]
    parts = {index: _visible(scene.views[index]) for index in chosen}
    height, width = parts[chosen[0]][0].shape[:2]
    tile = (_WIDTH, max(16, round(_WIDTH * height / width)))
    across, down = min(len(chosen), _COLUMNS), -(-len(chosen) // _COLUMNS)
    sheet = Image.new("RGB", (across * tile[0], down * tile[1]))
    places = {}
    for number, index in enumerate(chosen):
        row, column = divmod(number, _COLUMNS)
        pixels, edges = parts[index]
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(tile, Image.Resampling.LANCZOS)
        sheet.paste(picture, (column * tile[0], row * tile[1]))
        places[index] = {"tile": [column, row], "picture": edges}
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    image = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
    return {"image": image, "tiles": [across, down]}, places


def _visible(view: SceneView) -> tuple[np.ndarray, list[float]]:
    """The pixels of a view that are photo and not padding, and where their outer edges lie in the photo as shown."""
    inside = view.transform.inside
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    ends = np.array([[columns[0] - 0.5, rows[0] - 0.5], [columns[-1] + 0.5, rows[-1] + 0.5]])
    (left, top), (right, bottom) = view.transform.to_original(ends)
    picture = view.image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture, [round(float(value), 4) for value in (left, top, right, bottom)]
