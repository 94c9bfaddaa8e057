"""One picture of a scene: photos, depth, confidence, and the point cloud with the cameras seen from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image, ImageDraw

from worldline.files import replacing_file, reporting
from worldline.types import Camera

if TYPE_CHECKING:
    from worldline.scene import Scene

BACKGROUND = (250, 250, 250)
FRUSTUM_COLOR = (214, 60, 40)
REFERENCE_COLOR = (30, 100, 200)


def write_overview(scene: Scene, path: str | Path, *, tile: int = 160, max_columns: int = 8) -> Path:
    """Write :func:`draw_overview` as an image file (by its ending), through a temporary name.

    Raises:
        OutputError: the folder is missing or cannot be written.
    """
    path = Path(path)
    picture = Image.fromarray(draw_overview(scene, tile=tile, max_columns=max_columns))
    with reporting(path), replacing_file(path) as temporary:
        picture.save(temporary, quality=90)
    return path


def draw_overview(scene: Scene, *, tile: int = 160, max_columns: int = 8) -> UInt8[np.ndarray, "height width 3"]:
    """Rows: photos, depth, confidence of up to ``max_columns`` views; below them the cloud from two viewpoints."""
    chosen = scene.views[:max_columns]
    valid_depth = [view.depth[view.mask] for view in chosen if view.mask.any()]
    near, far = np.percentile(np.concatenate(valid_depth), (2, 98)) if valid_depth else (0.0, 1.0)
    confidences = np.concatenate([np.log(view.confidence).ravel() for view in chosen])
    low, high = np.percentile(confidences, (2, 98))
    rows: list[list[np.ndarray]] = [[], [], []]
    for view in chosen:
        rows[0].append(_fit(view.image, tile))
        depth = colorize((view.depth - near) / max(far - near, 1e-9))
        rows[1].append(_fit(np.where(view.mask[..., None], depth, 255).astype(np.uint8), tile))
        rows[2].append(_fit(colorize((np.log(view.confidence) - low) / max(high - low, 1e-9)), tile))
    grid = np.concatenate([np.concatenate(row, 1) for row in rows], 0)
    panel_width = max(grid.shape[1] // 2, 2 * tile)
    panel_height = panel_width * 3 // 4
    clouds = np.concatenate(
        [
            draw_cloud(scene, azimuth=a, elevation=e, width=panel_width, height=panel_height)
            for a, e in ((35, 25), (0, 80))
        ],
        1,
    )
    canvas = np.full((grid.shape[0] + clouds.shape[0], max(grid.shape[1], clouds.shape[1]), 3), BACKGROUND, np.uint8)
    canvas[: grid.shape[0], : grid.shape[1]] = grid
    canvas[grid.shape[0] :, : clouds.shape[1]] = clouds
    return canvas


def draw_cloud(
    scene: Scene, *, azimuth: float = 35.0, elevation: float = 25.0, width: int = 640, height: int = 480
) -> UInt8[np.ndarray, "height width 3"]:
    """Points and cameras of a scene, seen from behind the photographers, turned and raised by some degrees."""
    points, colors, _ = scene.point_cloud()
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    if len(points) == 0:
        return picture
    camera = _outside_camera(scene, points, azimuth, elevation, width, height)
    _splat(picture, camera, points, colors)
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    size = 0.06 * float(np.median(np.linalg.norm(points - np.median(points, 0), axis=1)))
    for index, view in enumerate(scene.views):
        _draw_frustum(pen, camera, view.camera, size, REFERENCE_COLOR if index == 0 else FRUSTUM_COLOR)
    return np.asarray(image)


def colorize(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Numbers in [0, 1] -> colours from dark blue over green and yellow to dark red, of even lightness steps."""
    stops = np.array(
        [
            *([48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60]),
            *([237, 208, 58], [251, 128, 34], [208, 48, 5], [122, 4, 3]),
        ],
        dtype=np.float64,
    )
    position = np.clip(np.nan_to_num(values), 0, 1) * (len(stops) - 1)
    channels = [np.interp(position, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def _fit(image: UInt8[np.ndarray, "h w 3"], tile: int) -> UInt8[np.ndarray, "tile tile 3"]:
    picture = Image.fromarray(image)
    picture.thumbnail((tile - 4, tile - 4))
    canvas = Image.new("RGB", (tile, tile), BACKGROUND)
    canvas.paste(picture, ((tile - picture.width) // 2, (tile - picture.height) // 2))
    return np.asarray(canvas)


def _outside_camera(
    scene: Scene, points: Float[np.ndarray, "n 3"], azimuth: float, elevation: float, width: int, height: int
) -> Camera:
    """A camera that looks at the middle of the cloud; "up" is the mean up of the photos."""
    target = np.median(points, 0).astype(np.float64)
    up = -np.mean([view.camera.world_from_cam[:3, 1] for view in scene.views], 0)
    up /= max(np.linalg.norm(up), 1e-9)
    forward = np.mean([view.camera.world_from_cam[:3, 2] for view in scene.views], 0)
    forward -= up * (forward @ up)
    if np.linalg.norm(forward) < 1e-6:  # cameras that look everywhere: any horizontal direction will do
        forward = np.cross(up, [1.0, 0.1, 0.2])
    forward /= np.linalg.norm(forward)
    turn, raise_ = np.radians(azimuth), np.radians(elevation)
    side = np.cross(up, forward)
    direction = (np.cos(turn) * forward + np.sin(turn) * side) * np.cos(raise_) - np.sin(raise_) * up
    radius = float(np.percentile(np.linalg.norm(points - target, axis=1), 90))
    z_axis = direction / np.linalg.norm(direction)
    x_axis = np.cross(z_axis, up)
    x_axis /= max(np.linalg.norm(x_axis), 1e-9)
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], 1)
    world_from_cam[:3, 3] = target - 2.6 * radius * z_axis
    focal = 1.1 * min(width, height)
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(intrinsics, world_from_cam, height, width)


def _splat(
    picture: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    points: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
) -> None:
    """Draw points as 2x2 squares, far to near, so that nearer ones stay on top."""
    pixels, depth = camera.project(points)
    order = np.argsort(-depth)
    x, y = np.rint(pixels[order]).astype(int).T
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = x + dx, y + dy
        seen = (depth[order] > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        picture[row[seen], column[seen]] = colors[order][seen]


def _draw_frustum(
    pen: ImageDraw.ImageDraw, outside: Camera, camera: Camera, size: float, color: tuple[int, int, int]
) -> None:
    corners = _frustum(camera, size)
    pixels, depth = outside.project(corners)
    if (depth <= 0).any():
        return
    flat = [tuple(pixel) for pixel in pixels]
    for a, b in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
        pen.line([flat[a], flat[b]], fill=color, width=2)


def _frustum(camera: Camera, size: float) -> Float64[np.ndarray, "5 3"]:
    """Centre and the four image corners at depth ``size``, world frame."""
    width, height = camera.width - 0.5, camera.height - 0.5
    corners = np.array([[-0.5, -0.5, 1], [width, -0.5, 1], [width, height, 1], [-0.5, height, 1]])
    rays = corners @ np.linalg.inv(camera.intrinsics).T * size
    return np.concatenate([np.zeros((1, 3)), rays]) @ camera.world_from_cam[:3, :3].T + camera.center
