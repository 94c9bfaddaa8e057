"""From aligned maps of a photo's parts to the result that a user gets."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldline.pipeline.stream.framing import Framing, Part, blend
from worldline.pipeline.stream.results import SensorResult
from worldline.scene.align.rig import AlignedMap
from worldline.scene.cameras import confidence_threshold


@dataclass(frozen=True, eq=False)
class Moving:
    """What is known about motion in an image."""

    dynamic: Bool[np.ndarray, "height width"] | None = None
    flow: Float32[np.ndarray, "height width 2"] | None = None


def sensor_result(
    sensor: str,
    framing: Framing,
    aligned: Sequence[AlignedMap],
    confidences: Sequence[Float32[np.ndarray, "h w"]],
    *,
    image: UInt8[np.ndarray, "height width 3"],
    timestamp: float,
    step: int,
    preview: bool,
    confidence_percent: float,
    latency: float,
) -> SensorResult:
    """One result from the parts of one photo."""
    parts = [
        Part(each.points, each.depth, np.where(np.isfinite(sure), sure, 0).astype(np.float32), each.valid)
        for each, sure in zip(aligned, confidences, strict=True)
    ]
    merged, seam = blend(framing, parts)
    valid = merged.valid & (merged.confidence > 0)
    threshold = confidence_threshold(merged.confidence[valid], confidence_percent) if valid.any() else np.inf
    one = aligned[0]
    failed = any(each.pose_status == "failed" for each in aligned)
    return SensorResult(
        sensor=sensor,
        timestamp=timestamp,
        step=step,
        preview=preview,
        image=image,
        transform=framing.merged,
        camera=one.camera,
        points=merged.points,
        depth=merged.depth,
        confidence=np.maximum(merged.confidence, 1e-6),
        mask=valid & (merged.confidence >= threshold),
        pose_status="failed" if failed else one.pose_status,
        frame=one.frame,
        scale=one.scale,
        scale_sigma=max(each.scale_sigma for each in aligned),
        scale_kind=one.scale_kind,
        seam=seam,
        latency=latency,
        notes=tuple(dict.fromkeys(note for each in aligned for note in each.notes)),
    )


def remember(history: deque[tuple[SensorResult, ...]], results: tuple[SensorResult, ...]) -> None:
    """Append final results. Those of images that ``finish`` had made final before are replaced."""
    new = {(each.sensor, each.step) for each in results}
    for place, old in enumerate(history):
        if any((each.sensor, each.step) in new for each in old):
            history[place] = tuple(each for each in old if (each.sensor, each.step) not in new)
    history.append(results)
