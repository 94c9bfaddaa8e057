"""``worldline render`` from a saved scene to a film that a player decodes."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from worldline.cli import main
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene
from worldline.worlds.sampling import TEST_SEEDS, sample


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = sample("dynamic", TEST_SEEDS[5], views=4, height=48, width=64, rate=4.0, effects=0.0, shooting="walk")
    return exact_scene(world).save(tmp_path_factory.mktemp("scenes") / "video")


def run(*arguments: object) -> int:
    return main(["render", *(str(argument) for argument in arguments)])


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_an_orbit_becomes_a_film(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(saved, "--path", "orbit", "--size", "81x45", "--frames", 5, "-o", tmp_path / "film.mp4") == 0
    frames = decoded(tmp_path / "film.mp4")
    assert frames.shape == (5, 44, 80, 3)
    assert all(frame.std() > 10 for frame in frames) and np.abs(frames[0] - frames[1].astype(int)).max() > 20
    said = capsys.readouterr().out
    assert "5 frames" in said and "frames per second" in said and str(tmp_path / "film.mp4") in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_at_the_photos_cameras_the_film_is_the_photos(saved: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    assert run(saved, "--path", "cameras", "--side-by-side", "-o", film, "--quiet") == 0
    frames = decoded(film).astype(np.float64)
    assert frames.shape == (4, 48, 128, 3)
    with av.open(str(film)) as container:
        assert float(container.duration / av.time_base) == pytest.approx(1.0, abs=0.26)  # as long as the video
    for frame in frames:
        error = ((frame[:, :64] - frame[:, 64:]) ** 2).mean()
        assert 10 * np.log10(255**2 / error) > 20


def test_stills_and_depth(saved: Path, tmp_path: Path) -> None:
    assert run(saved, "--size", "80x45", "--still", tmp_path / "still.png", "--background", "#00ff00") == 0
    assert run(saved, "--size", "80x45", "-o", tmp_path / "depth.jpg", "--kind", "depth", "--moment", "-1") == 0
    still, depth = (np.asarray(Image.open(tmp_path / name)) for name in ("still.png", "depth.jpg"))
    assert still.shape == depth.shape == (45, 80, 3) and still.std() > 10 and depth.std() > 10


def test_a_saved_path_gives_the_same_film(saved: Path, tmp_path: Path) -> None:
    small = ("--size", "48x32", "--frames", 3, "--quiet")
    path, first, second = (tmp_path / name for name in ("path.json", "a.mp4", "b.mp4"))
    assert run(saved, "--path", "spline", "--time", *small, "-o", first, "--save-path", path) == 0
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [entry["moment"] for entry in document["cameras"]] == pytest.approx([0.0, 0.375, 0.75])
    assert run(saved, "--path-file", path, *small, "-o", second) == 0
    assert (decoded(first) == decoded(second)).all()


def test_the_time_passes_while_the_camera_stands(saved: Path, tmp_path: Path) -> None:
    gif = tmp_path / "film.gif"
    assert run(saved, "--time", "--arc", 0, "--frames", 4, "--fps", 4, "--size", "64x48", "-o", gif, "--quiet") == 0
    with Image.open(gif) as animation:
        frames = []
        for index in range(animation.n_frames):
            animation.seek(index)
            frames.append(np.asarray(animation.convert("RGB"), np.int64))
    assert len(frames) == 4
    changed = np.abs(frames[0] - frames[-1]).max(-1) > 40
    assert 0.001 < changed.mean() < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "No file to write"),
        (("-o", "film.avi"), "by its ending"),
        (("-o", "nowhere/film.mp4"), "does not exist"),
        (("-o", "a.mp4", "--path", "loop"), "no path 'loop'"),
        (("-o", "a.mp4", "--size", "0x5"), "--size 0x5"),
        (("-o", "a.mp4", "--size", "wide"), "--size wide"),
        (("-o", "a.mp4", "--size", "16384x16384"), "about 19 GB"),
        (("-o", "a.mp4", "--still", "b.png", "--size", "8192x4096"), "with supersampling 2"),
        (("-o", "a.mp4", "--supersample", "0"), "supersampling is 0"),
        (("--save-path", "path.json", "--supersample", "0"), "supersampling is 0"),
        (("-o", "a.mp4", "--elevation", "95"), "elevation is 95"),
        (("-o", "a.mp4", "--arc", "-30"), "arc is -30"),
        (("-o", "a.mp4", "--arc", "400"), "arc is 400"),
        (("-o", "a.mp4", "--kind", "mesh"), "no kind 'mesh'"),
        (("-o", "a.mp4", "--kind", "gaussians"), "no Gaussians"),
        (("-o", "a.mp4", "--background", "sky"), "no background"),
        (("-o", "a.mp4", "--moment", "noon"), "--moment noon"),
        (("-o", "a.mp4", "--moment", "77.5"), "nothing at 77.5"),
        (("-o", "a.mp4", "--time", "--moment", "1"), "--time"),
        (("-o", "a.mp4", "--frames", "0"), "0 frames"),
        (("-o", "a.mp4", "--fps", "-1"), "Fps is -1"),
        (("-o", "a.mp4", "--side-by-side"), "own cameras"),
        (("-o", "a.mp4", "--sensor", "FRONT"), "no view of sensor"),
        (("-o", "a.mp4", "--path-file", "none.json"), "cannot be read"),
        (("-o", "a.png", "--still", "b.png"), "are pictures"),
        (("--still", "b.mp4"), "is the name of a film"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_the_work(
    saved: Path, arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(saved, *arguments) == 2
    answer = capsys.readouterr().err
    assert says in answer and len(answer.strip().splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_scenes_are_not_read_into_memory_at_once(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    asked, load = [], Scene.load
    monkeypatch.setattr(Scene, "load", lambda folder, **how: asked.append(how) or load(folder, **how))
    assert run(saved, "--size", "32x18", "-o", tmp_path / "a.png", "--quiet") == 0
    assert main(["export", str(saved), "--to", "ply,glb,npz,html,colmap", "-o", str(tmp_path / "files")]) == 0
    assert asked == [{"lazy": True}] * 2


def test_a_folder_without_a_scene_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(tmp_path, "-o", tmp_path / "a.mp4") == 2
    assert str(tmp_path) in capsys.readouterr().err
