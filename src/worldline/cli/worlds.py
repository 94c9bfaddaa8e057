"""``worldline worlds write rooms -n 100 -o DIR``: procedural data sets with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Write:
    """Write procedural scenes with images, depth, intrinsics and poses."""

    layout: tyro.conf.Positional[str]
    """What kind of world, e.g. rooms."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder; one subfolder per scene. Scenes that are there already are left alone."""
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """Number of scenes."""
    views: int = 8
    """Photos per scene."""
    size: int = 224
    """Width and height in pixels."""
    split: str = "test"
    """Seeds of which split: train, validation or test; they never overlap."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    arguments = tyro.extras.subcommand_cli_from_dict({"write": Write}, args=argv, prog="worldline worlds")
    from worldline import worlds
    from worldline.cli.common import console

    written = worlds.write(
        arguments.layout,
        arguments.count,
        arguments.out,
        views=arguments.views,
        height=arguments.size,
        width=arguments.size,
        split=arguments.split,
    )
    console().print(f"{len(written)} scenes in {arguments.out}")
    return 0
