"""Surface normals of recorded clips: from depth, or decoded from colours whose meaning the depth confirms."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8

from worldline.geometry.normals import normals_from_points
from worldline.geometry.projection import unproject
from worldline.train.clips.readers.axes import OPENGL

_BEND = 0.03  # relative second difference of the inverse depth, which is 0 on planes: more is an edge
_ALIKE = 0.95  # cosine between a coded normal and that of the depth from which on they agree
_AGREE = 0.6  # share of pixels that must agree before a code is believed
_ENOUGH = 50  # pixels that such a comparison needs
_UNIT = 127


def normals_of_depth(
    depth: Float[np.ndarray, "height width"],
    intrinsics: Float[np.ndarray, "3 3"],
    world_from_cam: Float[np.ndarray, "4 4"],
    smoothing: int = 0,
) -> Int8[np.ndarray, "height width 3"]:
    """Normals in the world frame, times 127; 0 at edges, next to unknown depth and at the border.

    Args:
        smoothing: radius in pixels of the mean that is taken of inverse depths first, for noisy sensors.
    """
    known = torch.as_tensor(depth > 0)
    inverse = torch.where(known, 1 / torch.as_tensor(depth, dtype=torch.float32).clamp_min(1e-6), 0)
    smooth = _smooth(inverse, known)
    if smoothing:
        inverse = _mean(inverse, known, smoothing)
        smooth = ~_grown(~smooth, smoothing)
    points = unproject(1 / inverse.clamp_min(1e-9), torch.as_tensor(intrinsics, dtype=torch.float32))
    normals = normals_from_points(points) @ torch.as_tensor(world_from_cam[:3, :3], dtype=torch.float32).T
    return coded(torch.where(smooth[..., None], normals, 0).numpy())


def coded(normals: Float[np.ndarray, "*n 3"]) -> Int8[np.ndarray, "*n 3"]:
    """Unit vectors as a clip stores them."""
    return np.round(np.asarray(normals) * _UNIT).astype(np.int8)


@dataclass(frozen=True)
class NormalCode:
    """What the colours of a normal map mean: 0 is -1 and 255 is 1, but of which axis, and in whose frame?

    Publishers do not always say it, and releases differ. So :meth:`agreeing` asks the depth of a frame.
    """

    reversed: bool  # channels are z, y, x
    turn: Float[np.ndarray, "3 3"]  # from the frame of the map to that of the poses, or to OpenCV axes
    of_camera: bool  # vectors are in the frame of the camera

    @classmethod
    def agreeing(
        cls,
        colors: UInt8[np.ndarray, "height width 3"],
        expected: Int8[np.ndarray, "height width 3"],
        world_from_cam: Float[np.ndarray, "4 4"],
        turns: tuple[Float[np.ndarray, "3 3"], ...] = (),
    ) -> NormalCode | None:
        """The reading of a map that agrees with the normals of its depth; None if there is none.

        Args:
            expected: of the same frame, as :func:`normals_of_depth` gives them.
            turns: further candidates for the world frame of the map: rotations to that of the poses.
        """
        vectors = _vectors(colors)
        known = expected.any(-1) & vectors.any(-1)
        if known.sum() < _ENOUGH:
            return None
        frames = [(turn, False) for turn in (np.eye(3), *turns)] + [(np.eye(3), True), (OPENGL, True)]
        codes = [cls(order, turn, camera) for order, (turn, camera) in itertools.product((False, True), frames)]
        truth = expected[known] / _UNIT
        scores = [((code._world(vectors[known], world_from_cam) * truth).sum(-1) > _ALIKE).mean() for code in codes]
        best = int(np.argmax(scores))
        return codes[best] if scores[best] > _AGREE else None

    def decode(
        self,
        colors: UInt8[np.ndarray, "height width 3"],
        intrinsics: Float[np.ndarray, "3 3"],
        world_from_cam: Float[np.ndarray, "4 4"],
    ) -> Int8[np.ndarray, "height width 3"]:
        """Normals in the world frame towards the camera, times 127; 0 where the map has none."""
        world = self._world(_vectors(colors), world_from_cam)
        rays = unproject(torch.ones(colors.shape[:2]), torch.as_tensor(intrinsics, dtype=torch.float32)).numpy()
        away = (world * (rays @ world_from_cam[:3, :3].T)).sum(-1, keepdims=True) > 0
        return coded(np.where(away, -world, world))

    def _world(self, vectors: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
        turned = (vectors[..., ::-1] if self.reversed else vectors) @ self.turn.T
        return turned @ world_from_cam[:3, :3].T if self.of_camera else turned


def _vectors(colors: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """Unit vectors of colours; 0 where they are gray, which says that nothing is there."""
    vectors = (colors.astype(np.float32) + 0.5) / 128 - 1
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 0.5, vectors / np.maximum(length, 1e-6), 0)


def _smooth(inverse: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Pixels that are known with all four neighbours and lie on one surface with them."""
    smooth = torch.zeros_like(known)
    middle = inverse[1:-1, 1:-1]
    bends = [inverse[1:-1, :-2] + inverse[1:-1, 2:] - 2 * middle, inverse[:-2, 1:-1] + inverse[2:, 1:-1] - 2 * middle]
    inner = known[1:-1, 1:-1] & known[:-2, 1:-1] & known[2:, 1:-1] & known[1:-1, :-2] & known[1:-1, 2:]
    smooth[1:-1, 1:-1] = inner & (torch.stack(bends).abs().amax(0) < _BEND * middle)
    return smooth


def _mean(values: torch.Tensor, known: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the known values of a square."""
    weight = known.to(values.dtype)
    both = torch.stack([values * weight, weight])[None]
    total, count = torch.nn.functional.avg_pool2d(both, 2 * radius + 1, 1, radius, count_include_pad=False)[0]
    return torch.where(known, total / count.clamp_min(1e-6), 0)


def _grown(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """The mask and everything within a square around it."""
    grown = torch.nn.functional.max_pool2d(mask.float()[None, None], 2 * radius + 1, 1, radius)
    return grown[0, 0] > 0
