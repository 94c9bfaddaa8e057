"""What several verbs share: the console, the summary of a scene, parsing of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.scene import Scene


def console(*, quiet: bool = False) -> Console:
    """Where results are printed: stdout, plain text when it is not a terminal.

    Names of files and folders are printed as they are: no markup, so ``IMG[1].jpg`` and ``[old]/`` mean themselves.
    """
    return Console(quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True)


def parse_formats(text: str) -> list[str]:
    """``"glb, ply"`` -> ``["glb", "ply"]``, in order and without repeats."""
    return list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))


def parse_counts(counts: Sequence[int], minimum: int = 2) -> tuple[int, ...]:
    """Numbers of views, checked."""
    if not counts or min(counts) < minimum:
        raise InputError(f"Numbers of views must be {minimum} or more.", "For example: --views 4 8")
    return tuple(counts)


def check_positive(**options: int) -> None:
    """Whole numbers of which at least one is needed, by the names of their options."""
    for name, value in options.items():
        if value < 1:
            raise InputError(f"--{name} is {value}.", "It must be 1 or more.")


def source_of(paths: Sequence[str]) -> str | list[str]:
    """One path stays a path (folder, glob, zip or video); several are a list of photos."""
    if not paths:
        raise InputError("No photos were named.", "Give a folder, photos, a glob in quotes, a zip or a video.")
    return paths[0] if len(paths) == 1 else list(paths)


def print_scene(out: Console, scene: Scene, folder: Path, written: Mapping[str, Path]) -> None:
    """What was found, what was written, what to look at next."""
    table = Table("view", "size", "focal px", "pose", "valid", box=None, pad_edge=False)
    for view in scene.views:
        camera = view.camera
        table.add_row(
            view.name,
            f"{camera.width}x{camera.height}",
            f"{camera.intrinsics[0, 0]:.0f}",
            view.pose_status,
            f"{100 * float(view.mask.mean()):.0f} %",
        )
    out.print(table)
    for warning in scene.warnings:
        out.print(Text.assemble(("note", "yellow"), f" {warning}"))
    points, _, _ = scene.point_cloud()
    timings = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in scene.provenance.timings.items())
    out.print(f"{len(scene.views)} views, {len(points):,} points, scale: {scene.scale}; {timings}")
    out.print(f"scene: {folder}")
    for name, path in written.items():
        out.print(f"  {name}: {path}")


def markdown_table(records: Sequence[Mapping[str, object]]) -> str:
    """Records with equal keys -> a Markdown table."""
    if not records:
        return "nothing was measured"
    columns = list(records[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(f"{record[column]}" for column in columns) + " |" for record in records]
    return "\n".join(lines)
