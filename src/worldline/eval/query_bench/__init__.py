"""Speed and memory of networks that answer queries about a video: ``worldline bench d4rt``."""

from worldline.eval.query_bench.network import SIZES, QueryNetwork, random_network
from worldline.eval.query_bench.peaks import measure_peaks
from worldline.eval.query_bench.rates import RATES, affordable_tracks, measure_poses, measure_tracks
from worldline.eval.query_bench.savings import WorldVideo, measure_savings
from worldline.eval.query_bench.speed import measure_speed
from worldline.eval.query_bench.tables import table

__all__ = [
    "RATES",
    "SIZES",
    "QueryNetwork",
    "WorldVideo",
    "affordable_tracks",
    "measure_peaks",
    "measure_poses",
    "measure_savings",
    "measure_speed",
    "measure_tracks",
    "random_network",
    "table",
]
