"""Photo-like camera sets: sparse views of a room with controlled overlap.

Candidates are drawn in blocks, seen at a fixed coarse resolution, and chained greedily: each new view must share
a part of its points with some earlier view (the paper's trajectories are selected by the same criterion,
MV-DUSt3R section 4.1). Everything happens on the CPU at that fixed resolution, so a seed's cameras do not depend on
the size of the images, and the first n views of a longer set are the set of n views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from worldline.errors import NoPlaceError
from worldline.worlds.options import WorldOptions
from worldline.worlds.rendering.cast import SceneTables, cast, pack
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import SHELL_FACES, CameraSet, Primitives, World, choose_rows

COARSE = 16  # side of the square images in which overlap is measured
BLOCK = 24  # candidates per block
_MAX_BLOCKS = 16
CLEARANCE = 0.53  # metres around the camera: the corner ray of a 90 degree square view then has z >= 0.3 m


@dataclass(frozen=True)
class PhotoPlan:
    """Where a photographer may stand in a layout, and what is worth a photo."""

    low: Float64[np.ndarray, "3"]  # box of the camera's centre
    high: Float64[np.ndarray, "3"]
    target_low: Float64[np.ndarray, "3"]  # box of the points to look at; the things in it attract more photos
    target_high: Float64[np.ndarray, "3"]
    step: float = 0.6  # metres between a photo and the next from nearby
    apart: float = 0.2  # least distance between two photos
    slope: tuple[float, float] = (-0.45, 0.2)  # of the line of sight: down, up
    fov: tuple[float, float] = (50.0, 90.0)  # along the longer image side, degrees
    nearest: float = 0.35  # the closest surface of a photo is at least this far away
    middle: float = 1.1  # and half of it at least this far
    things: float = 0.12  # least share of a photo that shows things
    clearance: float = CLEARANCE
    wander: float = 0.5  # metres by which the points to look at scatter
    attract: tuple[np.ndarray, np.ndarray] | None = None  # box of the things that draw photos; None: around the targets


@dataclass(frozen=True)
class _Candidates:
    """Candidate views with what they see at the coarse resolution."""

    world_from_cam: Float64[np.ndarray, "c 4 4"]
    points: Float64[np.ndarray, "c p 3"]  # NaN in the sky
    depth: Float64[np.ndarray, "c p"]
    good: Bool[np.ndarray, "c"]


def look_at(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], roll: float
) -> Float64[np.ndarray, "4 4"]:
    """Pose at ``position`` looking at ``target`` with the image's down side towards the floor, then rolled."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, 0] = cosine * right + sine * down
    pose[:3, 1] = cosine * down - sine * right
    pose[:3, 2] = forward
    pose[:3, 3] = position
    return pose


def distance_to_solids(points: Float[np.ndarray, "n 3"], solids: Primitives) -> Float64[np.ndarray, "n"]:
    """Distance to the nearest oriented bound of a solid (0 inside); a lower bound of the true distance."""
    if len(solids.kind) == 0:
        return np.full(len(points), np.inf)
    local = np.einsum("mji,nmj->nmi", solids.rotation, points[:, None] - solids.center[None])
    outside = np.maximum(np.abs(local) - solids.half, 0.0)
    return np.linalg.norm(outside, axis=-1).min(1)


def _free_positions(
    rng: np.random.Generator, plan: PhotoPlan, solids: Primitives, count: int
) -> Float64[np.ndarray, "n 3"]:
    """Places for a camera, clear of everything; at most ``count``."""
    points = rng.uniform(plan.low, plan.high, (8 * count, 3))
    reach = 0.5 * (plan.high - plan.low) + plan.clearance + np.linalg.norm(solids.half, axis=1)[:, None]
    near = (np.abs(solids.center - 0.5 * (plan.high + plan.low)) <= reach).all(1)  # the others cannot be in the way
    free = distance_to_solids(points, choose_rows(solids, near)) >= plan.clearance
    return points[free][:count]


def _targets(rng: np.random.Generator, plan: PhotoPlan, solids: Primitives, count: int) -> Float64[np.ndarray, "n 3"]:
    """Points to look at: things, and places in the middle of the scene."""
    middle = rng.uniform(plan.target_low, plan.target_high, (count, 3))
    low, high = plan.attract or (2 * plan.target_low - 1, 2 * plan.target_high + 1)
    inside = ((solids.center >= low) & (solids.center <= high)).all(1)
    centers = solids.center[inside]
    if len(centers):
        chosen = centers[rng.integers(len(centers), size=count)] + rng.normal(0, 0.5 * plan.wander, (count, 3))
        chosen[:, 2] = np.clip(chosen[:, 2], plan.target_low[2], plan.target_high[2] + 0.1)
        middle = np.where(rng.random((count, 1)) < 0.6, chosen, middle)
    return middle


def _propose(rng: np.random.Generator, plan: PhotoPlan, solids: Primitives) -> np.ndarray:
    """Poses of one block: independent places, and neighbours of them as a walking photographer would take."""
    positions = _free_positions(rng, plan, solids, 3 * BLOCK)
    if len(positions) == 0:
        return np.zeros((0, 4, 4))
    targets = _targets(rng, plan, solids, BLOCK)
    anchors = 4
    poses: list[np.ndarray] = []
    for index in range(BLOCK):
        target = targets[index % anchors] + rng.normal(0, plan.wander, 3) if index % 3 else targets[index]
        near = positions[index % anchors % len(positions)]
        if index % 3 == 1:  # the free place closest to a step away from an anchor
            wish = near + rng.normal(0, plan.step, 3)
            place = positions[np.linalg.norm(positions - wish, axis=1).argmin()]
        else:
            place = positions[int(rng.integers(len(positions)))]
        roll, lift = rng.normal(0, np.radians(2.5)), rng.normal(0, 0.1)
        away = target - place
        flat = np.hypot(away[0], away[1])
        if flat < 0.8 * min(1.0, plan.middle):
            continue
        away[2] = np.clip(away[2] + lift, plan.slope[0] * flat, plan.slope[1] * flat)
        poses.append(look_at(place, place + away, roll))
    return np.array(poses).reshape(-1, 4, 4)


def _observe(tables: SceneTables, poses: np.ndarray, fov: float, plan: PhotoPlan) -> _Candidates:
    """See the scene from every candidate in one batched cast."""
    count = len(poses)
    lens = CameraSet.photos(poses, np.full(count, fov), np.zeros((count, 2)))
    matrices = torch.as_tensor(intrinsics(lens, COARSE, COARSE))
    tiling = Tiling(1, count, COARSE, COARSE, tile=COARSE // 2)
    packets, _, _ = tiling.packets(matrices, torch.as_tensor(poses))
    depth, surface = cast(tables, packets)
    rays = torch.stack(packets.direction, -1)
    hit = torch.where(depth.isfinite(), depth, torch.nan)
    points = tiling.untile(packets.origin[:, None] + hit[..., None] * rays)[0].reshape(count, -1, 3)
    depth, surface = tiling.untile(depth)[0].reshape(count, -1), tiling.untile(surface)[0].reshape(count, -1)
    things = (surface >= SHELL_FACES).float().mean(1)
    middle = depth.median(1).values
    good = (depth.amin(1) >= plan.nearest) & (things >= plan.things) & (middle >= plan.middle)
    good &= depth.isfinite().float().mean(1) >= 0.4
    return _Candidates(poses, points.double().numpy(), depth.double().numpy(), good.numpy())


def seen_share(
    points: Float[np.ndarray, "a p 3"], poses: Float64[np.ndarray, "b 4 4"], depth: Float[np.ndarray, "b q"], fov: float
) -> Float64[np.ndarray, "a b"]:
    """Share of the points of each set a that view b sees: inside its image and not hidden (relative depth test).

    ``depth`` are square maps, flattened, with a field of view of ``fov`` radians. NaN points (sky) do not count.
    """
    there_is = np.isfinite(points).all(-1)
    points = np.where(there_is[..., None], points, 0.0)
    side = round(np.sqrt(depth.shape[1]))
    focal, middle = 0.5 * side / np.tan(0.5 * fov), 0.5 * (side - 1)
    inverse = np.linalg.inv(poses)
    local = np.einsum("bij,apj->abpi", inverse[:, :3, :3], points) + inverse[None, :, None, :3, 3]
    z = np.maximum(local[..., 2], 1e-6)
    x = np.rint(focal * local[..., 0] / z + middle)
    y = np.rint(focal * local[..., 1] / z + middle)
    inside = (local[..., 2] > 0.05) & (x >= 0) & (x < side) & (y >= 0) & (y < side)
    index = (np.clip(y, 0, side - 1) * side + np.clip(x, 0, side - 1)).astype(np.int64)
    there = depth[np.arange(len(poses))[None, :, None], index]
    seen = inside & (z < there * 1.08 + 0.05) & there_is[:, None]
    return seen.sum(-1) / np.maximum(there_is.sum(-1), 1)[:, None]


def sample_cameras(rng: np.random.Generator, world: World, plan: PhotoPlan, options: WorldOptions) -> CameraSet:
    """Chain ``options.views`` cameras so that each new one overlaps some earlier one by roughly 30-90 % of its points.

    Args:
        world: with everything in its place; its own cameras are not looked at.

    Raises:
        NoPlaceError: the scene has no place for that many cameras.
    """
    tables, solids, views = pack([world], "cpu"), world.primitives, options.views
    fov = np.radians(rng.uniform(*plan.fov))
    lowest = rng.uniform(0.32, 0.5)
    highest = min(0.9, lowest + rng.uniform(0.25, 0.5))
    if options.overlap is not None:
        lowest, highest = options.overlap
    poses, points, depth = np.zeros((0, 4, 4)), np.zeros((0, COARSE**2, 3)), np.zeros((0, COARSE**2))
    spare: _Candidates | None = None
    for block in range(_MAX_BLOCKS):
        fresh = _propose(rng, plan, solids)
        if len(fresh) == 0:
            continue
        spare = _join(spare, _observe(tables, fresh, fov, plan))
        relaxed = 0.1 * (block // 4)
        band = lowest - relaxed, highest + relaxed / 2
        poses, points, depth, spare = _extend(poses, points, depth, spare, fov, views, band, plan.apart)
        if len(poses) == views:
            spread = rng.spawn(1)[0]
            fovs = np.full(views, fov)
            if options.focal_per_view:
                fovs = np.clip(fov * spread.uniform(0.85, 1.15, views), *np.radians(plan.fov))
            return CameraSet.photos(poses, fovs, options.principal_offset * spread.uniform(-1, 1, (views, 2)))
    raise NoPlaceError(
        f"No {views} overlapping cameras fit into this scene.", "Use another seed or ask for fewer views."
    )


def _join(old: _Candidates | None, new: _Candidates) -> _Candidates:
    """Candidates not used so far, plus a new block; only good ones are kept."""
    keep = new.good
    fresh = _Candidates(new.world_from_cam[keep], new.points[keep], new.depth[keep], new.good[keep])
    if old is None:
        return fresh
    return _Candidates(
        *(np.concatenate([getattr(old, f), getattr(fresh, f)]) for f in _Candidates.__dataclass_fields__)
    )


def _extend(
    poses: np.ndarray, points: np.ndarray, depth: np.ndarray, spare: _Candidates, fov: float, views: int,
    band: tuple[float, float], least: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Candidates]:  # fmt: skip
    """Move candidates whose overlap lies in the band to the set, in the order of proposal."""
    count = len(spare.world_from_cam)
    if count == 0:
        return poses, points, depth, spare
    centers = spare.world_from_cam[:, :3, 3]
    chosen: list[int] = []
    best, apart = np.full(count, 0.5 * sum(band)), np.ones(count, bool)  # the very first view fits anywhere
    if len(poses):
        best = seen_share(spare.points, poses, depth, fov).max(1)
        apart = (np.linalg.norm(centers[:, None] - poses[None, :, :3, 3], axis=-1) >= least).all(1)
    while len(poses) + len(chosen) < views:
        fitting = np.flatnonzero(apart & (best >= band[0]) & (best <= band[1]))
        if len(fitting) == 0:
            break
        new = fitting[:1]
        share = seen_share(spare.points, spare.world_from_cam[new], spare.depth[new], fov)[:, 0]
        best = share if len(poses) + len(chosen) == 0 else np.maximum(best, share)
        apart &= np.linalg.norm(centers - centers[new], axis=1) >= least
        chosen.append(int(new[0]))
    rest = np.setdiff1d(np.arange(count), chosen)
    left = _Candidates(*(getattr(spare, f)[rest] for f in _Candidates.__dataclass_fields__))
    return (
        np.concatenate([poses, spare.world_from_cam[chosen]]),
        np.concatenate([points, spare.points[chosen]]),
        np.concatenate([depth, spare.depth[chosen]]),
        left,
    )
