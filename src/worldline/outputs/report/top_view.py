"""A scene from above, to scale: points, cameras, their way, tracks and moving objects. Orthographic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from worldline.outputs.drawing import INK, PAPER, Color, Pen, colorize, number, text_width
from worldline.outputs.report.facts import Sample, ways
from worldline.outputs.report.plan import Plan, box_corners, heading, make_plan, posed_views, scale_bar
from worldline.scene import Scene, SceneView

CAMERA: Color = (206, 62, 38)
FIRST: Color = (24, 98, 200)
OBJECT: Color = (196, 30, 130)
_FINER = 2  # drawn so many times larger and then averaged
_TRACKS = 60  # drawn at most
_TEXT = 0.02  # height of letters, of the width of the page
_GROUND: Color = (238, 239, 242)  # of the page: white floors must stand out
_GAPS = ((3, 0.12), (7, 0.15))  # gaps between points are filled from squares so wide, so full
_ABOVE = 0.25  # of the way from the cameras up to the highest points: what is higher is cut off as ceiling


def draw_top_view(
    scene: Scene, sample: Sample, numbers: Sequence[int], *, width: int = 900, height: int = 640
) -> UInt8[np.ndarray, "height width 3"]:
    """The scene from above with a scale bar.

    Args:
        sample: the points to draw; what lies above the cameras' heads is left out, so that one sees into rooms.
        numbers: indices of the views whose cameras are drawn with their number (from 1). Of photos all cameras are
            drawn; of sequences, besides those, only their way.
    """
    plan = make_plan(scene, sample, width, height)
    fine = plan.larger(_FINER)
    picture = Image.fromarray(_points(scene, sample, fine))
    layer = Image.new("RGBA", (fine.width, fine.height), (*CAMERA, 0))
    pen = Pen(layer)
    _tracks(pen, scene, fine)
    _objects(pen, scene, fine)
    _ways(pen, scene, fine)
    drawn = [row for row in (numbers if scene.times else range(len(scene))) if scene.views[row].pose_status != "failed"]
    size = _symbol_size(plan, [scene.views[row] for row in drawn])
    for row in drawn[::-1]:
        _camera(pen, fine, scene.views[row], size * _FINER, FIRST if row == 0 else CAMERA)
    layer = layer.resize((width, height), Image.Resampling.BOX)
    picture.paste(layer, mask=layer)
    pen = Pen(picture)
    _labels(pen, scene, plan, [row for row in numbers if row in drawn], size)
    _bar(pen, plan, metric=scene.metric)
    return np.asarray(picture)


def _points(scene: Scene, sample: Sample, fine: Plan) -> UInt8[np.ndarray, "height width 3"]:
    """The points, higher ones over lower ones, without the ceiling; the picture is ``_FINER`` times smaller."""
    height, width = fine.height // _FINER, fine.width // _FINER
    if not len(sample.points):
        return np.full((height, width, 3), _GROUND, np.uint8)
    altitude = fine.altitude(sample.points)
    eyes = float(np.median([fine.altitude(view.camera.center) for view in posed_views(scene)]))
    top = float(np.percentile(altitude, 99))
    keep = np.flatnonzero(altitude <= max(eyes, eyes + _ABOVE * (top - eyes)))
    order = keep[np.argsort(altitude[keep], kind="stable")]
    x, y = np.rint(fine.place(sample.points[order])).astype(np.int64).T
    canvas = np.zeros((fine.height, fine.width, 4), np.float32)  # colour and 1 where a point is
    colors = np.concatenate([sample.colors[order], np.ones((len(order), 1), np.uint8)], 1)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        inside = (x + dx >= 0) & (x + dx < fine.width) & (y + dy >= 0) & (y + dy < fine.height)
        canvas[y[inside] + dy, x[inside] + dx] = colors[inside]
    return _without_gaps(canvas.reshape(height, _FINER, width, _FINER, 4).mean((1, 3)))


def _without_gaps(sums: Float32[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels between points get the mean colour of the points around them, those of narrow gaps first.

    Args:
        sums: colour times share, and share, of the pixel that is covered by points.
    """
    from scipy.ndimage import uniform_filter

    known = sums[..., 3] > 0
    filled = np.full((*sums.shape[:2], 3), _GROUND, np.float32)
    filled[known] = sums[known, :3] / sums[known, 3:]
    for width, fullness in _GAPS:
        around = uniform_filter(sums, (width, width, 0))
        gaps = ~known & (around[..., 3] > fullness)
        filled[gaps] = around[gaps, :3] / around[gaps, 3:]
        known |= gaps
    return np.clip(np.rint(filled), 0, 255).astype(np.uint8)


def _symbol_size(plan: Plan, views: Sequence[SceneView]) -> float:
    """Pixels from the centre of a camera to the end of its symbol: smaller where cameras stand close together."""
    centers = plan.place(np.array([view.camera.center for view in views]).reshape(-1, 3))
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    nearest = np.where(distances > 1, distances, np.inf).min(1, initial=np.inf)
    largest = 0.022 * plan.width
    return float(np.clip(0.5 * np.median(nearest), largest / 2, largest)) if np.isfinite(nearest).any() else largest


def _camera(pen: Pen, plan: Plan, view: SceneView, size: float, color: Color) -> None:
    """A dot at the centre of a camera and a wedge along its horizontal field of view."""
    corners = [tuple(corner) for corner in _wedge(plan, view, size)]
    pen.draw.polygon(corners, fill=(*color, 110))
    for weight, shade in ((3 * _FINER, PAPER), (_FINER, color)):
        pen.lines([corners[1], corners[0], corners[2], corners[1]], shade, weight)
    x, y = corners[0]
    radius = size / 6 + _FINER
    pen.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=PAPER, width=_FINER)


def _wedge(plan: Plan, view: SceneView, size: float) -> Float64[np.ndarray, "3 2"]:
    """Centre of a camera, left and right end of its field of view on the page."""
    tip = plan.place(view.camera.center)
    ahead = heading(view, plan.world_from_plan[:, 2]) @ plan.world_from_plan[:, :2] * (1, -1)
    half = np.clip(view.camera.width / (2 * view.camera.intrinsics[0, 0]), 0.35, 1.0)
    side = np.array([-ahead[1], ahead[0]]) * half
    return np.stack([tip, tip + size * (ahead + side), tip + size * (ahead - side)])


def _labels(pen: Pen, scene: Scene, plan: Plan, numbers: Sequence[int], size: float) -> None:
    """The numbers of views, behind their cameras; where there is no room, none."""
    letters = round(_TEXT * plan.width)
    taken: list[np.ndarray] = []
    for row in numbers:
        corners = _wedge(plan, scene.views[row], size)
        back = corners[0] - (corners[1:].mean(0) - corners[0]) / size * 0.85 * letters
        if all(abs(back[0] - other[0]) > 1.3 * letters or abs(back[1] - other[1]) > letters for other in taken):
            taken.append(back)
            color = FIRST if row == 0 else CAMERA
            pen.text(float(back[0]), float(back[1]), str(row + 1), letters, color=color, anchor="mm", halo=True)


def _ways(pen: Pen, scene: Scene, plan: Plan) -> None:
    """The way of the sensor with the most views; the others of a rig move beside it."""
    longest = max(ways(scene).values(), key=len, default=np.zeros((0, 3)))
    if len(longest) > 1:
        pen.lines(plan.place(longest), CAMERA, _FINER)


def _tracks(pen: Pen, scene: Scene, plan: Plan) -> None:
    """The tracks that move most for their distance, in colours of their own, as far as they are visible."""
    if scene.tracks is None or not len(scene.tracks.points):
        return
    eye = np.mean([view.camera.center for view in posed_views(scene)], 0)
    seen = scene.tracks.visible & np.isfinite(scene.tracks.points).all(axis=2)
    lines = [points[known].astype(np.float64) for points, known in zip(scene.tracks.points, seen, strict=True)]
    lines = [line for line in lines if len(line) > 1]
    shares = [np.ptp(line, axis=0).max() / np.linalg.norm(line.mean(0) - eye) for line in lines]
    chosen = [lines[row] for row in np.argsort(shares)[::-1][:_TRACKS]]
    colors = colorize(np.linspace(0, 1, len(chosen))[None])[0] if chosen else []
    for line, color in zip(chosen, colors, strict=True):
        if np.ptp(line, axis=0).max() * plan.pixels > 2 * _FINER:
            pen.lines(plan.place(line), tuple(color.tolist()), _FINER)


def _objects(pen: Pen, scene: Scene, plan: Plan) -> None:
    """Moving objects: the way of their centre, and the outline of their box at the end of it."""
    for each in scene.objects:
        if not len(each.centers):
            continue
        line = plan.place(each.centers)
        if len(line) > 1:
            pen.lines(line, OBJECT, _FINER)
        pen.lines(_hull(plan.place(box_corners(each))), OBJECT, _FINER)


def _hull(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "m 2"]:
    """Closed outline of some points, counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, points.tolist()))
    outline: list[tuple[float, ...]] = []
    for run in (ordered, ordered[::-1]):
        start = len(outline)
        for p in run:
            while len(outline) - start > 1 and _turn(outline[-2], outline[-1], p) <= 0:
                outline.pop()
            outline.append(p)
        outline.pop()
    return np.array([*outline, outline[0]] if outline else ordered)


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _bar(pen: Pen, plan: Plan, *, metric: bool) -> None:
    """The scale bar, in the lower right corner on white."""
    length, pixels = scale_bar(plan)
    unit = "m" if metric else "unit" if length == 1 else "units"
    text, letters = f"{number(length)} {unit}", round(_TEXT * plan.width)
    wide, edge = max(pixels, text_width(text, letters)), letters
    right, bottom = plan.width - 1.6 * edge, plan.height - 1.6 * edge
    pen.draw.rectangle((right - wide - edge, bottom - 1.9 * edge, right + edge, bottom + edge), fill=(*PAPER, 220))
    start = right - wide / 2 - pixels / 2
    pen.lines([(start, bottom), (start + pixels, bottom)], INK, 3)
    for end in (start, start + pixels):
        pen.lines([(end, bottom - edge / 3), (end, bottom + edge / 3)], INK, 2)
    pen.text(right - wide / 2, bottom - 0.6 * edge, text, letters, color=INK, anchor="ms")
