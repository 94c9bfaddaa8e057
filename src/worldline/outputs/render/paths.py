"""Camera paths for films: around a scene, through its cameras, along a smoothed trajectory, or exactly the cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from worldline.errors import InputError
from worldline.outputs.facts.viewpoint import look_at
from worldline.outputs.render.motion import CameraSpline, route, smoothed
from worldline.outputs.render.surroundings import Surroundings, lens, posed_views, surroundings_of
from worldline.scene import Scene, SceneView
from worldline.types import Camera

_LEAST_SWING, _MOST_SWING = np.radians(14), np.radians(50)  # half an arc
_STEEPEST = 89.99  # degrees of elevation: straight above, a film that turns would not know which side is up
_KEYS = 24  # poses that a spline goes through at most; more are thinned


@dataclass(frozen=True)
class CameraPath:
    """The cameras of a film, one per frame."""

    cameras: tuple[Camera, ...]
    moments: tuple[float, ...] | None = None  # seconds of the scene that the frames show; None: no time passes
    views: tuple[int, ...] | None = None  # number of the view (in Scene.views) that a frame belongs to, if any
    seconds: float | None = None  # duration that suits the path; None: any

    def __len__(self) -> int:
        return len(self.cameras)


@dataclass(frozen=True)
class PathOptions:
    """What can be chosen about a path. Angles in degrees; None: what suits the scene."""

    frames: int | None = None  # by default as many as ``seconds`` take; exactly the views for "cameras"
    seconds: float | None = None
    fps: float = 24.0
    size: tuple[int, int] = (540, 960)  # height, width
    field: float | None = None  # field of view of the longer side
    arc: float | None = None  # orbit: from end to end; 360 is a full circle
    elevation: float | None = None  # orbit: above the centre
    distance: float = 1.0  # orbit: factor on the distance from the centre
    smoothing: float = 1.0  # stabilised: seconds over which motion is averaged (standard deviation)
    sensor: str | None = None  # of a rig: by default its first
    constant_speed: bool = True  # spline


_SECONDS = 6.0  # of a film, unless the scene itself has a duration
_UNTIMED_RATE = 12.0  # views per second where views have no times
_ORBIT_ABOVE, _ORBIT_BESIDE = np.radians(38), np.radians(16)  # elevations from outside and among the photographers


def make_path(kind: str, scene: Scene, options: PathOptions | None = None) -> CameraPath:
    """A path by name; see :data:`PATHS`.

    Raises:
        InputError: an unknown name, numbers that make no path, or a scene that has none of that kind.
    """
    options = options or PathOptions()
    if kind not in PATHS:
        raise InputError(f"There is no path {kind!r}.", f"Choose one of {', '.join(PATHS)}, or give a file.")
    if options.frames is not None and options.frames < 1:
        raise InputError(f"A film of {options.frames} frames was asked for.", "Ask for 1 or more.")
    for name in ("seconds", "fps", "smoothing", "distance"):
        value = getattr(options, name)
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{name.capitalize()} is {value}.", "Give a number above 0.")
    if options.elevation is not None and not -90 <= options.elevation <= 90:
        raise InputError(f"The elevation is {options.elevation} degrees.", "Give -90 (below) to 90 (above).")
    if options.arc is not None and not 0 <= options.arc <= 360:
        raise InputError(f"The arc is {options.arc} degrees.", "Give 0 (no motion) to 360 (a full circle).")
    if min(options.size) < 1:
        raise InputError(f"A picture of {options.size[1]}x{options.size[0]} pixels is empty.", "Ask for 1x1 or more.")
    if options.sensor is not None:
        scene.of(options.sensor)  # says which ones there are
    return PATHS[kind](scene, options)


def orbit(scene: Scene, options: PathOptions) -> CameraPath:
    """Around what the photographers looked at: a full circle if they looked from everywhere, else a swing.

    Closed: the frame after the last is the first. Level cameras at one distance and height, aimed at the centre.
    """
    place = surroundings_of(scene)
    views = posed_views(scene)
    matrix = lens(views, options.size, options.field)
    count = frame_count(options, _SECONDS)
    turn = 2 * np.pi * np.arange(count) / count
    half = _half_arc(place) if options.arc is None else np.radians(options.arc) / 2
    angles = turn if half >= np.pi - 1e-9 else half * np.sin(turn)
    distance, elevation = orbit_stand(place, matrix, options.size)
    if options.elevation is not None:
        elevation = np.radians(np.clip(options.elevation, -_STEEPEST, _STEEPEST))
    poses = [_orbit_pose(place, angle, elevation, options.distance * distance) for angle in angles]
    return CameraPath(_cameras(np.stack(poses), matrix, options.size), seconds=options.seconds or _SECONDS)


def orbit_stand(place: Surroundings, matrix: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> tuple[float, float]:
    """(distance, elevation) from which a scene looks good.

    A thing is looked at from where it was photographed. Of a place that surrounds the photographers, one stands outside
    and above, so far away that it fills the picture; but if they all looked one way, a little behind and above them.
    """
    if not place.inside:
        return place.distance, float(np.clip(place.elevation, np.radians(5), np.radians(60)))
    fit = place.radius * matrix[0, 0] / (0.5 * min(size))
    if place.around >= np.pi - 1e-9:
        return 1.15 * fit, _ORBIT_ABOVE
    return max(1.1 * place.distance, 0.75 * fit), max(_ORBIT_BESIDE, place.elevation)


def _half_arc(place: Surroundings) -> float:
    if place.around >= np.pi - 1e-9:
        return np.pi
    return float(np.clip(place.around, _LEAST_SWING, _MOST_SWING))


def _orbit_pose(place: Surroundings, angle: float, elevation: float, distance: float) -> Float64[np.ndarray, "4 4"]:
    back = -Rotation.from_rotvec(angle * place.up).apply(place.ahead)
    eye = place.center + distance * (np.cos(elevation) * back + np.sin(elevation) * place.up)
    return look_at(eye, place.center, place.up)


def spline(scene: Scene, options: PathOptions) -> CameraPath:
    """Through the cameras: position twice continuously differentiable, and so is the rotation.

    Photos without times are visited by a short way, so the film does not jump about; of more than 24 views some are
    passed by. Frames are at constant speed (of position and turning together) unless the options say otherwise.
    """
    views = posed_views(scene, _sensor(scene, options))
    poses = np.stack([view.camera.world_from_cam for view in views])
    times = [view.timestamp for view in views if view.timestamp is not None]
    reach = float(np.median([np.median(v.depth[v.mask]) if v.mask.any() else 1.0 for v in views]))
    order = np.argsort(times, kind="stable") if len(times) == len(views) else route(poses, reach)
    poses = poses[order]
    if len(poses) > _KEYS:
        poses = poses[np.unique(np.linspace(0, len(poses) - 1, _KEYS).round().astype(int))]
    curve = CameraSpline(poses, unit=reach)
    count = frame_count(options, max(_SECONDS, 1.2 * (len(poses) - 1)))
    found = curve.at(curve.even(count) if options.constant_speed else np.linspace(0, curve.knots[-1], count))
    return CameraPath(_cameras(found, lens(views, options.size, options.field), options.size))


def stabilised(scene: Scene, options: PathOptions) -> CameraPath:
    """The real trajectory of a video or a rig, smoothed in SE(3), with the time of the scene passing as it did."""
    views, seconds = _in_time(scene, options)
    poses = smoothed(np.stack([view.camera.world_from_cam for view in views]), seconds, options.smoothing)
    duration = float(seconds[-1] - seconds[0])
    count = frame_count(options, duration)
    times = np.linspace(seconds[0], seconds[-1], count)
    found = poses[:1].repeat(count, 0) if len(poses) == 1 else CameraSpline(poses, parameter=seconds).at(times)
    moments = tuple(float(time) for time in times) if views[0].timestamp is not None else None
    cameras = _cameras(found, lens(views, options.size, options.field), options.size)
    return CameraPath(cameras, moments, seconds=options.seconds or duration or None)


def through_cameras(scene: Scene, options: PathOptions) -> CameraPath:
    """Exactly the cameras of the views, in input order, with all of each photo in the picture."""
    views = posed_views(scene, _sensor(scene, options))
    numbers = [number for number, view in enumerate(scene.views) if any(view is each for each in views)]
    if options.frames is not None and options.frames != len(views):
        chosen = np.linspace(0, len(views) - 1, options.frames).round().astype(int)
        views, numbers = tuple(views[i] for i in chosen), [numbers[i] for i in chosen]
    cameras = tuple(fitted(view.camera, options.size) for view in views)
    times = tuple(view.timestamp for view in views if view.timestamp is not None)
    duration = times[-1] - times[0] if len(times) > 1 and len(times) == len(views) else 0.0
    seconds = duration * len(views) / (len(views) - 1) if duration > 0 else None
    return CameraPath(cameras, times if len(times) == len(views) else None, tuple(numbers), options.seconds or seconds)


def fitted(camera: Camera, size: tuple[int, int]) -> Camera:
    """The same camera for a picture of another size: the whole photo fits, in the middle; beyond it more is seen."""
    height, width = size
    scale = min(height / camera.height, width / camera.width)
    shift = [
        (scale - 1) / 2 + (side - scale * own) / 2 for side, own in ((width, camera.width), (height, camera.height))
    ]
    return camera.mapped(np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1.0]]), height, width)


def played(path: CameraPath, scene: Scene) -> CameraPath:
    """The same cameras while the time of the scene passes from its beginning to its end.

    Raises:
        InputError: the scene has no times.
    """
    times = scene.times
    if len(times) < 2:
        raise InputError("The scene has no course of time.", "Leave --time out: it was reconstructed as one moment.")
    return replace(path, moments=tuple(np.linspace(times[0], times[-1], len(path)).tolist()))


def _sensor(scene: Scene, options: PathOptions) -> str | None:
    return options.sensor if options.sensor is not None or not scene.sensors else scene.sensors[0]


def _in_time(scene: Scene, options: PathOptions) -> tuple[tuple[SceneView, ...], Float64[np.ndarray, "n"]]:
    """Posed views in the order of time and their seconds; views without times are some twelfth of a second apart."""
    views = posed_views(scene, _sensor(scene, options))
    if any(view.timestamp is None for view in views):
        return views, np.arange(len(views)) / _UNTIMED_RATE
    views = tuple(sorted(views, key=lambda view: view.timestamp or 0.0))
    seconds = np.array([view.timestamp for view in views], np.float64)
    first = np.concatenate([[True], np.diff(seconds) > 0])  # two views of one moment: the first of them
    return tuple(view for view, kept in zip(views, first, strict=True) if kept), seconds[first]


def frame_count(options: PathOptions, seconds: float) -> int:
    """Frames of a path that by itself takes some seconds."""
    if options.frames is not None:
        return options.frames
    return max(1, round((options.seconds or seconds) * options.fps))


def _cameras(
    poses: Float[np.ndarray, "n 4 4"], matrix: Float64[np.ndarray, "3 3"], size: tuple[int, int]
) -> tuple[Camera, ...]:
    return tuple(Camera(matrix, pose, *size) for pose in poses)


PATHS: dict[str, Callable[[Scene, PathOptions], CameraPath]] = {
    "orbit": orbit,
    "spline": spline,
    "stabilised": stabilised,
    "cameras": through_cameras,
}
