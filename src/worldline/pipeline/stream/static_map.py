"""What does not move, gathered over a stream without end in a bounded number of points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from worldline.pipeline.stream.results import SensorResult

_CELLS = 1 << 20  # voxels per axis before the numbering repeats: 100 km at 10 cm


class StaticMap:
    """One point per voxel: the most confident of the latest look. The furthest from the rig leave first."""

    def __init__(self, voxel: float, most: int) -> None:
        """``voxel`` in metres; 0 keeps nothing. ``most``: number of points that are kept."""
        self.voxel, self.most = voxel, most
        self.points: Float32[np.ndarray, "n 3"] = np.zeros((0, 3), np.float32)
        self.colors: UInt8[np.ndarray, "n 3"] = np.zeros((0, 3), np.uint8)
        self._cells: Int64[np.ndarray, "n"] = np.zeros(0, np.int64)

    def add(self, result: SensorResult) -> None:
        """Take over the pixels of a final result that are valid and do not move."""
        if self.voxel <= 0 or result.frame != "world":
            return
        keep = result.mask if result.dynamic is None else result.mask & ~result.dynamic
        points, colors = result.points[keep], result.image[keep]
        order = np.argsort(-result.confidence[keep], kind="stable")
        cells = self._number(points[order])
        _, first = np.unique(cells, return_index=True)
        new = order[first]
        old = ~np.isin(self._cells, cells[first])
        self.points = np.concatenate([self.points[old], points[new].astype(np.float32)])
        self.colors = np.concatenate([self.colors[old], colors[new]])
        self._cells = np.concatenate([self._cells[old], cells[first]])
        if len(self.points) > self.most:
            distance = np.linalg.norm(self.points - result.camera.center, axis=1)
            near = np.sort(np.argpartition(distance, self.most)[: self.most])
            self.points, self.colors, self._cells = self.points[near], self.colors[near], self._cells[near]

    def _number(self, points: Float32[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
        cell = np.floor(points.astype(np.float64) / self.voxel).astype(np.int64) % _CELLS
        return (cell[:, 0] * _CELLS + cell[:, 1]) * _CELLS + cell[:, 2]
