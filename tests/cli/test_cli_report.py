"""``worldline report`` from a saved scene to its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import report_scenes
from worldline.cli import main
from worldline.scene import Scene

KINDS = {"photos": report_scenes.photos, "stream": report_scenes.stream, "video": report_scenes.video}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return KINDS[request.param]().save(tmp_path / request.param)


def test_a_page_and_pictures_of_every_kind_of_scene(folder: Path, tmp_path: Path) -> None:
    out = [tmp_path / name for name in ("a.html", "b.png", "c.jpg")]
    assert main(["report", str(folder), "-o", *map(str, out), "--views", "4"]) == 0
    scene = Scene.load(folder)
    text = out[0].read_text(encoding="utf-8")
    points = sum(int(view.mask.sum()) for view in scene.views)
    assert f"<h1>{folder.name}</h1>" in text and f"{len(scene)} views, {points:,} points" in text
    assert f"of {len(scene)} views are shown" in text
    for path, kind in zip(out[1:], ("PNG", "JPEG"), strict=True):
        with Image.open(path) as picture:
            assert picture.format == kind and picture.width == 1800
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([folder.name, "a.html", "b.png", "c.jpg"])


def test_by_default_it_goes_into_the_folder_of_the_scene(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = report_scenes.photos(2).save(tmp_path / "room")
    assert main(["report", str(folder), "--title", "My <room>"]) == 0
    assert capsys.readouterr().out.strip() == f"wrote {folder / 'report.html'}"
    assert "<h1>My &lt;room&gt;</h1>" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("points", [True, False])
def test_a_scene_whose_poses_all_failed_has_a_report(points: bool, tmp_path: Path) -> None:
    scene = report_scenes.photos(3)
    views = tuple(
        replace(view, pose_status="failed", mask=view.mask & (points or index > 0))
        for index, view in enumerate(scene.views)
    )
    folder = replace(scene, views=views).save(tmp_path / "lost")
    page, picture = tmp_path / "lost.html", tmp_path / "lost.png"
    assert main(["report", str(folder), "-o", str(page), str(picture)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "3 failed" in text and "A new view" not in text and "no camera&#x27;s place is known" in text
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(("options", "said"), [
    (["-o", "report.pdf"], "Choose .html"),
    (["--views", "0"], "1 or more"),
    (["-o", "missing.html/report.html"], "is a file"),
])  # fmt: skip
def test_mistakes_get_one_sentence(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = report_scenes.photos(2).save(tmp_path / "room")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing.html").write_text("not a folder")
    assert main(["report", str(folder), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_scene(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a saved scene" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
def test_gaussians_of_a_saved_scene_are_what_the_new_view_shows(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.save(tmp_path / "exact")
    assert main(["report", str(folder)]) == 0
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "200 Gaussians, 5 tracks" in text and "the Gaussians as seen from" in text
