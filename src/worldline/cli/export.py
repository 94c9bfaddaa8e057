"""``worldline export OUT --to glb,colmap``: files of a saved scene; nothing is inferred again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Export:
    """Write a saved scene in other formats."""

    scene: tyro.conf.Positional[Path]
    """Folder of a saved scene."""
    to: str
    """Comma-separated formats, e.g. glb,ply,html,colmap,nerfstudio,tum,npz,depth-png,rrd."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder to write into; by default the scene's own."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    arguments = tyro.cli(Export, args=argv, prog="worldline export")
    from worldline.cli.common import console, parse_formats
    from worldline.errors import InputError
    from worldline.outputs.export import FORMATS, check_formats
    from worldline.scene import Scene

    formats = parse_formats(arguments.to)
    if not formats:
        raise InputError("No format was named.", f"Choose from: {', '.join(FORMATS)}.")
    check_formats(formats)
    scene = Scene.load(arguments.scene, lazy=True)
    out = console()
    for name, path in scene.export(arguments.out or arguments.scene, formats).items():
        out.print(f"{name}: {path}")
    return 0
