"""Which cameras of a rig are neighbours, told by what they see and never by their names."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from worldline.inputs.logs.poses import inverse
from worldline.types import Rig

NEAR = 10.0  # metres at which the cameras' places are taken into account
_ROWS, _COLUMNS = 24, 32  # viewing rays per image
_WIDEST_GAP = np.radians(120.0)  # between viewing directions of neighbours that share nothing: a ring of three


def field_overlap(rig: Rig) -> Float64[np.ndarray, "sensor sensor"] | None:
    """Share of each camera's viewing rays (row) that another camera (column) sees as well.

    A ray counts as seen where its point at infinity, or that at :data:`NEAR`, falls into the other image; the larger of
    the two shares. None for a rig whose intrinsics or mounts are unknown. Sizes that are unknown are taken from the
    principal points.
    """
    if rig.intrinsics is None or rig.rig_from_cam is None:
        return None
    count = len(rig)
    sizes = np.array(rig.sizes if rig.sizes is not None else 2 * rig.intrinsics[:, [1, 0], 2] + 1, np.float64)
    shares = np.eye(count)
    for first in range(count):
        rays = _rays(rig.intrinsics[first], sizes[first])
        far = rays @ rig.rig_from_cam[first, :3, :3].T
        near = far * NEAR + rig.rig_from_cam[first, :3, 3]
        for second in set(range(count)) - {first}:
            cam_from_rig = inverse(rig.rig_from_cam[second])
            directions = far @ cam_from_rig[:3, :3].T
            points = near @ cam_from_rig[:3, :3].T + cam_from_rig[:3, 3]
            shares[first, second] = max(
                _seen(each, rig.intrinsics[second], sizes[second]) for each in (directions, points)
            )
    return shares


def ring_neighbors(rig: Rig) -> dict[str, tuple[str, ...]]:
    """Neighbouring cameras of every camera, the one with the largest common field of view first.

    Neighbours are cameras whose fields of view overlap. A camera without such a neighbour on one side takes the next
    viewing direction there, up to 120 degrees away, so that every camera of a ring has two. Being neighbours is mutual.
    A rig without calibration has none.
    """
    shares = field_overlap(rig)
    if shares is None or rig.rig_from_cam is None:
        return dict.fromkeys(rig.sensors, ())
    joint = np.maximum(shares, shares.T)
    linked = joint > 0
    forward = rig.rig_from_cam[:, :3, 2]
    heading = np.arctan2(forward[:, 1], forward[:, 0])
    turn = np.angle(np.exp(1j * (heading[None] - heading[:, None])))  # from row to column, positive to the left
    filled = linked.copy()
    for row in range(len(rig)):
        for side in (1.0, -1.0):
            there = (side * turn[row] > 1e-6) & (np.arange(len(rig)) != row)
            if not there.any() or (linked[row] & there).any():
                continue
            nearest = int(np.where(there, np.abs(turn[row]), np.inf).argmin())
            if abs(turn[row, nearest]) <= _WIDEST_GAP + 1e-6:
                filled[row, nearest] = filled[nearest, row] = True
    return {
        name: tuple(
            rig.sensors[other]
            for other in sorted(range(len(rig)), key=lambda other: (-joint[row, other], abs(turn[row, other])))
            if other != row and filled[row, other]
        )
        for row, name in enumerate(rig.sensors)
    }  # fmt: skip


def _rays(intrinsics: Float64[np.ndarray, "3 3"], size: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "ray 3"]:
    """Unit viewing rays in camera axes through the middles of equal cells of the image."""
    height, width = size
    y, x = np.meshgrid(
        (np.arange(_ROWS) + 0.5) * height / _ROWS - 0.5, (np.arange(_COLUMNS) + 0.5) * width / _COLUMNS - 0.5,
        indexing="ij",
    )  # fmt: skip
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
    rays = pixels @ np.linalg.inv(intrinsics).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _seen(
    points: Float64[np.ndarray, "ray 3"], intrinsics: Float64[np.ndarray, "3 3"], size: Float64[np.ndarray, "2"]
) -> float:
    """Share of points in camera axes that fall into the image."""
    height, width = size
    ahead = points[:, 2] > 1e-9
    pixels = points[ahead] @ intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = (pixels >= -0.5).all(axis=1) & (pixels[:, 0] <= width - 0.5) & (pixels[:, 1] <= height - 0.5)
    return float(inside.sum()) / len(points)
