"""Logs of camera rigs, of several public data sets and of our own, read into one type: :func:`open_log`."""

from worldline.inputs.logs.kinds import LOG_KINDS, LogKind, open_log
from worldline.inputs.logs.log import LidarSweep, Log, LogImage, LogStep
from worldline.inputs.logs.ring import field_overlap, ring_neighbors

__all__ = [
    "LOG_KINDS",
    "LidarSweep",
    "Log",
    "LogImage",
    "LogKind",
    "LogStep",
    "field_overlap",
    "open_log",
    "ring_neighbors",
]
