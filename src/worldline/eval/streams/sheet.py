"""A picture of a stream: images, depth and moving pixels of all cameras at some steps, and the cloud from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image, ImageDraw

from worldline.eval.streams.drives import DriveStore, StreamDrive
from worldline.eval.streams.runs import Estimate, Key, lifted, run_stream
from worldline.eval.streams.suite import StreamSettings
from worldline.outputs.drawing import Scale, heading, mark, paint, save_picture

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.pipeline.stream import StreamOptions

RING = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
_GAP = 6  # pixels
_COLORS = Scale(2.0, 60.0, log=True)  # metres
_SIDE = 44.0  # metres, of the view from above
_TRAJECTORY = (220, 0, 0)


def write_sheet(
    model: Reconstructor,
    settings: StreamSettings,
    path: Path,
    *,
    number: int = 0,
    options: StreamOptions | None = None,
    tile: int = 168,
    quality: int = 82,
) -> Path:
    """Run a model over one test drive and draw what it found.

    Three steps, and of each the images, the true and the found depth in the same colours (logarithmic, 2 to 60 m; grey:
    the sky, or masked out), and the pixels that were found (pink) to move, with the outline of those that do (white).
    Below, the found and the true points of the whole drive from above, in the colours of the images.

    Raises:
        OutputError: the file cannot be written.
    """
    drive = DriveStore(settings.cache, most=1).get(settings.spec(number))
    run = run_stream(model, drive, options)
    picture = draw_sheet(drive, run.final, tile)
    return save_picture(picture, path, quality=quality)


def draw_sheet(
    drive: StreamDrive, estimates: Mapping[Key, Estimate], tile: int = 168
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of :func:`write_sheet` for given estimates at the size of the drive's images."""
    last = len(drive.times) - 1
    sensors = [name for name in RING if name in drive.spec.sensors]
    said = "images, true and found depth, what moves (found: pink, true: outlined)"
    rows = [heading(said, tile * len(sensors), depth=_COLORS)]
    rows.append(np.concatenate([heading(name, tile) for name in sensors], 1))
    for step in sorted({1, (last + 1) // 2, last - 1 if last > 2 else last}):
        rows += _step(drive, estimates, step, sensors, tile)
    width = rows[0].shape[1]
    rows.append(_clouds(drive, estimates, width))
    return np.concatenate(rows, 0)


def _step(
    drive: StreamDrive, estimates: Mapping[Key, Estimate], step: int, sensors: Sequence[str], tile: int
) -> list[UInt8[np.ndarray, "height width 3"]]:
    lines: dict[str, list[np.ndarray]] = {"image": [], "true depth": [], "found depth": [], "moving": []}
    for name in sensors:
        row = drive.spec.sensors.index(name)
        image, depth, each = drive.images[step, row], drive.depth[step, row], estimates[step, name]
        lines["image"].append(image)
        lines["true depth"].append(paint(depth, depth > 0, _COLORS, "near"))
        lines["found depth"].append(paint(each.depth, each.mask & (each.depth > 0), _COLORS, "near"))
        lines["moving"].append(_mark(image, each.dynamic, drive.speed[step, row] >= 0.5))
    seconds = drive.times[step] - drive.times[0]
    strips = []
    for place, (label, tiles) in enumerate(lines.items()):
        strip = np.concatenate([_resized(part, tile) for part in tiles], 1)
        picture = Image.fromarray(strip)
        text = f"{seconds:.2f} s: {label}" if place == 0 else label
        ImageDraw.Draw(picture).text((3, 1), text, fill="white", stroke_width=2, stroke_fill="black")
        strips.append(np.asarray(picture))
    return [*strips, np.full((_GAP, strips[0].shape[1], 3), 255, np.uint8)]


def _mark(
    image: UInt8[np.ndarray, "h w 3"], found: Bool[np.ndarray, "h w"] | None, true: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    from scipy.ndimage import binary_dilation

    shown = mark(image, np.zeros_like(true) if found is None else found)
    shown[binary_dilation(true) & ~true] = 255
    return shown


def _clouds(
    drive: StreamDrive, estimates: Mapping[Key, Estimate], width: int
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """Found and true points from above, side by side; the car drives to the right at first."""
    half = (width - _GAP) // 2
    found, true, colors = [], [], ([], [])  # type: tuple[list[np.ndarray], list[np.ndarray], tuple[list, list]]
    for (step, name), each in estimates.items():
        row = drive.spec.sensors.index(name)
        camera, depth, image = drive.camera(step, row), drive.depth[step, row], drive.images[step, row]
        for points, keep, kept, shades in (
            (each.points, each.mask & (depth > 0), found, colors[0]),
            (lifted(depth, camera), depth > 0, true, colors[1]),
        ):
            kept.append(points[keep])
            shades.append(image[keep])
    pictures = [
        _from_above(np.concatenate(points), np.concatenate(shades), drive.world_from_rig, half, text)
        for points, shades, text in (
            (found, colors[0], "found points of all steps from above (sky left out), and the way of the car"),
            (true, colors[1], "true points of the same pixels"),
        )
    ]
    gap = np.full((pictures[0].shape[0], width - 2 * half, 3), 255, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]], 1)


def _from_above(
    points: Float[np.ndarray, "n 3"], colors: UInt8[np.ndarray, "n 3"],
    world_from_rig: Float64[np.ndarray, "t 4 4"], width: int, text: str,
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    height = width * 5 // 8
    rig_from_world = np.linalg.inv(world_from_rig[len(world_from_rig) // 2])
    scale = width / _SIDE

    def place(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        local = positions @ rig_from_world[:3, :3].T + rig_from_world[:3, 3]
        column, row = width / 2 + local[:, 0] * scale, height / 2 - local[:, 1] * scale
        return column.astype(int), row.astype(int), local[:, 2]

    column, row, up = place(points.astype(np.float64))
    keep = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (up < 4.0) & (up > -1.5)
    order = np.argsort(up[keep], kind="stable")  # what is higher is drawn later
    canvas = np.full((height, width, 3), 235, np.uint8)
    canvas[row[keep][order], column[keep][order]] = colors[keep][order]
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    x, y, _ = place(world_from_rig[:, :3, 3])
    pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=_TRAJECTORY, width=2)
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        pen.ellipse((a - 2, b - 2, a + 2, b + 2), fill=_TRAJECTORY)
    bar = round(10 * scale)
    pen.line((width - bar - 10, height - 10, width - 10, height - 10), fill="black", width=2)
    pen.text((width - bar - 10, height - 26), "10 m", fill="black", stroke_width=2, stroke_fill="white")
    pen.text((4, 2), text, fill="black", stroke_width=2, stroke_fill="white")
    return np.asarray(picture)


def _resized(image: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "height width 3"]:
    height = round(width * image.shape[0] / image.shape[1])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
