"""Focal lengths of a video: the pinhole formula on tied queries (arXiv 2512.08924, section 2.1).

A point (X, Y, Z) in the camera that sees it at (u, v) obeys (u - 1/2) = f X / Z, with f in units of the image width.
Each point votes for 1 / f = (X / Z) / (u - 1/2). The estimate is the median of the votes with weights confidence times
|u - 1/2|: the f that minimises the sum of confidence |X / Z - (u - 1/2) / f|. So points near the centre, whose votes
are worthless, hardly count, and no point counts much because its own error is large. Votes keep their sign: a point on
the wrong side of the axis is an outlier, and not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.robust import NORMAL, weighted_quantile

FALLBACK_VIEW = math.radians(60)  # field of view along the longer side where the points do not tell one
_PLAUSIBLE = (0.2, 6.0)  # focal lengths that lenses have, in units of the longer side


@dataclass(frozen=True)
class IntrinsicsOptions:
    """How focal lengths are found."""

    grid: int = 16  # queries per side and frame; even, so that none falls on the centre lines
    margin: float = 0.02  # |u - 1/2| and |v - 1/2| below which a vote is ignored: its error grows without bound
    shared: bool = True  # one focal length for all frames: few videos zoom, and it halves the error of single frames
    square_pixels: bool = True  # one focal length for x and y; False for anamorphic video without a pixel aspect
    distortion: bool = False  # also fit radial distortion (k1, k2), for all frames together

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise InputError(f"The grid is {self.grid}.", "Ask at least 2 x 2 points per frame.")
        if not 0 <= self.margin < 0.5:
            raise InputError(f"The margin is {self.margin}.", "It is a share of the image from 0 to less than 0.5.")


@dataclass(frozen=True, eq=False)
class VideoIntrinsics:
    """Intrinsics of every frame, for the original frames; the principal point is the centre unless it was given."""

    matrices: Float64[np.ndarray, "t 3 3"]  # original pixels
    spread: Float64[np.ndarray, "t"]  # relative: half of the (weighted) votes lie closer; NaN where given
    wrong_side: Float64[np.ndarray, "t"]  # share of points on the wrong side of an axis; NaN where given
    distortion: Float64[np.ndarray, "2"] | None = None  # k1, k2 of x (1 + k1 r^2 + k2 r^4), x = X / Z
    given: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def focal(self) -> Float64[np.ndarray, "t 2"]:
        """(fx, fy) in original pixels."""
        return self.matrices[:, [0, 1], [0, 1]]


def estimate_intrinsics(
    video: AnswersQueries, options: IntrinsicsOptions | None = None, *, given: object = None, pixel_aspect: float = 1.0
) -> VideoIntrinsics:
    """Intrinsics of all frames of a video.

    Args:
        given: known ``[3, 3]`` or ``[T, 3, 3]`` in pixels of the original frames: used as they are.
        pixel_aspect: width of a pixel over its height, where pixels are not square.

    Raises:
        InputError: given intrinsics that are none.
    """
    options = options or IntrinsicsOptions()
    count, (height, width) = video.frame_count, video.original_size
    if given is not None:
        unknown = np.full(count, np.nan)
        return VideoIntrinsics(check_intrinsics(given, count), unknown, unknown, given=True)
    u, v = cell_centers(options.grid, options.grid)
    time = np.arange(count)[:, None, None]
    answers = ask(video, u, v, time, time, time, keep=("points", "confidence"))
    votes, weights, slopes = _votes(answers, u, v, (height, width * pixel_aspect), options.margin)
    groups = votes.flatten(0, 1)[None] if options.shared else votes
    heavy = weights.flatten(0, 1)[None] if options.shared else weights
    if options.square_pixels:
        groups, heavy = (values.flatten(-2)[..., None] for values in (groups, heavy))
    inverse = weighted_quantile(groups.mT, heavy.mT)  # [group, 1 or 2]
    spread = weighted_quantile((groups / inverse[:, None] - 1).abs().mT, heavy.mT).amax(-1)
    focal, spread = inverse.reciprocal().expand(count, 2).clone(), (NORMAL * spread).expand(count)
    wrong = (weights * (votes < 0)).sum((-2, -1)) / weights.sum((-2, -1))
    longest, notes = max(height, width * pixel_aspect), []
    lost = ~((focal > _PLAUSIBLE[0] * longest) & (focal < _PLAUSIBLE[1] * longest)).all(-1)
    if lost.any():
        focal[lost] = longest / (2 * math.tan(FALLBACK_VIEW / 2))
        notes.append(_lost_sentence(lost.nonzero()[:, 0].tolist(), count))
    distortion = None
    if options.distortion and not lost.all():
        focal, distortion = _refined(focal, slopes, weights, u, v, (height, width * pixel_aspect))
    matrices = np.zeros((count, 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 2, 2] = focal[:, 0] / pixel_aspect, focal[:, 1], 1
    matrices[:, 0, 2], matrices[:, 1, 2] = (width - 1) / 2, (height - 1) / 2
    return VideoIntrinsics(matrices, spread.numpy(), wrong.numpy(), distortion, False, tuple(notes))


def check_intrinsics(given: object, count: int) -> Float64[np.ndarray, "t 3 3"]:
    """One 3x3 matrix per frame.

    Raises:
        InputError: another shape, or no pinhole camera.
    """
    matrices = np.asarray(given, np.float64)
    if matrices.shape not in ((3, 3), (count, 3, 3)):
        raise InputError(
            f"Intrinsics of shape {matrices.shape} do not belong to {count} frames.",
            "Give one 3x3 matrix, or one per frame, in pixels of the original frames.",
        )
    matrices = np.broadcast_to(matrices, (count, 3, 3)).copy()
    if not np.isfinite(matrices).all() or (matrices[:, [0, 1], [0, 1]] <= 0).any() or np.ptp(matrices[:, 2, 2]) > 0:
        raise InputError("The given intrinsics are no pinhole camera.", "Give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].")
    return matrices


def recalibration(
    known: Float64[np.ndarray, "t 3 3"], predicted: Float64[np.ndarray, "t 3 3"]
) -> Float64[np.ndarray, "t 3 3"]:
    """Linear maps of points in the cameras' frames that keep Z and the predicted pixel, for intrinsics that are known.

    The predicted point projects to a pixel with the predicted intrinsics; the known ones unproject it at the same Z.
    """
    return np.linalg.inv(known) @ predicted


def _votes(
    answers: VideoAnswers, u: np.ndarray, v: np.ndarray, size: tuple[int, float], margin: float
) -> tuple[Float[Tensor, "t n 2"], Float[Tensor, "t n 2"], Float[Tensor, "t n 2"]]:
    """Inverse focal lengths (1 / pixels) that the points vote for, the votes' weights, the slopes X / Z and Y / Z."""
    height, width = size
    offsets = torch.from_numpy(np.stack([(u - 0.5) * width, (v - 0.5) * height], -1)).flatten(0, 1)  # square pixels
    points = torch.from_numpy(answers.points).double().flatten(1, 2)
    confidence = torch.from_numpy(answers.confidence).double().flatten(1, 2)
    front = torch.isfinite(points).all(-1) & (points[..., 2] > 0)
    points = torch.where(front[..., None], points, 1.0)
    slopes = points[..., :2] / points[..., 2:]
    far = torch.from_numpy(np.stack([np.abs(u - 0.5), np.abs(v - 0.5)], -1) >= margin).flatten(0, 1)
    weights = torch.where(front, confidence, 0.0)[..., None] * offsets.abs() * far
    return slopes / torch.where(offsets == 0, 1.0, offsets), weights, slopes


def _lost_sentence(frames: Sequence[int], count: int) -> str:
    where = "the video" if len(frames) == count else f"frame{'s' * (len(frames) > 1)} {', '.join(map(str, frames))}"
    return f"The focal length of {where} cannot be read off the points; a field of view of 60° is assumed."


def _refined(
    focal: Float[Tensor, "t 2"], slopes: Float[Tensor, "t n 2"], weights: Float[Tensor, "t n 2"], u: np.ndarray,
    v: np.ndarray, size: tuple[int, float],
) -> tuple[Float[Tensor, "t 2"], Float64[np.ndarray, "2"]]:  # fmt: skip
    """Focal lengths together with a radial distortion that all frames share (Zhang 2002).

    The points are uncertain and the pixels are not, so the slopes are fitted as odd polynomials of the pixels:
    X / Z = x (g0 + g1 |x|^2 + g2 |x|^4), x = (u - 1/2) / f. That is linear in g, and reweighted against outliers. The
    usual coefficients, from slopes to pixels, follow by a fit over the radii of the image.
    """
    offsets = torch.from_numpy(np.stack([(u - 0.5) * size[1], (v - 0.5) * size[0]], -1)).flatten(0, 1)
    x = offsets / focal[:, None]
    powers = x[..., None] * x.square().sum(-1)[..., None, None] ** torch.arange(3)  # [t, n, 2, 3]
    confidence = (weights.sum(-1) / offsets.abs().sum(-1).clamp_min(1e-12))[..., None].expand_as(slopes).reshape(-1)
    rows, wanted = powers.reshape(-1, 3), slopes.reshape(-1)
    solution = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for _ in range(20):
        error = (rows @ solution - wanted).abs()
        unit = (NORMAL * weighted_quantile(error, confidence)).clamp_min(1e-9)
        root = (confidence * (1 - (error / (3 * unit)).square()).clamp_min(0).square()).sqrt()
        solution = torch.linalg.lstsq(rows * root[:, None], (wanted * root)[:, None]).solution[:, 0]
    radius = torch.linspace(0, float(x.norm(dim=-1).max()), 100, dtype=torch.float64)[1:]
    seen = solution[0] * radius  # with the final focal length
    ideal = (solution * radius[:, None] ** torch.tensor([1, 3, 5])).sum(-1)
    terms = ideal[:, None] ** torch.tensor([3, 5])
    return focal / solution[0], torch.linalg.lstsq(terms, (seen - ideal)[:, None]).solution[:, 0].numpy()
