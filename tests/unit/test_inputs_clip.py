"""Frames of a video one by one: all of them or at a rate, by the file's own times, upright, from any place on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_inputs_video import EVEN, ORIENTATIONS, TICKS, number_of, numbered, set_matrix, write

from worldline.errors import InputError
from worldline.inputs.clip import open_clip

UNEVEN = [0, 10, 20, 100, 180, 400, 410, 900]


def test_every_frame_at_its_time(tmp_path: Path) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", EVEN[:20]))
    assert len(clip) == 20 and clip.size == (48, 64) and clip.timed
    np.testing.assert_allclose(clip.seconds, np.array(EVEN[:20]) / TICKS, atol=2e-3)
    found = [number_of(frame) for frame in clip.frames()]
    assert np.abs(np.array(found) - np.arange(20)).max() <= 1
    assert clip.names[3] == "frame_000003"


@pytest.mark.parametrize("gop", [3, 250])
def test_any_part_is_read_without_the_rest(tmp_path: Path, gop: int) -> None:
    clip = open_clip(write(tmp_path / "a.mp4", gop=gop))
    part = clip.read(31, 34)
    assert part.shape == (3, 48, 64, 3)
    np.testing.assert_array_equal(part, clip.read()[31:34])
    assert clip.read(5, 5).shape == (0, 48, 64, 3)
    with pytest.raises(InputError, match="no frames 3 to 61"):
        clip.read(3, 61)


def test_uneven_times_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [500 + stamp for stamp in UNEVEN])
    clip = open_clip(path)
    np.testing.assert_allclose(clip.seconds, np.array(UNEVEN) / TICKS, atol=2e-3)
    slow = open_clip(path, fps=10)  # at 0, 0.1, … 0.9: what has begun by then, nothing twice
    assert slow.numbers.tolist() == [0, 3, 4, 5, 6, 7]
    assert [number_of(frame) for frame in slow.frames()] == pytest.approx([0, 3, 4, 5, 6, 7], abs=1)
    assert open_clip(path, fps=10, max_frames=3).numbers.tolist() == [0, 3, 4]
    assert open_clip(path, fps=5000).numbers.tolist() == list(range(8))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_frames_are_upright(tmp_path: Path, orientation: int) -> None:
    path = write(tmp_path / "a.mp4", EVEN[:3])
    set_matrix(path, *ORIENTATIONS[orientation])
    clip = open_clip(path)
    assert clip.size == ((64, 48) if orientation > 4 else (48, 64))
    frame = clip.read(0, 1)[0]
    assert frame.shape[:2] == clip.size
    bright = np.argwhere(frame[..., 0] > 200).mean(0) / clip.size
    corner = {3: (1, 1), 6: (0, 1), 8: (1, 0)}[orientation]
    np.testing.assert_allclose(bright, np.abs(np.array(corner) - 1 / 6), atol=0.05)


def test_wide_pixels_count_in_the_aspect_ratio(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", EVEN[:3], aspect=2)
    assert open_clip(path).aspect_ratio == pytest.approx(2 * 64 / 48)
    set_matrix(path, *ORIENTATIONS[6])
    assert open_clip(path).aspect_ratio == pytest.approx(48 / (2 * 64))


def test_photos_are_frames_in_their_order(tmp_path: Path) -> None:
    for index in range(12):
        Image.fromarray(numbered(index)).save(tmp_path / f"f{index}.png")
    clip = open_clip(tmp_path)
    assert not clip.timed and "no times" in clip.notes[0] and clip.names[-1] == "f11.png"
    assert [number_of(frame) for frame in clip.frames(9)] == [9, 10, 11]
    np.testing.assert_allclose(open_clip(tmp_path, fps=4).seconds, np.arange(12) / 4)
    array = np.stack([numbered(index) for index in range(4)])
    np.testing.assert_array_equal(open_clip(array, max_frames=3).read(), array[:3])


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", EVEN[:3])
    for wrong, text in (({"fps": 0}, "0 frames per second"), ({"max_frames": 1}, "no motion")):
        with pytest.raises(InputError, match=text):
            open_clip(path, **wrong)
    with pytest.raises(InputError, match="single frame"):
        open_clip(write(tmp_path / "b.mp4", EVEN[:1]))
    with pytest.raises(InputError, match="does not exist"):
        open_clip(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        open_clip(tmp_path / "text.mp4")
    Image.fromarray(numbered(0)).save(tmp_path / "0.png")
    Image.fromarray(numbered(1, 40)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="64x40 pixels, the photos before it 64x48"):
        open_clip([tmp_path / "0.png", tmp_path / "1.png"]).read()
    whole = write(tmp_path / "whole.mp4", options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(0.7 * len(whole))])
    with pytest.raises(InputError):
        open_clip(tmp_path / "cut.mp4").read()
