"""Relative poses of all pairs of views as VGGT and π³ measure them on Re10K and CO3D: AUC, Racc, Tacc."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from worldline.errors import InputError
from worldline.eval.metrics import PairErrors
from worldline.geometry import rotation_angle

_UNDEFINED = 1e6  # degrees: pairs in which one of the directions does not exist


def pair_errors(
    predicted_world_from_cam: Float[np.ndarray, "view 4 4"], true_world_from_cam: Float[np.ndarray, "view 4 4"]
) -> PairErrors:
    """Errors of ``cam_j_from_cam_i`` for all pairs i < j, in degrees.

    Alignment: none is needed. ``rotation`` is the geodesic angle; ``translation`` the angle between the lines of the
    translations, in [0, 90] since their sign does not count, and 10⁶ where one of them is zero. The usual definition
    with a sign is :func:`worldline.eval.metrics.relative_pose_errors`.
    """
    first, second = np.triu_indices(len(true_world_from_cam), 1)
    relative = []
    for poses in (predicted_world_from_cam, true_world_from_cam):
        poses = np.asarray(poses, np.float64)
        relative.append(np.linalg.inv(poses[second]) @ poses[first])
    rotations = [torch.as_tensor(motion[:, :3, :3]) for motion in relative]
    a, b = (motion[:, :3, 3] for motion in relative)
    sine = np.linalg.norm(np.cross(a, b), axis=-1)
    lines = np.rad2deg(np.arctan2(sine, np.abs((a * b).sum(-1))))
    lines[(np.linalg.norm(a, axis=-1) == 0) | (np.linalg.norm(b, axis=-1) == 0)] = _UNDEFINED
    return PairErrors(torch.rad2deg(rotation_angle(*rotations)), torch.as_tensor(lines))


def pose_auc(errors: PairErrors, degrees: int = 30, *, histc: bool = False) -> float:
    """AUC@τ in [0, 1] of the larger of both errors, pooled over pairs (concatenate those of all sequences).

    Mean over τ = ``degrees`` bins of one degree of the share of pairs up to that bin; the bins are [0, 1) … [τ-1, τ].
    ``histc``: the variant of the same code base with τ + 1 bins over [0, τ], which differs in the third decimal.
    The area under the recall curve without bins is :func:`worldline.eval.metrics.auc`.

    Raises:
        InputError: no pair.
    """
    worst = torch.maximum(errors.rotation, errors.translation).numpy()
    if worst.size == 0:
        raise InputError("There is no pair of views.", "Two views make one.")
    bins = degrees + 1 if histc else degrees
    found, _ = np.histogram(worst, bins=bins, range=(0, degrees))
    return float(np.mean(np.cumsum(found) / worst.size))


def pool(errors: list[PairErrors]) -> PairErrors:
    """The pairs of several sequences as one set."""
    return PairErrors(torch.cat([e.rotation for e in errors]), torch.cat([e.translation for e in errors]))
