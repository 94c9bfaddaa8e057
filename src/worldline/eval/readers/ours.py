"""Our own layout, also what ``worldline worlds write`` makes.

::

    scene.json     {"frames": [{"image", "width", "height", "K": [fx, fy, cx, cy], "T_c2w": 4x4, "depth": png}]}
    images/*.jpg   depth/*.png (uint16 millimetres along the optical axis, 0 = no value)
    points.npy     (N, 3) world points, observations.npy (M, 4): point, frame, u, v       -- instead of depth maps
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import sequence_name
from worldline.eval.sequences import Sequence, pinhole
from worldline.types import Camera


def recognizes(folder: Path) -> bool:
    """A folder with a scene.json that lists frames (nuScenes has a file of that name with another content)."""
    try:
        content = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:  # a damaged file of ours: reading it says what is wrong
        return True
    return not isinstance(content, list)


def read(folder: Path) -> Sequence:
    """Frames with ``K`` and ``T_c2w``; depth maps, or points with their observations."""
    frames = json.loads((folder / "scene.json").read_text(encoding="utf-8"))["frames"]
    posed = [(index, frame) for index, frame in enumerate(frames) if "T_c2w" in frame and "K" in frame]
    points = observations = None
    if (folder / "observations.npy").exists():
        points, observations = np.load(folder / "points.npy"), np.load(folder / "observations.npy")
        observations = _renumbered(observations, [index for index, _ in posed])
    depths = tuple(DepthMap(folder / frame["depth"]) if frame.get("depth") else None for _, frame in posed)
    if observations is None and any(depth is None for depth in depths):
        raise InputError(f"{folder} has neither depth maps nor triangulated points.", "See docs/evaluation.md.")
    return Sequence(
        name=sequence_name(folder),
        images=tuple(folder / frame["image"] for _, frame in posed),
        cameras=tuple(_camera(frame) for _, frame in posed),
        depths=depths,
        points=points,
        observations=observations,
        format="worldline",
    )


def _renumbered(observations: np.ndarray, kept: list[int]) -> np.ndarray:
    """Observations of the frames that are kept, numbered as those."""
    place = {index: number for number, index in enumerate(kept)}
    rows = observations[np.isin(observations[:, 1], kept)].astype(np.float64)
    rows[:, 1] = [place[int(frame)] for frame in rows[:, 1]]
    return rows


def _camera(frame: dict[str, Any]) -> Camera:
    pose = np.array(frame["T_c2w"], dtype=np.float64).reshape(4, 4)
    return Camera(pinhole(*frame["K"]), pose, int(frame["height"]), int(frame["width"]))
