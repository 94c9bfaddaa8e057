"""Upright boxes around the objects of an instant, and how much of each the cameras see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from worldline.errors import InputError
from worldline.worlds.truth.queries import Shots
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import CYLINDER, ELLIPSOID, POLYTOPE, Primitives, World, choose_rows

_SAMPLES = 96  # points per object that are looked for in the images
_INNER = 0.9  # they lie within this share of a solid's extents: a ray towards one cannot graze past the solid


@dataclass(frozen=True)
class Boxes:
    """The tightest upright box of every object in the direction of its heading, world frame, metres."""

    object_id: Int64[np.ndarray, "n"]  # rising
    center: Float64[np.ndarray, "n 3"]
    size: Float64[np.ndarray, "n 3"]  # along x (the heading), y and z of the box
    yaw: Float64[np.ndarray, "n"]  # of the heading about z, radians from the world's x axis
    moves: Bool[np.ndarray, "n"]  # between any instants of the world

    def inside(self, row: int, points: Float[np.ndarray, "p 3"], margin: float = 1e-3) -> Bool[np.ndarray, "p"]:
        """Which world points lie in a box, or at most ``margin`` metres beside it."""
        local = (points - self.center[row]) @ _upright(self.yaw[row])
        return np.asarray((np.abs(local) <= 0.5 * self.size[row] + margin).all(-1))


def boxes(world: World, frame: int = 0) -> Boxes:
    """Boxes of all objects at an instant.

    The heading is the x axis of the largest solid of the object's first body (its chassis, its torso). A polytope
    counts with its bounding box in its own axes.

    Raises:
        InputError: no such instant.
    """
    if not 0 <= frame < len(world.motion.times):
        raise InputError(
            f"This world has no instant {frame}.", f"Choose one between 0 and {len(world.motion.times) - 1}."
        )
    solids, moves = world.at(frame).primitives, world.motion.moves
    ids = np.unique(solids.object_id)
    center, size, yaw = np.zeros((len(ids), 3)), np.zeros((len(ids), 3)), np.zeros(len(ids))
    moving = np.zeros(len(ids), bool)
    for row, number in enumerate(ids):
        parts = choose_rows(solids, solids.object_id == number)
        yaw[row] = _heading(parts)
        turn = _upright(yaw[row])
        middle, reach = parts.center @ turn, _reach(parts, turn)
        low, high = (middle - reach).min(0), (middle + reach).max(0)
        center[row], size[row] = turn @ (0.5 * (low + high)), high - low
        moving[row] = moves[parts.body].any()
    return Boxes(ids.astype(np.int64), center, size, yaw, moving)


def visible_shares(
    world: World, frame: int, *, height: int, width: int, instants: Instants | None = None
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Share of every object within the images of an instant that nothing hides.

    Returns the objects (rising, as in :func:`boxes`) and their shares; 0 for those that are in no image.
    """
    solids = world.at(frame).primitives
    ids, points, owner = _scatter(solids, np.random.default_rng([world.seed, frame]))
    shots = Shots.of(world, height=height, width=width, sensor=None)
    cameras = np.flatnonzero(shots.frame == frame)
    eye, point = (a.ravel() for a in np.meshgrid(cameras, np.arange(len(points)), indexing="ij"))
    pixel, front = shots.project(eye, shots.to_camera(eye, points[point]))
    inside = np.flatnonzero(front & shots.inside(pixel))
    eye, point = eye[inside], point[inside]
    first = (instants or Instants(world)).cast(
        shots.frame, shots.world_from_cam[:, :3, 3], eye, points[point] - shots.world_from_cam[eye, :3, 3]
    )
    met = first.instance == ids[owner[point]]
    total = np.bincount(owner[point], minlength=len(ids))
    return ids, np.bincount(owner[point], met, minlength=len(ids)) / np.maximum(total, 1)


def _upright(yaw: float) -> Float64[np.ndarray, "3 3"]:
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _heading(parts: Primitives) -> float:
    first = np.flatnonzero(parts.body == parts.body.min())
    largest = first[parts.half[first].prod(1).argmax()]
    axes = parts.rotation[largest]
    lying = axes[:, 0] if np.hypot(*axes[:2, 0]) > 0.5 else axes[:, 1]
    return float(np.arctan2(lying[1], lying[0]))


def _reach(parts: Primitives, turn: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "n 3"]:
    """Half extents of solids along the columns of ``turn``."""
    along = np.abs(np.einsum("ki,nkj->nij", turn, parts.rotation))  # axis of the box, axis of the solid
    reach = np.einsum("nij,nj->ni", along, parts.half)
    round_ = np.sqrt(np.einsum("nij,nj->ni", along**2, parts.half**2))
    tube = np.hypot(along[..., 0], along[..., 1]) * parts.half[:, :1] + along[..., 2] * parts.half[:, 2:]
    kind = parts.kind[:, None]
    return np.where(kind == ELLIPSOID, round_, np.where(kind == CYLINDER, tube, reach))


def _scatter(
    solids: Primitives, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "p 3"], Int64[np.ndarray, "p"]]:
    """Random points inside the solids of every object: object ids, points, and the row of the object of each."""
    ids, row = np.unique(solids.object_id, return_inverse=True)
    area = (solids.half * np.roll(solids.half, 1, axis=1)).sum(1)  # large surfaces show more
    part = np.concatenate([
        rng.choice(np.flatnonzero(row == n), _SAMPLES, p=area[row == n] / area[row == n].sum()) for n in range(len(ids))
    ] or [np.zeros(0, np.int64)])  # fmt: skip
    local = rng.uniform(-1.0, 1.0, (len(part), 3))
    kind = solids.kind[part]
    radius = np.where(kind == ELLIPSOID, np.linalg.norm(local, axis=1), np.linalg.norm(local[:, :2], axis=1))
    outside = np.isin(kind, (ELLIPSOID, CYLINDER)) & (radius > 1.0)
    local[outside] /= radius[outside, None]
    local *= _INNER * solids.half[part]
    beyond = (np.einsum("pfk,pk->pf", solids.planes[part][..., :3], local) > solids.planes[part][..., 3]).any(1)
    kept = (kind != POLYTOPE) | ~beyond
    part, local = part[kept], local[kept]
    points = np.einsum("pij,pj->pi", solids.rotation[part], local) + solids.center[part]
    return ids.astype(np.int64), points, row[part]
