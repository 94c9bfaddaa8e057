"""``worldline track VIDEO -o OUT``: a video -> depth, cameras and the tracks of its points in 2D and 3D."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress

    from worldline.pipeline.video.frames import Footage
    from worldline.pipeline.video.tracking import TrackedVideo

FILES = ("tracks.npz", "tracks.csv", "trajectory.txt", "overlay.mp4")
_MOST_PICTURES = 1000  # frames up to which tracks.npz holds the pictures too


@dataclass(frozen=True)
class Track:
    """A video -> depth, cameras and 3D tracks of its points: a scene folder, tables, and a film of the tracks."""

    video: tyro.conf.Positional[str]
    """A video file, or a folder, quoted glob or zip of its frames."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the scene and all other files."""
    model: str = "d4rt-mini"
    """Name, folder or checkpoint file of a model that answers queries: see `worldline models list`."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    points: str = "grid:16"
    """grid:N: N x N points of the first frame. all: every pixel of every frame; all:4: every 4 pixels. Or a CSV file
    with a line x,y,frame per point, in pixels of the video."""
    world: bool = False
    """Positions in the camera of the first frame, and not in that of each moment."""
    fps: float | None = None
    """Frames per second to take; by default all. For photos: how many were taken."""
    max_frames: int | None = None
    """End after so many frames."""
    window: int | None = None
    """Frames that are encoded at once; by default as many as the model takes."""
    overlap: int | None = None
    """Frames that neighbouring windows share; by default half of a window."""
    size: int | None = None
    """Longer side of the depth maps in pixels, at most that of the video; by default what the model sees."""
    to: str = ""
    """Further exports of the scene, e.g. glb,ply,colmap. They are checked before anything runs."""
    film: bool = True
    """Write overlay.mp4, the tracks drawn over the video."""
    quiet: bool = False
    """Print nothing but errors."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    return execute(tyro.cli(Track, args=argv, prog="worldline track"))


def execute(arguments: Track) -> int:
    """Validate what can be validated first, then track, write everything and say what was found."""
    from worldline.cli.common import check_positive, console, parse_formats
    from worldline.files import check_writable
    from worldline.outputs.export import check_formats, check_targets
    from worldline.outputs.export.folder import check_files_are_ours
    from worldline.pipeline import load
    from worldline.pipeline.video.frames import open_footage
    from worldline.pipeline.video.long import open_long
    from worldline.pipeline.video.tracking import Points, TrackOptions, start_tracks, track_video
    from worldline.scene.storage import check_replaceable
    from worldline.scene.video.windows import WindowOptions

    formats = ["tum", "depth-png", *parse_formats(arguments.to)]
    check_formats(formats)
    options = TrackOptions(
        points=Points.parse(arguments.points),
        world=arguments.world,
        windows=WindowOptions(window=arguments.window, overlap=arguments.overlap),
        size=arguments.size,
    )
    if arguments.size is not None:
        check_positive(size=arguments.size)
    footage = open_footage(arguments.video, fps=arguments.fps, max_frames=arguments.max_frames)
    _check_size(arguments.size, footage)
    check_writable(arguments.out)
    check_replaceable(arguments.out)
    check_targets(arguments.out, formats)
    check_files_are_ours(arguments.out, FILES)
    out = console(quiet=arguments.quiet)
    model = load(arguments.model, arguments.device)
    start_tracks(
        open_long(model, footage, options.encode, options.windows), options
    )  # points, windows: before the work
    out.print(f"{arguments.video}: {len(footage)} frames of {footage.size[1]}x{footage.size[0]}{_times(footage)}")
    with _progress(out) as bar:
        found = _tracked(bar, lambda **calls: track_video(model, footage, options, **calls))
        written = _write(bar, found, footage, arguments, formats)
    _print(out, found, footage, arguments.out, written)
    return 0


def _check_size(size: int | None, footage: Footage) -> None:
    """Depth is written at the size of the video, and the memory for more than that would be asked for in vain."""
    from worldline.errors import InputError

    longest = max(footage.size)
    if size is not None and size > longest:
        raise InputError(f"--size is {size}, the video has {longest} pixels.", f"Choose {longest} or less.")


def _times(footage: Footage) -> str:
    """When the frames are shown, in words."""
    if footage.seconds is None:
        return ", without times"
    return f", {footage.seconds[0]:.2f} to {footage.seconds[-1]:.2f} s"


def _progress(out: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    parts = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*parts, console=out, disable=out.quiet or not out.is_terminal, transient=True)


def _tracked(bar: Progress, track: Callable[..., TrackedVideo]) -> TrackedVideo:
    """Run ``track`` with bars for windows and, in all-pixel tracking, for the cells of the current one."""
    windows = bar.add_task("windows", total=None)
    cells = bar.add_task("pixels of the window", total=None, visible=False)
    return track(
        planned=lambda video: bar.update(windows, total=len(video.windows)),
        visited=lambda done, total: bar.update(cells, completed=done, total=total, visible=True),
        done=lambda number: bar.update(windows, completed=number + 1),
    )


def _write(
    bar: Progress, found: TrackedVideo, footage: Footage, arguments: Track, formats: list[str]
) -> dict[str, Path]:
    """All files, each whole or not at all."""
    from worldline.outputs.export.folder import OutputFolder
    from worldline.outputs.overlay import write_overlay
    from worldline.outputs.track_files import write_tracks_csv, write_tracks_npz

    found.scene.save(arguments.out)
    written = found.scene.export(arguments.out, formats)
    folder = OutputFolder(arguments.out)  # after the export, which keeps the same list of files that are ours
    pictures = footage.frames() if len(footage) <= _MOST_PICTURES else ()
    written["tracks"] = write_tracks_npz(found.record, folder, pictures)
    if (table := write_tracks_csv(found.record, folder)) is not None:
        written["table"] = table
    if arguments.film:
        task = bar.add_task("film", total=len(footage))
        with folder.file("overlay.mp4") as path:
            write_overlay(
                path, footage.frames(), found.tracks.pixels, found.tracks.visible, found.record.seconds,
                known=found.tracks.known, timed=footage.seconds is not None, progress=lambda: bar.advance(task),
            )  # fmt: skip
        written["film"] = arguments.out / "overlay.mp4"
    return written


def _print(out: Console, found: TrackedVideo, footage: Footage, folder: Path, written: dict[str, Path]) -> None:
    import numpy as np
    from rich.text import Text

    tracks, scene = found.tracks, found.scene
    for warning in scene.warnings:
        out.print(Text.assemble(("note", "yellow"), f" {warning}"))
    placed = [view.camera.center for view in scene.views if view.pose_status != "failed"]
    focal = scene.views[0].camera.intrinsics[0, 0]
    way = float(np.linalg.norm(np.diff(placed, axis=0), axis=1).sum()) if len(placed) > 1 else 0.0
    seen = 100 * float(tracks.visible[tracks.known].mean()) if tracks.known.any() else 0.0
    out.print(
        f"{len(tracks):,} tracks, {seen:.0f} % of their points visible; {len(placed)} of {len(scene.views)} cameras "
        f"placed, focal length {focal:.0f} px, way {way:.3g} (scale: {scene.scale})"
    )
    if found.saving is not None:
        asked, all_of_them = found.saving.queries, found.saving.brute_force
        out.print(f"all pixels: {asked:,} queries; a track from each of them would take {all_of_them:,}")
    timings = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in scene.provenance.timings.items())
    windows = len(found.video.windows)
    out.print(f"{windows} window{'s' * (windows > 1)}; {timings}")
    if "table" not in written:
        out.print("tracks.csv would have millions of rows and was left out; tracks.npz has them all")
    out.print(f"scene: {folder}")
    for name, path in written.items():
        out.print(f"  {name}: {path}")
