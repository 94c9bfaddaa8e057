"""Two images need no optimisation: both orders of the pair are predicted, the more confident one gives the scene."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import estimate_focal, invert_rigid, pixel_grid, rigid_from, transform_points
from worldline.scene.align.global_align import AlignedScene
from worldline.scene.align.predictions import PairPredictions
from worldline.scene.align.start import MIN_CONFIDENCE, PNP_ERROR
from worldline.scene.pnp import solve_pnp


def view_pair(predictions: PairPredictions, *, principal_points: Float[Tensor, "view 2"] | None = None) -> AlignedScene:
    """Scene of two images from the edges (0, 1) and (1, 0), in closed form apart from one PnP.

    Focal lengths come from each image's pointmap in its own frame; the second camera's pose from its pointmap in the
    first one's frame. The world is the camera of image 0 or 1, whichever edge is more confident.
    """
    edges = [tuple(edge) for edge in predictions.edges.tolist()]
    if sorted(edges) != [(0, 1), (1, 0)]:
        raise InputError(f"A pair needs the edges (0, 1) and (1, 0), got {edges}.", "Predict both orders.")
    height, width = predictions.size
    if principal_points is None:
        principal_points = torch.tensor([[width / 2, height / 2]] * 2, dtype=predictions.points_i.dtype)
    own = [edges.index((0, 1)), edges.index((1, 0))]  # the edge in whose frame image 0, image 1 lives
    focals = estimate_focal(predictions.points_i[own], principal_points)
    confidence = predictions.max_confidence()
    world = 0 if predictions.scores[own[0]] > predictions.scores[own[1]] else 1
    other, edge = 1 - world, own[world]
    points = predictions.points_j[edge]
    world_from_other = _locate(points, confidence[other], float(focals[other]), principal_points[other])
    world_from_cam = torch.eye(4, dtype=points.dtype).repeat(2, 1, 1)
    world_from_cam[other] = world_from_other.to(points.dtype)
    depth = torch.zeros_like(confidence)
    depth[world] = predictions.points_i[edge][..., 2]
    depth[other] = transform_points(invert_rigid(world_from_cam[other]), points.reshape(-1, 3))[:, 2].view(
        height, width
    )
    offsets = pixel_grid(height, width, dtype=points.dtype) - principal_points[:, None, None]
    in_camera = torch.cat([offsets * (depth / focals[:, None, None])[..., None], depth[..., None]], dim=-1)
    return AlignedScene(
        depth=depth,
        focals=focals,
        principal_points=principal_points,
        world_from_cam=world_from_cam,
        points=transform_points(world_from_cam, in_camera.flatten(1, 2)).unflatten(1, (height, width)),
        confidence=confidence,
    )


def _locate(
    points: Float[Tensor, "h w 3"], confidence: Float[Tensor, "h w"], focal: float, center: Float[Tensor, "2"]
) -> Float[Tensor, "4 4"]:
    height, width = confidence.shape
    mask = (confidence > MIN_CONFIDENCE).numpy()
    pixels = (pixel_grid(height, width, dtype=torch.float64) - center.double()).numpy()[mask]
    found = solve_pnp(pixels, points.double().numpy()[mask], focal, image_size=(height, width), max_error=PNP_ERROR)
    pose = np.eye(4) if found is None else found.world_from_cam
    return rigid_from(torch.from_numpy(pose[:3, :3]), torch.from_numpy(pose[:3, 3]))
