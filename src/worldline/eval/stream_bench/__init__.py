"""Speed and memory of streams: latency per step, and the time of pairs + global alignment over the same images.

Every measurement runs in a process of its own, so that its peak memory is its own.
"""

from worldline.eval.stream_bench.alignment import Item, alignment_table, compare_alignment
from worldline.eval.stream_bench.drive import BenchDrive, noise_drive, street_drive
from worldline.eval.stream_bench.latency import latency_table, measure_latency
from worldline.eval.stream_bench.network import NetworkChoice, random_network

__all__ = [
    "BenchDrive",
    "Item",
    "NetworkChoice",
    "alignment_table",
    "compare_alignment",
    "latency_table",
    "measure_latency",
    "noise_drive",
    "random_network",
    "street_drive",
]
