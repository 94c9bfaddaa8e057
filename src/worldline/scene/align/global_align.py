"""Global alignment: one world, one depth map and one camera per view that agree with all pairwise pointmaps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import Similarity, invert_rigid, nearest_rotation, transform_points
from worldline.scene.align.cleaning import clean_pointcloud
from worldline.scene.align.objective import AlignmentObjective
from worldline.scene.align.parameters import AlignmentParameters
from worldline.scene.align.predictions import PairPredictions
from worldline.scene.align.start import known_poses_start, make_presets, spanning_tree_start
from worldline.scene.cameras import CameraEstimates

Schedule = Literal["cosine", "linear"]
Start = Literal["spanning-tree", "known-poses"]
MIN_LEARNING_RATE = 1e-6
_ADAM_BETAS = (0.9, 0.9)


@dataclass(frozen=True)
class AlignedScene:
    """Result of an alignment, in input order."""

    depth: Float[Tensor, "view height width"]  # along the optical axis
    focals: Float[Tensor, "view"]  # pixels
    principal_points: Float[Tensor, "view 2"]  # pixels
    world_from_cam: Float[Tensor, "view 4 4"]
    points: Float[Tensor, "view height width 3"]  # world frame, exactly the unprojected depth
    confidence: Float[Tensor, "view height width"]  # largest over all edges; 0 where contradicted
    losses: tuple[float, ...] = ()  # before every step
    fixed_scale: bool = False  # True when preset poses fixed the unit
    preset_poses: tuple[bool, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)  # seconds

    @property
    def intrinsics(self) -> Float[Tensor, "view 3 3"]:
        """Pinhole matrices, pixels."""
        matrix = torch.diag_embed(torch.stack([self.focals, self.focals, torch.ones_like(self.focals)], dim=-1))
        matrix[:, :2, 2] = self.principal_points
        return matrix

    def in_frame_of(self, view: int) -> AlignedScene:
        """The same scene with the world frame at the camera of a view; nothing changes when poses were preset."""
        if any(self.preset_poses):
            return self
        view_from_world = invert_rigid(self.world_from_cam[view])
        points = transform_points(view_from_world, self.points.flatten(1, 2)).reshape(self.points.shape)
        return replace(self, world_from_cam=view_from_world @ self.world_from_cam, points=points)

    def cleaned(self) -> AlignedScene:
        """The same scene with contradicted points at confidence 0, see :func:`clean_pointcloud`."""
        confidence = clean_pointcloud(self.points, self.confidence, self.depth, self.intrinsics, self.world_from_cam)
        return replace(self, confidence=confidence)

    def camera_estimates(self) -> CameraEstimates:
        """Cameras in the form that :func:`worldline.scene.assemble.assemble_scene` takes."""
        preset = self.preset_poses or (False,) * len(self.focals)
        poses = self.world_from_cam.double()
        poses[:, :3, :3] = nearest_rotation(poses[:, :3, :3])  # orthonormal to float64 precision
        return CameraEstimates(
            intrinsics=self.intrinsics.double().numpy(),
            world_from_cam=poses.numpy(),
            status=tuple("given" if given else "estimated" for given in preset),
            inlier_share=np.ones(len(self.focals)),
            world_from_points=Similarity.identity(),
            fixed_scale=self.fixed_scale,
        )


def global_align(
    predictions: PairPredictions,
    *,
    iterations: int = 300,
    lr: float = 0.01,
    schedule: Schedule = "cosine",
    init: Start = "spanning-tree",
    poses: Sequence[Tensor | np.ndarray | None] | None = None,
    focals: Sequence[float | None] | None = None,
    principal_points: Float[Tensor, "view 2"] | None = None,
    published_focals: bool = False,
    device: torch.device | str = "cpu",
) -> AlignedScene:
    """Align pairwise pointmaps (DUSt3R section 3.4): spanning-tree start, then Adam on the objective.

    Args:
        predictions: pointmaps and confidences of every edge, on the CPU.
        iterations: steps of Adam.
        lr: its first learning rate.
        schedule: "cosine" or "linear", down to 1e-6.
        init: "spanning-tree", or "known-poses" when all poses and focal lengths are given.
        poses: known world_from_cam per view, None where unknown; not changed. Two or more fix frame and unit.
        focals: known focal lengths in pixels per view, None where unknown; not changed.
        principal_points: (x, y) per view; the published default is (width / 2, height / 2).
        published_focals: reproduce a slip of the published start, see :func:`spanning_tree_start`.
        device: where to optimise; the result is on the CPU again.

    Raises:
        InputError: the pairs do not connect all images, or a choice does not exist.
    """
    started = time.perf_counter()
    presets = make_presets(predictions, poses, focals, principal_points)
    if init == "spanning-tree":
        parameters = spanning_tree_start(predictions, presets, published_focals=published_focals)
    elif init == "known-poses":
        parameters = known_poses_start(predictions, presets)
    else:
        raise InputError(f"Unknown start {init!r}.", "Choose 'spanning-tree' or 'known-poses'.")
    objective, parameters = AlignmentObjective(predictions, device), parameters.to(device)
    timings = {"start": time.perf_counter() - started}
    started = time.perf_counter()
    losses = optimise(objective, parameters, iterations=iterations, lr=lr, schedule=schedule)
    timings["optimise"] = time.perf_counter() - started
    return _result(predictions, objective, parameters, losses, timings)


def learning_rate(step: int, steps: int, lr: float, schedule: Schedule) -> float:
    """Learning rate of a step, 0 <= step < steps."""
    progress = step / steps
    if schedule == "cosine":
        return MIN_LEARNING_RATE + (lr - MIN_LEARNING_RATE) * (1 + math.cos(math.pi * progress)) / 2
    if schedule == "linear":
        return lr + (MIN_LEARNING_RATE - lr) * progress
    raise InputError(f"Unknown schedule {schedule!r}.", "Choose 'cosine' or 'linear'.")


def optimise(
    objective: AlignmentObjective,
    parameters: AlignmentParameters,
    *,
    iterations: int = 300,
    lr: float = 0.01,
    schedule: Schedule = "cosine",
) -> tuple[float, ...]:
    """Run Adam in place on the parameters; returns the loss before every step."""
    tensors = [tensor.requires_grad_() for tensor in parameters.tensors]
    optimiser = torch.optim.Adam(tensors, lr=lr, betas=_ADAM_BETAS)
    losses = []
    for step in range(iterations):
        optimiser.param_groups[0]["lr"] = learning_rate(step, iterations, lr, schedule)
        optimiser.zero_grad()
        loss = objective(parameters)
        loss.backward()
        _freeze(parameters)
        optimiser.step()
        losses.append(loss.detach())
    for tensor in tensors:
        tensor.requires_grad_(False)
    return tuple(torch.stack(losses).tolist()) if losses else ()


def _freeze(parameters: AlignmentParameters) -> None:
    """Preset values get no gradient, hence no step."""
    for codes, frozen in (
        (parameters.pose_codes, parameters.frozen_poses),
        (parameters.focal_codes, parameters.frozen_focals),
    ):
        if codes.grad is not None:
            codes.grad[frozen] = 0


def _result(
    predictions: PairPredictions,
    objective: AlignmentObjective,
    parameters: AlignmentParameters,
    losses: tuple[float, ...],
    timings: dict[str, float],
) -> AlignedScene:
    size = predictions.size
    return AlignedScene(
        depth=parameters.log_depths.exp().unflatten(1, size).cpu(),
        focals=parameters.focals().cpu(),
        principal_points=parameters.principal_points.cpu(),
        world_from_cam=parameters.world_from_cam().cpu(),
        points=objective.world_points(parameters).mT.unflatten(1, size).cpu(),
        confidence=predictions.max_confidence(),
        losses=losses,
        fixed_scale=not parameters.free_unit,
        preset_poses=tuple(parameters.frozen_poses.tolist()),
        timings=timings,
    )
