"""The score of one reconstructed scene against exact or measured truth: points, depth, rotations, translations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float

from worldline.eval.metrics import auc, depth_absrel, depth_inliers, relative_point_error, relative_pose_errors
from worldline.eval.sequences import GroundTruth
from worldline.eval.statistics import center, rounded

FAILED_DEGREES = 180.0  # what a pose that was not found counts as
FEWEST_PIXELS = 10  # fewer common pixels say nothing


@dataclass(frozen=True)
class SceneScore:
    """Figures of one scene; :data:`worldline.eval.figures.FIGURES` defines each and names its alignment."""

    point_error: float
    abs_rel: float
    delta125: float
    delta103: float
    rotation: float  # degrees
    translation: float  # degrees
    auc5: float
    auc15: float
    auc30: float
    coverage: float
    registered: float

    @staticmethod
    def summary(scores: Sequence[SceneScore]) -> dict[str, float]:
        """Medians over scenes (means for the shares and the AUC), without NaN, and the number of scenes."""
        result: dict[str, float] = {
            field.name: rounded(center(field.name, [getattr(score, field.name) for score in scores]))
            for field in fields(SceneScore)
        }
        return {**result, "scenes": len(scores)}


def score_scene(
    points: Float[np.ndarray, "view height width 3"],
    world_from_cam: Float[np.ndarray, "view 4 4"],
    truth: GroundTruth,
    predicted: Bool[np.ndarray, "view height width"] | None = None,
) -> SceneScore:
    """Score predicted world points and poses; NaN poses are views that were not registered.

    Args:
        predicted: which pixels have a predicted point; None = all. Errors are taken where both are known.
    """
    both = truth.valid if predicted is None else truth.valid & predicted
    registered = ~np.isnan(world_from_cam).any((1, 2))
    true_poses = torch.from_numpy(truth.world_from_cam)
    safe = np.where(registered[:, None, None], world_from_cam, np.eye(4))
    errors = relative_pose_errors(torch.from_numpy(safe.astype(np.float64)), true_poses)
    pair_known = torch.tensor([a and b for i, a in enumerate(registered) for b in registered[i + 1 :]])
    rotation = torch.where(pair_known, errors.rotation, FAILED_DEGREES)
    translation = torch.where(pair_known | errors.translation.isnan(), errors.translation, FAILED_DEGREES)
    worst = torch.maximum(rotation, translation)
    point_error = abs_rel = delta125 = delta103 = math.nan
    if both.sum() >= FEWEST_PIXELS:
        mask = torch.from_numpy(both)
        relative = relative_point_error(torch.from_numpy(points), torch.from_numpy(truth.points), mask, true_poses)
        point_error = float(relative.median())
    seen = both & registered[:, None, None]
    if seen.sum() >= FEWEST_PIXELS:
        depth = ((points - safe[:, None, None, :3, 3]) * safe[:, None, None, :3, 2]).sum(-1)
        maps = torch.from_numpy(depth), torch.from_numpy(truth.depth), torch.from_numpy(seen)
        abs_rel = depth_absrel(*maps)
        delta125, delta103 = (depth_inliers(*maps, threshold) for threshold in (1.25, 1.03))
    return SceneScore(
        point_error=point_error,
        abs_rel=abs_rel,
        delta125=delta125,
        delta103=delta103,
        rotation=float(rotation.median()),
        translation=float(translation.nanmedian()),
        auc5=auc(worst, 5.0),
        auc15=auc(worst, 15.0),
        auc30=auc(worst, 30.0),
        coverage=float(both.sum() / truth.valid.sum()) if truth.valid.any() else math.nan,
        registered=float(registered.mean()),
    )


def constant_depth(truth: GroundTruth, intrinsics: Float[np.ndarray, "view 3 3"]) -> SceneScore:
    """The baseline that knows nothing: every pixel one unit in front of its camera, all cameras in one place.

    It is told the true intrinsics. What a model gains over it is what it has learned.
    """
    height, width = truth.depth.shape[1:]
    rows, columns = np.indices((height, width))
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1).astype(np.float64)
    points = np.einsum("hwj,vij->vhwi", pixels, np.linalg.inv(intrinsics))
    return score_scene(points, np.tile(np.eye(4), (len(truth.cameras), 1, 1)), truth)
