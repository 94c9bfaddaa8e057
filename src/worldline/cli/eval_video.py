"""``worldline eval tapvid3d DIR``, also tapvid, sintel, bonn, kitti, scannet, tum, video: benchmarks of videos."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from worldline.eval.video.report import VideoReport
    from worldline.eval.video.track_suites import Progress, Sources

DEFAULT_MODEL = "d4rt-mini"

_Scaling = Literal[
    "median", "mean", "none", "per_trajectory", "reproduce_2d", "median_on_queries", "local_neighborhood"
]  # fmt: skip
_Alignment = Literal[
    "scale", "scale_exact", "scale_shift", "scale_shift_exact", "median", "lstsq", "median_affine", "metric"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Video:
    folder: tyro.conf.Positional[Path]
    """Folder of the data set, as it was downloaded (docs/video_evaluation.md)."""
    model: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Name or folder of a model; may be given several times. Without any: d4rt-mini. stay: a baseline that sees
    nothing move and everything equally far away."""
    predictions: Path | None = None
    """Score these results instead of running a model; needs no network."""
    keep: Path | None = None
    """Folder for what the models predict, in the format that --predictions reads."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the results as JSON, and beside it as Markdown."""


@dataclass(frozen=True, kw_only=True)
class Tapvid3d(_Video):
    """3D tracks: AJ, APD3D and OA of TAPVid-3D."""

    scaling: tuple[_Scaling, ...] = ("median",)
    """How predictions are scaled; several give several rows. The paper's is median."""
    known_intrinsics: bool = False
    """Give models the true intrinsics: predicted image coordinates are unprojected at the predicted depth."""
    world: bool = False
    """Also APD3D and L1 in the camera of the first frame, where the cameras are known."""


@dataclass(frozen=True, kw_only=True)
class Tapvid(_Video):
    """2D tracks: AJ, δavg and OA of TAP-Vid."""

    queries: tuple[Literal["first", "strided"], ...] = ("first",)
    """Where tracks start: at the first visible frame, or at every 5th frame; both give two rows."""


@dataclass(frozen=True, kw_only=True)
class Posed(_Video):
    """Depth, cameras and point clouds."""

    alignment: tuple[_Alignment, ...] = ("scale", "scale_exact", "scale_shift", "scale_shift_exact", "median")
    """How depth is aligned; one row each."""
    side: int = 128
    """Cells along the longer side of the grid on which models are asked for depth; it is then enlarged to the truth."""


@dataclass(frozen=True, kw_only=True)
class Sintel(Posed):
    """MPI Sintel: depth, cameras, point clouds of the 14 training sequences with a moving camera."""

    rendering: Literal["final", "clean"] = "final"
    """Which pass: with motion blur and atmosphere, or without."""
    all_sequences: bool = False
    """All sequences with ground truth, also those whose camera hardly moves."""


@dataclass(frozen=True, kw_only=True)
class Bonn(Posed):
    """Bonn RGB-D Dynamic: depth of five sequences, photos 30 … 139."""

    pairing: Literal["time", "index"] = "time"
    """Which depth map belongs to a photo: the nearest in time, or that of the same number as in published scripts."""


class Kitti(Posed):
    """KITTI: depth of the validation drives (110 frames each), or cameras of the odometry sequences."""


class Scannet(Posed):
    """ScanNet: depth, cameras and, with intrinsics, point clouds of the test scenes (every 3rd frame, 90 frames)."""


class Tum(Posed):
    """TUM RGB-D: cameras of every sequence (every 3rd photo with a pose, 90 of them)."""


@dataclass(frozen=True, kw_only=True)
class Video(Posed):
    """Any sequence that ``eval real`` reads, as a video: depth, cameras, point clouds; annotated points and masks."""

    consistency: bool = False
    """Also checks that need no ground truth; then any video file or folder of frames will do."""
    only: tuple[str, ...] = ()
    """Only sequences whose path contains one of these."""

    step: int = 1
    """Take every so-manieth frame."""
    most: int | None = None
    """Take at most so many frames of a sequence."""


KINDS: dict[str, Any] = {
    "tapvid3d": Tapvid3d, "tapvid": Tapvid, "sintel": Sintel, "bonn": Bonn, "kitti": Kitti, "scannet": Scannet,
    "tum": Tum, "video": Video,
}  # fmt: skip


def run(arguments: _Video, suite: str, argv: list[str]) -> int:
    """Measure, print the tables, write files if wanted."""
    from worldline.cli.common import console
    from worldline.files import check_writable

    path = None
    if arguments.out is not None:
        path = arguments.out if arguments.out.suffix else arguments.out / f"{suite}.json"
        check_writable(path.parent)
    if arguments.keep is not None:
        check_writable(arguments.keep)
    sources = _sources(arguments)
    with _progress() as progress:
        report = _evaluate(arguments, suite, sources, progress)
    report.about |= _about(sources, shlex.join(["worldline", "eval", *argv]))
    out = console()
    out.print(report.as_markdown(with_definitions=False))
    for written in report.write(path) if path else []:
        out.print(f"wrote {written}")
    return 0


def _evaluate(arguments: _Video, suite: str, sources: Sources, progress: Progress) -> VideoReport:
    from worldline.cli.common import check_positive
    from worldline.eval.video.posed_suites import evaluate_posed
    from worldline.eval.video.readers.rgbd import read_bonn
    from worldline.eval.video.readers.sintel import read_sintel
    from worldline.eval.video.track_suites import evaluate_tapvid, evaluate_tapvid3d

    if isinstance(arguments, Tapvid3d):
        return evaluate_tapvid3d(
            arguments.folder, sources, scalings=arguments.scaling, known_intrinsics=arguments.known_intrinsics,
            world=arguments.world, progress=progress,
        )  # fmt: skip
    if isinstance(arguments, Tapvid):
        return evaluate_tapvid(arguments.folder, sources, modes=arguments.queries, progress=progress)
    assert isinstance(arguments, Posed)  # there are no other kinds
    videos, notes = None, list[str]()
    if isinstance(arguments, Sintel):
        videos = read_sintel(arguments.folder, rendering=arguments.rendering, all_sequences=arguments.all_sequences)
    elif isinstance(arguments, Bonn):
        videos = read_bonn(arguments.folder, pairing=arguments.pairing)
    elif isinstance(arguments, Video):
        check_positive(step=arguments.step, most=1 if arguments.most is None else arguments.most)
        return _evaluate_videos(arguments, sources, progress)
    return evaluate_posed(
        suite, arguments.folder, sources, alignments=arguments.alignment, longest_side=arguments.side, videos=videos,
        notes=notes, progress=progress,
    )  # fmt: skip


def _evaluate_videos(arguments: Video, sources: Sources, progress: Progress) -> VideoReport:
    """Sequences with measured cameras, and what needs none."""
    from worldline.errors import InputError
    from worldline.eval.video.posed_suites import evaluate_posed
    from worldline.eval.video.readers.sequences import read_sequences
    from worldline.eval.video.unposed import evaluate_clips, find_clips

    notes, failure, videos = list[str](), None, []
    try:
        videos = read_sequences(
            arguments.folder, step=arguments.step, most=arguments.most, left_out=notes, only=arguments.only
        )
    except InputError as error:
        failure = error
    report = evaluate_posed(
        "video", arguments.folder, sources, alignments=arguments.alignment, longest_side=arguments.side, videos=videos,
        notes=notes, progress=progress,
    )  # fmt: skip
    if sources.predictions is None and (arguments.consistency or not arguments.folder.is_file()):
        clips = find_clips(arguments.folder, only=arguments.only, step=arguments.step, most=arguments.most)
        report.scores += evaluate_clips(
            clips, sources.methods, consistency=arguments.consistency, notes=report.notes, progress=progress
        )
        for place, note in enumerate(report.notes[: len(notes)]):
            report.notes[place] = note.replace("left out:", "no depth and cameras:")
    if failure is not None and not report.scores:
        raise failure
    return report


def _sources(arguments: _Video) -> Sources:
    """What is scored; models are loaded only where one is needed."""
    from worldline.cli.common import check_positive
    from worldline.errors import InputError
    from worldline.eval.video.methods import load_video_methods
    from worldline.eval.video.track_suites import Sources

    if not arguments.folder.exists():
        raise InputError(f"There is no {arguments.folder}.", "Give the folder of the data set.")
    if isinstance(arguments, Posed):
        check_positive(side=arguments.side)
    if arguments.predictions is None:
        names = arguments.model or (DEFAULT_MODEL,)
        return Sources(load_video_methods(names, arguments.device), keep=arguments.keep)
    if arguments.model or arguments.keep:
        raise InputError("--predictions scores files, so there is no model to run.", "Leave out --model and --keep.")
    asks = [name for name in ("world", "known_intrinsics", "consistency") if getattr(arguments, name, False)]
    if asks:
        option = "--" + asks[0].replace("_", "-")
        raise InputError(f"{option} asks a model, and --predictions scores files.", f"Leave out {option}.")
    if not arguments.predictions.is_dir():
        raise InputError(f"There is no folder {arguments.predictions}.", "Give the folder of the predictions.")
    return Sources(predictions=arguments.predictions)


def _about(sources: Sources, command: str) -> dict[str, Any]:
    import platform

    import torch

    from worldline import __version__

    return {
        "command": command,
        "models": {method.name: method.about for method in sources.methods},
        "versions": {"worldline": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("videos", total=None)

        def progress(done: int, count: int, name: str) -> None:
            bar.update(task, completed=done, total=count, description=name)

        yield progress
