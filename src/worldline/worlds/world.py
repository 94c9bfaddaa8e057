"""What a procedural world is made of: primitives, motion, materials, lights and cameras, as plain numpy records.

A :class:`World` is a complete description that does not know about pixels: it is drawn from a seed on the CPU and can
be rendered at any resolution on any device. World frame: metres, z up, the floor at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

BOX, ELLIPSOID, CYLINDER, POLYTOPE, CONE, HEIGHT_FIELD = range(6)
SHELL_FACES = 6  # surfaces -x, +x, -y, +y, floor, ceiling of the room come before the primitives in every id table
FLOOR, SKY = 4, 5  # in the open air only the floor of the shell is there; everything beyond it is the sky
STILL = 0  # the body of everything that never moves

Record = TypeVar("Record")


def choose_rows(record: Record, rows: np.ndarray) -> Record:
    """A record of arrays with equally many rows, reduced to some of them."""
    return replace(record, **{f.name: getattr(record, f.name)[rows] for f in fields(record)})  # type: ignore[type-var, arg-type]


# Columns of the material table (see textures.py for what the patterns mean).
MATERIAL_COLUMNS = (
    ("color_a", 3),  # linear RGB albedo
    ("color_b", 3),
    ("color_c", 3),
    ("scale", 1),  # metres per repetition of the pattern
    ("ratio", 1),  # aspect or stretch of the pattern
    ("offset", 3),  # shift in texture space, repetitions
    ("angle", 1),  # in-plane rotation, radians
    ("contrast", 1),  # strength of the fine variation on top, 0..1
    ("gloss", 1),  # specular strength, 0..1
    ("emission", 1),  # emitted radiance as a multiple of the albedo
)
MATERIAL_WIDTH = sum(width for _, width in MATERIAL_COLUMNS)


def material_slices() -> dict[str, slice]:
    """Column ranges of the material table by name."""
    slices, start = {}, 0
    for name, width in MATERIAL_COLUMNS:
        slices[name] = slice(start, start + width)
        start += width
    return slices


@dataclass(frozen=True)
class Primitives:
    """All solids of a world. Local axes are the solid's own, with the origin in the middle of its bound.

    The box of half extents ``half`` bounds the solid in them, whatever its kind; ``planes`` holds what a kind needs
    beyond it, in rows:

    * BOX, ELLIPSOID, CYLINDER (axis = local z, radius ``half[0]``): nothing.
    * POLYTOPE: half-spaces (normal x, y, z, offset), normal . x <= offset. Short lists repeat their last row.
    * CONE (truncated, axis = local z): one row (bottom radius, top radius, 0, 0), at z = -half[2] and +half[2]. The
      greater of them is ``half[0]`` and ``half[1]``. See :func:`cone`.
    * HEIGHT_FIELD: the ground below z = sum of amplitude * sin(kx x + ky y + phase), down to -half[2] and as far as the
      bound goes in x and y; one row (kx, ky, phase, amplitude) per wave, padded with zeros. See :func:`height_field`.
    """

    kind: Int[np.ndarray, "n"]
    center: Float64[np.ndarray, "n 3"]
    rotation: Float64[np.ndarray, "n 3 3"]  # world_from_local
    half: Float64[np.ndarray, "n 3"]  # half extents / semi-axes / (radius, radius, half height) / bound
    planes: Float64[np.ndarray, "n f 4"]  # by kind, see above; zero rows where a kind has none
    object_id: Int[np.ndarray, "n"]
    material: Int[np.ndarray, "n"]
    body: Int[np.ndarray, "n"]  # rigid body that carries the solid; centre and rotation are in the body's frame


def pad_planes(kind: int, planes: Float[np.ndarray, "*n f 4"], rows: int) -> Float[np.ndarray, "*n rows 4"]:
    """As many rows as asked for, without a change of shape: a plane may be repeated, a wave may be zero."""
    have = planes.shape[-2]
    padded = planes[..., np.minimum(np.arange(rows), have - 1), :]
    if kind == HEIGHT_FIELD:
        padded[..., have:, :] = 0.0
    return padded


@dataclass(frozen=True)
class Motion:
    """Where the rigid bodies are at the instants of the photos. Articulated things are several bodies."""

    times: Float64[np.ndarray, "t"]  # seconds, increasing
    world_from_body: Float64[np.ndarray, "t b 4 4"]  # body 0 (STILL) stays at the identity

    @classmethod
    def still(cls, bodies: int = 1) -> Motion:
        """One instant with every body at the world's origin."""
        return cls(np.zeros(1), np.broadcast_to(np.eye(4), (1, bodies, 4, 4)).copy())

    @property
    def moves(self) -> Bool[np.ndarray, "b"]:
        """Bodies that change their pose between the instants (by more than float noise)."""
        return (np.abs(self.world_from_body - self.world_from_body[:1]) > 1e-9).any((0, 2, 3))


@dataclass(frozen=True)
class CameraSet:
    """Poses and lenses of all photos of a world, independent of the resolution."""

    world_from_cam: Float64[np.ndarray, "v 4 4"]  # OpenCV axes
    fov: Float64[np.ndarray, "v"]  # field of view along the longer image side, radians
    principal_offset: Float64[np.ndarray, "v 2"]  # (x, y) shift of the principal point, in units of the longer side
    frame: Int[np.ndarray, "v"]  # instant of the photo: row of Motion.times
    sensor: Int[np.ndarray, "v"]  # which camera of a rig took it: index into World.sensors

    @classmethod
    def photos(cls, world_from_cam: np.ndarray, fov: np.ndarray, principal_offset: np.ndarray) -> CameraSet:
        """Photos by one camera at one instant."""
        none = np.zeros(len(fov), np.int64)
        return cls(world_from_cam, fov, principal_offset, none, none)

    @classmethod
    def video(cls, world_from_cam: np.ndarray, fov: float) -> CameraSet:
        """One camera, one photo per instant."""
        count = len(world_from_cam)
        return cls(
            world_from_cam, np.full(count, fov), np.zeros((count, 2)), np.arange(count), np.zeros(count, np.int64)
        )


@dataclass(frozen=True)
class PhotoEffects:
    """What lenses, hands, sensors and files do to the light. One entry per view; see rendering/photo.py."""

    exposure: Float64[np.ndarray, "v"]  # stops relative to what was metered
    metering: Float64[np.ndarray, "v"]  # 0: exposed like the first view; 1: every view by its own light
    white_balance: Float64[np.ndarray, "v 3"]  # gains
    vignetting: Float64[np.ndarray, "v"]  # share of light lost in the corner
    aperture: Float64[np.ndarray, "v"]  # metres across the lens; 0 is a pinhole
    focus_at: Float64[np.ndarray, "v 2"]  # (x, y) in units of the image, 0..1: what lies there is in focus
    focus_error: Float64[np.ndarray, "v"]  # dioptres (1 / m) by which the focus is missed
    shake_turn: Float64[np.ndarray, "v 3"]  # rotation vector of the camera during the exposure, radians, camera axes
    shake_move: Float64[np.ndarray, "v 3"]  # its translation, metres, camera axes
    read_noise: Float64[np.ndarray, "v"]  # standard deviation, of linear light that saturates at 1
    shot_noise: Float64[np.ndarray, "v"]  # variance per unit of that light
    contrast: Float64[np.ndarray, "v"]  # of the tone curve, -1..1; 0 leaves it as it is
    saturation: Float64[np.ndarray, "v"]  # factor on the colour differences
    sharpening: Float64[np.ndarray, "v"]  # share of the fine detail that is added once more
    jpeg: Int[np.ndarray, "v"]  # quality 1..100 of the file; 0: not compressed
    seed: Int[np.ndarray, "v"]  # of the sensor noise

    @classmethod
    def none(cls, views: int) -> PhotoEffects:
        """Ideal photos."""
        flat, pair, triple = np.zeros(views), np.full((views, 2), 0.5), np.zeros((views, 3))
        whole = np.zeros(views, np.int64)
        return cls(
            exposure=flat, metering=flat, white_balance=np.ones((views, 3)), vignetting=flat, aperture=flat,
            focus_at=pair, focus_error=flat, shake_turn=triple, shake_move=triple, read_noise=flat, shot_noise=flat,
            contrast=flat, saturation=np.ones(views), sharpening=flat, jpeg=whole, seed=whole,
        )  # fmt: skip


@dataclass(frozen=True)
class Sky:
    """What lies beyond an open world. Colours are linear radiance; the sun itself is the first light."""

    zenith: Float64[np.ndarray, "3"]
    horizon: Float64[np.ndarray, "3"]
    clouds: float  # share of the sky that is covered, 0..1
    seed: int  # of the cloud pattern


@dataclass(frozen=True)
class World:
    """A seed's scene: what is there, how it moves, how it is lit, and from where it is photographed."""

    layout: str
    seed: int
    room_low: Float64[np.ndarray, "3"]  # with a sky: the ground ends at this box, and there are no walls
    room_high: Float64[np.ndarray, "3"]
    shell_material: Int[np.ndarray, "6"]
    sky: Sky | None  # None: a closed room
    primitives: Primitives
    motion: Motion
    material_kind: Int[np.ndarray, "m"]
    material_table: Float32[np.ndarray, "m k"]
    light_position: Float64[np.ndarray, "l 3"]  # all cast shadows; the first is the sun if it is far
    light_color: Float64[np.ndarray, "l 3"]  # radiant intensity
    light_axis: Float64[np.ndarray, "l 3"]  # unit direction into which most of the light goes
    light_focus: Float64[np.ndarray, "l"]  # 0 shines equally everywhere, 1 like a flat panel (cosine of the axis)
    light_radius: Float64[np.ndarray, "l"]  # metres; 0 gives hard shadows
    ambient: Float64[np.ndarray, "3"]
    cameras: CameraSet
    photo: PhotoEffects
    sensors: tuple[str, ...] = ("camera",)  # names of the cameras of a rig
    world_from_rig: Float64[np.ndarray, "t 4 4"] | None = None  # pose of the rig at every instant, if there is one

    @property
    def views(self) -> int:
        """Number of photos."""
        return len(self.cameras.fov)

    def at(self, frame: int) -> World:
        """The world at one instant, everything in its place there, with the photos taken then."""
        solids, taken = self.primitives, self.cameras.frame == frame
        carry = self.motion.world_from_body[frame][solids.body]
        placed = replace(
            solids,
            center=np.einsum("nij,nj->ni", carry[:, :3, :3], solids.center) + carry[:, :3, 3],
            rotation=carry[:, :3, :3] @ solids.rotation,
        )
        cameras = choose_rows(self.cameras, taken)
        return replace(
            self,
            primitives=placed,
            motion=Motion.still(self.motion.world_from_body.shape[1]),
            cameras=replace(cameras, frame=np.zeros_like(cameras.frame)),
            photo=choose_rows(self.photo, taken),
            world_from_rig=None if self.world_from_rig is None else self.world_from_rig[frame : frame + 1],
        )


def yaw_matrix(angle: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation about the vertical axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def random_rotation(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """Uniform rotation (QR of a Gaussian matrix, sign-fixed)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q * np.array([1.0, 1.0, -1.0])


@dataclass
class Part:
    """One solid in the frame of the thing it belongs to (origin on the ground below its centre, z up)."""

    kind: int
    center: Float[np.ndarray, "3"]
    half: Float[np.ndarray, "3"]
    material: int
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    planes: Float[np.ndarray, "f 4"] | None = None  # what the kind needs beyond its bound, see Primitives


def cone(
    center: Float[np.ndarray, "3"],
    bottom: float,
    top: float,
    half_height: float,
    material: int,
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> Part:
    """A truncated cone about its local z: ``bottom`` and ``top`` are radii in metres, 0 for a tip.

    ``center`` lies halfway between the two ends.
    """
    radius = max(bottom, top)
    turn = np.eye(3) if rotation is None else rotation
    row = np.array([[bottom, top, 0.0, 0.0]])
    return Part(CONE, np.asarray(center, float), np.array([radius, radius, half_height]), material, turn, row)


def height_field(
    center: Float[np.ndarray, "3"],
    half: tuple[float, float],
    waves: Float[np.ndarray, "w 4"],
    material: int,
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> Part:
    """Rolling ground, or a crumpled cloth: a block whose top is a sum of sine waves, as deep as it is high.

    Args:
        center: mean height of the top, above the middle of the rectangle.
        half: half extents of the rectangle along local x and y, metres.
        waves: one row (kx, ky, phase, amplitude) per wave; k in radians per metre, amplitude in metres. Casting costs
            grow with their number and with amplitude * k: two to five waves of slope below 1 are usual.
        material: index in the material table; its pattern runs along local x and y.
        rotation: of the local axes.

    The solid reaches from -sum(amplitude) (at least 1 cm) below ``center`` up to the waves.
    """
    rows = np.asarray(waves, float).reshape(-1, 4)
    depth = max(float(np.abs(rows[:, 3]).sum()), 0.01)
    turn = np.eye(3) if rotation is None else rotation
    return Part(HEIGHT_FIELD, np.asarray(center, float), np.array([*half, depth]), material, turn, rows)


@dataclass
class Surface:
    """A horizontal rectangle on which smaller things can stand, in the frame of the thing it belongs to."""

    center: Float[np.ndarray, "3"]
    half: tuple[float, float]
    headroom: float  # metres of free space above


@dataclass
class Thing:
    """A composition of parts with its footprint and the surfaces that it offers."""

    parts: list[Part]
    half: tuple[float, float]  # footprint, half extents along x and y
    height: float
    surfaces: list[Surface] = field(default_factory=list)


class Builder:
    """Collects placed parts and materials while a layout is being drawn."""

    def __init__(self) -> None:
        self.parts: list[tuple[Part, int, int]] = []  # parts in the frame of their body, object id, body
        self.material_kind: list[int] = []
        self.material_rows: list[Float32[np.ndarray, "k"]] = []
        self.objects = SHELL_FACES
        self.bodies = 1  # STILL

    def material(self, kind: int, row: Float32[np.ndarray, "k"]) -> int:
        """Register a material, return its index."""
        self.material_kind.append(kind)
        self.material_rows.append(row)
        return len(self.material_kind) - 1

    def body(self) -> int:
        """Register a body that moves by itself, return its index: a row of ``Motion.world_from_body``."""
        self.bodies += 1
        return self.bodies - 1

    def place(
        self,
        thing: Thing,
        position: Float[np.ndarray, "3"],
        yaw: float,
        *,
        body: int = STILL,
        object_id: int | None = None,
    ) -> int:
        """Put a thing into the world, or into the frame of the body that carries it; return its object id.

        The parts of an articulated thing are placed one by one with their own body and the same ``object_id``.
        """
        turn = yaw_matrix(yaw)
        if object_id is None:
            object_id = self.objects
            self.objects += 1
        for part in thing.parts:
            center = turn @ part.center + position
            placed = Part(part.kind, center, part.half, part.material, turn @ part.rotation, part.planes)
            self.parts.append((placed, object_id, body))
        return object_id

    def primitives(self) -> Primitives:
        """All parts so far as one table."""
        faces = max((len(p.planes) for p, *_ in self.parts if p.planes is not None), default=1)
        planes = np.zeros((len(self.parts), faces, 4))
        for index, (part, *_) in enumerate(self.parts):
            if part.planes is not None:
                planes[index] = pad_planes(part.kind, part.planes, faces)
        return Primitives(
            np.array([p.kind for p, *_ in self.parts], np.int64),
            np.array([p.center for p, *_ in self.parts], np.float64).reshape(-1, 3),
            np.array([p.rotation for p, *_ in self.parts], np.float64).reshape(-1, 3, 3),
            np.array([p.half for p, *_ in self.parts], np.float64).reshape(-1, 3),
            planes,
            np.array([o for _, o, _ in self.parts], np.int64),
            np.array([p.material for p, *_ in self.parts], np.int64),
            np.array([b for *_, b in self.parts], np.int64),
        )
