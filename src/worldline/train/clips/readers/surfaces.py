"""Surface normals of recorded clips: from depth, or decoded from colours whose meaning the depth confirms."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8

from worldline.geometry.normals import normals_from_points
from worldline.geometry.projection import unproject
from worldline.train.clips.readers.axes import OPENGL

_BEND = 0.03  # relative second difference of the inverse depth, which is 0 on planes: more is an edge
_AGREE = 0.9  # median cosine between coded normals and those of the depth from which on a code is believed
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
    if smoothing:
        inverse = _mean(inverse, known, smoothing)
    rays = unproject(1 / inverse.clamp_min(1e-9), torch.as_tensor(intrinsics, dtype=torch.float32))
    normals = normals_from_points(rays) @ torch.as_tensor(world_from_cam[:3, :3], dtype=torch.float32).T
    smooth = torch.zeros_like(known)
    middle = inverse[1:-1, 1:-1]
    bends = [inverse[1:-1, :-2] + inverse[1:-1, 2:] - 2 * middle, inverse[:-2, 1:-1] + inverse[2:, 1:-1] - 2 * middle]
    smooth[1:-1, 1:-1] = (torch.stack(bends).abs().amax(0) < _BEND * middle) & _surrounded(known)
    return coded(torch.where(smooth[..., None], normals, 0).numpy())


def coded(normals: Float[np.ndarray, "*n 3"]) -> Int8[np.ndarray, "*n 3"]:
    """Unit vectors as a clip stores them."""
    return np.round(np.asarray(normals) * _UNIT).astype(np.int8)


class NormalCode:
    """What the colours of a normal map mean: order of the channels, and the frame that the vectors are in.

    Publishers do not always say it. So the first map decides: the reading that agrees with the normals of its depth is
    the right one, and if none does the maps are left alone.

    Args:
        turns: further candidate frames: rotations that take the vectors of the map to the world frame of the poses.
    """

    def __init__(self, turns: tuple[Float[np.ndarray, "3 3"], ...] = ()) -> None:
        self.turns = (np.eye(3), *turns)
        self._reading: tuple[bool, np.ndarray, bool] | None = None  # reversed channels, turn, is it of the camera?
        self._decided = False

    def decode(
        self,
        colors: UInt8[np.ndarray, "height width 3"],
        expected: Int8[np.ndarray, "height width 3"],
        world_from_cam: Float[np.ndarray, "4 4"],
    ) -> Int8[np.ndarray, "height width 3"]:
        """Normals in the world frame, times 127.

        Args:
            colors: the map; 0 is -1 and 255 is 1.
            expected: normals of the depth of the same frame, as :func:`normals_of_depth` gives them.
        """
        vectors = (colors.astype(np.float32) + 0.5) / 128 - 1
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = np.where(length > 0.5, vectors / np.maximum(length, 1e-6), 0)  # black and gray: nothing there
        known = expected.any(-1) & (length[..., 0] > 0.5)
        if not self._decided and known.sum() >= 50:
            self._decide(vectors[known], expected[known] / _UNIT, world_from_cam[:3, :3])
        if self._reading is None:
            return expected
        world = self._apply(vectors, self._reading, world_from_cam[:3, :3])
        return coded(world)

    def _decide(self, vectors: np.ndarray, expected: np.ndarray, rotation: np.ndarray) -> None:
        self._decided = True
        frames = [(turn, False) for turn in self.turns] + [(np.eye(3), True), (OPENGL, True)]
        readings = [(order, turn, camera) for order, (turn, camera) in itertools.product((False, True), frames)]
        scores = [np.median((self._apply(vectors, r, rotation) * expected).sum(-1)) for r in readings]
        best = int(np.argmax(scores))
        self._reading = readings[best] if scores[best] > _AGREE else None

    @staticmethod
    def _apply(vectors: np.ndarray, reading: tuple[bool, np.ndarray, bool], rotation: np.ndarray) -> np.ndarray:
        order, turn, camera = reading
        turned = (vectors[..., ::-1] if order else vectors) @ turn.T
        return turned @ rotation.T if camera else turned


def _mean(values: torch.Tensor, known: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the known values of a square."""
    weight = known.to(values.dtype)
    both = torch.stack([values * weight, weight])[None]
    total, count = torch.nn.functional.avg_pool2d(both, 2 * radius + 1, 1, radius, count_include_pad=False)[0]
    return torch.where(known, total / count.clamp_min(1e-6), 0)


def _surrounded(known: torch.Tensor) -> torch.Tensor:
    """Inner pixels that are known with all four neighbours."""
    inner = known[1:-1, 1:-1] & known[:-2, 1:-1] & known[2:, 1:-1]
    return inner & known[1:-1, :-2] & known[1:-1, 2:]
