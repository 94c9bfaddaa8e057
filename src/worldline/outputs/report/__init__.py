"""Reports: what a scene is, on one page. ``facts`` counts, ``contents`` says, ``page`` and ``html`` lay out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldline.errors import InputError
from worldline.files import replacing_file, reporting
from worldline.scene import Scene

if TYPE_CHECKING:
    from worldline.outputs.report.contents import Contents

PICTURES = (".png", ".jpg", ".jpeg")
PAGES = (".html", ".htm")

__all__ = ["check_report_path", "write_scene_reports"]


def write_scene_reports(
    scene: Scene, paths: Sequence[Path], *, figures: Sequence[Path] = (), title: str = "Scene", views: int = 24
) -> list[Path]:  # fmt: skip
    """Write one report in several formats; what they show is computed once.

    Args:
        scene: may be loaded lazily; its views are read one after the other.
        paths: files that end with .html (one file with everything in it), .png or .jpg (a picture 1800 pixels wide).
        figures: files that end with .png or .jpg and get the pictures of the report alone, as in a paper.
        title: the headline.
        views: at most this many views are shown one by one, evenly spread; the figures of the whole count all.

    Returns:
        the files, in the order given.

    Raises:
        InputError: an unknown ending, a scene without views, or ``views`` is not positive.
        OutputError: a file cannot be written.
    """
    for path in (*paths, *figures):
        check_report_path(path, figure=path in figures)
    if views < 1:
        raise InputError(f"A report of {views} views was asked for.", "Show at least one view.")
    if not len(scene):
        raise InputError("The scene has no views.", "Give a scene of at least one view.")
    from worldline.outputs.report.contents import gather

    contents = gather(scene, title, views)
    for path in (*paths, *figures):
        _write(contents, path, figure=path in figures)
    return [*paths, *figures]


def check_report_path(path: Path, *, figure: bool = False) -> None:
    """Find out before the work whether a report, or its pictures alone, can be written under a name.

    Raises:
        InputError: the ending is none of .html, .png, .jpg; or .html for a figure.
    """
    if figure and path.suffix.lower() not in PICTURES:
        raise InputError(f"A figure cannot be written as {path.name}.", "Choose .png or .jpg.")
    if path.suffix.lower() not in PICTURES + PAGES:
        raise InputError(
            f"A report cannot be written as {path.name}: its ending says no known format.",
            "Choose .html (a page with everything in it), .png or .jpg (a picture).",
        )


def _write(contents: Contents, path: Path, *, figure: bool) -> None:
    if path.suffix.lower() in PICTURES:
        from worldline.outputs.drawing import save_picture
        from worldline.outputs.report.page import draw_figure, draw_page

        save_picture((draw_figure if figure else draw_page)(contents), path)
        return
    from worldline.outputs.report.html import html_page

    with reporting(path), replacing_file(path) as temporary:
        temporary.write_text(html_page(contents), encoding="utf-8")
