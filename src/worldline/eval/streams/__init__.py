"""Evaluation of streams: drives with exact truth, what sessions make of them, one thing varied."""

from worldline.eval.streams.drives import DriveSpec, DriveStore, StreamDrive
from worldline.eval.streams.feed import Disturbance
from worldline.eval.streams.plan import STREAM_SWEEPS, StreamSweep, stream_sweep_named
from worldline.eval.streams.scores import DriveScores, score_drive
from worldline.eval.streams.suite import StreamReport, StreamSettings, evaluate_streams, has_memory
from worldline.eval.streams.sweeps import StreamSweepSettings, run_stream_sweep

__all__ = [
    "STREAM_SWEEPS",
    "Disturbance",
    "DriveScores",
    "DriveSpec",
    "DriveStore",
    "StreamDrive",
    "StreamReport",
    "StreamSettings",
    "StreamSweep",
    "StreamSweepSettings",
    "evaluate_streams",
    "has_memory",
    "run_stream_sweep",
    "score_drive",
    "stream_sweep_named",
]
