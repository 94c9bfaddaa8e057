"""``worldline stream LOG -o OUT``: the log of a camera rig -> a 4D scene, step by step, at constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from worldline.pipeline.stream import StreamOptions
    from worldline.pipeline.stream.run import StreamSummary


@dataclass(frozen=True)
class Stream:
    """A drive or a walk of a camera rig -> a 4D scene: points of every image in one world frame, what moves, poses."""

    log: tyro.conf.Positional[Path]
    """nuScenes, KITTI (raw or odometry), or your own rig.json with images: see docs/logs.md."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the scene, frames.jsonl (latency, poses, scale per step) and exports."""
    model: str = "driv3r-mini"
    """Name, folder or checkpoint file of a model with a memory: see `worldline models list`."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    kind: str | None = None
    """Kind of log, where it is not recognised."""
    scene: str | None = None
    """Name of the scene, where the log holds several."""
    sensors: tuple[str, ...] = ()
    """Cameras to use, in this order; by default all."""
    sweeps: bool = False
    """nuScenes: also the images between key frames."""
    start: int = 0
    """First step."""
    stop: int | None = None
    """Step before which to end."""
    every: int = 1
    """Take each n-th step."""
    mode: Literal["pool", "official"] = "pool"
    """pool: cameras share their memories, as the paper describes. official: each alone, as released."""
    framing: Literal["auto", "whole", "crops"] = "auto"
    """Whole wide images, or overlapping squares as the published weights want."""
    poses: bool = True
    """Use the poses of the log; --no-poses estimates them."""
    lidar: bool = False
    """Take the scale from the log's LiDAR as well."""
    motion: bool | None = None
    """Find what moves; by default where OpenCV is installed."""
    flow: str = "dis"
    """Where optical flow comes from: dis (OpenCV) or raft (torchvision)."""
    confidence_percent: float = 3.0
    """Share of the least confident pixels of every image that is masked."""
    to: str = ""
    """Comma-separated exports of the whole scene, e.g. ply,tum. They need memory for all of it."""
    resume: bool = False
    """Go on with the stream that was interrupted in this folder."""
    quiet: bool = False
    """Print nothing but errors."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    return execute(tyro.cli(Stream, args=argv, prog="worldline stream"))


def execute(arguments: Stream) -> int:
    """Validate what can be validated first, then push every step, and say what was found."""
    from worldline.cli.common import console, parse_formats
    from worldline.files import check_writable
    from worldline.inputs.logs import open_log
    from worldline.outputs.export import check_formats, check_targets
    from worldline.pipeline import load
    from worldline.pipeline.stream.run import write_stream
    from worldline.scene import Scene
    from worldline.scene.storage import check_replaceable

    formats = parse_formats(arguments.to)
    check_formats(formats)
    check_writable(arguments.out)
    check_replaceable(arguments.out)
    check_targets(arguments.out, formats)
    log = open_log(
        arguments.log,
        kind=arguments.kind,
        scene=arguments.scene,
        sweeps=arguments.sweeps,
        sensors=arguments.sensors or None,
    ).choose(start=arguments.start, stop=arguments.stop, every=arguments.every)
    out = console(quiet=arguments.quiet)
    session = load(arguments.model, arguments.device).stream(log.rig, _options(arguments))
    for note in log.notes:
        out.print(f"note: {note}")
    out.print(f"{log.name}: {len(log)} steps of {len(log.sensors)} cameras")
    with out.status("streaming") as status:
        summary = write_stream(
            session,
            log,
            arguments.out,
            poses=arguments.poses,
            lidar=arguments.lidar,
            resume=arguments.resume,
            progress=lambda result: status.update(f"step {result.step} of {len(log)}, {result.latency:.2f} s"),
        )
    written = Scene.load(arguments.out, lazy=True).export(arguments.out, formats) if formats else {}
    _print(out, summary, arguments.out)
    for name, path in written.items():
        out.print(f"  {name}: {path}")
    return 0


def _options(arguments: Stream) -> StreamOptions:
    from worldline.pipeline.stream import StreamOptions
    from worldline.scene.align.rig import AlignOptions

    return StreamOptions(
        mode=arguments.mode,
        framing=arguments.framing,
        motion=arguments.motion,
        flow=arguments.flow,
        align=AlignOptions(lidar=arguments.lidar),
        confidence_percent=arguments.confidence_percent,
    )


def _print(out: Console, summary: StreamSummary, folder: Path) -> None:
    for issue in summary.issues[:10]:
        out.print(f"issue: {issue}")
    if len(summary.issues) > 10:
        out.print(f"issue: … and {len(summary.issues) - 10} more, see frames.jsonl")
    out.print(
        f"{summary.steps} steps, {summary.images} images, scale: {summary.scale_kind}; "
        f"a step took {summary.median:.2f} s (median), {summary.slowest:.2f} s (99th percentile)"
    )
    out.print(f"scene: {folder}")
