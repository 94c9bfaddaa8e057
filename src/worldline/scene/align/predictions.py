"""What a pairwise network says about a set of images: two pointmaps and two confidence maps per edge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.errors import InputError


@dataclass(frozen=True)
class PairPredictions:
    """Pointmaps of both images of every edge (i, j), in the frame of camera i, up to a scale per edge."""

    edges: Int[Tensor, "edge 2"]
    points_i: Float[Tensor, "edge height width 3"]
    points_j: Float[Tensor, "edge height width 3"]
    confidence_i: Float[Tensor, "edge height width"]  # >= 1
    confidence_j: Float[Tensor, "edge height width"]

    def __post_init__(self) -> None:
        for name in ("points_i", "points_j", "confidence_i", "confidence_j"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)))
        object.__setattr__(self, "edges", torch.as_tensor(self.edges, dtype=torch.int64))
        shape = (len(self.edges), *self.points_i.shape[1:3])
        good = self.points_i.shape == self.points_j.shape == (*shape, 3)
        if not good or self.confidence_i.shape != shape or self.confidence_j.shape != shape:
            raise InputError(
                f"Pairwise predictions of {len(self.edges)} edges have shapes {tuple(self.points_i.shape)}, "
                f"{tuple(self.points_j.shape)}, {tuple(self.confidence_i.shape)}, {tuple(self.confidence_j.shape)}.",
                "Give one map of one size per edge and image.",
            )
        if not len(self.edges) or set(self.edges.flatten().tolist()) != set(range(self.views)):
            raise InputError(
                "The pair graph leaves out some images.", "Give every image at least one edge, or leave it out."
            )

    @property
    def views(self) -> int:
        """Number of images."""
        return int(self.edges.max()) + 1 if len(self.edges) else 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.points_i.shape[1], self.points_i.shape[2]

    @cached_property
    def scores(self) -> list[float]:
        """How much each edge is to be trusted: the product of its two mean confidences."""
        mean_i, mean_j = self.confidence_i.mean((1, 2)), self.confidence_j.mean((1, 2))
        return (mean_i * mean_j).tolist()

    def max_confidence(self) -> Float[Tensor, "view height width"]:
        """Largest confidence that any edge gives to each pixel."""
        result = torch.zeros(self.views, *self.size, dtype=self.confidence_i.dtype, device=self.confidence_i.device)
        for side, confidence in enumerate((self.confidence_i, self.confidence_j)):
            index = self.edges[:, side, None, None].expand_as(confidence)
            result.scatter_reduce_(0, index.to(result.device), confidence, "amax")
        return result
