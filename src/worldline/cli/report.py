"""``worldline report OUT -o report.html``: what a saved scene is, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Report:
    """One page about a saved scene: photos, depth, confidence, a map with the cameras, figures, provenance."""

    scene: tyro.conf.Positional[Path]
    """Folder of a saved scene."""
    out: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-o"])] = ()
    """Files to write, by their ending: .html (one file with everything in it), .png or .jpg. By default report.html in
    the scene's folder."""
    figure: tuple[Path, ...] = ()
    """Pictures to write (.png, .jpg) that show the views, the map and the new view alone, as in a paper."""
    views: int = 24
    """At most this many views are shown one by one, evenly spread; the figures of the whole count all."""
    title: str | None = None
    """Headline; by default the name of the folder."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    arguments = tyro.cli(Report, args=argv, prog="worldline report")
    from worldline.cli.common import check_positive, console
    from worldline.files import check_writable
    from worldline.outputs.report import check_report_path, write_scene_reports
    from worldline.scene import Scene

    paths = list(arguments.out)
    if not paths and not arguments.figure:
        paths = [arguments.scene / "report.html"]
    check_positive(views=arguments.views)
    scene = Scene.load(arguments.scene, lazy=True)
    for path in (*paths, *arguments.figure):
        check_report_path(path, figure=path in arguments.figure)
        check_writable(path.parent)
    title = arguments.title or arguments.scene.resolve().name
    written = write_scene_reports(scene, paths, figures=arguments.figure, title=title, views=arguments.views)
    for path in written:
        console().print(f"wrote {path}")
    return 0
