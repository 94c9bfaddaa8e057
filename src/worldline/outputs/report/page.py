"""A report as one picture: the page of a paper, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from worldline.outputs.drawing import (
    FAINT,
    INK,
    PAPER,
    RULE,
    Color,
    Pen,
    color_bar,
    colorize,
    fit,
    number,
    text_width,
    wrap,
)
from worldline.outputs.report.contents import Bar, Contents, Panel
from worldline.outputs.report.facts import Histogram

WIDTH = 1800  # pixels
_MARGIN, _GAP = 60, 10
_LABELS = 118  # width of the column with the names of the rows
_TILE = 300  # largest side of a small picture
_TEXT, _SMALL = 21, 18  # heights of letters
_WARNING: Color = (166, 84, 0)


def draw_figure(contents: Contents) -> UInt8[np.ndarray, "height 1800 3"]:
    """Only the pictures of a report, with their colour bars: a figure for a paper."""
    page = _Page()
    _contact_sheet(page, contents)
    _legend(page, contents.bars)
    _panels(page, contents.panels)
    page.y -= 40
    return page.finished()


def draw_page(contents: Contents) -> UInt8[np.ndarray, "height 1800 3"]:
    """The whole report as a picture 1800 pixels wide, as high as it needs to be."""
    page = _Page()
    _head(page, contents)
    _contact_sheet(page, contents)
    _legend(page, contents.bars)
    _panels(page, contents.panels)
    _numbers(page, contents)
    _foot(page, contents)
    return page.finished()


class _Page:
    """A strip of paper that grows downwards; ``y`` is where the next thing goes."""

    def __init__(self) -> None:
        self.sheet = Image.new("RGB", (WIDTH, 1000), PAPER)
        self.pen = Pen(self.sheet)
        self.left, self.width = _MARGIN, WIDTH - 2 * _MARGIN
        self.y = _MARGIN

    def reserve(self, height: int) -> int:
        """Make room for ``height`` pixels below ``y`` and return ``y``."""
        if self.y + height + _MARGIN > self.sheet.height:
            larger = Image.new("RGB", (WIDTH, max(2 * self.sheet.height, self.y + height + _MARGIN)), PAPER)
            larger.paste(self.sheet)
            self.sheet, self.pen = larger, Pen(larger)
        return self.y

    def paste(self, picture: UInt8[np.ndarray, "h w 3"], x: float, y: float) -> None:
        """Put a picture with its upper left corner at (x, y)."""
        self.sheet.paste(Image.fromarray(picture), (round(x), round(y)))

    def paragraph(self, text: str, size: int, *, color: Color = INK) -> None:
        """Text over the whole width, broken into lines."""
        for line in wrap(text, size, self.width):
            top = self.reserve(round(1.45 * size))
            self.pen.text(self.left, top + size, line, size, color=color)
            self.y += round(1.45 * size)

    def heading(self, text: str, x: float, width: float) -> int:
        """A heading with a rule below it, without moving on; returns its height."""
        self.pen.text(x, self.y + 20, text, 21)
        self.pen.rule(x, self.y + 31, width, color=INK)
        return 44

    def finished(self) -> UInt8[np.ndarray, "height 1800 3"]:
        return np.asarray(self.sheet.crop((0, 0, WIDTH, self.y + _MARGIN)))


def _head(page: _Page, contents: Contents) -> None:
    page.pen.text(page.left, page.y + 40, contents.title, 46, width=page.width)
    page.y += 62
    page.paragraph(contents.lead, 22)
    page.y += 2
    page.paragraph(contents.origin, _TEXT, color=FAINT)
    for warning in contents.warnings:
        page.paragraph(f"Note: {warning}", _TEXT, color=_WARNING)
    if contents.selection:
        page.paragraph(contents.selection, _TEXT, color=FAINT)
    page.y += 22


def _contact_sheet(page: _Page, contents: Contents) -> None:
    """Lines of views; below each photo what was found in it."""
    columns = contents.columns
    room = (page.width - _LABELS - (columns - 1) * _GAP) / columns
    tile = min(_TILE, int(room))
    for first in range(0, len(contents.captions), columns):
        shown = slice(first, first + columns)
        strips = [[fit(picture, tile, tile) for picture in row.pictures[shown]] for row in contents.rows]
        heights = [max((picture.shape[0] for picture in strip), default=0) for strip in strips]
        top = page.reserve(sum(heights) + _GAP * len(heights) + 40) + 20
        for column, caption in enumerate(contents.captions[shown]):
            x = page.left + _LABELS + column * (tile + _GAP)
            page.pen.text(x, top - 5, caption, _SMALL, width=tile, color=INK)
        for row, strip, height in zip(contents.rows, strips, heights, strict=True):
            page.pen.text(page.left, top + height / 2, row.label, _SMALL, anchor="lm", color=FAINT)
            for column, picture in enumerate(strip):
                page.paste(picture, page.left + _LABELS + column * (tile + _GAP), top)
            top += height + _GAP
        page.y = top + 12


def _legend(page: _Page, bars: Sequence[Bar]) -> None:
    """Colour bars beside each other, with their numbers."""
    top = page.reserve(70)
    x = float(page.left + _LABELS)
    for bar in bars:
        wide = text_width(bar.label, _SMALL) + 14
        page.pen.text(x, top + 15, bar.label, _SMALL, color=FAINT)
        draw_bar(page, bar, x + wide, top, 380)
        x += wide + 380 + 70
    page.y += 76


def draw_bar(page: _Page, bar: Bar, x: float, y: float, width: int) -> None:
    """A colour bar 18 pixels high and the numbers below it."""
    page.paste(color_bar(bar.palette, width, 18), x, y)
    for value in bar.scale.ticks():
        place = x + float(bar.scale.place(np.array(value))) * (width - 1)
        page.pen.draw.line((place, y + 18, place, y + 23), fill=INK)
        page.pen.text(place, y + 40, number(value), _SMALL, anchor="ms")


def _panels(page: _Page, panels: Sequence[Panel]) -> None:
    gap = 28
    width = (page.width - gap * (len(panels) - 1)) // len(panels)
    pictures = [fit(panel.picture, width, 10 * width) for panel in panels]
    height = max(picture.shape[0] for picture in pictures)
    top = page.reserve(height + 120)
    longest = 0
    for place, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
        x = page.left + place * (width + gap)
        page.paste(picture, x, top)
        page.pen.draw.rectangle((x, top, x + width - 1, top + picture.shape[0] - 1), outline=RULE)
        lines = wrap(f"({'abcdef'[place]}) {panel.caption}", _TEXT, width)
        for line, text in enumerate(lines):
            page.pen.text(x, top + height + 28 + 27 * line, text, _TEXT)
        longest = max(longest, len(lines))
    page.y += height + 27 * longest + 52


def _numbers(page: _Page, contents: Contents) -> None:
    """Left the table of the views; right the histogram and what holds for the whole scene."""
    left = round(0.6 * page.width)
    right, x = page.width - left - 48, page.left + left + 48
    rows = max(30 * len(contents.table), 300 + 34 * len(contents.summary)) + 120
    page.reserve(rows)
    start = page.y
    page.y += page.heading("Views", page.left, left)
    _table(page, contents.table, left)
    bottom, page.y = page.y, start
    page.y += page.heading("Scene", x, right)
    for name, value in contents.summary:
        page.pen.text(x, page.y + 20, name, _SMALL, color=FAINT)
        for line in wrap(value, _SMALL, right - 150):
            page.pen.text(x + 150, page.y + 20, line, _SMALL)
            page.y += 27
    if contents.facts.histogram is not None:
        page.y += 34
        page.y += page.heading("Confidence of the valid pixels", x, right)
        _histogram(page, contents.facts.histogram, x, right)
    page.y = max(page.y, bottom) + 34


def _table(page: _Page, table: Sequence[Sequence[str]], width: float) -> None:
    """Columns as wide as their longest entry; the second, the name, takes what is left. Numbers are right-aligned."""
    needs = [max(text_width(row[column], _SMALL) for row in table) for column in range(len(table[0]))]
    gap = 26.0
    needs[1] = max(60.0, min(needs[1], width - (sum(needs) - needs[1]) - gap * (len(needs) - 1)))
    gap = min(90, (width - sum(needs)) / (len(needs) - 1))
    for line, row in enumerate(table):
        x = float(page.left)
        for column, (text, need) in enumerate(zip(row, needs, strict=True)):
            start = column in (1, 4)  # name and pose are words
            page.pen.text(
                x if start else x + need, page.y + 20, text, _SMALL, anchor="ls" if start else "rs",
                width=need + 1, color=INK if line else FAINT,
            )  # fmt: skip
            x += need + gap
        page.y += 27


def _histogram(page: _Page, histogram: Histogram, x: float, width: float, height: int = 150) -> None:
    """Bars in the colours of the confidence maps; the highest fills the height."""
    page.y += 24
    shares = histogram.counts / max(1, histogram.counts.sum())
    step = width / len(shares)
    colors = colorize(((np.arange(len(shares)) + 0.5) / len(shares))[None], "amount")[0].tolist()
    base = page.y + height
    for place, (share, color) in enumerate(zip(shares, colors, strict=True)):
        top = base - height * share / shares.max()
        page.pen.draw.rectangle((x + place * step, top, x + (place + 1) * step - 2, base), fill=tuple(color))
    page.pen.rule(x, base + 1, width, color=INK)
    for value in histogram.scale.ticks():
        across = x + float(histogram.scale.place(np.array(value))) * (width - 1)
        page.pen.draw.line((across, base, across, base + 6), fill=INK)
        anchor = "ls" if value == histogram.scale.low else "rs" if value == histogram.scale.high else "ms"
        page.pen.text(across, base + 24, number(value), _SMALL, anchor=anchor)
    page.pen.text(x + width, page.y - 10, f"highest bar: {100 * shares.max():.0f} %", _SMALL, color=FAINT, anchor="rs")
    page.y = round(base) + 36


def _foot(page: _Page, contents: Contents) -> None:
    """Provenance and what to cite, in small print."""
    page.reserve(60)
    page.y += page.heading("Provenance", page.left, page.width)
    for name, value in contents.provenance:
        page.paragraph(f"{name}: {value}", _SMALL, color=FAINT)
    page.y += 16
    page.reserve(60)
    page.y += page.heading("To cite", page.left, page.width)
    for citation in contents.citations:
        page.paragraph(citation, _SMALL, color=FAINT)
