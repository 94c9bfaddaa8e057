"""The score of one reconstructed scene against exact or measured truth: points, depth, rotations, translations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float

from worldline.eval.datasets import GroundTruth
from worldline.eval.metrics import auc, depth_absrel, relative_point_error, relative_pose_errors

FAILED_DEGREES = 180.0  # what a pose that was not found counts as
FEWEST_PIXELS = 10  # fewer common pixels say nothing


@dataclass(frozen=True)
class SceneScore:
    """Errors of one scene; lower is better except for the AUC. Every entry names its alignment."""

    point_error: float  # median relative point error, after one robust similarity per scene
    abs_rel: float  # mean relative depth error of the registered views, after one scale per scene
    rotation: float  # median over pairs of the relative rotation error, degrees, no alignment
    translation: float  # median over pairs of the angle between baseline directions, degrees, no alignment
    auc30: float  # area under the recall of max(rotation, translation) error up to 30 degrees
    coverage: float  # share of pixels with truth for which a point was predicted
    registered: float  # share of views with a pose

    @staticmethod
    def summary(scores: Sequence[SceneScore]) -> dict[str, float]:
        """Medians over scenes (means for the shares and the AUC), without NaN, and the number of scenes."""
        result: dict[str, float] = {}
        for field in fields(SceneScore):
            values = np.array([getattr(score, field.name) for score in scores], dtype=np.float64)
            kept = values[~np.isnan(values)]
            if len(kept) == 0:
                result[field.name] = math.nan
            else:
                mean = field.name in ("auc30", "coverage", "registered")
                result[field.name] = round(float(kept.mean() if mean else np.median(kept)), 4)
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
    point_error = abs_rel = math.nan
    if both.sum() >= FEWEST_PIXELS:
        mask = torch.from_numpy(both)
        relative = relative_point_error(torch.from_numpy(points), torch.from_numpy(truth.points), mask, true_poses)
        point_error = float(relative.median())
    seen = both & registered[:, None, None]
    if seen.sum() >= FEWEST_PIXELS:
        depth = ((points - safe[:, None, None, :3, 3]) * safe[:, None, None, :3, 2]).sum(-1)
        abs_rel = depth_absrel(torch.from_numpy(depth), torch.from_numpy(truth.depth), torch.from_numpy(seen))
    return SceneScore(
        point_error=point_error,
        abs_rel=abs_rel,
        rotation=float(rotation.median()),
        translation=float(translation.nanmedian()),
        auc30=auc(torch.maximum(rotation, translation), 30.0),
        coverage=float(both.sum() / max(1, truth.valid.sum())),
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
