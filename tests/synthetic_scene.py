"""A scene of which everything is known: a coloured relief z = f(x, y) photographed by four cameras.

The photos lie on disk as a camera would leave them (EXIF-rotated, portrait, resized and cropped, padded), so an export
can be checked against the photo as shown: where a world point must appear and which colour must be there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from worldline.scene import Scene, SceneView
from worldline.types import Camera, Gaussians, ImageTransform, Provenance, Tracks

EXIF_ORIENTATION = 274
# PIL operation that turns the photo as shown into the pixels as stored, by EXIF orientation
STORE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def relief(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the surface below the plane z = 0 of the first camera."""
    return 4.0 + 0.25 * np.sin(1.3 * x) * np.cos(1.1 * y)


def color(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """sRGB in [0, 255]: smooth, different everywhere nearby, asymmetric under every flip and rotation."""
    channels = [
        128 + 110 * np.sin(0.9 * x + 0.4 * y),
        128 + 110 * np.sin(0.8 * y - 0.2 * x + 1),
        128 + 110 * np.cos(0.7 * (x + y)),
    ]
    return np.stack(channels, axis=-1)


def look_at(center: tuple[float, float, float], target: tuple[float, float, float], roll: float = 0.0) -> np.ndarray:
    """world_from_cam of a camera at ``center`` that looks at ``target``, y roughly down, turned by ``roll`` radians."""
    position, forward = np.array(center), np.subtract(target, center)
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, -s * right + c * down, forward], axis=1)
    pose[:3, 3] = position
    return pose


def surface(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each pixel of ``camera`` sees: points [h, w, 3], depth [h, w], colours [h, w, 3] uint8."""
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    directions = pixels @ np.linalg.inv(camera.intrinsics).T @ camera.world_from_cam[:3, :3].T
    center = camera.center
    depth = (4.0 - center[2]) / directions[..., 2]
    for _ in range(40):  # the relief is flat enough for a fixed point iteration
        points = center + depth[..., None] * directions
        depth = (relief(points[..., 0], points[..., 1]) - center[2]) / directions[..., 2]
    points = center + depth[..., None] * directions
    colors = np.clip(np.rint(color(points[..., 0], points[..., 1])), 0, 255).astype(np.uint8)
    return points, depth, colors


# name, EXIF orientation, size as shown (h, w), resized (h, w), crop (top, left), model size (h, w)
SETUPS = (
    ("holiday/IMG 1.png", 1, (240, 320), (120, 160), (4, 16), (112, 128)),  # resized and cropped
    ("café/IMG 1.png", 6, (320, 240), (160, 120), (16, 4), (128, 112)),  # stored lying, shown as portrait
    ("turned.png", 3, (240, 320), (90, 120), (0, 4), (90, 112)),  # stored upside down
    ("portrait.png", 1, (300, 200), (120, 80), (-4, -24), (128, 128)),  # padded
)
CENTERS = ((0.0, 0.0, 0.0), (0.6, 0.1, 0.1), (-0.5, 0.3, -0.1), (0.2, -0.5, 0.2))


def make_view(index: int, folder: Path | None) -> SceneView:
    """View ``index`` of the scene; its photo is written to ``folder`` unless that is None."""
    name, orientation, shown, resized, crop, model = SETUPS[index]
    stored = shown if orientation <= 4 else shown[::-1]
    transform = ImageTransform(stored, resized, crop, model, orientation)
    intrinsics = np.array(
        [[260.0 + 7 * index, 0, shown[1] / 2 - 3.3], [0, 264.0 + 5 * index, shown[0] / 2 + 2.1], [0, 0, 1]]
    )
    pose = np.eye(4) if index == 0 else look_at(CENTERS[index], (0.05, 0.0, 4.0), roll=0.05 * index)
    camera = Camera(intrinsics, pose, *shown)
    source = None
    if folder is not None:
        source = folder / name
        write_photo(surface(camera)[2], orientation, source)
    points, depth, image = surface(camera.to_model(transform))
    image[~transform.inside] = 0
    confidence = 1 + 5 / (1 + np.abs(points[..., 0]) + np.abs(points[..., 1]))
    return SceneView(
        name=name,
        image=image,
        transform=transform,
        camera=camera,
        points=points.astype(np.float32),
        depth=depth.astype(np.float32),
        confidence=confidence.astype(np.float32),
        mask=transform.inside.copy(),
        source=None if source is None else str(source),
        timestamp=0.125 * index + 1700000000.0,
        sensor="CAM",
        pose_status="estimated",
    )


def write_photo(upright: np.ndarray, orientation: int, path: Path) -> None:
    """Store a picture the way a camera held at ``orientation`` does: turned pixels and an EXIF tag that says so."""
    picture = Image.fromarray(upright)
    if STORE[orientation] is not None:
        picture = picture.transpose(STORE[orientation])
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif)


def make_scene(folder: Path | None = None, *, gaussians: bool = True, scale: str = "model") -> Scene:
    """The whole scene; without ``folder`` its views come from arrays."""
    views = tuple(make_view(index, folder) for index in range(len(SETUPS)))
    count, random = 200, np.random.default_rng(7)
    cloud = Gaussians(
        means=views[0].points[views[0].mask][:count],
        scales=np.exp(random.uniform(-5, -1, (count, 3))).astype(np.float32),
        rotations=unit(random.normal(size=(count, 4))).astype(np.float32),
        opacities=random.uniform(0.02, 0.98, count).astype(np.float32),
        colors=random.uniform(0, 1, (count, 3)).astype(np.float32),
    )
    tracks = Tracks(
        points=random.normal(size=(5, 4, 3)).astype(np.float32),
        pixels=random.uniform(0, 200, (5, 4, 2)).astype(np.float32),
        visible=random.uniform(size=(5, 4)) > 0.4,
    )
    return Scene(
        views=views,
        gaussians=cloud if gaussians else None,
        tracks=tracks,
        scale=scale,
        provenance=Provenance(model="exact", license="Apache-2.0", arguments={"size": 128}, timings={"forward": 0.1}),
        warnings=("padding was added to portrait.png",),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def world_points(view: SceneView, count: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Some surface points that ``view``'s photo shows, and the exact (x, y) in the photo as shown where it does."""
    points, _, _ = surface(view.camera)
    height, width = view.camera.height, view.camera.width
    rows = np.linspace(10, height - 11, count).astype(int)
    columns = np.linspace(width - 11, 10, count).astype(int)
    return points[rows, columns], np.stack([columns, rows], axis=-1).astype(np.float64)
