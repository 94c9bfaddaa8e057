"""The unknowns of global alignment and how they are encoded (DUSt3R section 3.4).

Every quantity is a code that may take any real value, so that plain gradient descent can move it: quaternions are
normalised on use, translations and scales are logarithmic. The encodings are those of the published optimiser, since
Adam's path depends on them. Quaternions are x, y, z, w *here only*, for the same reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry import matrix_from_quaternion, quaternion_from_matrix, rigid_from

FOCAL_BREAK = 20.0  # f = exp(code / 20): the focal length moves slowly beside the poses
BASE_SCALE = 0.5  # geometric mean of the edge scales, fixes the unit


@dataclass
class AlignmentParameters:
    """Codes of all unknowns, and which of them are preset. Tensors are updated in place by the optimiser."""

    edge_codes: Float[Tensor, "edge 8"]  # quaternion x y z w, translation codes, log scale
    pose_codes: Float[Tensor, "view 7"]  # world_from_cam: quaternion x y z w, translation codes
    log_depths: Float[Tensor, "view pixel"]
    focal_codes: Float[Tensor, "view 1"]
    principal_points: Float[Tensor, "view 2"]  # pixels; not optimised
    frozen_poses: Bool[Tensor, "view"]
    frozen_focals: Bool[Tensor, "view"]

    @property
    def free_unit(self) -> bool:
        """Whether the unit is arbitrary; two preset poses fix it."""
        return int(self.frozen_poses.sum()) < 2

    @property
    def tensors(self) -> list[Tensor]:
        """What the optimiser moves."""
        return [self.edge_codes, self.pose_codes, self.log_depths, self.focal_codes]

    def to(self, device: torch.device | str) -> AlignmentParameters:
        """The same unknowns on another device."""
        return AlignmentParameters(**{name: value.to(device) for name, value in vars(self).items()})

    def focals(self) -> Float[Tensor, "view"]:
        """Focal lengths in pixels."""
        return torch.exp(self.focal_codes[:, 0] / FOCAL_BREAK)

    def edge_scales(self) -> Float[Tensor, "edge"]:
        """Scale of every edge's pointmaps in the world."""
        logs = self.edge_codes[:, 7]
        return torch.exp(logs + self.log_normaliser()) if self.free_unit else torch.exp(logs)

    def log_normaliser(self) -> Float[Tensor, ""]:
        """What has to be added to the log scales so that their geometric mean is BASE_SCALE."""
        return math.log(BASE_SCALE) - self.edge_codes[:, 7].mean()

    def edge_transforms(self) -> Float[Tensor, "edge 4 4"]:
        """world_from_edge of every edge: s (R x + t), the translation scaled too."""
        scale = self.edge_scales()[:, None, None]
        transform = decode_pose(self.edge_codes[:, :7])
        return rigid_from(scale * transform[:, :3, :3], (scale * transform[:, :3, 3:])[..., 0])

    def world_from_cam(self) -> Float[Tensor, "view 4 4"]:
        """Camera poses."""
        return decode_pose(self.pose_codes)


def decode_pose(codes: Float[Tensor, "n 7"]) -> Float[Tensor, "n 4 4"]:
    """Codes -> rigid motions."""
    x, y, z, w = codes[:, :4].unbind(-1)
    translation = codes[:, 4:].sign() * torch.expm1(codes[:, 4:].abs())
    return rigid_from(matrix_from_quaternion(torch.stack([w, x, y, z], dim=-1)), translation)


def encode_pose(pose: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n 7"]:
    """Rigid motions -> codes."""
    w, x, y, z = quaternion_from_matrix(pose[:, :3, :3]).unbind(-1)
    translation = pose[:, :3, 3]
    codes = translation.sign() * torch.log1p(translation.abs())
    return torch.cat([torch.stack([x, y, z, w], dim=-1), codes], dim=-1)


def encode_focals(focals: Float[Tensor, "view"]) -> Float[Tensor, "view 1"]:
    """Focal lengths in pixels -> codes."""
    return FOCAL_BREAK * torch.log(focals)[:, None]
