"""The HTML of a report: whole in one file, escaped, described in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import report_scenes
from worldline.errors import InputError
from worldline.outputs.drawing import number
from worldline.outputs.report import write_scene_reports
from worldline.outputs.report.contents import Contents, gather
from worldline.outputs.report.html import html_page
from worldline.outputs.report.page import WIDTH, draw_page
from worldline.types import Provenance

NASTY = "<script>alert('1')</script> & \"quotes\""
VOID = ("meta", "img", "rect", "path", "br")
OPTIONAL = ("li", "dt", "dd")


class Reader(HTMLParser):
    """Collects elements, texts and attributes, and checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """The new view of reports is tested where rendering is, and from the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldline.outputs.report.contents._new_view", report_scenes.quick_new_view)
        yield


@pytest.fixture(scope="module")
def contents(_quick: None) -> Contents:
    return gather(report_scenes.photos(3), "three photos")


def test_the_page_is_well_formed_and_says_the_figures(contents: Contents) -> None:
    page = Reader(html_page(contents))
    assert page.open == []
    text = " ".join(page.texts)
    assert "3 views, 1,728 points" in text and "lengths are no metres" in text
    assert "Look twice." in text and "Apache-2.0" in text and "ab" * 32 in text and "network 1.25" in text
    assert "arXiv 2412.06974" in text and "21 November 2026, 20:36 UTC" in text
    for row in contents.table[1:]:
        assert all(cell in text for cell in row)


def test_every_picture_is_within_the_file_and_said_in_words(contents: Contents) -> None:
    text = html_page(contents)
    images = [attributes for tag, attributes in Reader(text).elements if tag == "img"]
    assert len(images) == 3 * 3 + 2
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    depth = [str(image["alt"]) for image in images if str(image["alt"]).startswith("Depth map of view 1, photo 0.jpg")]
    assert len(depth) == 1 and "median 3.26" in depth[0]
    without_pictures = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"https?:|//|url\(|<script|<link|@import|javascript:", without_pictures)
    assert "default-src 'none'" in text


def test_text_of_the_user_is_text() -> None:
    scene = report_scenes.photos(2)
    views = tuple(replace(view, name=f"{NASTY}{row}") for row, view in enumerate(scene.views))
    provenance = Provenance(NASTY, NASTY, NASTY, {NASTY: NASTY}, {NASTY: NASTY}, {NASTY: 1.0}, NASTY)
    scene = replace(scene, views=views, provenance=provenance, warnings=(NASTY,))
    text = html_page(gather(scene, NASTY))
    page = Reader(text)
    assert "<script" not in text and page.open == []
    assert sum(NASTY in part for part in page.texts) >= 10
    assert sum(NASTY in str(attributes.get("alt")) for _, attributes in page.elements) == 6
    draw_page(gather(scene, NASTY))


def test_folders_of_the_machine_stay_on_it() -> None:
    scene = report_scenes.photos(2)
    arguments = {
        "log": "/home/marlene/secret/drive-3",
        "nested": {"flow": "C:\\Users\\marlene\\secret\\raft.pt", "masks": ["~/secret/a.png", "b.png"]},
        "size": 224,
    }
    provenance = replace(scene.provenance, model="/home/marlene/secret/my-model", arguments=arguments)
    said = gather(replace(scene, provenance=provenance), "t")
    text = re.sub(r'src="data:[^"]*"', "", html_page(said))
    assert "secret" not in text and "marlene" not in text
    assert said.origin.startswith("Model: my-model;") and dict(said.provenance)["model"] == "my-model"
    assert dict(said.provenance)["arguments"] == (
        "log=drive-3, nested.flow=raft.pt, nested.masks=['a.png', 'b.png'], size=224"
    )


def test_colour_bars_and_histogram_end_where_the_scene_does(contents: Contents) -> None:
    page = Reader(html_page(contents))
    said = [str(attributes["aria-label"]) for _, attributes in page.elements if attributes.get("role") == "img"]
    depth = np.concatenate([view.depth[view.mask] for view in report_scenes.photos(3).views])
    low, high = np.percentile(depth, (2, 98))
    assert any(f"depth (units): from {number(low)} to {number(high)}" in text for text in said)
    assert any("Histogram of confidence from 2 to 4.88" in text for text in said)


def test_many_views_stay_a_small_file() -> None:
    views = []
    for row in range(24):
        view = report_scenes.view(f"{row}", report_scenes.camera((row / 4, 0, 1.5)), seed=row)
        large = {name: np.repeat(np.repeat(getattr(view, name), 8, 0), 7, 1) for name in ("image", "depth", "points")}
        large |= {name: np.repeat(np.repeat(getattr(view, name), 8, 0), 7, 1) for name in ("confidence", "mask")}
        shape = large["depth"].shape
        transform = replace(view.transform, stored_size=shape, resized_size=shape, model_size=shape)
        camera = replace(view.camera, height=shape[0], width=shape[1])
        views.append(replace(view, transform=transform, camera=camera, **large))
    scene = replace(report_scenes.photos(2), views=tuple(views))
    assert len(html_page(gather(scene, "many"))) < 3e6


def test_the_picture_is_one_page(contents: Contents) -> None:
    page = draw_page(contents)
    assert page.shape[1] == WIDTH and 1000 < page.shape[0] < 3500
    assert (page[:20] == 255).all() and (page[-20:] == 255).all() and (page[:, :40] == 255).all()  # margins


def test_moving_pixels_get_a_row_where_they_are_known() -> None:
    assert [row.label for row in gather(report_scenes.stream(2), "s").rows] == [
        "input",
        "depth",
        "confidence",
        "moving",
    ]
    assert "moving" not in [row.label for row in gather(report_scenes.video(2), "v").rows]


def test_mistakes_are_named_before_any_work(tmp_path: Path) -> None:
    scene = report_scenes.photos(2)
    with pytest.raises(InputError, match=r"Choose \.html"):
        write_scene_reports(scene, [tmp_path / "report.pdf"])
    with pytest.raises(InputError, match="at least one view"):
        write_scene_reports(scene, [tmp_path / "report.html"], views=0)
    with pytest.raises(InputError, match="no views"):
        write_scene_reports(replace(scene, views=()), [tmp_path / "report.html"])
    assert list(tmp_path.iterdir()) == []
