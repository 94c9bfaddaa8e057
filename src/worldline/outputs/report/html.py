"""A report as one HTML file that needs nothing else: pictures within it, no script, nothing to load."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from worldline import __version__
from worldline.outputs.drawing import PALETTES, colorize, number
from worldline.outputs.report.contents import Bar, Contents, Panel
from worldline.outputs.report.facts import Histogram, ViewFacts

_QUALITY, _PANEL_QUALITY = 84, 88  # of JPEG
_WORDS = (1, 4)  # columns of the table of views that hold words, not numbers


def html_page(contents: Contents) -> str:
    """The whole report. All text of the scene is escaped; the page may load nothing but its own pictures."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    body = [
        f"<header><h1>{escape(contents.title)}</h1><p class=lead>{escape(contents.lead)}</p>",
        f"<p class=faint>{escape(contents.origin)}</p>{_warnings(contents.warnings)}</header>",
        _contact_sheet(contents),
        _panels(contents.panels),
        "<div class=numbers>",
        _section("Views", _table(contents), "views"),
        "<div>",
        _section("Scene", _pairs(contents.summary)),
        _confidence(contents.facts.histogram),
        "</div></div>",
        _section("Provenance", _pairs(contents.provenance), "small"),
        _section("To cite", f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in contents.citations)}</ul>", "small"),
        f"<footer class=faint>worldline {escape(__version__)}</footer>",
    ]
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta http-equiv=Content-Security-Policy "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        '<meta name=color-scheme content="light dark">\n'
        f"<title>{escape(contents.title)} – worldline</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _warnings(warnings: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(each)}</li>" for each in warnings)
    return f"<ul class=warnings>{items}</ul>" if items else ""


def _section(title: str, inner: str, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{inner}</section>'


def _contact_sheet(contents: Contents) -> str:
    """Lines of views, and below each photo what was found in it; then the colour bars."""
    parts = [f"<section class=sheet aria-label='Views'><div class=grid style='--columns:{contents.columns}'>"]
    for first in range(0, len(contents.captions), contents.columns):
        shown = range(first, min(first + contents.columns, len(contents.captions)))
        parts.append("<span></span>" + "".join(_name(contents, place) for place in shown))
        parts.append("<span class=fill></span>" * (contents.columns - len(shown)))
        for row in contents.rows:
            parts.append(f"<span class='label faint'>{escape(row.label)}</span>")
            for place in shown:
                view = contents.facts.shown[place]
                meaning = _alternative(row.meaning, row.label, view, contents.facts.unit)
                parts.append(f"<span>{_picture(row.pictures[place], meaning, _QUALITY)}</span>")
            parts.append("<span class=fill></span>" * (contents.columns - len(shown)))
    parts.append(f"</div><div class=bars>{''.join(map(_bar, contents.bars))}</div>")
    parts.append(f"<p class=faint>{escape(contents.selection)}</p>" if contents.selection else "")
    return "".join(parts) + "</section>"


def _name(contents: Contents, place: int) -> str:
    caption = escape(contents.captions[place])
    return f'<span class=name title="{escape(contents.facts.shown[place].name)}">{caption}</span>'


def _alternative(meaning: str, label: str, view: ViewFacts, unit: str) -> str:
    """What a small picture shows, in words."""
    said = f"{meaning} of view {view.number}, {view.name}"
    if label == "depth" and np.isfinite(view.depth):
        return f"{said}: {number(view.near)} to {number(view.far)} {unit}, median {number(view.depth)}"
    if label == "confidence":
        return f"{said}: median {number(view.confidence)}"
    return said


def _picture(picture: UInt8[np.ndarray, "height width 3"], alternative: str, quality: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="jpeg", quality=quality, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = picture.shape[:2]
    return f'<img width={width} height={height} alt="{escape(alternative)}" src="data:image/jpeg;base64,{data}">'


def _bar(bar: Bar) -> str:
    stops = ",".join("rgb({},{},{})".format(*color) for color in PALETTES[bar.palette])
    ticks = "".join(
        f"<span style='left:{100 * float(bar.scale.place(np.array(value))):.2f}%'>{number(value)}</span>"
        for value in bar.scale.ticks()
    )
    said = f"Colours of {bar.label}: from {number(bar.scale.low)} to {number(bar.scale.high)}, logarithmic"
    return (
        f'<div class=bar role=img aria-label="{escape(said)}"><span class=faint>{escape(bar.label)}</span>'
        f"<div><div class=colors style='background:linear-gradient(90deg,{stops})'></div>"
        f"<div class=ticks>{ticks}</div></div></div>"
    )


def _panels(panels: Sequence[Panel]) -> str:
    figures = (
        f"<figure>{_picture(panel.picture, f'{panel.title}. {panel.caption}', _PANEL_QUALITY)}"
        f"<figcaption>({'abcdef'[place]}) {escape(panel.caption)}</figcaption></figure>"
        for place, panel in enumerate(panels)
    )
    return f"<section class=panels aria-label='The scene'>{''.join(figures)}</section>"


def _table(contents: Contents) -> str:
    head, *rows = contents.table
    lines = ["<div class=scroll><table><thead><tr>"]
    lines += [f"<th scope=col{_kind(place)}>{escape(text)}</th>" for place, text in enumerate(head)]
    lines.append("</tr></thead><tbody>")
    for row, view in zip(rows, contents.facts.shown, strict=True):
        lines.append("<tr class=failed>" if view.pose == "failed" else "<tr>")
        lines += [f"<td{_kind(place)}>{escape(text)}</td>" for place, text in enumerate(row)]
        lines.append("</tr>")
    return "".join(lines) + "</tbody></table></div>"


def _kind(column: int) -> str:
    return " class=word" if column in _WORDS else ""


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in pairs)}</dl>"


def _confidence(histogram: Histogram | None) -> str:
    if histogram is None:
        return ""
    return _section("Confidence of the valid pixels", _histogram(histogram))


def _histogram(histogram: Histogram, width: int = 440, height: int = 130) -> str:
    """Bars in the colours of the confidence maps, as a drawing that scales."""
    counts = histogram.counts
    shares = counts / max(1, counts.sum())
    step = width / len(counts)
    colors = colorize(((np.arange(len(counts)) + 0.5) / len(counts))[None], "amount")[0].tolist()
    bars = "".join(
        f'<rect x="{place * step:.2f}" y="{height * (1 - share / shares.max()):.2f}" width="{step - 1:.2f}" '
        f'height="{height * share / shares.max():.2f}" fill="rgb({r},{g},{b})"/>'
        for place, (share, (r, g, b)) in enumerate(zip(shares, colors, strict=True))
    )
    ticks = []
    for value in histogram.scale.ticks():
        x = width * float(histogram.scale.place(np.array(value)))
        anchor = "start" if value == histogram.scale.low else "end" if value == histogram.scale.high else "middle"
        ticks.append(f'<path d="M{x:.1f} {height}v5"/><text x="{x:.1f}" y="{height + 18}" text-anchor="{anchor}">')
        ticks.append(f"{number(value)}</text>")
    highest = f"highest bar: {100 * shares.max():.0f} %"
    said = (
        f"Histogram of confidence from {number(histogram.scale.low)} to {number(histogram.scale.high)}, "
        f"logarithmic; {highest}"
    )
    return (
        f'<svg class=histogram viewBox="0 -20 {width} {height + 44}" role=img aria-label="{escape(said)}">{bars}'
        f'<path d="M0 {height}h{width}"/>{"".join(ticks)}'
        f'<text class=faint x="{width}" y="-8" text-anchor="end">{highest}</text></svg>'
    )
