"""Figures of what a method made of a drive, against exact truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32

from worldline.eval.driving import cloud_scores, depth_scores, temporal_consistency
from worldline.eval.motion import MOVES, STILL, Count
from worldline.eval.streams.drives import StreamDrive
from worldline.eval.streams.figures import CLOUD_STRIDE, FARTHEST
from worldline.eval.streams.runs import Estimate, Key, StreamRun, lifted

Figures = dict[str, float]
_FEW = 50  # moving pixels below which a drive has no mask figures
_NEAREST = 0.1  # metres
_WARM = 2  # pushes that do not count for the latency


@dataclass(frozen=True, eq=False)
class Truth:
    """Exact maps at the pixels of an estimate."""

    depth: Float32[np.ndarray, "height width"]  # metres, 0 in the sky
    speed: Float32[np.ndarray, "height width"]  # m/s
    seen: Bool[np.ndarray, "height width"]  # by the image before

    @property
    def valid(self) -> Bool[np.ndarray, "height width"]:
        """Pixels that count."""
        return (self.depth > 0) & (self.depth <= FARTHEST)

    @property
    def still(self) -> Bool[np.ndarray, "height width"]:
        """Pixels of what stands still."""
        return self.valid & (self.speed < STILL)


def truth_at(drive: StreamDrive, key: Key, estimate: Estimate) -> Truth:
    """The truth of an image at the pixels of an estimate (the nearest ones where sizes differ)."""
    step, row = key[0], drive.spec.sensors.index(key[1])
    maps = (drive.depth[step, row], drive.speed[step, row].astype(np.float32), drive.seen[step, row])
    if estimate.depth.shape == maps[0].shape and not any(estimate.transform.crop_offset):
        return Truth(*maps)
    height, width = estimate.depth.shape
    rows, columns = np.mgrid[:height, :width]
    pixels = np.rint(estimate.transform.to_original(np.stack([columns, rows], -1))).astype(int)
    x = np.clip(pixels[..., 0], 0, drive.spec.width - 1)
    y = np.clip(pixels[..., 1], 0, drive.spec.height - 1)
    return Truth(*(values[y, x] for values in maps))


def image_figures(estimate: Estimate, truth: Truth) -> Figures:
    """Depth, scale and mask of one image; NaN where it shows nothing within reach."""
    predicted, true = (torch.from_numpy(np.ascontiguousarray(m))[None].double() for m in (estimate.depth, truth.depth))
    valid = torch.from_numpy(truth.valid)[None]
    metric = depth_scores(predicted, true, valid, farthest=FARTHEST).means()
    usable = truth.valid & np.isfinite(estimate.depth) & (estimate.depth > 0)
    ratio = float(np.median(truth.depth[usable] / estimate.depth[usable])) if usable.any() else math.nan
    scaled = depth_scores(predicted * ratio, true, valid, farthest=FARTHEST).means()
    error = abs(math.log(ratio)) if ratio > 0 else math.nan
    sigma = estimate.scale_sigma
    stated = math.isfinite(sigma) and not math.isnan(error)
    sky = truth.depth <= 0
    return {
        **metric,
        **{f"{name}_scaled": scaled[name] for name in ("abs_rel", "rmse", "delta_1_25")},
        "scale_error": error,
        "scale_covered": float(error <= 2 * sigma) if stated else math.nan,
        "masked": float(1 - estimate.mask[truth.valid].mean()) if truth.valid.any() else math.nan,
        "sky_kept": float(estimate.mask[sky].mean()) if sky.sum() >= _FEW else math.nan,
    }


@dataclass(frozen=True)
class DriveScores:
    """Figures of a drive, and of its single images."""

    figures: Figures  # means over the images, and what exists only for the whole
    images: dict[Key, Figures]

    def of_sensor(self, sensor: str) -> Figures:
        """Means over the images of one camera."""
        return mean_figures(figures for (_, name), figures in self.images.items() if name == sensor)

    def by_step(self, name: str) -> dict[int, float]:
        """One figure over the steps, mean over the cameras."""
        steps = sorted({step for step, _ in self.images})
        return {s: mean_figures(f for (step, _), f in self.images.items() if step == s)[name] for s in steps}


def score_drive(
    drive: StreamDrive, estimates: Mapping[Key, Estimate], *, cloud: bool = True, sensors: Sequence[str] | None = None
) -> DriveScores:
    """All figures of what a method says about a drive.

    Args:
        drive: the truth.
        estimates: by step and sensor; images without one are left out.
        cloud: also compare the clouds (seconds); only where the estimates are in the world of the drive.
        sensors: cameras that count; None: all.
    """
    chosen = {key: each for key, each in estimates.items() if sensors is None or key[1] in sensors}
    truths = {key: truth_at(drive, key, each) for key, each in chosen.items()}
    images = {key: image_figures(each, truths[key]) for key, each in chosen.items()}
    figures = mean_figures(images.values())
    figures |= {"consistency": _consistency(chosen, truths, 1), "consistency_3": _consistency(chosen, truths, 3)}
    figures |= _mask_figures(chosen, truths)
    if cloud:
        figures |= _cloud_figures(drive, chosen, truths)
    return DriveScores({**figures, "images": float(len(images))}, images)


def mean_figures(rows: Iterable[Figures]) -> Figures:
    """Means of figures over images, NaN left out; NaN where none is known."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: np.array([row[name] for row in rows if not math.isnan(row.get(name, math.nan))]) for name in names}
    return {name: float(values.mean()) if len(values) else math.nan for name, values in columns.items()}


def latency(run: StreamRun) -> float:
    """Median seconds of a push after the first ones."""
    return float(np.median(run.latencies[_WARM:])) if len(run.latencies) > _WARM else math.nan


Groups = Callable[[Truth, Key], Mapping[str, Bool[np.ndarray, "height width"]]]


def score_groups(drive: StreamDrive, estimates: Mapping[Key, Estimate], groups: Groups) -> dict[str, Figures]:
    """AbsRel, recall of the moving mask and size of groups of pixels, pooled over the drive.

    Args:
        groups: (truth, key) -> label -> pixels of an image.
    """
    errors: dict[str, list[np.ndarray]] = {}
    depths: dict[str, list[np.ndarray]] = {}
    found: dict[str, list[np.ndarray]] = {}
    total = 0
    for key, estimate in estimates.items():
        truth = truth_at(drive, key, estimate)
        total += int(truth.valid.sum())
        depth = np.where(np.isfinite(estimate.depth), estimate.depth, _NEAREST).clip(_NEAREST, FARTHEST)
        error = np.abs(depth - truth.depth) / np.maximum(truth.depth, _NEAREST)
        for label, pixels in groups(truth, key).items():
            pixels = pixels & truth.valid
            errors.setdefault(label, []).append(error[pixels])
            depths.setdefault(label, []).append(truth.depth[pixels])
            if estimate.dynamic is not None:
                found.setdefault(label, []).append(estimate.dynamic[pixels])
    result = {}
    for label, parts in errors.items():
        values = np.concatenate(parts)
        enough = len(values) >= _FEW
        marked = np.concatenate(found[label]) if label in found else np.zeros(0)
        result[label] = {
            "abs_rel": float(values.mean()) if enough else math.nan,
            "marked": float(marked.mean()) if len(marked) >= _FEW else math.nan,
            "share": len(values) / max(1, total),
            "distance": float(np.median(np.concatenate(depths[label]))) if enough else math.nan,
        }
    return result


def _consistency(estimates: Mapping[Key, Estimate], truths: Mapping[Key, Truth], gap: int) -> float:
    found = []
    for (step, sensor), now in estimates.items():
        later = estimates.get((step + gap, sensor))
        if later is None or later.depth.shape != now.depth.shape:
            continue
        static = (truths[step, sensor].still, truths[step + gap, sensor].still)
        score = temporal_consistency(now.depth, later.depth, (now.camera, later.camera), static)
        if score.share > 0:
            found.append(score.disagreement)
    return float(np.mean(found)) if found else math.nan


def _mask_figures(estimates: Mapping[Key, Estimate], truths: Mapping[Key, Truth]) -> Figures:
    count, still = Count(), 0
    for key, estimate in estimates.items():
        if estimate.dynamic is None:
            continue
        truth = truths[key]
        moving = truth.speed >= MOVES
        counted = truth.valid & (moving | truth.still)
        still += int((counted & ~moving).sum())
        count.add(estimate.dynamic, moving, counted)
    if count.pixels < _FEW:
        return {"mask_iou": math.nan, "mask_recall": math.nan, "mask_false": count.false / still if still else math.nan}
    return {"mask_iou": count.iou, "mask_recall": count.recall, "mask_false": count.false / max(1, still)}


def _cloud_figures(drive: StreamDrive, estimates: Mapping[Key, Estimate], truths: Mapping[Key, Truth]) -> Figures:
    thin = (slice(None, None, CLOUD_STRIDE),) * 2
    found, true = [], []
    for (step, sensor), estimate in estimates.items():
        truth, row = truths[step, sensor], drive.spec.sensors.index(sensor)
        camera = drive.camera(step, row).to_model(estimate.transform)
        valid = truth.valid[thin]
        found.append(estimate.points[thin][valid & estimate.mask[thin]])
        true.append(lifted(truth.depth, camera)[thin][valid])
    clouds = [np.concatenate(parts).astype(np.float64) for parts in (found, true)]
    clouds[0] = clouds[0][np.isfinite(clouds[0]).all(1)]
    scores = cloud_scores(*clouds)
    return {
        "accuracy": scores.accuracy,
        "completion": scores.completion,
        "normal_consistency": scores.normal_consistency,
    }
