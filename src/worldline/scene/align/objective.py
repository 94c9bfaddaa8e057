"""The objective of global alignment: every edge's pointmaps, moved by its own similarity, should meet the world points.

    L = sum over edges, both images and pixels of  log(confidence) * |world point - s (R p + t)| / area

The sum over edges is where the time goes, so it is evaluated once, forward and gradient together, in closed form: with
the residual r and g = weight * r / |r|, the gradient is g for the world points and -sum(g p^T), -sum(g) for the edge's
3x4 matrix. Edges are processed in batches that fit into the cache. Only the few numbers behind those matrices and one
depth map per view go through automatic differentiation.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.geometry import pixel_grid
from worldline.scene.align.parameters import AlignmentParameters
from worldline.scene.align.predictions import PairPredictions

_BATCH_PIXELS = 1 << 16  # pixels per batch: about 3 MB of temporaries, the size of a core's share of the cache


class AlignmentObjective:
    """Callable: parameters -> loss. Holds the predictions in the layout that the inner loop wants."""

    def __init__(self, predictions: PairPredictions, device: torch.device | str = "cpu") -> None:
        height, width = predictions.size
        pixels, dtype = height * width, predictions.points_i.dtype
        grid = pixel_grid(height, width, dtype=dtype, device=device)
        self.pixels: Float[Tensor, "2 pixel"] = grid.reshape(-1, 2).mT.contiguous()
        # both images of every edge form one list of "sides": points, weights, and the view of each
        self.edges = len(predictions.edges)
        self.side_views: Int[Tensor, "side"] = predictions.edges.to(device).mT.flatten()
        self.points: Float[Tensor, "side 3 pixel"] = torch.empty(2 * self.edges, 3, pixels, dtype=dtype, device=device)
        self.points[: self.edges] = predictions.points_i.flatten(1, 2).mT
        self.points[self.edges :] = predictions.points_j.flatten(1, 2).mT
        # A_i and A_j: the total area of all first images, and of all second images
        weights = torch.cat([predictions.confidence_i, predictions.confidence_j]).to(device).flatten(1).log()
        self.weights: Float[Tensor, "side pixel"] = weights.clamp_min_(0).div_(self.edges * pixels)

    def __call__(self, parameters: AlignmentParameters) -> Float[Tensor, ""]:
        """The loss, differentiable with respect to the parameters' tensors."""
        world = self.world_points(parameters)
        matrices = parameters.edge_transforms()[:, :3]
        return _EdgeResiduals.apply(world, matrices, self)

    def world_points(self, parameters: AlignmentParameters) -> Float[Tensor, "view 3 pixel"]:
        """Depth maps unprojected into the world."""
        depth = parameters.log_depths.exp()
        offsets = self.pixels - parameters.principal_points[:, :, None]
        in_plane = offsets * (depth / parameters.focals()[:, None])[:, None]
        in_camera = torch.cat([in_plane, depth[:, None]], dim=1)
        world_from_cam = parameters.world_from_cam()
        return torch.baddbmm(world_from_cam[:, :3, 3:], world_from_cam[:, :3, :3], in_camera)


class _EdgeResiduals(torch.autograd.Function):
    """Weighted sum of residual lengths over all edges, and its gradients, in one pass over the data."""

    @staticmethod
    def forward(
        ctx: Any, world: Float[Tensor, "view 3 pixel"], matrices: Float[Tensor, "edge 3 4"], data: AlignmentObjective
    ) -> Float[Tensor, ""]:
        sides, _, pixels = data.points.shape
        step = max(1, _BATCH_PIXELS // pixels)
        world_gradient = torch.zeros_like(world)
        matrix_gradient = torch.zeros_like(matrices)
        loss = torch.zeros((), dtype=torch.float64, device=world.device)
        edge_of_side = torch.arange(sides, device=world.device) % data.edges
        for start in range(0, sides, step):
            chosen = slice(start, start + step)
            views, edges, points = data.side_views[chosen], edge_of_side[chosen], data.points[chosen]
            matrix = matrices[edges]
            residual = torch.baddbmm(matrix[:, :, 3:], matrix[:, :, :3], points).neg_().add_(world[views])
            length = residual.square().sum(1).sqrt_()  # a norm over a strided axis is a hundred times slower
            weights = data.weights[chosen]
            loss += torch.dot(length.flatten(), weights.flatten())
            residual *= (weights / length.clamp_min(1e-20))[:, None]  # zero residuals get a zero gradient
            world_gradient.index_add_(0, views, residual)
            matrix_gradient[:, :, :3].index_add_(0, edges, torch.bmm(residual, points.mT), alpha=-1)
            matrix_gradient[:, :, 3].index_add_(0, edges, residual.sum(-1), alpha=-1)
        ctx.save_for_backward(world_gradient, matrix_gradient)
        return loss.to(world.dtype)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, None]:
        world_gradient, matrix_gradient = ctx.saved_tensors
        return outer[0] * world_gradient, outer[0] * matrix_gradient, None
