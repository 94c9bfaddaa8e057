"""Colour bars end where they say, text fits where it is put."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from worldline.outputs.drawing import (
    PALETTES,
    UNKNOWN,
    Scale,
    color_bar,
    colorize,
    fit,
    mark,
    number,
    paint,
    round_down,
    save_picture,
    shorten,
    text_width,
    wrap,
    writable,
)


@pytest.mark.parametrize("palette", PALETTES)
def test_a_colour_bar_begins_and_ends_with_the_colours_of_its_ends(palette: str) -> None:
    bar = color_bar(palette, 200, 5)
    assert bar.shape == (5, 200, 3)
    assert tuple(bar[0, 0]) == PALETTES[palette][0] and tuple(bar[-1, -1]) == PALETTES[palette][-1]


@pytest.mark.parametrize("log", [False, True])
def test_numbers_are_painted_in_the_colour_that_the_bar_has_there(log: bool) -> None:
    scale = Scale(0.5, 8.0, log)
    values = np.array([[0.5, 8.0, 2.0, 100.0, np.nan]])
    known = np.array([[True, True, True, True, False]])
    painted = paint(values, known, scale, "near")
    bar = color_bar("near", 1001, 1)[0].astype(int)
    assert (painted[0, 0] == bar[0]).all() and (painted[0, 1] == bar[-1]).all()
    assert np.abs(painted[0, 2] - bar[500 if log else 200]).max() <= 2
    assert (painted[0, 3] == bar[-1]).all() and (painted[0, 4] == UNKNOWN).all()


def test_a_scale_goes_around_its_numbers() -> None:
    values = np.concatenate([np.linspace(1, 9, 1001), [np.nan, np.inf, -4]])
    scale = Scale.around(values, log=True)
    assert (scale.low, scale.high) == pytest.approx((1.16, 8.84))
    assert scale.place(np.array([scale.low, scale.high, 0.1])).tolist() == [0, 1, 0]
    for none in (Scale.around(np.zeros(0), log=True), Scale.around(np.zeros(0)), Scale.around(np.full(9, 3.0))):
        assert none.high > none.low and np.isfinite(none.place(np.array([none.low, none.high]))).all()


@pytest.mark.parametrize(
    ("low", "high", "log"), [(6.44, 27.95, True), (0.001, 900, True), (1.0, 1.01, True), (-2, 7, False)]
)
def test_ticks_are_both_ends_and_round_numbers_with_room_between_them(low: float, high: float, log: bool) -> None:
    scale = Scale(low, high, log)
    ticks = scale.ticks()
    assert ticks[0] == low and ticks[-1] == high and ticks == sorted(ticks)
    assert np.diff(scale.place(np.array(ticks))).min() > 0.15
    assert len(ticks) > 2 or high < 1.02 * low
    assert all(float(f"{value:.3g}") == pytest.approx(value, rel=1e-9) for value in ticks[1:-1])


@pytest.mark.parametrize(("value", "shown"), [
    (27.95, "27.9"), (3, "3"), (0.0632, "0.0632"), (1234.5, "1234"), (12.0, "12"), (1e-5, "1e-5"), (2.5e7, "2.5e7"),
    (0, "0"), (float("nan"), "-"), (100, "100"),
])  # fmt: skip
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value).replace(".00e", "e").replace("50e", "5e") == shown
    assert number(12.0, strip=False) == "12.0"


def test_round_lengths() -> None:
    assert [round_down(x) for x in (1.0, 1.99, 2, 4.9, 5, 9.99, 0.03)] == pytest.approx([1, 1, 2, 2, 5, 5, 0.02])


def test_letters_that_the_font_lacks_are_spelled_otherwise() -> None:
    assert writable("café × 2 – Ørsted") == "cafe x 2 - ?rsted".replace("?", writable("Ø"))
    assert writable("日本.jpg") == "??.jpg" and writable("a\tb") == "a?b"


def test_text_is_shortened_in_its_middle_and_broken_between_words() -> None:
    name = "a_very_long_name_of_a_photo_0123.jpg"
    short = shorten(name, 16, 120)
    assert text_width(short, 16) <= 120 and short.startswith("a_v") and short.endswith("jpg") and "..." in short
    assert shorten("short", 16, 120) == "short"
    text = "one two three four " + "x" * 60
    lines = wrap(text, 16, 150)
    assert all(text_width(line, 16) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "") and lines[0].startswith("one two")
    assert wrap("", 16, 100) == []


def test_pictures_keep_their_proportions() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    assert fit(image, 50, 50).shape == (20, 50, 3) and fit(image, 500, 80).shape == (80, 200, 3)


def test_what_moves_is_pink() -> None:
    found = np.zeros((2, 2), bool)
    found[0, 0] = True
    marked = mark(np.full((2, 2, 3), 100, np.uint8), found).astype(int)
    assert marked[0, 0, 0] > 150 > 80 > marked[0, 0, 1] and (marked[1, 1] == 45).all()


def test_pictures_are_written_whole(tmp_path) -> None:
    picture = colorize(np.linspace(0, 1, 100).reshape(10, 10))
    path = save_picture(picture, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
