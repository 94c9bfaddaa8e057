"""A report in a real browser: it opens by itself, loads nothing, complains about nothing, and fits its window."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import report_scenes
from worldline.outputs.report import write_scene_reports

KINDS = {"photos": report_scenes.photos, "stream": report_scenes.stream, "video": report_scenes.video}


@pytest.fixture(scope="module", params=KINDS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / f"report_{request.param}.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldline.outputs.report.contents._new_view", report_scenes.quick_new_view)
        write_scene_reports(KINDS[request.param](), [path], title=f"A scene of {request.param}")
    return path


def open_page(chromium: Any, report: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """The page, what it asked for besides itself and its own pictures, and what it complained about."""
    page = chromium.new_page(**options)
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    return page, [url for url in requests if url != report.as_uri() and not url.startswith("data:")], complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_the_network_and_without_complaints(
    chromium: Any, report: Path, shots: Path, scheme: str
) -> None:
    page, requests, complaints = open_page(
        chromium, report, viewport={"width": 1240, "height": 900}, color_scheme=scheme
    )
    page.screenshot(path=shots / f"{report.stem}_{scheme}.png", full_page=True)
    assert requests == [] and complaints == []
    assert page.title().startswith("A scene of")
    images = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.length > 5])")
    assert len(images) > 10 and all(loaded and described for loaded, described in images)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]
    page.close()


@pytest.mark.parametrize("width", [390, 1240])
def test_nothing_sticks_out_of_the_window(chromium: Any, report: Path, shots: Path, width: int) -> None:
    page, _, _ = open_page(chromium, report, viewport={"width": width, "height": 844})
    page.screenshot(path=shots / f"{report.stem}_{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_numbers_below_a_colour_bar_stand_apart(chromium: Any, report: Path) -> None:
    page, _, _ = open_page(chromium, report, viewport={"width": 1240, "height": 900})
    boxes = page.evaluate(
        "[...document.querySelectorAll('.ticks')].map(t => [...t.children].map(s => "
        "{const b = s.getBoundingClientRect(); return [b.left, b.right]}))"
    )
    assert len(boxes) == 2
    for ticks in boxes:
        assert all(left[1] < right[0] for left, right in pairwise(ticks))
    page.close()


def test_it_prints_on_paper(chromium: Any, report: Path, shots: Path) -> None:
    page, _, _ = open_page(chromium, report)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(path=shots / f"{report.stem}.pdf", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and 1 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 6
    page.close()
