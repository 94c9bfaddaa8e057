"""``worldline render OUT -o film.mp4``: films and pictures of a saved scene from new viewpoints."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.progress import Progress

    from worldline.outputs.render.film import Film
    from worldline.outputs.render.paths import CameraPath, PathOptions
    from worldline.outputs.render.scene import RenderOptions
    from worldline.scene import Scene

_SIZE = "960x540"
_OF_FILMS, _OF_STILLS = 1, 2  # supersampling by default
_LONGEST = 960  # pixels, of pictures that have the shape of the photos


@dataclass(frozen=True)
class Render:
    """A saved scene -> a film along a camera path, or a still picture."""

    scene: tyro.conf.Positional[Path]
    """Folder of a saved scene."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File to write; the ending says what: .mp4, .gif and .webp are films, .png and .jpg stills."""
    still: Path | None = None
    """Also (or only) a still picture, from a viewpoint that shows much of the scene."""
    path: str = "orbit"
    """orbit: around what was photographed, a swing if it was seen from one side. spline: through all cameras.
    stabilised: the way of a video without its shaking. cameras: exactly the photos' cameras, one frame each."""
    path_file: Path | None = None
    """A path of your own instead: a JSON file, see docs/rendering.md."""
    save_path: Path | None = None
    """Write the cameras of the film to this JSON file."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels. By default 960x540, with --path cameras the shape of the photos."""
    kind: str = "auto"
    """auto: Gaussians if the scene has them, else points. gaussians, points, depth (colours by depth), or splats (a
    Gaussian in place of every point)."""
    frames: int | None = None
    """Number of frames; by default seconds times fps."""
    seconds: float | None = None
    """Duration; by default 6, or as long as the video took."""
    fps: float = 24.0
    """Frames per second."""
    background: str = "white"
    """white, black, grey or a colour such as #20303f."""
    time: bool = False
    """Let the time of a 4D scene pass during the film."""
    moment: str | None = None
    """Draw what moves as it was at this moment: 3 is the fourth one, -1 the last one, 2.5 and 3.0 are seconds, all is
    everything at once. By default the middle one."""
    min_confidence: float | None = None
    """Leave points below this confidence out."""
    confidence_percent: float = 0.0
    """Leave this share of the least confident points out."""
    supersample: int | None = None
    """Draw so many times finer in both directions, then average. By default 1 for films and 2 for stills."""
    field: float | None = None
    """Field of view of the longer side in degrees; by default about that of the photos."""
    arc: float | None = None
    """orbit: degrees from end to end, 0 to 360; 360 is a full circle, 0 stands still."""
    elevation: float | None = None
    """orbit: degrees above what is looked at, -90 to 90."""
    distance: float = 1.0
    """orbit: factor on the distance."""
    smoothing: float = 1.0
    """stabilised: seconds over which the motion is averaged."""
    sensor: str | None = None
    """Camera of a rig whose way is followed; by default the first."""
    side_by_side: bool = False
    """Show the photo on the left of its rendering (with --path cameras)."""
    two_sided: bool = False
    """Draw surfaces that are seen from behind, too; they hide what lies inside a room."""
    flying: bool = False
    """Draw points that fly between two surfaces, too."""
    quiet: bool = False
    """Print nothing but errors."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    return execute(tyro.cli(Render, args=argv, prog="worldline render"))


def execute(arguments: Render) -> int:
    """Check everything that can be checked, then draw and write."""
    from worldline.cli.common import console
    from worldline.outputs.render.path_files import write_path

    film, still = _targets(arguments)
    scene = _loaded(arguments, film, still)
    out = console(quiet=arguments.quiet)
    path = _path(arguments, scene) if film is not None or arguments.save_path is not None else None
    if path is not None and arguments.save_path is not None:
        out.print(f"path: {write_path(path, arguments.save_path)}")
    if film is not None and path is not None:
        _film(arguments, scene, path, film, out)
    if still is not None:
        _still(arguments, scene, still, out)
    return 0


def _targets(arguments: Render) -> tuple[Path | None, Path | None]:
    """(film, still) to be written."""
    from worldline.errors import InputError
    from worldline.outputs.render.film import is_film

    film, still = arguments.out, arguments.still
    if still is not None and is_film(still):
        raise InputError(f"--still {still} is the name of a film.", "Give it the ending .png or .jpg, or write -o.")
    if film is not None and not is_film(film):
        if still is not None:
            raise InputError(f"Both {film} and {still} are pictures.", "Give one of them, or a film with -o.")
        film, still = None, film
    if film is None and still is None and arguments.save_path is None:
        raise InputError("No file to write was named.", "Add for example: -o film.mp4, or --still picture.png")
    return film, still


def _loaded(arguments: Render, film: Path | None, still: Path | None) -> Scene:
    """The scene, after what can be wrong without it."""
    from worldline.errors import InputError
    from worldline.outputs.render.paths import PATHS
    from worldline.outputs.render.picture import background_color, check_pixels
    from worldline.outputs.render.scene import KINDS
    from worldline.scene import Scene

    background_color(arguments.background)
    if arguments.kind not in KINDS:
        raise InputError(f"There is no kind {arguments.kind!r} of rendering.", f"Choose one of {', '.join(KINDS)}.")
    if arguments.path not in PATHS:
        raise InputError(f"There is no path {arguments.path!r}.", f"Choose one of {', '.join(PATHS)}.")
    for file, supersample in ((film, _OF_FILMS), (still, _OF_STILLS)):
        if file is not None or arguments.supersample is not None:
            check_pixels(_parse_size(arguments.size or _SIZE), _supersample(arguments, supersample))
    if arguments.side_by_side and (arguments.path != "cameras" or arguments.path_file is not None):
        raise InputError("Photos stand only beside pictures from their own cameras.", "Add --path cameras.")
    if arguments.time and arguments.moment is not None:
        raise InputError("--time lets the time pass, --moment holds it.", "Give one of them.")
    return Scene.load(arguments.scene, lazy=True)


def _options(arguments: Render, scene: Scene) -> PathOptions:
    from worldline.outputs.render.paths import PathOptions

    size = _parse_size(arguments.size or _SIZE)
    if arguments.size is None and arguments.path == "cameras" and arguments.path_file is None:
        height, width = scene.views[0].transform.original_size
        scale = min(1.0, _LONGEST / max(height, width))
        size = max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)
    return PathOptions(
        frames=arguments.frames, seconds=arguments.seconds, fps=arguments.fps, size=size, field=arguments.field,
        arc=arguments.arc, elevation=arguments.elevation, distance=arguments.distance, smoothing=arguments.smoothing,
        sensor=arguments.sensor,
    )  # fmt: skip


def _path(arguments: Render, scene: Scene) -> CameraPath:
    from worldline.outputs.render.path_files import read_path
    from worldline.outputs.render.paths import make_path, played

    options = _options(arguments, scene)
    if arguments.path_file is not None:
        path = read_path(arguments.path_file, scene, options)
    else:
        path = make_path(arguments.path, scene, options)
    return played(path, scene) if arguments.time else path


def _film(arguments: Render, scene: Scene, path: CameraPath, file: Path, out: Console) -> None:
    """Draw and write the film, with a bar."""
    from worldline.outputs.render.film import beside_photos, write_film
    from worldline.outputs.render.scene import render_scene

    moments = _moments(arguments, scene, path)
    fps = arguments.fps
    if path.views is not None and arguments.seconds is None and path.seconds is None:
        fps = min(fps, 4.0)  # photos without times
    elif path.seconds and (path.views is not None or arguments.path_file is not None):
        fps = len(path) / path.seconds
    started = time.perf_counter()
    pictures = render_scene(scene, path.cameras, moment=moments, options=_render_options(arguments, _OF_FILMS))
    if arguments.side_by_side:
        shown: Iterable = beside_photos(pictures, path, scene, arguments.background)
    else:
        shown = pictures
    with _progress(out) as bar:
        task = bar.add_task("frames", total=len(path))
        film = write_film(shown, file, fps=fps, progress=lambda: bar.advance(task))
    _print(out, film, time.perf_counter() - started)


def _moments(arguments: Render, scene: Scene, path: CameraPath) -> float | int | list[float | int] | None:
    """What time the frames show: that of the path if it has one, else one for all."""
    if path.moments is not None and (
        arguments.time or (arguments.moment is None and _moment(arguments, scene) is not None)
    ):
        return list(path.moments)
    return _moment(arguments, scene)


def _moment(arguments: Render, scene: Scene) -> float | int | None:
    """The moment that was asked for, else the middle of a scene in which something moves."""
    from worldline.outputs.render.scene import default_moment, resolve_kind

    if arguments.moment is not None:
        return _parse_moment(arguments.moment)
    gaussians = resolve_kind(scene, _render_options(arguments, _OF_FILMS)) in ("gaussians", "splats")
    return None if gaussians else default_moment(scene)


def _still(arguments: Render, scene: Scene, file: Path, out: Console) -> None:
    from worldline.outputs.render.film import write_still
    from worldline.outputs.render.scene import render_scene, still_camera

    options = _options(arguments, scene)
    moment = _moment(arguments, scene)
    camera = still_camera(scene, options.size, moment=moment, options=options)
    drawing = _render_options(arguments, _OF_STILLS)
    picture = next(iter(render_scene(scene, [camera], moment=moment, options=drawing)))
    out.print(f"still: {write_still(picture, file)}, {camera.width}x{camera.height}")


def _render_options(arguments: Render, supersample: int) -> RenderOptions:
    from worldline.outputs.render.points import PointOptions
    from worldline.outputs.render.scene import RenderOptions

    return RenderOptions(
        kind=arguments.kind, background=arguments.background, min_confidence=arguments.min_confidence,
        confidence_percent=arguments.confidence_percent,
        drop_flying=not arguments.flying, supersample=_supersample(arguments, supersample),
        points=PointOptions(one_sided=not arguments.two_sided),
    )  # fmt: skip


def _supersample(arguments: Render, usual: int) -> int:
    return usual if arguments.supersample is None else arguments.supersample


def _parse_size(text: str) -> tuple[int, int]:
    """ "960x540" -> (540, 960)."""
    from worldline.errors import InputError

    found = re.fullmatch(r"(\d+)[x×](\d+)", text.strip())
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 16 <= width <= 16384 or not 16 <= height <= 16384:
        raise InputError(f"--size {text} is no size.", "Give WIDTHxHEIGHT, each 16 to 16384, for example 960x540.")
    return height, width


def _parse_moment(text: str) -> float | int | None:
    """ "3" is a number, "3.0" seconds, "all" no moment."""
    from worldline.errors import InputError

    if text == "all":
        return None
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise InputError(
            f"--moment {text} is no moment.", "Give a whole number, seconds such as 2.5, or all."
        ) from None


def _progress(out: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*parts, console=out, disable=out.quiet or not out.is_terminal, transient=True)


def _print(out: Console, film: Film, seconds: float) -> None:
    height, width = film.size
    out.print(
        f"film: {film.path}, {width}x{height}, {film.frames} frames, {film.frames / film.fps:.1f} s ({film.codec}); "
        f"{film.frames / max(seconds, 1e-9):.1f} frames per second"
    )
