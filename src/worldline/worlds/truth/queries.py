"""Exact answers to the questions of D4RT: where is what pixel (u, v) of photo t_src shows, at t_tgt, for t_cam?

Conventions (arXiv 2512.08924, section 2; what the paper leaves open is settled here and in docs/worlds.md):

* u = (x + 0.5) / W and v = (y + 0.5) / H with pixel centres at integers, so an image is [0, 1] x [0, 1].
* t_src, t_tgt and t_cam count the photos of one sensor: the instants of a video, the photos of a photo set.
* ``position`` is where the point is at t_tgt, in the camera of t_cam. ``motion`` is the way from where it was at t_src,
  in the axes of the same camera. ``normal`` is the surface's at t_tgt, in the same axes, on the side seen at t_src.
* ``uv`` and ``visible`` are about one image of the instant t_tgt: that of its own camera, or with ``view="t_cam"``
  the one that the camera of t_cam would take at t_tgt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

from worldline.errors import InputError
from worldline.worlds.rendering.views import intrinsics
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World, choose_rows

Seen = Literal["t_tgt", "t_cam"]
TOLERANCE = 0.005  # metres between a point and the surface that is seen in its place
_NEAREST = 1e-6  # metres in front of the camera from which on a point can be projected


@dataclass(frozen=True)
class Answers:
    """Answers to queries, in their broadcast shape. Where a query saw the sky: ``valid`` False and zeros elsewhere."""

    position: Float64[np.ndarray, "*q 3"]  # metres, OpenCV axes of the camera of t_cam
    uv: Float64[np.ndarray, "*q 2"]  # image coordinates; 0 where the point is behind the camera
    visible: Bool[np.ndarray, "*q"]  # inside the image, and nothing in front of it
    motion: Float64[np.ndarray, "*q 3"]
    normal: Float64[np.ndarray, "*q 3"]
    valid: Bool[np.ndarray, "*q"]  # the query meets a surface
    world: Float64[np.ndarray, "*q 3"]  # position at t_tgt in the world frame
    instance: Int64[np.ndarray, "*q"]  # as in WorldSample; -1 in the sky
    body: Int64[np.ndarray, "*q"]


@dataclass(frozen=True)
class Shots:
    """The photos of one sensor in order: what t of a query counts."""

    frame: Int64[np.ndarray, "s"]  # instant: row of world.motion.times
    matrix: Float64[np.ndarray, "s 3 3"]  # pixels
    world_from_cam: Float64[np.ndarray, "s 4 4"]
    height: int
    width: int

    @classmethod
    def of(cls, world: World, *, height: int, width: int, sensor: int | str | None = 0) -> Shots:
        """The photos that a sensor took; None: those of all sensors, in the order of ``World.cameras``.

        Raises:
            InputError: no such sensor, or no pixels.
        """
        if height < 1 or width < 1:
            raise InputError(f"An image of {height} x {width} pixels has no content.", "Ask for at least 1 x 1.")
        if sensor is None:
            own = world.cameras
            return cls(own.frame, intrinsics(own, height, width), own.world_from_cam, height, width)
        number = world.sensors.index(sensor) if sensor in world.sensors else sensor
        if not isinstance(number, int | np.integer) or not 0 <= number < len(world.sensors):
            choices = ", ".join(f"{index} ({name})" for index, name in enumerate(world.sensors))
            raise InputError(f"This world has no sensor {sensor!r}.", f"Choose one of: {choices}.")
        cameras = choose_rows(world.cameras, world.cameras.sensor == number)
        return cls(cameras.frame, intrinsics(cameras, height, width), cameras.world_from_cam, height, width)

    def __len__(self) -> int:
        return len(self.frame)

    def pixel(self, uv: Float64[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
        """Image coordinates in [0, 1] -> pixels (x, y)."""
        return uv * (self.width, self.height) - 0.5

    def directions(self, shot: Int64[np.ndarray, "n"], pixel: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
        """World directions through pixels, with unit length along the optical axis."""
        matrix = self.matrix[shot]
        slope = (pixel - matrix[:, :2, 2]) / matrix[:, [0, 1], [0, 1]]
        rays = np.concatenate([slope, np.ones_like(slope[:, :1])], 1)
        return np.einsum("nij,nj->ni", self.world_from_cam[shot, :3, :3], rays)

    def to_camera(self, shot: Int64[np.ndarray, "n"], world: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """World points -> the frames of the cameras."""
        pose = self.world_from_cam[shot]
        return np.einsum("nji,nj->ni", pose[:, :3, :3], world - pose[:, :3, 3])

    def project(
        self, shot: Int64[np.ndarray, "n"], local: Float64[np.ndarray, "n 3"]
    ) -> tuple[Float64[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
        """Points in camera frames -> pixels, and whether they lie in front; pixels are 0 where they do not."""
        front = local[:, 2] > _NEAREST
        matrix = self.matrix[shot]
        slope = local[:, :2] / np.where(front, local[:, 2], 1.0)[:, None]
        pixel = slope * matrix[:, [0, 1], [0, 1]] + matrix[:, :2, 2]
        return np.where(front[:, None], pixel, 0.0), front

    def inside(self, pixel: Float64[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
        """Within the edges of the image (half a pixel beyond the centres of the outermost pixels)."""
        return np.asarray(((pixel >= -0.5) & (pixel <= np.array([self.width, self.height]) - 0.5)).all(-1))


def query(
    world: World, u: object, v: object, t_src: object, t_tgt: object, t_cam: object, *, height: int, width: int,
    sensor: int | str | None = 0, view: Seen = "t_tgt", tolerance: float = TOLERANCE, instants: Instants | None = None,
) -> Answers:  # fmt: skip
    """Exact answers to D4RT's queries, for any mix of instants.

    Args:
        u, v: image coordinates in [0, 1], any sub-pixel position.
        t_src, t_tgt, t_cam: whole numbers of photos of the sensor, from 0. All five broadcast together.
        height, width: of the images; they shape the field of view, which runs along the longer side.
        sensor: index or name of the camera of a rig; None: times count the photos of all cameras.
        view: whose image of the instant t_tgt ``uv`` and ``visible`` are about.
        tolerance: metres by which a surface may lie in front of a visible point.
        instants: pass the same one again to save the preparation of the geometry.

    Raises:
        InputError: a time or coordinate out of range, times that are no whole numbers, shapes that do not broadcast.
    """
    shots = Shots.of(world, height=height, width=width, sensor=sensor)
    if view not in get_args(Seen):
        raise InputError(f"Unknown view {view!r}.", f"Choose one of: {', '.join(get_args(Seen))}.")
    uv, times, shape = _checked(u, v, {"t_src": t_src, "t_tgt": t_tgt, "t_cam": t_cam}, len(shots))
    src, tgt, cam = times
    rays = shots.directions(src, shots.pixel(uv))
    instants = instants or Instants(world)
    centers = shots.world_from_cam[:, :3, 3]
    strikes = instants.cast(shots.frame, centers, src, rays)
    valid = strikes.hit
    met = centers[src] + np.where(valid, strikes.distance, 0.0)[:, None] * rays
    body = np.where(valid, strikes.body, 0)
    moved, turn = carry(world, body, shots.frame[src], shots.frame[tgt], met)
    eye = tgt if view == "t_tgt" else cam
    pixel, visible = see(shots, instants, eye, shots.frame[tgt], moved, tolerance)
    back = shots.world_from_cam[cam, :3, :3]
    normal = np.einsum("nij,nj->ni", turn, strikes.normal)

    def shaped(values: np.ndarray) -> np.ndarray:
        values = np.where(valid.reshape(-1, *(1,) * (values.ndim - 1)), values, np.zeros((), values.dtype))
        return values.reshape((*shape, *values.shape[1:]))

    return Answers(
        position=shaped(shots.to_camera(cam, moved)),
        uv=shaped(np.where(pixel[1][:, None], (pixel[0] + 0.5) / (width, height), 0.0)),
        visible=shaped(visible),
        motion=shaped(np.einsum("nji,nj->ni", back, moved - met)),
        normal=shaped(np.einsum("nji,nj->ni", back, normal)),
        valid=valid.reshape(shape),
        world=shaped(moved),
        instance=strikes.instance.reshape(shape),
        body=strikes.body.reshape(shape),
    )


def carry(
    world: World, body: Int64[np.ndarray, "n"], before: Int64[np.ndarray, "n"], after: Int64[np.ndarray, "n"],
    points: Float64[np.ndarray, "n 3"],
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3 3"]]:  # fmt: skip
    """Move points with their rigid bodies from one instant to another.

    Returns the moved points (world frame) and the rotation that their surroundings went through.
    """
    poses = world.motion.world_from_body
    start, end = poses[before, body], poses[after, body]
    turn = end[:, :3, :3] @ start[:, :3, :3].transpose(0, 2, 1)
    moved = np.einsum("nij,nj->ni", turn, points - start[:, :3, 3]) + end[:, :3, 3]
    stays = (before == after) | (body == 0)  # exactly where it was, without round-off
    return np.where(stays[:, None], points, moved), np.where(stays[:, None, None], np.eye(3), turn)


def see(
    shots: Shots, instants: Instants, eye: Int64[np.ndarray, "n"], frame: Int64[np.ndarray, "n"],
    points: Float64[np.ndarray, "n 3"], tolerance: float,
) -> tuple[tuple[Float64[np.ndarray, "n 2"], Bool[np.ndarray, "n"]], Bool[np.ndarray, "n"]]:  # fmt: skip
    """Project points into the cameras ``eye`` at instants ``frame`` and ask whether anything is in the way.

    Returns (pixels, in front of the camera), visible.
    """
    local = shots.to_camera(eye, points)
    pixel, front = shots.project(eye, local)
    visible = front & shots.inside(pixel)
    rows = np.flatnonzero(visible)
    if len(rows) == 0:
        return (pixel, front), visible
    pairs, group = np.unique(np.stack([eye[rows], frame[rows]]), axis=1, return_inverse=True)
    origin = shots.world_from_cam[pairs[0], :3, 3]
    group = group.reshape(-1)
    ray = points[rows] - origin[group]
    length = np.linalg.norm(ray, axis=1)
    first = instants.cast(pairs[1], origin, group, ray / length[:, None])
    visible[rows] = first.distance > length - tolerance
    return (pixel, front), visible


def _checked(
    u: object, v: object, times: dict[str, object], count: int
) -> tuple[np.ndarray, list[Int64[np.ndarray, "n"]], tuple[int, ...]]:
    """The five arrays, broadcast and flattened, or a sentence about what is wrong with them."""
    arrays = [np.asarray(value) for value in (u, v, *times.values())]
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise InputError(f"The queries' shapes {shapes} do not broadcast together.", "Give equal shapes.") from error
    uv = np.stack([np.broadcast_to(a, shape).ravel() for a in arrays[:2]], -1).astype(np.float64)
    if not ((uv >= 0) & (uv <= 1)).all():  # NaN is not inside either
        raise InputError("A query lies outside its image.", "u and v are (x + 0.5) / W and (y + 0.5) / H, in [0, 1].")
    flat = []
    for name, values in zip(times, arrays[2:], strict=True):
        if not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"{name} is not a whole number.", "Times count the photos of a sensor, from 0.")
        if values.size and (values.min() < 0 or values.max() >= count):
            raise InputError(f"{name} is outside of 0..{count - 1}.", "Times count the photos of a sensor, from 0.")
        flat.append(np.broadcast_to(values, shape).ravel().astype(np.int64))
    return uv, flat, shape
