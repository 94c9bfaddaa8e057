"""A start for global alignment: chain the pairwise pointmaps along the most trusted edges (DUSt3R, appendix).

The edges of a maximum spanning tree are placed one after the other: the first image of an edge is already in the
world, so a similarity between its two pointmaps brings the second image along.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import (
    Similarity,
    estimate_focal,
    fit_similarity,
    fit_similarity_to_poses,
    invert_rigid,
    pixel_grid,
    rigid_from,
    transform_points,
)
from worldline.scene.align.parameters import BASE_SCALE, AlignmentParameters, encode_focals, encode_pose
from worldline.scene.align.predictions import PairPredictions
from worldline.scene.pnp import solve_pnp

MIN_CONFIDENCE = 3.0  # pixels that take part in PnP, the published threshold
PNP_ERROR = 5.0  # pixels


@dataclass
class Presets:
    """What is known beforehand, per view; None where unknown."""

    poses: list[Tensor | None]  # world_from_cam
    focals: list[float | None]
    principal_points: Float[Tensor, "view 2"]


@dataclass
class _Placement:
    """The growing world."""

    world: dict[int, Float[Tensor, "pixel 3"]] = field(default_factory=dict)
    poses: dict[int, Float[Tensor, "4 4"]] = field(default_factory=dict)
    focals: dict[int, float] = field(default_factory=dict)


def spanning_tree_start(
    predictions: PairPredictions, presets: Presets, *, published_focals: bool = False
) -> AlignmentParameters:
    """Parameters after chaining the edges of the maximum spanning tree.

    Args:
        published_focals: reproduce the published start also where it reads the focal length of an image off the
            pointmap of the *previous* edge (a slip of its bookkeeping, harmless because it is only a start).
    """
    place = _Placement(focals={v: f for v, f in enumerate(presets.focals) if f is not None})
    _grow(predictions, place, presets, published_focals)
    _complete_focals(predictions, place, presets)
    _complete_poses(predictions, place, presets)
    _move_to_presets(place, presets)
    return _encode(predictions, place, presets)


def known_poses_start(predictions: PairPredictions, presets: Presets) -> AlignmentParameters:
    """Parameters when all poses and focal lengths are known: each edge is placed by its own two cameras."""
    poses = [pose for pose in presets.poses if pose is not None]
    if len(poses) < predictions.views or None in presets.focals:
        raise InputError(
            "The 'known-poses' start needs the pose and the focal length of every view.",
            "Give all of them, or use the 'spanning-tree' start.",
        )
    place = _Placement(
        poses=dict(enumerate(poses)), focals={v: f for v, f in enumerate(presets.focals) if f is not None}
    )
    for edge in _best_first(predictions):
        i, j = predictions.edges[edge].tolist()
        if i in place.world and j in place.world:
            continue
        focal, center = place.focals[j], presets.principal_points[j]
        relative = _pnp(predictions.points_j[edge], predictions.confidence_j[edge], focal, center, 0.0)
        if relative is None:
            continue
        source = torch.stack([torch.eye(4, dtype=torch.float64), relative])
        target = torch.stack([poses[i], poses[j]]).double()
        fit = fit_similarity_to_poses(source, target)
        for view, points in ((i, predictions.points_i[edge]), (j, predictions.points_j[edge])):
            place.world.setdefault(view, fit.apply(_flat(points).double()).to(points.dtype))
    missing = sorted(set(range(predictions.views)) - set(place.world))
    if missing:
        raise InputError(f"No pair places view {missing[0]} by the known poses.", "Use the 'spanning-tree' start.")
    return _encode(predictions, place, presets)


def _best_first(predictions: PairPredictions) -> list[int]:
    scores = predictions.scores
    return sorted(range(len(scores)), key=lambda edge: -scores[edge])


def _tree_edges(predictions: PairPredictions) -> list[int]:
    """Edges of the maximum spanning tree, best first; of two opposite edges the better one is used."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    best: dict[tuple[int, int], int] = {}
    for edge in _best_first(predictions):
        i, j = predictions.edges[edge].tolist()
        if i != j:
            best.setdefault((min(i, j), max(i, j)), edge)
    costs = [-predictions.scores[edge] for edge in best.values()]
    rows, columns = zip(*best, strict=True)
    tree = minimum_spanning_tree(coo_matrix((costs, (rows, columns)), shape=(predictions.views,) * 2)).tocoo()
    if tree.nnz < predictions.views - 1:
        raise InputError("The pairs do not connect all images.", "Use a graph that does, such as 'complete'.")
    chosen = {(min(i, j), max(i, j)) for i, j in zip(tree.row.tolist(), tree.col.tolist(), strict=True)}
    return [edge for pair, edge in best.items() if pair in chosen]


def _grow(predictions: PairPredictions, place: _Placement, presets: Presets, published_focals: bool) -> None:
    queue = deque(_tree_edges(predictions))
    first = queue.popleft()
    i, j = predictions.edges[first].tolist()
    place.world = {i: _flat(predictions.points_i[first]), j: _flat(predictions.points_j[first])}
    place.poses[i] = torch.eye(4, dtype=predictions.points_i.dtype)
    _set_focal(predictions, place, presets, i, first)
    previous = first
    while queue:
        edge = queue.popleft()
        i, j = predictions.edges[edge].tolist()
        _set_focal(predictions, place, presets, i, previous if published_focals else edge)
        points_i, points_j = _flat(predictions.points_i[edge]), _flat(predictions.points_j[edge])
        if i in place.world:
            fit = fit_similarity(points_i, place.world[i], predictions.confidence_i[edge].flatten())
            place.world[j] = fit.apply(points_j)
        elif j in place.world:
            fit = fit_similarity(points_j, place.world[j], predictions.confidence_j[edge].flatten())
            place.world[i] = fit.apply(points_i)
        else:
            queue.append(edge)  # neither end is placed yet; the tree is connected, so its turn comes
            continue
        place.poses.setdefault(i, rigid_from(fit.rotation, fit.translation))
        previous = edge


def _flat(points: Float[Tensor, "h w 3"]) -> Float[Tensor, "pixel 3"]:
    return points.reshape(-1, 3)


def _set_focal(predictions: PairPredictions, place: _Placement, presets: Presets, view: int, edge: int) -> None:
    if view not in place.focals:
        place.focals[view] = float(estimate_focal(predictions.points_i[edge], presets.principal_points[view]))


def _complete_focals(predictions: PairPredictions, place: _Placement, presets: Presets) -> None:
    for edge in _best_first(predictions):
        _set_focal(predictions, place, presets, int(predictions.edges[edge, 0]), edge)


def _complete_poses(predictions: PairPredictions, place: _Placement, presets: Presets) -> None:
    """Images that were never first in a tree edge: resection from their world points."""
    confidence = predictions.max_confidence()
    height, width = predictions.size
    for view in range(predictions.views):
        if view in place.poses:
            continue
        points = place.world[view].reshape(height, width, 3)
        center, focal = presets.principal_points[view], place.focals.get(view)
        pose = _pnp(points, confidence[view], focal, center, MIN_CONFIDENCE, place.focals, view)
        place.poses[view] = torch.eye(4, dtype=points.dtype) if pose is None else pose.to(points.dtype)
        place.focals.setdefault(view, float(max(height, width)))


def _pnp(
    points: Float[Tensor, "h w 3"],
    confidence: Float[Tensor, "h w"],
    focal: float | None,
    center: Float[Tensor, "2"],
    min_confidence: float,
    focals: dict[int, float] | None = None,
    view: int = 0,
) -> Float[Tensor, "4 4"] | None:
    """world_from_cam of the camera that sees a pointmap; a focal length found on the way is written to ``focals``."""
    height, width = confidence.shape
    mask = (confidence > min_confidence).numpy()
    pixels = (pixel_grid(height, width, dtype=torch.float64) - center.double()).numpy()[mask]
    seen = points.double().numpy()[mask]
    if len(seen) > 4096:
        chosen = np.linspace(0, len(seen) - 1, 4096).astype(np.int64)
        pixels, seen = pixels[chosen], seen[chosen]
    found = solve_pnp(pixels, seen, focal, image_size=(height, width), max_error=PNP_ERROR)
    if found is None:
        return None
    if focals is not None:
        focals.setdefault(view, found.focal)
    return torch.from_numpy(found.world_from_cam)


def _move_to_presets(place: _Placement, presets: Presets) -> None:
    """Bring the chained world to the poses that were given, by a similarity (rigid for a single one)."""
    known = {v: pose.double() for v, pose in enumerate(presets.poses) if pose is not None}
    if not known:
        return
    source = torch.stack([place.poses[v].double() for v in known])
    fit = fit_similarity_to_poses(source, torch.stack(list(known.values())), with_scale=len(known) > 1)
    for view, points in place.world.items():
        place.world[view] = fit.apply(points.double()).to(points.dtype)
    for view, pose in place.poses.items():
        place.poses[view] = fit.apply_to_poses(pose.double()[None])[0].to(pose.dtype)
    for view, pose in known.items():
        place.poses[view] = pose.to(place.poses[view].dtype)


def _encode(predictions: PairPredictions, place: _Placement, presets: Presets) -> AlignmentParameters:
    """Edge similarities to the placed world, unit, depth maps and codes."""
    views = range(predictions.views)
    dtype = predictions.points_i.dtype
    world = torch.stack([place.world[v] for v in views])
    poses = torch.stack([place.poses[v].to(dtype) for v in views])
    frozen = torch.tensor([pose is not None for pose in presets.poses])
    fits = _edge_fits(predictions, world)
    unit = BASE_SCALE / fits.scale.log().mean().exp() if int(frozen.sum()) < 2 else torch.ones((), dtype=dtype)
    # the unit is arbitrary, but a preset camera stays where it is: everything else is scaled about its centre
    center = poses[frozen, :3, 3].sum(0) if int(frozen.sum()) == 1 else torch.zeros(3, dtype=dtype)
    poses[:, :3, 3] = torch.where(frozen[:, None], poses[:, :3, 3], center + unit * (poses[:, :3, 3] - center))
    world = center + unit * (world - center)
    offsets = center + unit * (fits.translation - center)
    edge_poses = rigid_from(fits.rotation, offsets / (unit * fits.scale)[:, None])
    edge_codes = torch.cat([encode_pose(edge_poses), fits.scale.log()[:, None]], dim=1)
    depth = transform_points(invert_rigid(poses), world)[..., 2]
    focals = torch.tensor([place.focals[v] for v in views], dtype=dtype)
    return AlignmentParameters(
        edge_codes=edge_codes,
        pose_codes=encode_pose(poses),
        log_depths=depth.log().nan_to_num(nan=0.0, neginf=0.0),
        focal_codes=encode_focals(focals),
        principal_points=presets.principal_points.to(dtype),
        frozen_poses=frozen,
        frozen_focals=torch.tensor([focal is not None for focal in presets.focals]),
    )


def _edge_fits(predictions: PairPredictions, world: Float[Tensor, "view pixel 3"]) -> Similarity:
    """Similarity of every edge from its first pointmap, in batches of edges."""
    parts: list[Similarity] = []
    for start in range(0, len(predictions.edges), 16):
        chosen = slice(start, start + 16)
        parts.append(
            fit_similarity(
                predictions.points_i[chosen].flatten(1, 2),
                world[predictions.edges[chosen, 0]],
                predictions.confidence_i[chosen].flatten(1),
            )
        )
    return Similarity(*(torch.cat(values) for values in zip(*parts, strict=True)))


def make_presets(
    predictions: PairPredictions,
    poses: Sequence[Tensor | np.ndarray | None] | None,
    focals: Sequence[float | None] | None,
    principal_points: Float[Tensor, "view 2"] | None,
) -> Presets:
    """Fill in what was not given; the published principal point is (width / 2, height / 2)."""
    count, (height, width) = predictions.views, predictions.size
    if principal_points is None:
        principal_points = torch.tensor([width / 2, height / 2]).expand(count, 2).clone()
    known_poses = [None if pose is None else torch.as_tensor(pose, dtype=torch.float64) for pose in poses or []]
    known_focals = [None if focal is None else float(focal) for focal in focals or []]
    return Presets(known_poses or [None] * count, known_focals or [None] * count, torch.as_tensor(principal_points))
