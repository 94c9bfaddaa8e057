"""The evaluation protocol of MV-DUSt3R+ (arXiv 2412.06974, section 4), so that numbers can stand beside the paper's.

Views are fed in the order of the published evaluation. The network gives one *row* per reference path (four in the
fused model, one in the plain one); row r is in the frame of its reference, the view of slot r. Every row is scored on
all pixels with truth, then "first" takes row 0 and "best" the best row (for ND: the best row of each slot).

Two things differ from the published program: PnP is pycolmap's RANSAC instead of OpenCV's, and it sees at most 4096
evenly spaced pixels of a view. ``solver="opencv"`` takes OpenCV's and all pixels, where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.errors import MissingExtraError
from worldline.eval.metrics import chamfer_distance, normalized_distance, published_pose_errors
from worldline.eval.sequences import GroundTruth
from worldline.geometry import estimate_focal, invert_rigid
from worldline.inputs import reference_order, stack
from worldline.models.mvdust3r import MVDust3r
from worldline.scene.pnp import solve_pnp
from worldline.train import losses

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.types import Views

REFERENCES = 4
DAC_THRESHOLD = 0.2  # of ND
ACCURACY_DEGREES = 15.0  # of RRE and RTE
PNP_ERROR = 8.0  # pixels
PNP_POINTS = 4096
DROPPED_SHARE = 0.03  # of the least confident pixels, for the focal length

Solver = Literal["pycolmap", "opencv"]


@dataclass(frozen=True)
class PaperScore:
    """The paper's figures of one scene; means over scenes are what the paper reports."""

    nd_first: float
    nd_best: float
    dac_first: float
    dac_best: float
    cd_first: float
    cd_best: float
    rre_first: float
    rre_best: float
    rte_first: float
    rte_best: float
    mae_first: float
    mae_best: float


PAPER_FIGURES = tuple(field.name for field in fields(PaperScore))


def can_give_paper_figures(model: Reconstructor) -> bool:
    """Only networks that see all views at once have rows to score."""
    return isinstance(model.network, MVDust3r)


def paper_score(model: Reconstructor, views: Views, truth: GroundTruth, solver: Solver = "pycolmap") -> PaperScore:
    """Run the network as the published evaluation does and score it.

    Args:
        truth: of the same views, in the same (input) order; in metres if ND and CD shall be.
    """
    network = cast(MVDust3r, model.network)
    order = reference_order(len(views), "evaluation")
    images = stack(views)[:, order].to(model.device)
    with torch.inference_mode():
        maps = network.forward_paths(images, REFERENCES if network.config.fused_references else 1)
    points, confidence = maps.points[0].float().cpu(), maps.confidence[0].float().cpu()
    return score_paths(
        points,
        confidence,
        torch.from_numpy(truth.points[order]),
        torch.from_numpy(truth.valid[order]),
        torch.from_numpy(truth.world_from_cam[order]),
        solver,
    )


def score_paths(
    points: Float[Tensor, "path view height width 3"],
    confidence: Float[Tensor, "path view height width"],
    true_points: Float[Tensor, "view height width 3"],
    valid: Bool[Tensor, "view height width"],
    world_from_cam: Float[Tensor, "view 4 4"],
    solver: Solver = "pycolmap",
) -> PaperScore:
    """The paper's figures from the pointmaps of all reference paths, views in the order in which they were fed.

    Args:
        points: path r in the frame of view r, any scale.
        true_points: world frame.
    """
    paths = len(points)
    target, mask = losses.rows_of_targets(true_points[None], valid[None], world_from_cam[None], paths)
    predicted = losses.rows_of_paths(points[None].double())
    per_view, chamfer = _point_figures(predicted, target.double(), mask)
    poses = _row_poses(predicted, losses.rows_of_paths(confidence[None]), mask, solver)
    errors = published_pose_errors(poses, _true_poses(world_from_cam, paths))
    misses = [
        1 - errors.rotation_accuracy(ACCURACY_DEGREES),
        1 - errors.translation_accuracy(ACCURACY_DEGREES),
        1 - errors.mean_accuracy(),
    ]
    nd = float(per_view[0].mean()), float(per_view.min(0).values.mean())
    rows = [nd, tuple(float(value < DAC_THRESHOLD) for value in nd)]
    rows += [(float(value[0]), float(value.min())) for value in (chamfer, *misses)]
    return PaperScore(*(value for pair in rows for value in pair))


def _point_figures(
    predicted: Float[Tensor, "row view height width 3"],
    target: Float[Tensor, "row view height width 3"],
    mask: Bool[Tensor, "row view height width"],
) -> tuple[Float[Tensor, "row view"], Float[Tensor, "row"]]:
    """ND of every view and CD of every row after the published alignment."""
    aligned, truth = losses.align(predicted, target, mask, losses.EVALUATION)
    chamfer = chamfer_distance(aligned.flatten(1, 3), truth.flatten(1, 3), mask.flatten(1))
    return normalized_distance(aligned, truth, mask), chamfer


def _row_poses(
    predicted: Float[Tensor, "row view height width 3"],
    confidence: Float[Tensor, "row view height width"],
    mask: Bool[Tensor, "row view height width"],
    solver: Solver,
) -> Float[Tensor, "row view 4 4"]:
    """``cam_from_world`` of all views of all rows by PnP; the world is the row's reference camera.

    A pose that is not found is the published one: no rotation, translation (1, 1, 1).
    """
    height, width = mask.shape[-2:]
    sorted_confidence = confidence[:, 0].flatten(1).sort(1).values
    least = sorted_confidence[:, int(DROPPED_SHARE * height * width)]
    focals = estimate_focal(predicted[:, 0], weights=confidence[:, 0] >= least[:, None, None])
    failed = torch.eye(4, dtype=torch.float64)
    failed[:3, 3] = 1
    solve = _solve_opencv if solver == "opencv" else _solve_pycolmap
    poses = failed.repeat(*mask.shape[:2], 1, 1)
    for row, focal in enumerate(focals.tolist()):
        for view in range(mask.shape[1]):
            y, x = np.nonzero(mask[row, view].numpy())
            seen = predicted[row, view].numpy()[y, x]
            offsets = np.stack([x - width / 2, y - height / 2], -1).astype(np.float64)
            found = solve(offsets, seen, focal, (height, width)) if np.isfinite(focal) and focal > 0 else None
            if found is not None:
                poses[row, view] = torch.from_numpy(found)
    return poses


def _solve_pycolmap(
    offsets: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "n 3"], focal: float, size: tuple[int, int]
) -> Float[np.ndarray, "4 4"] | None:
    chosen = np.linspace(0, len(points) - 1, min(PNP_POINTS, len(points))).astype(int)
    pose = solve_pnp(offsets[chosen], points[chosen], focal, image_size=size, max_error=PNP_ERROR)
    return None if pose is None else np.linalg.inv(pose.world_from_cam)


def _solve_opencv(
    offsets: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "n 3"], focal: float, size: tuple[int, int]
) -> Float[np.ndarray, "4 4"] | None:
    """The published solver with its defaults: 100 rounds, 8 pixels."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("The paper's own PnP (solver opencv)", "motion") from error
    if len(points) < 4:
        return None
    matrix = np.diag([focal, focal, 1.0])
    found, turn, translation, _ = cv2.solvePnPRansac(points, offsets, matrix, np.zeros(5))
    if not found:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], translation[:, 0]
    return pose


def _true_poses(world_from_cam: Float[Tensor, "view 4 4"], paths: int) -> Float[Tensor, "row view 4 4"]:
    """``cam_from_reference`` of every row, views in the row's order."""
    rows = []
    for path in range(paths):
        order = list(range(len(world_from_cam)))
        order[0], order[path] = path, 0
        rows.append(invert_rigid(world_from_cam[order].double()) @ world_from_cam[path].double())
    return torch.stack(rows)
