"""Files of tracks say what the tracks are, and the film shows them where and when they are."""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.errors import InputError, OutputError
from worldline.eval.video.readers.tapvid3d import read_clip
from worldline.outputs import film_file, track_files
from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.facts.spread import spread
from worldline.outputs.overlay import OverlayOptions, Painter, film_size, write_overlay
from worldline.outputs.track_files import TrackRecord, write_tracks_csv, write_tracks_npz
from worldline.scene.video.tracks import VideoTracks

av = pytest.importorskip("av")
COUNT, TIMES = 5, 7
HEIGHT, WIDTH = 40, 60


@pytest.fixture
def record() -> TrackRecord:
    """Points of a still world before a camera that slides to the right: all that the files hold can be computed."""
    rng = np.random.default_rng(0)
    focal, center = 50.0, np.array([29.5, 19.5])
    world = np.concatenate([rng.uniform(-0.3, 0.3, (COUNT, 2)), rng.uniform(2, 4, (COUNT, 1))], 1)
    poses = np.broadcast_to(np.eye(4), (TIMES, 4, 4)).copy()
    poses[:, 0, 3] = 0.1 * np.arange(TIMES)
    points = world[:, None] - poses[None, :, :3, 3]
    pixels = focal * points[..., :2] / points[..., 2:] + center
    visibility = np.where(rng.uniform(size=(COUNT, TIMES)) > 0.3, 0.9, 0.1)
    start = rng.integers(0, TIMES, COUNT)
    tracks = VideoTracks(
        points.astype(np.float32),
        pixels.astype(np.float32),
        visibility.astype(np.float32),
        np.full((COUNT, TIMES), 0.7, np.float32),
        np.column_stack([pixels[np.arange(COUNT), start], start]),
        None,
    )
    matrix = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
    known = np.ones((COUNT, TIMES), bool)
    known[2, 4:] = False
    return TrackRecord(
        tracks,
        known,
        np.array([0, 0.1, 0.2, 0.3, 0.7, 0.8, 1.0]),
        np.broadcast_to(matrix, (TIMES, 3, 3)),
        poses,
        np.broadcast_to(world[:, None], points.shape).astype(np.float32),
    )


def test_the_archive_has_the_layout_of_tapvid3d(tmp_path: Path, record: TrackRecord) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (TIMES, HEIGHT, WIDTH, 3), np.uint8)
    path = write_tracks_npz(record, OutputFolder(tmp_path), frames)
    with np.load(path, allow_pickle=False) as file:
        data = dict(file)
    assert data["tracks_XYZ"].shape == (TIMES, COUNT, 3) and data["visibility"].shape == (TIMES, COUNT)
    assert data["visibility"].dtype == bool and not data["visibility"][4:, 2].any()
    fx, fy, cx, cy = data["fx_fy_cx_cy"]
    xyz = data["tracks_XYZ"]
    projected = xyz[..., :2] / xyz[..., 2:] * (fx, fy) + (cx, cy)  # pixels from the image's corner
    np.testing.assert_allclose(projected, data["tracks_xy"], atol=1e-3)
    x, y, t = data["queries_xyt"].T
    np.testing.assert_allclose(projected[t.astype(int), np.arange(COUNT)], np.stack([x, y], -1), atol=1e-3)
    moved = np.einsum("tij,tnj->tni", data["extrinsics_w2c"][:, :3, :3], data["tracks_XYZ_world"])
    np.testing.assert_allclose(moved + data["extrinsics_w2c"][:, None, :3, 3], xyz, atol=1e-5)
    picture = np.asarray(Image.open(io.BytesIO(data["images_jpeg_bytes"][3])))
    assert picture.shape == (HEIGHT, WIDTH, 3) and np.abs(picture.astype(int) - frames[3]).mean() < 12


def test_the_benchmark_reads_the_archive(tmp_path: Path, record: TrackRecord) -> None:
    """By the reader of the evaluation, which was written from the benchmark's description."""
    frames = np.full((TIMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    clip = read_clip(write_tracks_npz(record, OutputFolder(tmp_path), frames))
    assert clip.size == (HEIGHT, WIDTH) and clip.frames().shape == frames.shape
    np.testing.assert_allclose(clip.tracks.points, record.tracks.points.transpose(1, 0, 2))
    np.testing.assert_array_equal(clip.tracks.visible, (record.tracks.visible & record.known).T)
    assert clip.cam_from_world is not None
    np.testing.assert_allclose(clip.cam_from_world @ record.world_from_cam, np.broadcast_to(np.eye(4), (TIMES, 4, 4)))


def test_an_archive_without_pictures_or_poses(tmp_path: Path, record: TrackRecord) -> None:
    record.world_from_cam[3] = np.nan
    with np.load(write_tracks_npz(record, OutputFolder(tmp_path)), allow_pickle=False) as file:
        assert len(file["images_jpeg_bytes"]) == 0
        assert np.isnan(file["extrinsics_w2c"][3]).any() and np.isfinite(file["extrinsics_w2c"][:3]).all()


def test_the_table_has_a_row_per_track_and_frame(
    tmp_path: Path, record: TrackRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_files, "_ROWS", 8)  # in several portions
    path = write_tracks_csv(record, OutputFolder(tmp_path))
    assert path is not None
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == COUNT * TIMES - 3
    for row in rows:
        n, t = int(row["track"]), int(row["frame"])
        assert float(row["seconds"]) == pytest.approx(record.seconds[t])
        assert [float(row["x"]), float(row["y"])] == pytest.approx(record.tracks.pixels[n, t].tolist(), abs=1e-3)
        assert (row["visible"] == "1") == record.tracks.visible[n, t]
        assert record.world is not None
        assert [float(row[axis]) for axis in "XYZ"] == pytest.approx(record.world[n, t].tolist(), rel=1e-5)
    monkeypatch.setattr(track_files, "MOST_ROWS", 10)
    assert write_tracks_csv(record, OutputFolder(tmp_path / "long")) is None


def film(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def test_the_film_shows_points_where_and_when_they_are(tmp_path: Path, record: TrackRecord) -> None:
    grey = np.full((TIMES, HEIGHT, WIDTH, 3), 128, np.uint8)
    options = OverlayOptions(trail=0.0)
    heard: list[int] = []
    codec = write_overlay(
        tmp_path / "a.mp4", grey, record.tracks.pixels, record.tracks.visible, record.seconds, known=record.known,
        options=options, progress=lambda: heard.append(1),
    )  # fmt: skip
    times, pictures = film(tmp_path / "a.mp4")
    assert codec in film_file.CODECS and len(heard) == TIMES
    assert times == pytest.approx(record.seconds.tolist(), abs=1e-3)  # uneven, as in the file
    size = film_size((HEIGHT, WIDTH), options)
    assert pictures[0].shape[:2] == size == (9 * HEIGHT, 9 * WIDTH)
    for number in range(TIMES):
        for track in range(COUNT):
            x, y = ((record.tracks.pixels[track, number] + 0.5) * 9).round().astype(int)
            color = pictures[number][y, x].astype(int)
            shown = record.known[track, number] and record.tracks.visible[track, number]
            assert (np.ptp(color) > 60) == shown, (number, track, color)


def test_a_hidden_point_is_a_ring_and_the_past_a_line(record: TrackRecord) -> None:
    pixels = np.array([[[10.0, 20.0], [30.0, 20.0], [50.0, 20.0]]])
    visible = np.array([[True, True, False]])
    painter = Painter((HEIGHT, WIDTH), pixels, visible, np.ones((1, 3), bool), np.arange(3) / 10, OverlayOptions())
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    last = painter.draw(black, 2).max(-1)
    y = round(20.5 * 9)
    assert last[y, 20 * 9] > 60  # between the first two places
    assert last[y, 40 * 9] == 0  # it was not seen between the last two
    assert last[y, round(50.5 * 9)] == 0  # open in the middle
    assert last[y - 6 : y + 7, round(50.5 * 9) - 6 : round(50.5 * 9) + 7].max() > 60
    assert painter.draw(black, 0).max(-1)[y, 20 * 9] == 0  # nothing of the future


def test_sizes_and_numbers() -> None:
    assert film_size((1080, 1920), OverlayOptions()) == (720, 1280)
    assert film_size((240, 320), OverlayOptions()) == (480, 640)
    assert all(side % 2 == 0 for side in film_size((241, 427), OverlayOptions()))
    assert spread(10, 4).tolist() == [0, 3, 6, 9] and spread(3, 9).tolist() == [0, 1, 2] and len(spread(0, 5)) == 0


def test_failures_leave_nothing_behind(tmp_path: Path, record: TrackRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    few = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    folder = OutputFolder(tmp_path)
    with pytest.raises(InputError, match="has 2 frames"), folder.file("overlay.mp4") as path:
        write_overlay(path, few, record.tracks.pixels, record.tracks.visible, record.seconds)
    assert [each.name for each in tmp_path.iterdir()] == [".worldline-exports.json"]
    monkeypatch.setattr(film_file, "CODECS", ("none",))
    with pytest.raises(InputError, match="can write no film"):
        write_overlay(tmp_path / "b.mp4", few, record.tracks.pixels, record.tracks.visible, record.seconds)
    (tmp_path / "tracks.csv").write_text("mine")
    with pytest.raises(OutputError, match="not written by worldline"):
        write_tracks_csv(record, folder)
    assert (tmp_path / "tracks.csv").read_text() == "mine"


def test_other_codecs_keep_the_times_too(tmp_path: Path, record: TrackRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_file, "CODECS", ("mpeg4",))
    grey = np.full((TIMES, HEIGHT, WIDTH, 3), 128, np.uint8)
    write_overlay(tmp_path / "a.mp4", grey, record.tracks.pixels, record.tracks.visible, record.seconds)
    assert film(tmp_path / "a.mp4")[0] == pytest.approx(record.seconds.tolist(), abs=2e-3)
    untimed = tmp_path / "b.mp4"
    write_overlay(untimed, grey, record.tracks.pixels, record.tracks.visible, np.arange(TIMES), timed=False)
    assert film(untimed)[0] == pytest.approx([float(Fraction(each, 24)) for each in range(TIMES)], abs=2e-3)
