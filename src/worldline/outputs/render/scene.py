"""Pictures of a scene: by its Gaussians where it has them, else by its points, one for each camera of a path."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock

import numpy as np
import torch
from jaxtyping import Bool

from worldline.errors import InputError
from worldline.outputs.export.splats import splats_of
from worldline.outputs.render.paths import PathOptions, make_path
from worldline.outputs.render.picture import (
    Background,
    Layers,
    Picture,
    background_color,
    check_pixels,
    depth_colors,
    finer,
)
from worldline.outputs.render.points import PointOptions, Surfels, draw_surfels
from worldline.outputs.render.surfels import flying, surfels_of, thinned
from worldline.scene import Scene, SceneView
from worldline.types import Camera, Gaussians

KINDS = ("auto", "gaussians", "splats", "points", "depth")
_RANGE = (2, 98)  # percentiles of depth that get the ends of the colours
_MOST = 6_000_000  # points of a scene that are drawn; of more, every second (third, …) pixel in both directions
_MANY = 1_500_000  # points above which those are left out that several views saw alike
_CANDIDATES = 8  # viewpoints of a full circle that a still chooses from
_SMALL = 160  # pixels across of the pictures by which it chooses
_FILTER = 0.1  # pixels² of the picture, added to the variances of the model's Gaussians, as where they were trained
_STAND_IN_FILTER = 0.3  # the same for Gaussians in place of points: the usual value
_KEPT = 32  # moments whose moving points are kept for the next picture: more than a film draws at once
_DEPTH_SAMPLE = 20_000  # points by which the range of colours of depth is chosen


@dataclass(frozen=True)
class RenderOptions:
    """How a scene is drawn."""

    kind: str = "auto"  # gaussians if the scene has them, else points; depth: points, coloured by their depth;
    # splats: a Gaussian in place of every point, as export does
    background: Background = "white"
    min_confidence: float | None = None  # points below are left out
    confidence_percent: float = 0.0  # and this share of the least confident points of all views together
    drop_flying: bool = True  # leave out points between two surfaces
    supersample: int = 1  # drawn so many times finer in both directions, then averaged: smooth edges
    points: PointOptions = field(default_factory=lambda: PointOptions(one_sided=True))
    step: int | None = None  # of the points, every step-th pixel in both directions; None: 1 unless there are millions
    device: str = "auto"  # "cuda" where there is one, else "cpu"


def render_scene(
    scene: Scene, cameras: Sequence[Camera], *, kind: str | None = None, background: Background | None = None,
    moment: float | int | Sequence[float | int] | None = None, min_confidence: float | None = None,
    options: RenderOptions | None = None,
) -> Iterator[Picture]:  # fmt: skip
    """Draw a scene as cameras see it, one picture after the other.

    Args:
        cameras: of any size, in the scene's world frame.
        kind: one of :data:`KINDS`; by default "auto".
        background: "white" (the default), "black", "grey", "#rrggbb", a grey level or three numbers in [0, 1].
        moment: of a 4D scene: what moves is drawn as it is at this time (a time in seconds or a whole number, see
            :meth:`Scene.at`), what stands still as seen at any time. One for all cameras or one each. None: everything.
        min_confidence: points below are left out; Gaussians have no confidence.
        options: everything that there is to choose; the other arguments take precedence where given.

    Raises:
        InputError: an unknown kind or background, a moment outside of the scene, or nothing to draw. Before the first
            picture.
    """
    plain = options or RenderOptions()
    options = replace(
        plain,
        kind=plain.kind if kind is None else kind,
        background=plain.background if background is None else background,
        min_confidence=plain.min_confidence if min_confidence is None else min_confidence,
    )
    renderer = SceneRenderer(scene, options, cameras)
    moments = list(moment) if isinstance(moment, Sequence) else [moment] * len(cameras)
    if len(moments) != len(cameras):
        raise InputError(f"There are {len(moments)} moments for {len(cameras)} cameras.", "Give one each, or one.")
    for each in dict.fromkeys(moments):
        renderer.check_moment(each)
    return _drawn(renderer, list(zip(cameras, moments, strict=True)))


def _drawn(renderer: SceneRenderer, jobs: list[tuple[Camera, float | int | None]]) -> Iterator[Picture]:
    """The pictures in order; on a processor as many at once as torch has threads, each on one of them."""
    threads = min(torch.get_num_threads(), len(jobs)) if renderer.parallel else 1
    if threads < 2:
        yield from (renderer.draw(*job) for job in jobs)
        return
    for moment in {moment for _, moment in jobs}:
        renderer.prepare(moment)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[Picture]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(renderer.draw, *job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for late in waiting:
                late.cancel()
            torch.set_num_threads(before)


def render_still(
    scene: Scene, size: tuple[int, int] = (540, 960), *, kind: str = "auto", background: Background = "white",
    moment: float | int | None = None, supersample: int = 2,
) -> Picture:  # fmt: skip
    """One picture of a scene from a viewpoint that shows much of it.

    Args:
        size: height and width in pixels.
        moment: as in :func:`render_scene`; by default the middle of the time of a scene in which something moves.
    """
    options = RenderOptions(kind=kind, background=background, supersample=supersample)
    if moment is None and resolve_kind(scene, options) in ("points", "depth"):
        moment = default_moment(scene)
    camera = still_camera(scene, size, moment=moment)
    return next(iter(render_scene(scene, [camera], moment=moment, options=options)))


def still_camera(
    scene: Scene, size: tuple[int, int], *, moment: float | int | None = None, options: PathOptions | None = None
) -> Camera:
    """Where a picture of the scene is best taken from: the place on its orbit that shows most of it.

    A swing is seen from its middle. On a full circle a few small pictures are taken, and the one with the most
    surface in it wins.

    Args:
        size: height and width in pixels.
        moment: as in :func:`render_scene`.
        options: lens, elevation and distance of the orbit.
    """
    options = replace(options or PathOptions(), frames=_CANDIDATES, size=size)
    path = make_path("orbit", scene, options)
    cameras = path.cameras
    if np.allclose(cameras[0].center, cameras[_CANDIDATES // 2].center):  # a swing passes its middle twice
        return cameras[0]
    shrink = _SMALL / max(size)
    small = [
        c.mapped(np.diag([shrink, shrink, 1.0]), *(max(1, round(side * shrink)) for side in size)) for c in cameras
    ]
    renderer = SceneRenderer(scene, RenderOptions(kind="points", step=4), small)
    shares = [float(renderer.draw(camera, moment).alpha.mean()) for camera in small]
    return cameras[int(np.argmax(shares))]


def default_moment(scene: Scene) -> float | None:
    """The middle of a scene's time if something is known to move in it: all moments at once would be a blur."""
    if len(scene.times) < 2 or not any(view.dynamic is not None and view.dynamic.any() for view in scene.views):
        return None
    return scene.times[len(scene.times) // 2]


class SceneRenderer:
    """A scene made ready for drawing. What is needed for all pictures is done once.

    Args:
        cameras: all that will be drawn, if known: they set the range of colours of depth.

    Raises:
        InputError: an unknown kind, or one that the scene does not have.
    """

    def __init__(self, scene: Scene, options: RenderOptions, cameras: Sequence[Camera] = ()) -> None:
        self.scene, self.options = scene, options
        self.kind = resolve_kind(scene, options)
        self.background = background_color(options.background)
        for size in {(camera.height, camera.width) for camera in cameras} or {(1, 1)}:
            check_pixels(size, options.supersample)
        if not 0 <= options.confidence_percent < 100:
            raise InputError(f"The confidence percent is {options.confidence_percent}.", "Give 0 to less than 100.")
        self.device = torch.device(_device(options.device))
        self._cameras = cameras
        self._moving: OrderedDict[float, Surfels] = OrderedDict()  # the moments drawn last
        self._lock = Lock()
        if self.kind in ("points", "depth"):
            self._step = options.step or _thinning(scene)
            if not (len(self._still) or any(len(self._at(time)) for time in self._times(None))):
                raise InputError(
                    "The scene has no points to draw.", "Ask for less confidence, or choose another scene."
                )

    def check_moment(self, moment: float | int | None) -> None:
        """Raise InputError unless the scene has this moment and can be drawn at it."""
        if moment is None:
            return
        self.scene.at(moment)
        if self.kind in ("gaussians", "splats"):
            raise InputError("Gaussians belong to all moments together.", "Choose --kind points for one moment.")

    def __len__(self) -> int:
        """Number of points, or of Gaussians."""
        if self.kind not in ("points", "depth"):
            return len(self._cloud[0])
        return len(self._still) + sum(len(self._at(time)) for time in self._times(None))

    @property
    def parallel(self) -> bool:
        """Whether several pictures are best drawn at once; Gaussians use all threads for one."""
        return self.kind in ("points", "depth") and self.device.type == "cpu"

    def prepare(self, moment: float | int | None) -> None:
        """Do what several threads would otherwise do at once; what moves at one time is made when it is drawn."""
        _ = self._still
        if moment is None:
            _ = self._all_moving
        if self.kind == "depth":
            _ = self._depth_range

    def draw(self, camera: Camera, moment: float | int | None = None) -> Picture:
        """The scene as ``camera`` sees it; what moves as it is at ``moment``, or at all moments for None."""
        factor = self.options.supersample
        with torch.inference_mode():
            fine = finer(camera, factor)
            layers = self._points(fine, moment) if self.kind in ("points", "depth") else self._gaussians(fine)
            picture = layers.reduced(factor).on(self.background)
        if self.kind == "depth":
            picture = replace(picture, color=depth_colors(picture, *self._depth_range, self.background))
        return picture

    def _points(self, camera: Camera, moment: float | int | None) -> Layers:
        return draw_surfels(self._parts(moment), camera, self.options.points)

    def _parts(self, moment: float | int | None) -> list[Surfels]:
        """The surfels of a picture."""
        if moment is None:
            return [self._still, self._all_moving]
        return [self._still, *(self._at(time) for time in self._times(moment))]

    def _times(self, moment: float | int | None) -> tuple[float, ...]:
        if not any(view.dynamic is not None for view in self.scene.views):
            return ()
        return self.scene.times if moment is None else self.scene.at(moment).times

    @cached_property
    def _still(self) -> Surfels:
        """Everything that is not known to move, and everything without a time."""
        return self._surfels([(view, view.mask & ~_moves(view)) for view in self.scene.views])

    @cached_property
    def _all_moving(self) -> Surfels:
        """What moves, at all times at once."""
        parts = [self._at(time) for time in self._times(None)]
        return Surfels.join(parts) if parts else Surfels.none(self.device)

    def _at(self, time: float) -> Surfels:
        """What moves, at one time; of a long film only the last moments are kept."""
        with self._lock:
            if time not in self._moving:
                now = [view for view in self.scene.views if view.timestamp == time]
                self._moving[time] = self._surfels([(view, view.mask & _moves(view)) for view in now])
            self._moving.move_to_end(time)
            while len(self._moving) > _KEPT:
                self._moving.popitem(last=False)
            return self._moving[time]

    def _surfels(self, chosen: list[tuple[SceneView, Bool[np.ndarray, "height width"]]]) -> Surfels:
        parts = []
        for view, keep in chosen:
            keep = keep & (view.confidence >= self._least)
            if self.options.drop_flying and keep.any():
                keep = keep & ~flying(view)
            parts.append(surfels_of(view, keep, self._step, self.device))
        surfels = Surfels.join(parts) if parts else Surfels.none(self.device)
        return thinned(surfels) if len(surfels) > _MANY else surfels

    @cached_property
    def _least(self) -> float:
        """Confidence below which points are left out."""
        least, percent = self.options.min_confidence, self.options.confidence_percent
        if not percent:
            return 0.0 if least is None else max(0.0, least)
        known = [np.zeros(0, np.float32), *(view.confidence[view.mask] for view in self.scene.views)]
        values = np.concatenate(known)
        below = float(np.percentile(values, percent)) if len(values) else 0.0
        return below if least is None else max(below, least)

    @cached_property
    def _depth_range(self) -> tuple[float, float]:
        """Nearest and farthest depth that get a colour of their own, the same for all pictures of a film."""
        count = sum(int(np.count_nonzero(view.mask)) for view in self.scene.views)
        step = max(1, count // self._step**2 // _DEPTH_SAMPLE)
        parts = (self._still, *(self._at(time) for time in self._times(None)))
        points = np.concatenate([part.points[::step].numpy(force=True) for part in parts])
        seen = []
        for camera in self._cameras[:: max(1, len(self._cameras) // 16)]:
            pixels, depth = camera.project(points)
            inside = (depth > 0) & (np.abs(2 * pixels / (camera.width, camera.height) - 1) < 1).all(-1)
            seen.append(depth[inside])
        depths = np.concatenate(seen) if seen else np.zeros(0)
        near, far = np.percentile(depths, _RANGE) if len(depths) else (1.0, 2.0)
        return float(near), float(max(far, near * 1.001))

    @cached_property
    def _cloud(self) -> tuple[torch.Tensor, ...]:
        gaussians: Gaussians = splats_of(self.scene)
        parts = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.colors)
        return tuple(torch.tensor(part, dtype=torch.float32, device=self.device) for part in parts)  # may be read-only

    def _gaussians(self, camera: Camera) -> Layers:
        from worldline.outputs.render.splatting import rasterize

        def batch(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=self.device)[None]

        blur = _FILTER if self.kind == "gaussians" else _STAND_IN_FILTER
        found = rasterize(
            *self._cloud, world_from_cam=batch(camera.world_from_cam), intrinsics=batch(camera.intrinsics),
            size=(camera.height, camera.width), background=0.0, eps2d=blur * self.options.supersample**2,
        )  # fmt: skip
        return Layers(found.color[0], found.depth[0], found.alpha[0])


def resolve_kind(scene: Scene, options: RenderOptions) -> str:
    """What "auto" means for a scene.

    Raises:
        InputError: an unknown kind, Gaussians of a scene without, or a confidence of Gaussians.
    """
    if options.kind not in KINDS:
        raise InputError(f"There is no kind {options.kind!r} of rendering.", f"Choose one of {', '.join(KINDS)}.")
    if options.kind == "gaussians" and scene.gaussians is None:
        raise InputError("The scene has no Gaussians.", "Choose --kind points.")
    if options.kind == "splats" and scene.gaussians is not None:
        raise InputError("The scene has Gaussians of its own.", "Choose --kind gaussians.")
    choosy = options.min_confidence is not None or options.confidence_percent > 0
    if options.kind in ("gaussians", "splats") and choosy:
        raise InputError("Gaussians have no confidence.", "Choose --kind points, or leave the confidence out.")
    if options.kind != "auto":
        return options.kind
    return "gaussians" if scene.gaussians is not None and not choosy else "points"


def _moves(view: SceneView) -> Bool[np.ndarray, "height width"]:
    """Pixels that are drawn at the time of their view only."""
    if view.dynamic is None or view.timestamp is None:
        return np.zeros(view.mask.shape, bool)
    return view.dynamic


def _thinning(scene: Scene) -> int:
    count = sum(int(view.mask.sum()) for view in scene.views)
    return max(1, int(np.ceil(np.sqrt(count / _MOST))))


def _device(name: str) -> str:
    return name if name != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
