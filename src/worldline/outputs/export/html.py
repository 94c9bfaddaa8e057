"""A scene as one web page for e-mail, papers and web sites: no server, no network, nothing to install.

The page (``page/``) is a template of our own, WebGL without libraries: a confidence slider, time and a caption with the
licence, in 28 kB. docs/formats.md compares it with viser's.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from worldline.errors import InputError
from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.web_pictures import atlas_of
from worldline.outputs.export.web_points import Block, PackedPoints, pack_points, pack_within
from worldline.outputs.facts.caption import caption
from worldline.outputs.facts.moments import Moments, moments_of_scene
from worldline.outputs.facts.trails import trails_of
from worldline.outputs.facts.viewpoint import home, up_direction
from worldline.scene import Scene, SceneView
from worldline.types import Camera, MovingObject

MAX_BYTES = 8_000_000  # what a mail server takes
_FRUSTUM_SHARE = 0.07  # length of a frustum as a share of the scene's median depth
_MOST_TRACK_POINTS = 40_000  # 0.5 MB
_HOME_SIZE, _HOME_POINTS = (720, 1280), 50_000  # picture that the overview is composed for, from so many points
_SCRIPTS = ("data.js", "shaders.js", "eye.js", "stage.js", "viewer.js")
_NO_CAMERA = Camera(np.eye(3), np.eye(4), 1, 1)
_Extras = tuple[dict[str, Any] | None, dict[int, dict[str, Any]], dict[str, Any] | None]  # atlas, tiles, tracks
_BYTES_OF_LEVELS, _BYTES_PER_VIEW = 4000, 48  # that numbers may take beyond those of a page without points


def write_html(
    scene: Scene,
    folder: OutputFolder,
    *,
    title: str | None = None,
    max_bytes: int = MAX_BYTES,
    name: str = "scene.html",
) -> Path:
    """scene.html: points in the colours of the photos, cameras with their photos, tracks, moving objects, time.

    Args:
        title: heading of the page; by default the number of photos.
        max_bytes: size of the file; of a larger scene an even subset of the points is taken, and the page says so.
        name: name of the file in the folder.

    Raises:
        InputError: the size leaves no room for points.
    """
    with folder.file(name) as path:
        path.write_text(scene_page(scene, title=title, max_bytes=max_bytes), encoding="utf-8", newline="\n")
    return folder.root / name


def scene_page(scene: Scene, *, title: str | None = None, max_bytes: int = MAX_BYTES) -> str:
    """The page that :func:`write_html` writes, as text; equal scenes have equal pages."""
    moments = moments_of_scene(scene)
    count, noun = len(scene.views), "frame" if moments.times else "photo"
    title = title or f"A scene of {count:,} {noun}{'s' if count != 1 else ''}"
    extras = (*atlas_of(scene), _tracks(scene, moments))
    total = sum(int(view.mask.sum()) for view in scene.views)
    empty = _page(scene, pack_points(scene, 0.0, total), extras, title)
    room = max_bytes - len(empty.encode()) - _BYTES_OF_LEVELS - _BYTES_PER_VIEW * len(scene.views)
    if room <= 0 < total:
        raise InputError(
            f"A page of {max_bytes:,} bytes has no room for points: without any it takes {max_bytes - room:,}.",
            "Allow more bytes, or export fewer views (Scene.at, Scene.of).",
        )
    return _page(scene, pack_within(scene, room), extras, title)


def _page(scene: Scene, packed: PackedPoints, extras: _Extras, title: str) -> str:
    document = json.dumps(_document(scene, packed, extras), separators=(",", ":"), ensure_ascii=False)
    return Template(_part("page.html")).substitute(
        style=_part("style.css"),
        script="".join(_part(name) for name in _SCRIPTS),
        title=html.escape(title),
        facts=html.escape(_facts(scene, packed)),
        caption=html.escape(caption(scene)),
        scene=document.replace("<", "\\u003c"),  # a name may hold </script>
        points=base64.b64encode(packed.data).decode(),
    )


@cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _facts(scene: Scene, packed: PackedPoints) -> str:
    points = f"{packed.count:,} points"
    if packed.count < packed.total:
        points = f"{packed.count:,} of {packed.total:,} points (evenly chosen)"
    cameras = f"{len(scene.sensors)} cameras" if len(scene.sensors) > 1 else ""
    seconds = f"{scene.times[-1] - scene.times[0]:.3g} s in {len(scene.times)} moments" if len(scene.times) > 1 else ""
    return ", ".join(filter(None, [points, cameras, seconds]))


def _document(scene: Scene, packed: PackedPoints, extras: _Extras) -> dict[str, Any]:
    """What the page reads besides the points; poses as centre and three axes (right, down, forward)."""
    (atlas, tiles, tracks), moments = extras, moments_of_scene(scene)
    depths = [_median(view) for view in scene.views]
    radius = float(np.median([depth for depth in depths if depth > 0] or [1.0]))
    up = up_direction([view.camera.world_from_cam for view in scene.views if view.pose_status != "failed"])
    return {
        "count": packed.count,
        "spread": _rounded(packed.share**-0.2 if packed.share else 1.0),  # fewer are drawn larger; views overlap
        "levels": _rounded(packed.levels),
        "middle": _rounded(np.mean([view.camera.center for view in scene.views] or [np.zeros(3)], axis=0)),
        "up": _rounded(up),
        "radius": _rounded(radius),
        "frustum": _rounded(_FRUSTUM_SHARE * radius),
        "times": list(moments.times),
        "seconds": moments.seconds,
        "tick": int(np.clip(1000 * moments.step, 60, 600)) if moments.seconds else 100,  # milliseconds
        "trail": max(2, len(moments.times) // 3),
        "start": len(moments.times) // 2 if tracks else 0,  # trails need a past
        "show": "moving" if moments.times and any(view.dynamic is not None for view in scene.views) else "all",
        "home": _home(scene, up),
        "atlas": atlas,
        "views": [
            {**_view(scene.views[k.view], k, depths[k.view], moments.of_view[k.view]), **tiles.get(k.view, {})}
            for k in packed.blocks
        ],
        "tracks": tracks,
        "objects": [_object(each, moments) for each in scene.objects],
    }


def _view(view: SceneView, block: Block, depth: float, moment: int | None) -> dict[str, Any]:
    return {
        "name": view.name,
        "posed": view.pose_status != "failed",
        "moment": moment,
        "sensor": view.sensor or "",
        "still": block.still,
        "moving": block.moving,
        "range": [block.log_near, block.log_far],
        "grain": _rounded(1 / view.model_camera.intrinsics[0, 0]),  # width of a model pixel at distance one
        "depth": _rounded(depth),
        **_pose(view.camera),
    }


def _pose(camera: Camera) -> dict[str, Any]:
    """Centre, axes, intrinsics (fx, fy, cx, cy) and (height, width) of a camera."""
    rotation, k = camera.world_from_cam[:3, :3], camera.intrinsics
    return {
        "center": _rounded(camera.center),
        "axes": _rounded(rotation.T),
        "k": _rounded([k[0, 0], k[1, 1], k[0, 2], k[1, 2]]),
        "size": [camera.height, camera.width],
    }


def _home(scene: Scene, up: Float64[np.ndarray, "3"]) -> dict[str, Any]:
    """The overview: behind and above the first camera, clear of what would hide the scene."""
    height, width = _HOME_SIZE
    first = next((view.camera for view in scene.views if view.pose_status != "failed"), _NO_CAMERA)
    sample = [_sample(view, _HOME_POINTS // max(1, len(scene.views))) for view in scene.views]
    place = home(first, np.concatenate([np.zeros((0, 3), np.float32), *sample]), up)
    focal = height / 2 / np.tan(place.fov / 2)
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    distance = float(np.linalg.norm(place.look_at - place.position))
    return {"depth": _rounded(distance), **_pose(Camera(k, place.pose, height, width))}


def _sample(view: SceneView, most: int) -> Float32[np.ndarray, "n 3"]:
    """At most about ``most`` of a view's points, on a grid."""
    stride = max(1, round(float(np.sqrt(view.mask.size / max(most, 1)))))
    return view.points[::stride, ::stride][view.mask[::stride, ::stride]]


def _object(thing: MovingObject, moments: Moments) -> dict[str, Any]:
    """Size and, per moment at which it is known, (moment, centre)."""
    rows: list[list[float]] = []
    for time, center in zip(thing.timestamps, thing.centers, strict=True):
        if moments.times and moments.seconds:
            moment = int(np.argmin(np.abs(np.array(moments.times) - time)))
            if abs(moments.times[moment] - time) <= 0.5 * moments.step:
                rows.append([moment, *_rounded(center)])
    return {"size": _rounded(thing.size), "at": rows}


def _tracks(scene: Scene, moments: Moments) -> dict[str, Any] | None:
    """The tracks at each moment, [track, moment, 4] float32: place (NaN: not known) and 1 where it is seen, else 0."""
    count = len(moments.times)
    trails = trails_of(scene, most=max(1, _MOST_TRACK_POINTS // count)) if count else None
    if trails is None or trails.points.shape[1] != count:
        return None
    places = np.where(trails.known[..., None], trails.points, np.nan)
    values = np.concatenate([places, trails.visible[..., None]], axis=-1).astype("<f4")
    return {"points": base64.b64encode(zlib.compress(values.tobytes(), 6)).decode(), "colors": trails.colors.tolist()}


def _median(view: SceneView) -> float:
    """Median depth of a view's valid pixels, 0 where there is none."""
    return float(np.median(view.depth[view.mask])) if view.mask.any() else 0.0


def _rounded(values: Any) -> Any:
    """Numbers for JSON with as many digits as a float32 can use, and two more."""
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{float(values):.9g}")
