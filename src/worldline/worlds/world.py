"""What a procedural world is made of: primitives, materials, lights and cameras, as plain numpy records.

A :class:`World` is a complete description that does not know about pixels: it is drawn from a seed on the CPU and can
be rendered at any resolution on any device. World frame: metres, z up, the floor at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

BOX, ELLIPSOID, CYLINDER, POLYTOPE = range(4)
SHELL_FACES = 6  # surfaces -x, +x, -y, +y, floor, ceiling of the room come before the primitives in every id table

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
    """All convex solids of a world. Local axes are the solid's own; ``half`` bounds it in them."""

    kind: Int[np.ndarray, "n"]  # BOX, ELLIPSOID, CYLINDER (axis = local z), POLYTOPE
    center: Float64[np.ndarray, "n 3"]
    rotation: Float64[np.ndarray, "n 3 3"]  # world_from_local
    half: Float64[np.ndarray, "n 3"]  # half extents / semi-axes / (radius, radius, half height) / bound
    planes: Float64[np.ndarray, "n f 4"]  # polytopes: local half-spaces normal . x <= offset; zero rows elsewhere
    object_id: Int[np.ndarray, "n"]
    material: Int[np.ndarray, "n"]


@dataclass(frozen=True)
class CameraSet:
    """Poses and lenses of one photo set, independent of the resolution."""

    world_from_cam: Float64[np.ndarray, "v 4 4"]  # OpenCV axes
    fov: Float64[np.ndarray, "v"]  # field of view along the longer image side, radians
    principal_offset: Float64[np.ndarray, "v 2"]  # (x, y) shift of the principal point, in units of the longer side


@dataclass(frozen=True)
class PhotoEffects:
    """What differs between two shots of the same place. One entry per view."""

    exposure: Float64[np.ndarray, "v"]  # stops relative to the set
    white_balance: Float64[np.ndarray, "v 3"]  # gains
    vignetting: Float64[np.ndarray, "v"]  # share of light lost in the corner
    noise: Float64[np.ndarray, "v"]  # standard deviation at mid grey, of display range 1
    seed: Int[np.ndarray, "v"]  # of the sensor noise


@dataclass(frozen=True)
class World:
    """A seed's scene: what is there, how it is lit, and from where it is photographed."""

    layout: str
    seed: int
    room_low: Float64[np.ndarray, "3"]
    room_high: Float64[np.ndarray, "3"]
    shell_material: Int[np.ndarray, "6"]
    primitives: Primitives
    material_kind: Int[np.ndarray, "m"]
    material_table: Float32[np.ndarray, "m k"]
    light_position: Float64[np.ndarray, "l 3"]  # the first one casts shadows
    light_color: Float64[np.ndarray, "l 3"]  # radiant intensity
    light_axis: Float64[np.ndarray, "l 3"]  # unit direction into which most of the light goes
    light_focus: Float64[np.ndarray, "l"]  # 0 shines equally everywhere, 1 like a flat panel (cosine of the axis)
    ambient: Float64[np.ndarray, "3"]
    cameras: CameraSet
    photo: PhotoEffects


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
    planes: Float[np.ndarray, "f 4"] | None = None


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
        self.parts: list[tuple[Part, int]] = []  # world-frame parts with their object id
        self.material_kind: list[int] = []
        self.material_rows: list[Float32[np.ndarray, "k"]] = []
        self.objects = SHELL_FACES

    def material(self, kind: int, row: Float32[np.ndarray, "k"]) -> int:
        """Register a material, return its index."""
        self.material_kind.append(kind)
        self.material_rows.append(row)
        return len(self.material_kind) - 1

    def place(self, thing: Thing, position: Float[np.ndarray, "3"], yaw: float) -> int:
        """Put a thing into the world, return its object id."""
        turn = yaw_matrix(yaw)
        for part in thing.parts:
            center = turn @ part.center + position
            self.parts.append(
                (Part(part.kind, center, part.half, part.material, turn @ part.rotation, part.planes), self.objects)
            )
        self.objects += 1
        return self.objects - 1

    def primitives(self) -> Primitives:
        """All parts so far as one table."""
        faces = max((len(p.planes) for p, _ in self.parts if p.planes is not None), default=1)
        planes = np.zeros((len(self.parts), faces, 4))
        for index, (part, _) in enumerate(self.parts):
            if part.planes is not None:  # short lists repeat their last plane, which changes nothing
                planes[index] = part.planes[np.minimum(np.arange(faces), len(part.planes) - 1)]
        return Primitives(
            np.array([p.kind for p, _ in self.parts], np.int64),
            np.array([p.center for p, _ in self.parts], np.float64).reshape(-1, 3),
            np.array([p.rotation for p, _ in self.parts], np.float64).reshape(-1, 3, 3),
            np.array([p.half for p, _ in self.parts], np.float64).reshape(-1, 3),
            planes,
            np.array([o for _, o in self.parts], np.int64),
            np.array([p.material for p, _ in self.parts], np.int64),
        )
