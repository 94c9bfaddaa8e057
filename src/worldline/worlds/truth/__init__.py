"""Ground truth beyond the pixels: queries, flow, tracks and LiDAR sweeps, exact at any instant of a world."""

from __future__ import annotations

from worldline.worlds.truth.boxes import Boxes, boxes, visible_shares
from worldline.worlds.truth.flow import Flow, flow, flow_both_ways
from worldline.worlds.truth.lidar import HDL32E, LidarModel, Sweep, sweep
from worldline.worlds.truth.queries import Answers, query
from worldline.worlds.truth.rays import Instants
from worldline.worlds.truth.tracks import PointTracks, sample_tracks, track

__all__ = [
    "HDL32E",
    "Answers",
    "Boxes",
    "Flow",
    "Instants",
    "LidarModel",
    "PointTracks",
    "Sweep",
    "boxes",
    "flow",
    "flow_both_ways",
    "query",
    "sample_tracks",
    "sweep",
    "track",
    "visible_shares",
]
