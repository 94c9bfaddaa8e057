"""A log through a session into a scene on disk, at constant memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.files import make_folder, reporting
from worldline.inputs.logs import Log, LogStep
from worldline.pipeline.stream.results import FrameResult, SensorResult
from worldline.pipeline.stream.session import StreamSession
from worldline.scene import SceneWriter
from worldline.scene.storage.folder import DOCUMENT

RECORD = "frames.jsonl"
STATE = "stream.safetensors"


@dataclass
class StreamSummary:
    """What a run over a log amounted to."""

    steps: int = 0
    refused: int = 0
    images: int = 0
    issues: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds, one per accepted step
    scale_kind: str = "arbitrary"

    @property
    def median(self) -> float:
        """Seconds."""
        return float(np.median(self.latencies)) if self.latencies else 0.0

    @property
    def slowest(self) -> float:
        """99th percentile, seconds."""
        return float(np.percentile(self.latencies, 99)) if self.latencies else 0.0


def feed(session: StreamSession, step: LogStep, *, poses: bool = True, lidar: bool = False) -> FrameResult:
    """Push one step of a log.

    Args:
        poses: tell the session the log's poses, those of each photo where the log has them.
        lidar: also give it the points of the step's LiDAR, in the rig frame.
    """
    world_from_rig: Any = None
    if poses:
        own = {name: image.world_from_rig for name, image in step.images.items() if image.world_from_rig is not None}
        world_from_rig = own or step.world_from_rig
    points: np.ndarray | None = None
    issues: tuple[str, ...] = ()
    if lidar:
        try:
            points = _lidar_in_rig(step)
        except InputError as error:
            issues = (f"LiDAR: {error.cause}",)
    result = session.push(step.timestamp, step.images, world_from_rig, lidar=points, speed=step.speed)
    return replace(result, issues=(*result.issues, *issues))


def _lidar_in_rig(step: LogStep) -> np.ndarray | None:
    if step.lidar is None:
        return None
    points = step.lidar.points()
    if step.lidar.frame == "rig":
        return points
    if step.world_from_rig is None:
        return None
    rotation, origin = step.world_from_rig[:3, :3], step.world_from_rig[:3, 3]
    return ((points - origin) @ rotation).astype(np.float32)


def write_stream(
    session: StreamSession,
    log: Log,
    out: Path,
    *,
    poses: bool = True,
    lidar: bool = False,
    resume: bool = False,
    save_every: int = 10,
    progress: Callable[[FrameResult], None] = lambda result: None,
) -> StreamSummary:
    """Run a log and write the scene as it grows, so that the folder is at every moment a scene that can be loaded.

    Beside the scene's own files ``frames.jsonl`` has one line per step (timestamp, latency, timings, issues, and per
    sensor pose, scale with uncertainty and share of moving pixels) and ``stream.safetensors`` the state to resume from.

    Args:
        resume: go on with the stream that was interrupted in this folder.
        save_every: steps between two saved states of the session; 0: none. A killed program goes on from the last one.

    Raises:
        InputError: nothing of the log could be used, or there is nothing to resume.
        OutputError: the folder cannot be written.
    """
    make_folder(out)
    summary = StreamSummary()
    after = _resume(session, out) if resume else -np.inf
    options: dict[str, Any] = {"provenance": session.provenance, "rig": session.rig}
    if not resume:
        (out / STATE).unlink(missing_ok=True)  # of an earlier stream, which the scene is no longer of
    begun = resume and (out / DOCUMENT).is_file()  # else the program was killed before the first view was final
    writer = SceneWriter.resume(out) if begun else SceneWriter(out, **options)
    written = set(writer.names)  # a crash may have come after the views of a step and before the state of it
    record = out / RECORD
    lines = record.read_text().splitlines() if resume and record.is_file() else []
    with writer, reporting(record), record.open("w", encoding="utf-8") as report:
        report.writelines(line + "\n" for line in lines if _time_of(line) <= after)
        for result in _results(session, log, after, poses, lidar):
            _note(summary, result)
            _add(writer, result.completed, written)
            report.write(json.dumps(_line(result)) + "\n")
            report.flush()
            progress(result)
            if result.accepted and save_every and summary.steps % save_every == 0:
                _save(session, writer, out)
        last = session.finish()
        _add(writer, last, written)
        summary.scale_kind = last[0].scale_kind if last else summary.scale_kind
        if not summary.steps and not resume:
            raise InputError(
                f"No step of {log.source} could be used.", "See the issues: " + "; ".join(summary.issues[:3])
            )
        writer.finish(scale=summary.scale_kind, warnings=session.notes, objects=session.objects())
    (out / STATE).unlink(missing_ok=True)  # ours, and of no use once the stream has ended
    return summary


def _save(session: StreamSession, writer: SceneWriter, out: Path) -> None:
    """Views first: the state begins after them. No state stands beside an earlier scene that is still in the folder."""
    writer.flush()
    if len(writer) or not (out / DOCUMENT).is_file():
        session.state(out / STATE)


def _time_of(line: str) -> float:
    """Seconds of a step in ``frames.jsonl``; infinity where a crash has torn the line."""
    try:
        return float(json.loads(line)["timestamp"])
    except (ValueError, KeyError, TypeError):
        return np.inf


def _add(writer: SceneWriter, results: tuple[SensorResult, ...], written: set[str]) -> None:
    for each in results:
        view = each.to_view()
        if view.name not in written:
            writer.add(view)


def _resume(session: StreamSession, out: Path) -> float:
    if not (out / STATE).is_file():
        raise InputError(f"There is no interrupted stream in {out}.", "Run it without --resume.")
    session.restore(out / STATE)
    return session.last_timestamp if session.last_timestamp is not None else -np.inf


def _results(session: StreamSession, log: Log, after: float, poses: bool, lidar: bool) -> Iterator[FrameResult]:
    for step in log.steps:
        if step.timestamp > after:
            yield feed(session, step, poses=poses, lidar=lidar)


def _note(summary: StreamSummary, result: FrameResult) -> None:
    summary.issues += [f"{result.timestamp:.3f} s: {issue}" for issue in result.issues]
    if not result.accepted:
        summary.refused += 1
        return
    summary.steps += 1
    summary.images += len(result.sensors)
    summary.latencies.append(result.latency)


def _line(result: FrameResult) -> dict[str, Any]:
    """One step for people and scripts."""
    return {
        "step": result.step,
        "timestamp": result.timestamp,
        "accepted": result.accepted,
        "latency": round(result.latency, 4),
        "timings": {name: round(seconds, 4) for name, seconds in result.timings.items()},
        "issues": list(result.issues),
        "sensors": {name: _sensor_line(each) for name, each in result.sensors.items()},
        "completed": {each.sensor: _sensor_line(each) for each in result.completed},
    }


def _sensor_line(result: SensorResult) -> dict[str, Any]:
    known = np.isfinite(result.scale_sigma)
    return {
        "timestamp": result.timestamp,
        "latency": round(result.latency, 4),
        "pose": result.pose_status,
        "world_from_cam": np.round(result.camera.world_from_cam, 6).tolist(),
        "scale": round(result.scale, 6),
        "scale_sigma": round(result.scale_sigma, 4) if known else None,
        "scale_kind": result.scale_kind,
        "moving": None if result.dynamic is None else round(float(result.dynamic.mean()), 4),
        "seam": None if result.seam is None else round(result.seam, 4),
        "memory": None if result.memory is None else vars(replace(result.memory)),
    }
