"""What every still picture is made of: colours of numbers, colour bars, tiles, text. Numpy and Pillow only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from worldline.files import replacing_file, reporting

Color = tuple[int, int, int]

INK: Color = (28, 30, 34)
FAINT: Color = (112, 117, 126)
RULE: Color = (214, 217, 222)
PAPER: Color = (255, 255, 255)
UNKNOWN = 214  # grey level of pixels of which nothing is known
MOVING: Color = (255, 40, 160)

# dark blue over green and yellow to dark red: many steps can be told apart
_SPECTRUM: tuple[Color, ...] = (
    *((48, 18, 59), (70, 107, 227), (40, 187, 236), (49, 242, 153), (162, 252, 60)),
    *((237, 208, 58), (251, 128, 34), (208, 48, 5), (122, 4, 3)),
)
# colours of 0, 1/8 … 1; in between they are interpolated
PALETTES: dict[str, tuple[Color, ...]] = {
    "spectrum": _SPECTRUM,
    "near": _SPECTRUM[::-1],  # for depth: near is red, as in the literature of stereo
    # dark violet over green to yellow, of even lightness steps: more is lighter, for confidence
    "amount": (
        *((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141)),
        *((39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37)),
    ),
}
_SPELLED = {"×": "x", "–": "-", "—": "-", "−": "-", "→": "->", "≤": "<=", "≥": ">=", "µ": "u", "ß": "ss", "ø": "o"}


@dataclass(frozen=True)
class Scale:
    """The numbers at the two ends of a colour bar, and whether equal steps are equal factors."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Float[np.ndarray, "*n"], *, log: bool = False, percent: float = 2.0) -> Scale:
        """From the lowest to the highest of some numbers, without ``percent`` of them at either end.

        Numbers that are not finite do not count, nor with ``log`` those that are not positive. Without any number, or
        where all are equal, the ends are a little apart.
        """
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values) & ((values > 0) | (not log))]
        if not values.size:
            return cls(1.0, 2.0, log) if log else cls(0.0, 1.0)
        low, high = (float(end) for end in np.percentile(values, (percent, 100 - percent)))
        if log:
            return cls(low, max(high, low * 1.01), True)
        return cls(low, max(high, low + 1e-2 * max(abs(low), 1e-6)))

    def place(self, values: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Where numbers stand between the ends: 0 at ``low``, 1 at ``high``, not beyond; NaN stays NaN."""
        values = np.clip(np.asarray(values, np.float64), self.low, self.high)
        if self.log:
            return np.log(values / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def ticks(self, room: float = 0.16) -> list[float]:
        """Both ends, and round numbers between them that are at least ``room`` of the bar away from each other."""
        ticks = [self.low, self.high]
        for value in _round_numbers(self.low, self.high):
            if all(abs(float(self.place(np.array(value)) - self.place(np.array(tick)))) >= room for tick in ticks):
                ticks.append(value)
        return sorted(ticks)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two numbers, the roundest first; for narrow spans even steps."""
    if low > 0 and high / low > 3:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [factor * 10.0**power for factor in (1, 5, 2) for power in powers]
    else:
        step = round_down((high - low) / 2)
        found = [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [value for value in found if low < value < high and math.isclose(value, float(f"{value:.3g}"))]


def round_down(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a positive number."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9))


def colorize(
    values: Float[np.ndarray, "height width"], palette: str = "spectrum"
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """Numbers in [0, 1] -> colours of one of :data:`PALETTES`; NaN counts as 0."""
    stops = np.array(PALETTES[palette], np.float64)
    position = np.clip(np.nan_to_num(values), 0, 1) * (len(stops) - 1)
    channels = [np.interp(position, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def paint(
    values: Float[np.ndarray, "height width"], known: Bool[np.ndarray, "height width"], scale: Scale,
    palette: str = "spectrum",
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """Numbers in the colours of a bar, grey where they are not known."""
    place = scale.place(np.where(known, values, scale.low))
    return np.where(known[..., None], colorize(place, palette), UNKNOWN).astype(np.uint8)


def mark(
    image: UInt8[np.ndarray, "height width 3"], found: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """A darker photo with some of its pixels in pink."""
    shown = 0.45 * image.astype(np.float64)
    shown[found] = 0.35 * shown[found] + 0.65 * np.array(MOVING)
    return shown.astype(np.uint8)


def fit(image: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> UInt8[np.ndarray, "height2 width2 3"]:
    """A picture made as large as it can be in a box; its proportions are kept."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    way = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size, way))


def color_bar(palette: str, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The colours of a palette from left to right; the centres of the outermost pixels are its ends."""
    return np.repeat(colorize(np.linspace(0, 1, width)[None], palette), height, 0)


def number(value: float, *, strip: bool = True) -> str:
    """A number for people: three digits, more only for whole numbers; ``strip``: without zeros at the end."""
    if not math.isfinite(value):
        return "-"
    if value == 0 or 0.01 <= abs(value) < 100_000:
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if strip and "." in text else text
    return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e")


@cache
def font(size: int) -> Any:
    """Pillow's own scalable font: the same picture on every machine."""
    return ImageFont.load_default(size)


def writable(text: str) -> str:
    """The text with the letters that the font has: accents are left out, other scripts become question marks."""
    spelled = "".join(letter if _has(letter) else _SPELLED.get(letter, letter) for letter in text)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(letter))
    return "".join(letter if _has(letter) else "?" for letter in plain)


@cache
def _has(letter: str) -> bool:
    """Whether the font has a letter: if not, it draws the same box as for any other that it has not."""
    return letter.isprintable() and bytes(font(20).getmask(letter)) != bytes(font(20).getmask("\uffff"))


class Pen:
    """Text and lines on a picture."""

    def __init__(self, picture: Image.Image) -> None:
        self.draw = ImageDraw.Draw(picture, "RGBA")  # colours with a fourth number are translucent

    def text(
        self, x: float, y: float, text: str, size: int, *, color: Color = INK, anchor: str = "ls",
        width: float | None = None, halo: bool = False,
    ) -> float:  # fmt: skip
        """Write a line, with its middle left out where it is wider than ``width``; returns its width in pixels.

        ``anchor`` is Pillow's: the first letter is l, m or r of the line, the second s = baseline, m = middle.
        """
        text = writable(text) if width is None else shorten(writable(text), size, width)
        around: dict[str, Any] = {"stroke_width": max(1, size // 7), "stroke_fill": PAPER} if halo else {}
        self.draw.text((x, y), text, fill=color, font=font(size), anchor=anchor, **around)
        return text_width(text, size)

    def rule(self, x: float, y: float, width: float, *, color: Color = RULE, weight: int = 1) -> None:
        """A horizontal line."""
        self.draw.line((x, y, x + width, y), fill=color, width=weight)

    def lines(self, points: Iterable[Any], color: Color, weight: int) -> None:
        """A line through points (x, y), with round corners."""
        self.draw.line([tuple(point) for point in points], fill=color, width=weight, joint="curve")


def text_width(text: str, size: int) -> float:
    """Pixels."""
    return float(font(size).getlength(writable(text)))


def shorten(text: str, size: int, width: float) -> str:
    """The text, or its start and end with dots between them, in at most ``width`` pixels."""
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tried = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
        if text_width(tried, size) <= width:
            return tried
    return ""


def heading(
    text: str, width: int, *, depth: Scale | None = None, unit: str = "m", size: int = 13
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """A strip to put above pictures: a line of text and, where they show depth, a line with its colour bar."""
    line = round(1.5 * size)
    picture = Image.new("RGB", (width, line if depth is None else 2 * line), PAPER)
    pen = Pen(picture)
    pen.text(3, line - 5, text, size, width=width - 6)
    if depth is not None:
        x = 3 + pen.text(3, 2 * line - 5, f"depth {number(depth.low)} ", size)
        bar = color_bar("near", min(120, width // 3), size - 2)
        picture.paste(Image.fromarray(bar), (round(x) + 5, line + 3))
        pen.text(x + bar.shape[1] + 10, 2 * line - 5, f"{number(depth.high)} {unit}", size)
    return np.asarray(picture)


def save_picture(picture: UInt8[np.ndarray, "height width 3"], path: str | Path, *, quality: int = 90) -> Path:
    """Write a picture as a file, in the format of its ending, whole or not at all.

    Raises:
        OutputError: the folder is missing or cannot be written.
    """
    path = Path(path)
    with reporting(path), replacing_file(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=quality, optimize=True)
    return path


def wrap(text: str, size: int, width: float) -> list[str]:
    """Lines of at most ``width`` pixels; words that are wider than that are broken."""
    lines, line = [], ""
    for word in text.split():
        while text_width(word, size) > width:
            fitting = next(
                end for end in range(len(word) - 1, 0, -1) if end == 1 or text_width(word[:end], size) <= width
            )
            lines += [line, word[:fitting]] if line else [word[:fitting]]
            line, word = "", word[fitting:]
        longer = f"{line} {word}".strip()
        if text_width(longer, size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines
