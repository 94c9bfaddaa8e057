"""Readers of data sets with ground truth: one file per format, found by looking at the folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worldline.errors import InputError
from worldline.eval.readers import colmap, dtu, habitat, ours, scannet, seven_scenes, strecha, tum
from worldline.eval.sequences import Sequence

HELP = "See docs/evaluation.md for the layouts that can be read."


@dataclass(frozen=True)
class Format:
    """How one data set lays out a sequence."""

    name: str
    layout: str  # one line for people
    recognizes: Callable[[Path], bool]  # is this folder one sequence of this format?
    read: Callable[[Path], Sequence]


FORMATS = {
    entry.name: entry
    for entry in (
        Format("worldline", "scene.json with images and depth maps or points", ours.recognizes, ours.read),
        Format("scannet", "color/ depth/ pose/ intrinsic/", scannet.recognizes, scannet.read),
        Format("7scenes", "frame-000000.{color,depth}.png and .pose.txt", seven_scenes.recognizes, seven_scenes.read),
        Format("tum", "rgb.txt depth.txt groundtruth.txt", tum.recognizes, tum.read),
        Format("strecha", "IMAGE.camera files beside the images", strecha.recognizes, strecha.read),
        Format("dtu", "cams/*_cam.txt images/ depths/*.pfm (MVSNet)", dtu.recognizes, dtu.read),
        Format("habitat", "poses.json rgb/ depth/", habitat.recognizes, habitat.read),
        Format("colmap", "sparse/ with cameras, images, points3D; images/", colmap.recognizes, colmap.read),
    )
}


def detect(folder: str | Path) -> Format | None:
    """The format of a folder that is one sequence, else None."""
    folder = Path(folder)
    return next((entry for entry in FORMATS.values() if entry.recognizes(folder)), None)


def read_sequence(folder: str | Path, format_name: str | None = None) -> Sequence:
    """Read one sequence; frames without a pose are left out.

    Args:
        format_name: a key of :data:`FORMATS`; None finds out.

    Raises:
        InputError: unknown format, no sequence of that format, or fewer than two frames with cameras.
    """
    folder = Path(folder)
    if format_name is not None and format_name not in FORMATS:
        raise InputError(f"There is no reader '{format_name}'.", f"Choose one of: {', '.join(FORMATS)}.")
    chosen = FORMATS[format_name] if format_name else detect(folder)
    if chosen is None:
        raise InputError(f"{folder} holds no sequence with ground truth.", HELP)
    try:
        sequence = chosen.read(folder)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{folder} is not a sequence of the format '{chosen.name}' ({reason}).", HELP) from error
    if len(sequence) < 2:
        raise InputError(f"{folder} has {len(sequence)} frames with intrinsics and poses.", "Two or more are needed.")
    return sequence


def find_sequences(folder: str | Path, format_name: str | None = None) -> list[Path]:
    """Every folder at or below ``folder`` that is a sequence, sorted; what lies inside one is part of it."""
    formats = [FORMATS[format_name]] if format_name in FORMATS else list(FORMATS.values())
    found = []
    for place, subfolders, _ in os.walk(folder):
        subfolders.sort()
        if any(entry.recognizes(Path(place)) for entry in formats):
            found.append(Path(place))
            subfolders.clear()
    return sorted(found)
