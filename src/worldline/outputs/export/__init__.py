"""A scene in other programs' formats, always in the coordinates of the photos as shown (docs/formats.md).

One file per format. The table below is everything a caller needs: the format's name, its writer, what it is.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldline.errors import InputError, MissingExtraError
from worldline.outputs.export.folder import OutputFolder, check_files_are_ours

if TYPE_CHECKING:
    from worldline.scene import Scene

    Writer = Callable[[Scene, OutputFolder], Path]


@dataclass(frozen=True)
class Format:
    """One line of the table of formats."""

    writer: str  # "module:function" below this package, imported when used
    target: str  # file or folder that it writes
    description: str
    needs: tuple[str, str] | None = None  # (package, the extra that brings it)


FORMATS = {
    "glb": Format("glb:write_glb", "scene.glb", "coloured points and camera frusta for any 3D viewer"),
    "ply": Format("ply:write_ply", "points.ply", "coloured points with confidence"),
    "gaussians-ply": Format("gaussians_ply:write_gaussians_ply", "gaussians.ply", "3D Gaussians, original layout"),
    "splat": Format("splat:write_splat", "scene.splat", "3D Gaussians, 32 bytes each, for web viewers"),
    "spz": Format("spz:write_spz", "scene.spz", "3D Gaussians, compressed"),
    "colmap": Format("colmap:write_colmap", "colmap", "cameras, images and tracks, binary"),
    "colmap-text": Format("colmap:write_colmap_text", "colmap_text", "cameras, images and tracks, text"),
    "nerfstudio": Format("nerfstudio:write_nerfstudio", "nerfstudio", "transforms.json with images and points"),
    "tum": Format("tum:write_tum", "trajectory.txt", "camera trajectory"),
    "npz": Format("npz:write_npz", "scene.npz", "all arrays for numpy"),
    "html": Format("html:write_html", "scene.html", "one web page with points, cameras and time; needs no network"),
    "rrd": Format("rrd:write_rrd", "scene.rrd", "recording for the Rerun viewer, with time", needs=("rerun", "rerun")),
    "depth-png": Format("depth_png:write_depth_png", "depth", "16-bit depth maps at photo size"),
}


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The format names as given, duplicates dropped.

    Raises:
        InputError: a name is not in :data:`FORMATS`; the message lists the choices.
        MissingExtraError: the package that a format needs is not installed.
    """
    names = (formats,) if isinstance(formats, str) else tuple(formats)
    unknown = [str(name) for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"Unknown export format: {', '.join(unknown)}.", f"Choose from: {', '.join(FORMATS)}.")
    for name in names:
        needs = FORMATS[name].needs
        if needs is not None and importlib.util.find_spec(needs[0]) is None:
            raise MissingExtraError(f"Export as {name}", needs[1])
    return tuple(dict.fromkeys(names))


def check_targets(directory: Path, formats: Sequence[str]) -> None:
    """Whether nothing of the user's is where these formats write, as far as that is known before there is a scene.

    Raises:
        OutputError: files of theirs are in the way; the message lists them all.
    """
    targets = [FORMATS[name].target for name in check_formats(formats)]
    check_files_are_ours(directory, [target for target in targets if Path(target).suffix])


def export_scene(scene: Scene, directory: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Write ``scene`` in every format named; see :meth:`worldline.Scene.export`."""
    names = check_formats(formats)
    if not names:
        return {}
    check_targets(directory, names)
    folder = OutputFolder(directory)
    return {name: _writer(name)(scene, folder) for name in names}


def _writer(name: str) -> Writer:
    module, function = FORMATS[name].writer.split(":")
    writer: Writer = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return writer
