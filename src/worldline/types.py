"""The nouns of worldline: small frozen records that every room of the library exchanges.

Conventions (docs/conventions.md): OpenCV camera axes, ``a_from_b`` transforms (4x4, float64), pixel centres at
integer coordinates, (0, 0) the centre of the top-left pixel. Arrays at rest are numpy; network outputs are torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, UInt8

from worldline.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# EXIF orientation -> 3x3 matrix taking upright pixels to stored pixels, given the stored (height, width).
_TRANSPOSED_ORIENTATIONS = (5, 6, 7, 8)


def _stored_from_upright(orientation: int, height: int, width: int) -> Float64[np.ndarray, "3 3"]:
    """Pixel map from the photo as shown to the pixels as stored, for EXIF orientations 1..8."""
    right, bottom = width - 1, height - 1
    rows = {
        1: ((1, 0, 0), (0, 1, 0)),
        2: ((-1, 0, right), (0, 1, 0)),
        3: ((-1, 0, right), (0, -1, bottom)),
        4: ((1, 0, 0), (0, -1, bottom)),
        5: ((0, 1, 0), (1, 0, 0)),
        6: ((0, 1, 0), (-1, 0, bottom)),
        7: ((0, -1, right), (-1, 0, bottom)),
        8: ((0, -1, right), (1, 0, 0)),
    }[orientation]
    return np.array([*rows, (0, 0, 1)], dtype=np.float64)


@dataclass(frozen=True)
class ImageTransform:
    """How the pixels of a photo became the pixels that a network sees: EXIF orientation, then resize, then crop or pad.

    "Original" pixels are those of the photo as shown (orientation applied); "stored" pixels are those of the file;
    "model" pixels are those of the network input. All maps are exact and invertible.
    """

    stored_size: tuple[int, int]  # (height, width) in the file
    resized_size: tuple[int, int]  # (height, width) after orientation and resize
    crop_offset: tuple[int, int]  # (top, left) of the crop in resized pixels; negative where padding was added
    model_size: tuple[int, int]  # (height, width) of the network input
    orientation: int = 1  # EXIF orientation tag, 1..8

    @classmethod
    def identity(cls, height: int, width: int) -> ImageTransform:
        """The transform of an image that is fed to the network as it is."""
        return cls((height, width), (height, width), (0, 0), (height, width))

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the photo as shown."""
        height, width = self.stored_size
        return (width, height) if self.orientation in _TRANSPOSED_ORIENTATIONS else (height, width)

    @property
    def model_from_original(self) -> Float64[np.ndarray, "3 3"]:
        """Affine map of pixel coordinates: resize keeps the *edges* of the image, hence the half-pixel terms."""
        (original_height, original_width), (height, width) = self.original_size, self.resized_size
        scale_x, scale_y = width / original_width, height / original_height
        top, left = self.crop_offset
        return np.array(
            [[scale_x, 0, 0.5 * scale_x - 0.5 - left], [0, scale_y, 0.5 * scale_y - 0.5 - top], [0, 0, 1]],
            dtype=np.float64,
        )

    @property
    def original_from_model(self) -> Float64[np.ndarray, "3 3"]:
        """Inverse of :attr:`model_from_original`."""
        return np.linalg.inv(self.model_from_original)

    @property
    def stored_from_original(self) -> Float64[np.ndarray, "3 3"]:
        """Pixel map from the photo as shown to the pixels as stored in the file."""
        return _stored_from_upright(self.orientation, *self.stored_size)

    @property
    def used_share(self) -> float:
        """Share of the photo's pixels that the network sees, in [0, 1]."""
        (height, width), (top, left), (model_height, model_width) = self.resized_size, self.crop_offset, self.model_size
        rows = max(0, min(height, top + model_height) - max(0, top))
        columns = max(0, min(width, left + model_width) - max(0, left))
        return rows * columns / (height * width)

    @property
    def inside(self) -> Bool[np.ndarray, "height width"]:
        """Mask over model pixels: True where the pixel lies in the photo, False in padding."""
        (height, width), (top, left), (model_height, model_width) = self.resized_size, self.crop_offset, self.model_size
        rows = np.arange(model_height) + top
        columns = np.arange(model_width) + left
        return ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]

    def to_model(self, pixels: Float[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
        """(x, y) in the photo as shown -> (x, y) in the network input."""
        return _apply_affine(self.model_from_original, pixels)

    def to_original(self, pixels: Float[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
        """(x, y) in the network input -> (x, y) in the photo as shown."""
        return _apply_affine(self.original_from_model, pixels)


def _apply_affine(matrix: Float64[np.ndarray, "3 3"], pixels: Float[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
    return np.asarray(pixels, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with its pose. The intrinsics belong to images of exactly (height, width) pixels."""

    intrinsics: Float64[np.ndarray, "3 3"]  # pixels
    world_from_cam: Float64[np.ndarray, "4 4"]  # OpenCV axes: x right, y down, z forward
    height: int
    width: int

    @property
    def cam_from_world(self) -> Float64[np.ndarray, "4 4"]:
        """Inverse pose."""
        rotation, center = self.world_from_cam[:3, :3], self.world_from_cam[:3, 3]
        inverse = np.eye(4)
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ center
        return inverse

    @property
    def center(self) -> Float64[np.ndarray, "3"]:
        """Optical centre in the world frame."""
        return self.world_from_cam[:3, 3]

    def project(
        self, points: Float[np.ndarray, "*n 3"]
    ) -> tuple[Float64[np.ndarray, "*n 2"], Float64[np.ndarray, "*n"]]:
        """World points -> (pixels (x, y), depth along the optical axis). Depth <= 0 means behind the camera."""
        in_camera = np.asarray(points, np.float64) @ self.cam_from_world[:3, :3].T + self.cam_from_world[:3, 3]
        depth = in_camera[..., 2]
        safe = np.where(np.abs(depth) < 1e-12, 1e-12, depth)
        homogeneous = (in_camera / safe[..., None]) @ self.intrinsics.T
        return homogeneous[..., :2], depth

    def mapped(self, affine: Float64[np.ndarray, "3 3"], height: int, width: int) -> Camera:
        """The same camera for an image whose pixels are ``affine`` times this camera's pixels."""
        return Camera(affine @ self.intrinsics, self.world_from_cam, height, width)

    def to_model(self, transform: ImageTransform) -> Camera:
        """Camera of the photo as shown -> camera of the network input."""
        return self.mapped(transform.model_from_original, *transform.model_size)

    def to_original(self, transform: ImageTransform) -> Camera:
        """Camera of the network input -> camera of the photo as shown."""
        return self.mapped(transform.original_from_model, *transform.original_size)


@dataclass(frozen=True)
class Rig:
    """Cameras that are mounted on one body, and how. Rig frame: x forward, y left, z up, as in nuScenes; metres.

    Calibration may be unknown (None) as a whole, or given per sensor as an array in the order of ``sensors`` or as a
    mapping from names. Intrinsics belong to the photo as shown, of ``sizes`` pixels.
    """

    sensors: tuple[str, ...]  # names, in the order of all arrays
    intrinsics: Float64[np.ndarray, "sensor 3 3"] | None = None  # pixels of the original photos
    rig_from_cam: Float64[np.ndarray, "sensor 4 4"] | None = None
    sizes: tuple[tuple[int, int], ...] | None = None  # (height, width) of each sensor's photos
    ground: float | None = None  # height of the road in the rig frame (0 in nuScenes), None where it is unknown

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.sensors)
        if not names or len(set(names)) != len(names):
            raise InputError(f"The sensors of the rig are {list(names)}.", "Give every camera a name of its own.")
        object.__setattr__(self, "sensors", names)
        for label, shape in (("intrinsics", (3, 3)), ("rig_from_cam", (4, 4))):
            values = getattr(self, label)
            if values is not None:
                object.__setattr__(self, label, self._array(label, values, shape))
        sizes: Any = self.sizes
        if sizes is not None:
            rows = [sizes[name] for name in names] if isinstance(sizes, Mapping) else list(sizes)
            if len(rows) != len(names):
                raise InputError(
                    f"The rig has {len(names)} cameras and {len(rows)} sizes.", "Give one size per camera."
                )
            object.__setattr__(self, "sizes", tuple((int(height), int(width)) for height, width in rows))

    def _array(self, label: str, values: Any, shape: tuple[int, int]) -> Float64[np.ndarray, "sensor r c"]:
        """Values in the order of the sensors, checked."""
        if isinstance(values, Mapping):
            missing = [name for name in self.sensors if name not in values]
            if missing:
                raise InputError(
                    f"The rig has no {label} of {', '.join(missing)}.", "Give them for all sensors or none."
                )
            values = [values[name] for name in self.sensors]
        array = np.array([np.asarray(value, np.float64) for value in values])
        if array.shape != (len(self.sensors), *shape) or not np.isfinite(array).all():
            raise InputError(
                f"The {label} of the rig have shape {array.shape} or are not finite.",
                f"Give one finite {shape[0]}×{shape[1]} matrix per sensor ({len(self.sensors)}).",
            )
        return array

    def __len__(self) -> int:
        return len(self.sensors)

    def index(self, sensor: str) -> int:
        """Row of a sensor in all arrays.

        Raises:
            InputError: the rig has no such sensor; lists those it has.
        """
        if sensor not in self.sensors:
            raise InputError(f"The rig has no sensor {sensor!r}.", f"It has: {', '.join(self.sensors)}.")
        return self.sensors.index(sensor)

    def choose(self, sensors: Sequence[str]) -> Rig:
        """The same rig with some of its cameras, in the given order."""
        rows = [self.index(name) for name in sensors]
        return Rig(
            tuple(sensors),
            None if self.intrinsics is None else self.intrinsics[rows],
            None if self.rig_from_cam is None else self.rig_from_cam[rows],
            None if self.sizes is None else tuple(self.sizes[row] for row in rows),
            self.ground,
        )


@dataclass(frozen=True)
class View:
    """One image as the network sees it, with everything needed to find the way back to the file."""

    name: str  # unique within the set, e.g. "IMG_0001.jpg" or "frame_000012"
    image: UInt8[np.ndarray, "height width 3"]  # RGB at model size
    transform: ImageTransform
    source: Path | None = None  # the file it was read from (the video for a frame), None for arrays
    timestamp: float | None = None  # seconds
    sensor: str | None = None
    intrinsics: Float64[np.ndarray, "3 3"] | None = None  # known intrinsics, in original pixels
    world_from_cam: Float64[np.ndarray, "4 4"] | None = None  # known pose


@dataclass(frozen=True)
class Views:
    """An ordered set of images of one scene, in input order."""

    views: tuple[View, ...]
    skipped: tuple[str, ...] = ()  # "file: reason", filled when bad files were skipped on request
    notes: tuple[str, ...] = ()  # what a user should know, e.g. the share of pixels outside the crop
    read_seconds: float = 0.0  # how long it took to read them

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self):
        return iter(self.views)

    def __getitem__(self, index: int) -> View:
        return self.views[index]


@dataclass(frozen=True)
class GaussianMaps:
    """One 3D Gaussian per pixel, centred on that pixel's point (MV-DUSt3R section 3.4); values are final."""

    scales: Float[Tensor, "*batch height width 3"]  # standard deviations, in units of the pointmap
    rotations: Float[Tensor, "*batch height width 4"]  # unit quaternions w, x, y, z
    opacities: Float[Tensor, "*batch height width 1"]  # in [0, 1]
    colors: Float[Tensor, "*batch height width k"]  # raw head output, 3 * (sh_degree + 1)**2 channels


@dataclass(frozen=True)
class Pointmaps:
    """Dense points of some views in one camera's frame, as a network returns them."""

    points: Float[Tensor, "*batch height width 3"]
    confidence: Float[Tensor, "*batch height width"]  # > 0, larger is better
    gaussians: GaussianMaps | None = None


@dataclass(frozen=True)
class Gaussians:
    """A cloud of 3D Gaussians in the world frame, final values (no activation left to apply)."""

    means: Float32[np.ndarray, "n 3"]
    scales: Float32[np.ndarray, "n 3"]
    rotations: Float32[np.ndarray, "n 4"]  # unit quaternions w, x, y, z
    opacities: Float32[np.ndarray, "n"]  # in [0, 1]
    colors: Float32[np.ndarray, "n 3"]  # RGB in [0, 1]


@dataclass(frozen=True)
class Tracks:
    """Points followed through the views of a scene."""

    points: Float32[np.ndarray, "track view 3"]  # world frame
    pixels: Float32[np.ndarray, "track view 2"]  # (x, y) in original pixels
    visible: Bool[np.ndarray, "track view"]
    colors: UInt8[np.ndarray, "track 3"] | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a scene came from: enough to repeat the run and to know what one may do with it."""

    model: str  # registry id or path
    weights_sha256: str = ""
    license: str = ""  # of the weights
    arguments: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)  # seconds
    created: str = ""  # ISO 8601, UTC


ViewIndices = Int[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class MovingObject:
    """One thing that moves through a scene, as a box whose centre is known at some instants. World frame.

    Raises:
        InputError: the arrays do not belong together.
    """

    id: int  # the same thing in all its rows
    timestamps: Float64[np.ndarray, "n"]  # seconds, ascending
    centers: Float32[np.ndarray, "n 3"]  # in the unit that Scene.scale names
    velocities: Float32[np.ndarray, "n 3"]  # units per second
    size: Float32[np.ndarray, "3"]  # extent along the world's axes, in units
    sensors: tuple[str, ...] = ()  # cameras that saw it

    def __post_init__(self) -> None:
        count = len(self.timestamps)
        shapes = {"timestamps": (count,), "centers": (count, 3), "velocities": (count, 3), "size": (3,)}
        for label, expected in shapes.items():
            actual = getattr(self, label).shape
            if actual != expected:
                raise InputError(
                    f"Moving object {self.id}: {label} has shape {actual}, expected {expected}.",
                    "Give one centre and one velocity per timestamp, and one size.",
                )
