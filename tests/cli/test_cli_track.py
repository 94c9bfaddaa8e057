"""``worldline track`` from a video file to every output, with a tiny network that knows nothing."""

from __future__ import annotations

import csv
import json
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import Scene, weights
from worldline.cli import main
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt

av = pytest.importorskip("av")

TINY = D4rtConfig(
    clip_frames=4, image_size=(32, 32), encoder_dim=16, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=32,
    decoder_dim=16, decoder_depth=1, decoder_heads=2, decoder_mlp_dim=32,
)  # fmt: skip
STAMPS = [0, 40, 80, 200, 240, 500, 600]  # milliseconds: uneven, as phones film
HEIGHT, WIDTH = 36, 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    torch.manual_seed(0)
    weights.save_model(D4rt(TINY), folder, card={"name": "tiny", "license": "Apache-2.0", "image_size": 32})
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, stamp in enumerate(STAMPS):
            grey = 128 + 100 * np.sin((columns + 3 * number) / 5) * np.cos(rows / 4)
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, -1).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def track(video: Path, out: Path, model: Path, *more: object) -> int:
    return main(["track", str(video), "-o", str(out), "--model", str(model), "--device", "cpu", *map(str, more)])


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_a_video_becomes_a_scene_tables_and_a_film(
    tmp_path: Path, video: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    assert track(video, tmp_path, model, "--points", "grid:4", "--to", "ply") == 0
    said = capsys.readouterr().out
    assert "7 frames of 64x36" in said and "16 tracks" in said and "3 windows" in said
    scene = Scene.load(tmp_path)
    seconds = np.array(STAMPS) / 1000
    np.testing.assert_allclose([view.timestamp for view in scene.views], seconds, atol=2e-3)
    assert scene.tracks is not None and scene.tracks.points.shape == (16, 7, 3)
    assert scene.provenance.model == "tiny" and scene.provenance.arguments["points"] == "grid:4"
    with np.load(tmp_path / "tracks.npz", allow_pickle=False) as data:
        assert data["tracks_XYZ"].shape == (7, 16, 3) and len(data["images_jpeg_bytes"]) == 7
        np.testing.assert_allclose(data["queries_xyt"][0], [WIDTH / 8, HEIGHT / 8, 0])
        np.testing.assert_allclose(data["seconds"], seconds, atol=2e-3)
        known = data["known"]
    rows = list(csv.DictReader((tmp_path / "tracks.csv").read_text().splitlines()))
    assert len(rows) == known.sum() and {row["frame"] for row in rows} <= {str(n) for n in range(7)}
    assert float(rows[3]["seconds"]) == pytest.approx(0.2, abs=2e-3)
    placed = [view for view in scene.views if view.pose_status != "failed"]
    poses = [line.split() for line in (tmp_path / "trajectory.txt").read_text().splitlines() if line[0] != "#"]
    assert len(poses) == len(placed)
    for line, view in zip(poses, placed, strict=True):
        assert float(line[0]) == pytest.approx(view.timestamp, abs=1e-6)
    assert len(list((tmp_path / "depth").glob("*.png"))) == 7
    with Image.open(next((tmp_path / "depth").glob("*.png"))) as depth:
        assert depth.size == (WIDTH, HEIGHT)
    assert times(tmp_path / "overlay.mp4") == pytest.approx(seconds.tolist(), abs=2e-3)
    assert (tmp_path / "points.ply").is_file()
    assert not list(tmp_path.glob(".partial*"))
    assert track(video, tmp_path, model, "--points", "grid:2", "--quiet") == 0  # our own files may be replaced
    assert capsys.readouterr().out == ""


def test_points_of_a_file_in_the_world_at_a_rate(tmp_path: Path, video: Path, model: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("frame,x,y\n0,10,12\n2,30.5,20\n")
    out = tmp_path / "out"
    assert track(video, out, model, "--points", points, "--world", "--fps", 10, "--no-film", "--size", 16) == 0
    with np.load(out / "tracks.npz", allow_pickle=False) as data:
        np.testing.assert_allclose(data["queries_xyt"], [[10.5, 12.5, 0], [31, 20.5, 2]])
        np.testing.assert_allclose(data["seconds"], [0, 0.08, 0.2, 0.24, 0.5, 0.6], atol=2e-3)
        assert data["tracks_XYZ_world"].shape == (6, 2, 3)
    assert not (out / "overlay.mp4").exists()
    assert max(Scene.load(out).views[0].depth.shape) == 16


def test_a_video_filmed_upright_is_tracked_upright(tmp_path: Path, video: Path, model: Path) -> None:
    """A quarter turn in the file's header, as phones write it: x' = -y, y' = x."""
    data = bytearray(video.read_bytes())
    start = data.index(b"tkhd") + 4
    matrix = start + 4 + (32 if data[start] else 20) + 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    out = tmp_path / "out"
    assert track(turned, out, model, "--points", "grid:2", "--max-frames", 3, "--quiet") == 0
    view = Scene.load(out).views[0]
    assert view.transform.original_size == (WIDTH, HEIGHT)
    with Image.open(next((out / "depth").glob("*.png"))) as depth:
        assert depth.size == (HEIGHT, WIDTH)
    with av.open(str(out / "overlay.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.height > frame.width


def test_every_pixel_of_photos_without_times(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 255, (16, 24, 3), np.uint8)).save(frames / f"{number}.png")
    out = tmp_path / "out"
    arguments = ("--points", "all:4", "--world", "--window", 3, "--overlap", 1, "--max-frames", 5)
    assert track(frames, out, model, *arguments) == 0
    said = capsys.readouterr().out
    assert "all pixels:" in said and "without times" in said and "2 windows" in said
    with np.load(out / "tracks.npz", allow_pickle=False) as data:
        assert data["tracks_XYZ"].shape[1] >= 4 * 6
        poses, known = data["extrinsics_w2c"], data["known"]
        there = np.einsum("tij,tnj->tni", poses[:, :3, :3], data["tracks_XYZ_world"]) + poses[:, None, :3, 3]
        np.testing.assert_allclose(there[known], data["tracks_XYZ"][known], atol=1e-4)
    assert (out / "trajectory.txt").read_text().startswith("# timestamp tx ty tz qx qy qz qw; timestamp = index")
    arguments = json.loads((out / "scene.json").read_text())["provenance"]["arguments"]
    assert [each["frames"] for each in arguments["windows"]] == [[0, 2], [2, 4]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--points", "grid:0"), "no points called 'grid:0'"),
        (("--points", "all:-2"), "no points called 'all:-2'"),
        (("--points", "everything"), "no points called 'everything', and no such file"),
        (("--points", "BAD"), "Line 2 of"),
        (("--points", "OUTSIDE"), "is not in the video"),
        (("--window", "9"), "A window of 9 frames is too long for tiny"),
        (("--window", "1"), "A window of 1 frames shows no motion"),
        (("--overlap", "4"), "Windows of 4 frames cannot share 4"),
        (("--fps", "0"), "0.0 frames per second"),
        (("--max-frames", "1"), "A video of 1 frames"),
        (("--size", "0"), "--size is 0"),
        (("--size", "100000"), "--size is 100000, the video has"),
        (("--to", "glob"), "Unknown export format: glob"),
        (("--model", "d4rt-maxi"), "d4rt-maxi"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    arguments: tuple[str, str], sentence: str, tmp_path: Path, video: Path, model: Path,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    files = {"BAD": "1,2,0\n1;2\n", "OUTSIDE": "640,2\n"}
    option, value = arguments
    if value in files:
        (tmp_path / "points.csv").write_text(files[value])
        value = str(tmp_path / "points.csv")
    assert track(video, tmp_path / "out", model, option, value) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 2  # a cause and a remedy
    assert not (tmp_path / "out").exists()


def test_missing_videos_and_places_that_are_taken(
    tmp_path: Path, video: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    assert track(tmp_path / "none.mp4", tmp_path / "out", model) == 2
    assert "none.mp4 does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert track(video, tmp_path / "file", model) == 2
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "tracks.npz").write_text("mine")
    assert track(video, taken, model) == 2
    assert "tracks.npz exists and was not written by worldline" in capsys.readouterr().err
    assert [each.name for each in taken.iterdir()] == ["tracks.npz"]
    assert (taken / "tracks.npz").read_text() == "mine"


def test_a_model_that_answers_no_queries_is_refused(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["track", str(video), "-o", str(tmp_path / "out"), "--model", "mvdust3r-plus-mini"]) == 2
    assert "answers no queries" in capsys.readouterr().err
