"""Recorded clips in a training: what is asked about them is true, and the command line mixes them by weight."""

import json
from pathlib import Path

import numpy as np
import pytest

import formats_video
from formats_video import Film, film, filmed_world
from worldline.cli import main
from worldline.errors import InputError
from worldline.train.clips.clips import Clip
from worldline.train.clips.mixture import MixedClips, parse_data
from worldline.train.clips.queries import QueryOptions, draw_queries
from worldline.train.clips.readers import open_clips
from worldline.worlds.truth import query
from worldline.worlds.truth.tracks import sample_tracks

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def video() -> Film:
    return film(filmed_world(), HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def recorded(video: Film, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The world in formats that know what moves."""
    roots = {kind: tmp_path_factory.mktemp(kind) for kind in ("vkitti", "kubric", "pointodyssey")}
    formats_video.write_vkitti(roots["vkitti"], video)
    formats_video.write_kubric(roots["kubric"], video, exported=False)
    tracks = sample_tracks(video.world, 300, height=HEIGHT, width=WIDTH)
    formats_video.write_point_odyssey(roots["pointodyssey"], video, tracks, blender=True)
    return roots


@pytest.mark.parametrize("kind", ["vkitti", "kubric", "pointodyssey"])
def test_targets_of_recordings_are_true(video: Film, recorded: dict[str, Path], kind: str) -> None:
    clip = open_clips(kind, recorded[kind], frames=5).draw(np.random.default_rng(0))
    asked = draw_queries(clip, QueryOptions(count=600), np.random.default_rng(1))
    truth = query(
        video.world, asked.u, asked.v, asked.t_src, asked.t_tgt, asked.t_cam, height=HEIGHT, width=WIDTH
    )  # fmt: skip
    assert asked.has_points.mean() > 0.9 and (truth.body[asked.has_points] > 0).mean() > 0.1

    # trajectories start within a pixel, where rounding can hit the surface beside the one that was meant
    def agree(ours: np.ndarray, theirs: np.ndarray, known: np.ndarray, within: float) -> None:
        error = np.abs(ours - theirs).reshape(len(ours), -1).max(-1)[known & truth.valid]
        assert np.mean(error < within) > (0.98 if kind == "pointodyssey" else 0.999)

    agree(asked.points, truth.position, asked.has_points, 0.02)
    agree(asked.motion, truth.motion, asked.has_points, 0.02)
    agree(asked.uv * [WIDTH, HEIGHT], truth.uv * [WIDTH, HEIGHT], asked.has_uv & (truth.position[:, 2] > 0.3), 0.1)
    same = asked.visible == truth.visible  # judged on a depth map of 60 x 80 pixels, which is coarse at edges
    assert same[asked.has_visible].mean() > 0.95
    cosine = (asked.normal * truth.normal).sum(-1)[asked.has_normal]
    assert np.mean(cosine > 0.995) > (0.93 if kind == "pointodyssey" else 0.97)


def test_mixtures_are_parsed() -> None:
    assert parse_data(["vkitti:/data/v=2", "kubric:a=b/c", "worlds=0.5"]) == (
        ("vkitti", "/data/v", 2.0),
        ("kubric", "a=b/c", 1.0),
        ("worlds", "", 0.5),
    )
    for text in ("vkitti", "sintel:/data", "kubric:", "worlds:x=1", "kubric:x=-1", "kubric:x=nan", ""):
        with pytest.raises(InputError):
            parse_data([text])
    with pytest.raises(InputError, match="weight 0"):
        parse_data(["worlds=0", "kubric:x=0"])


class Worlds:
    """Rendered clips: an empty stand-in."""

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Clip]:
        return [None] * count  # type: ignore[list-item]

    def validation(self) -> list[Clip]:
        return []

    def facts(self) -> dict[str, str]:
        return {"source": "worlds"}


def test_mixtures_follow_their_weights(recorded: dict[str, Path]) -> None:
    data = parse_data([f"kubric:{recorded['kubric']}=1", f"vkitti:{recorded['vkitti']}=0", "worlds=3"])
    mixed = MixedClips(Worlds(), data, frames=3, largest_stride=2)
    clips = mixed.draw(np.random.default_rng(0), 40, 16)
    read = [clip for clip in clips if clip is not None]
    assert 4 <= len(read) <= 16 and all(len(clip) == 3 for clip in read)
    assert mixed.facts()["recorded"] == [{"kind": "kubric", "videos": 1, "frames": 5, "share": 0.25}]
    assert mixed.facts()["share of rendered clips"] == 0.75
    again = mixed.draw(np.random.default_rng(0), 40, 16)
    assert [clip is None for clip in clips] == [clip is None for clip in again]


def test_a_training_on_recordings_from_the_command_line(
    recorded: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = ["--data", f"kubric:{recorded['kubric']}=2", "--data", f"vkitti:{recorded['vkitti']}"]
    assert main(["train", "d4rt-tiny", "-o", str(tmp_path / "run"), "--steps", "2", "--data", "worlds=0", *data]) == 0
    saved = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert saved["data"][1] == ["kubric", str(recorded["kubric"]), 2.0]
    capsys.readouterr()
    assert main(["train", "mini", "-o", str(tmp_path / "other"), "--steps", "1", *data]) == 2
    assert "--data is for D4RT recipes" in capsys.readouterr().err
    assert main(["train", "d4rt-tiny", "-o", str(tmp_path / "x"), "--steps", "1", "--data", f"kubric:{tmp_path}"]) == 2
    assert "has no metadata.json" in " ".join(capsys.readouterr().err.split())
