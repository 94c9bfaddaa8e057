"""A video becomes a few sharp views, upright, evenly spread in time; its frames are named and timed by the file."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.inputs import choose_frames_published, load_views, read_original, video

av = pytest.importorskip("av")

TICKS = 1000  # per second
EVEN = [round(index * TICKS / 30) for index in range(60)]


def numbered(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that tells its number by its grey level, with a bright corner that tells which way is up."""
    image = np.full((height, width, 3), 20 + 3 * index, np.uint8)
    image[: height // 3, : width // 3] = 250
    return image


def number_of(image: np.ndarray) -> int:
    height, width = image.shape[:2]
    return round((float(image[2 * height // 3 :, 2 * width // 3 :].mean()) - 20) / 3)


def write(path: Path, stamps=EVEN, frames=None, codec="libx264", gop=None, aspect=None, options=None) -> Path:
    frames = frames or [numbered(index) for index in range(len(stamps))]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        if codec == "libx264":
            stream.options = {"crf": "8", "preset": "ultrafast"}
        if gop:
            stream.codec_context.gop_size = gop
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for stamp, image in zip(stamps, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into the track header of an MP4 file, as phones do."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    matrix = start + 4 + (32 if data[start] else 20) + 16
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


# what a player shows: x' = a x + c y, y' = b x + d y, moved into view
ORIENTATIONS = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def test_twelve_views_by_default_evenly_in_time(tmp_path):
    views = load_views(write(tmp_path / "a.mp4"))
    assert len(views) == 12
    indices = [int(view.name.removeprefix("frame_")) for view in views]
    assert [index // 5 for index in indices] == list(range(12))
    for index, view in zip(indices, views, strict=True):
        assert view.timestamp == pytest.approx(EVEN[index] / TICKS, abs=2e-3)
        assert abs(number_of(view.image) - index) <= 1
        assert view.source == tmp_path / "a.mp4"
    assert any("12 of 60 frames (2.0 s) of a.mp4 are used" in note for note in views.notes)


def test_max_views_and_fps(tmp_path):
    path = write(tmp_path / "a.mp4")
    assert len(load_views(path, max_views=5)) == 5
    assert len(load_views(path, fps=4)) == 8
    assert len(load_views(path, fps=4, max_views=3)) == 3
    assert len(load_views(path, max_views=500)) == 60
    assert len(load_views(path, fps=500)) == 60
    last = load_views(path, fps=4, max_views=2)[1]
    assert last.timestamp >= 1  # the limit spreads over the whole video


def test_the_sharpest_frame_of_each_slot(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    flat = np.full_like(noise, 128)
    sharp = {3, 14, 27, 35, 42, 59}
    frames = [noise if index in sharp else flat for index in range(60)]
    for codec, name in (("libx264", "a.mp4"), ("mjpeg", "a.avi")):
        views = load_views(write(tmp_path / name, frames=frames, codec=codec), max_views=6)
        assert {int(view.name[-6:]) for view in views} == sharp


def test_variable_frame_rate(tmp_path):
    """Half of the frames lie in the first tenth of the time; views are even in time, not in frame number."""
    stamps = [index * 10 for index in range(30)] + [300 + index * 90 for index in range(30)]
    views = load_views(write(tmp_path / "a.mp4", stamps), max_views=6)
    times = np.array([view.timestamp for view in views])
    duration = (stamps[-1] - stamps[0]) / TICKS
    assert np.all(np.abs(times - (np.arange(6) + 0.5) * duration / 6) < 0.6 * duration / 6)
    for view in views:
        index = int(view.name[-6:])
        assert view.timestamp == pytest.approx(stamps[index] / TICKS, abs=2e-3)
        assert abs(number_of(view.image) - index) <= 1


def test_time_stamps_that_do_not_begin_at_zero(tmp_path):
    views = load_views(write(tmp_path / "a.mkv", [5000 + stamp for stamp in EVEN]), max_views=3)
    assert 0 <= views[0].timestamp < 0.7


@pytest.mark.parametrize("orientation", range(1, 9))
def test_display_matrix(tmp_path, orientation):
    a, b, c, d = ORIENTATIONS[orientation]
    path = write(tmp_path / "a.mp4", EVEN[:3])
    set_matrix(path, a, b, c, d)
    view = load_views(path)[0]
    assert view.transform.orientation == orientation
    height, width = (64, 48) if orientation > 4 else (48, 64)
    assert view.transform.original_size == (height, width)
    original = read_original(view.source, view.timestamp)
    assert original.shape == (height, width, 3)
    # the bright corner, top left as stored: follow its centre through the matrix
    x, y = a * (8 - 31.5) + c * (6 - 23.5), b * (8 - 31.5) + d * (6 - 23.5)
    column, row = round(x + (width - 1) / 2), round(y + (height - 1) / 2)
    assert original[row, column].min() > 200
    assert (original.min(-1) > 200).mean() < 0.2


def test_pixels_that_are_not_square(tmp_path):
    view = load_views(write(tmp_path / "a.mp4", EVEN[:3], aspect=Fraction(3, 2)), fit="pad")[0]
    assert view.transform.original_size == (48, 64)
    assert view.transform.resized_size == (112, 224)  # shown 96 x 48
    corner = view.transform.to_original(np.array([0.0, 56.0]) - 0.5)
    np.testing.assert_allclose(corner, [-0.5, -0.5], atol=1e-9)


def test_one_frame_is_held_at_a_time(tmp_path, monkeypatch):
    """Only chosen frames become full-size arrays, and only candidates of the current slot stay alive."""
    path = write(tmp_path / "a.mp4")
    converted = []
    original = video._rgb
    monkeypatch.setattr(video, "_rgb", lambda frame: converted.append(1) or original(frame))
    assert len(load_views(path, max_views=4)) == len(converted) == 4


def test_key_frames_are_enough_where_there_are_many(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", gop=2)
    measured = []
    original = video._sharpness
    monkeypatch.setattr(video, "_sharpness", lambda frame: measured.append(frame.pts) or original(frame))
    views = load_views(path, max_views=3)
    assert len(views) == 3
    assert len(measured) <= 31
    for view in views:
        index = int(view.name[-6:])
        assert index % 2 == 0
        assert abs(number_of(view.image) - index) <= 1


def test_file_without_time_stamps(tmp_path):
    write(tmp_path / "a.h264")
    (tmp_path / "a.h264").rename(tmp_path / "a.mpg")
    views = load_views(tmp_path / "a.mpg", max_views=4)
    assert len(views) == 4
    assert [abs(number_of(view.image) - int(view.name[-6:])) <= 1 for view in views] == [True] * 4
    assert np.all(np.diff([view.timestamp for view in views]) > 0)


def test_originals_of_frames(tmp_path):
    path = write(tmp_path / "a.mp4")
    for view in load_views(path, max_views=7):
        assert abs(number_of(read_original(path, view.timestamp)) - int(view.name[-6:])) <= 1


def test_known_intrinsics_of_a_video(tmp_path):
    matrix = np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1.0]])
    views = load_views(write(tmp_path / "a.mp4", EVEN[:6]), max_views=2, intrinsics=matrix)
    assert all(np.array_equal(view.intrinsics, matrix) for view in views)
    with pytest.raises(InputError, match="3 poses were given for 2 photos"):
        load_views(tmp_path / "a.mp4", max_views=2, poses=[np.eye(4)] * 3)


def test_unreadable_videos(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    path = write(tmp_path / "whole.mp4")
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for name in ("empty.mp4", "text.mp4", "cut.mp4"):
        with pytest.raises(
            InputError, match=rf"{name} (is empty|cannot be read as a video).*\. Copy it again, or convert"
        ):
            load_views(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        load_views(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match=r"64x48 pixels, more than the limit\. Raise max_pixels"):
        load_views(path, max_pixels=1000)


def test_video_without_pictures(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="has no video track"):
        load_views(tmp_path / "a.mp4")


def test_cut_off_video_with_its_index_in_front(tmp_path):
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in EVEN]
    path = write(tmp_path / "a.mp4", frames=frames, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with pytest.raises(InputError, match=r"a.mp4 is damaged: it ends after 1\.\d of 2\.0 seconds.*--skip-bad"):
        load_views(path)
    views = load_views(path, skip_bad=True)
    assert len(views) >= 10
    assert views.skipped[0].startswith("a.mp4: it ends after")


def test_damage_in_the_middle(tmp_path):
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in EVEN]
    path = write(tmp_path / "a.mp4", frames=frames, gop=1, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes([255]) * (len(data) // 10)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged: \d+ of 60 frames cannot be decoded"):
        load_views(path)
    views = load_views(path, skip_bad=True)
    assert 10 <= len(views) <= 12
    assert "frames cannot be decoded" in views.skipped[0]


def test_published_choice():
    assert choose_frames_published(100, 10) == list(range(0, 100, 10))
    assert choose_frames_published(7, 3) == [0, 2, 4]
    assert choose_frames_published(2, 4) == [0, 0, 1, 1]
    with pytest.raises(InputError):
        choose_frames_published(0, 3)
