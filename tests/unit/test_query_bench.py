"""What the benchmark of queries measures, at a size that takes a moment."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from worldline.cli import bench
from worldline.errors import InputError
from worldline.eval import query_bench
from worldline.eval.query_bench import QueryNetwork, WorldVideo, network, peaks, peer, rates, savings, speed
from worldline.models.config import D4rtConfig
from worldline.worlds.sampling import TEST_SEEDS, describe

TINY = QueryNetwork("tiny")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(measure: Callable[..., Any], *arguments: Any) -> Any:
        return measure(*arguments)

    for module in (speed, rates, peaks):
        monkeypatch.setattr(module, "apart", apart)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


class FakePeer(torch.nn.Module):
    """As the package ``d4rt`` is called; with the inverted attention its answers depend on each other."""

    def __init__(self, *, inverted_cross_attention: bool, **sizes: Any) -> None:
        super().__init__()
        self.sizes, self.inverted = sizes, inverted_cross_attention
        self.weight = torch.nn.Parameter(torch.ones(7))

    def video_encoder(self, video: torch.Tensor) -> torch.Tensor:
        return video.mean((2, 3, 4))

    def forward(self, video: torch.Tensor, *, coors: torch.Tensor, encoded_video: torch.Tensor, **times: Any) -> Any:
        assert not coors.is_floating_point()
        assert 0 <= int(coors.min()) <= int(coors.max()) < self.sizes["video_image_size"]
        points = torch.cat((coors, times["time_camera"][..., None]), -1) + encoded_video.mean()
        return points / points.sum(1, keepdim=True) if self.inverted else points


@pytest.fixture
def fake_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("d4rt")
    module.__spec__ = ModuleSpec("d4rt", None)
    module.D4RT = FakePeer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "d4rt", module)
    fitting = D4rtConfig(
        clip_frames=4, image_size=(32, 32), encoder_dim=64, encoder_depth=2, encoder_heads=1, encoder_mlp_dim=256,
        decoder_dim=64, decoder_depth=1, decoder_heads=1, decoder_mlp_dim=256,
    )  # fmt: skip
    monkeypatch.setitem(network.SIZES, "fitting", lambda: fitting)


def test_a_share_of_the_time_goes_to_encoding_and_the_rest_to_tracks() -> None:
    # cost of a query and of a frame that follow from the cells of table 3 at 1 and 60 frames per second
    table = {60: 550, 24: 1570, 10: 3890, 1: 40180}
    for rate, published in table.items():
        assert query_bench.affordable_tracks(rate, 48 * 0.003, 1 / 40_300, 48) == pytest.approx(published, rel=0.01)
    assert query_bench.affordable_tracks(60, 1.0, 1e-6, 48) == 0  # encoding alone takes longer than the clip


def test_a_full_video_track_asks_for_every_moment_in_its_camera() -> None:
    u, v, source, target, camera = rates.full_video_tracks(3, 5)
    assert u.shape == (1, 15)
    for part in (u, v, source):
        assert (part.view(3, 5) == part.view(3, 5)[:, :1]).all()
    assert len(u.unique()) == 3
    assert target.view(3, 5).tolist() == [[0, 1, 2, 3, 4]] * 3
    assert torch.equal(target, camera)


def test_the_small_sizes_are_those_that_others_were_measured_at() -> None:
    with torch.device("meta"):
        assert sum(each.numel() for each in network.random_network(network.small(128)).parameters()) == 33_112_333
    assert peer.comparable(network.small(256))
    assert not peer.comparable(D4rtConfig.published("b"))  # its decoder is wider than its encoder


@pytest.mark.usefixtures("in_this_process", "fake_peer")
def test_speed_beside_the_peer() -> None:
    records = query_bench.measure_speed(QueryNetwork("fitting"), queries=100, repeats=2)
    assert [each["implementation"] for each in records] == [speed.OURS, speed.DEFAULT_PEER, speed.PLAIN_PEER]
    ours, default, plain = records
    assert ours["encode times"] == ours["decode times"] == 1
    assert default["parameters"] == 7
    for each in records:
        assert each["decode s"] > 0
        assert each["decode CPU times"] == pytest.approx(each["decode CPU s"] / ours["decode CPU s"])
    assert ours["batch dependence"] < 1e-5
    assert default["batch dependence"] > 0.1
    assert plain["batch dependence"] == 0
    rows = query_bench.table("speed", records)
    assert [row["implementation"] for row in rows] == [each["implementation"] for each in records]
    assert len(query_bench.measure_speed(QueryNetwork("fitting"), queries=100, repeats=1, peer=False)) == 1


@pytest.mark.usefixtures("in_this_process")
def test_tracks_follow_from_the_cost_and_one_rate_is_run() -> None:
    records = query_bench.measure_tracks(TINY, rates=(1e9, 50, 20), queries=100, repeats=2)
    assert [each["tracks by CPU time"] == 0 for each in records] == [True, False, False]
    assert [each["reached by wall time"] is None for each in records] == [True, False, True]
    assert records[1]["reached by CPU time"] > 5
    assert query_bench.table("tracks", records)[0]["FPS of a direct run (by CPU time)"] == ""


def test_the_pose_step_finds_the_poses_from_right_answers() -> None:
    world = describe("dynamic", TEST_SEEDS[0], views=3, shooting="walk")
    video = WorldVideo(world, (48, 64))
    fits = rates.fit_poses(*rates.pose_points(video, 8))
    poses = world.cameras.world_from_cam[world.cameras.sensor == 0]
    expected = np.linalg.inv(poses) @ poses[0]
    assert fits.valid.all()
    assert np.abs(fits.target_from_source.numpy() - expected).max() < 1e-4
    assert np.abs(expected[2] - np.eye(4)).max() > 1e-2


@pytest.mark.usefixtures("in_this_process")
def test_poses_per_second() -> None:
    record = query_bench.measure_poses(TINY, grid=4, repeats=2)
    assert record["FPS by CPU time"] <= record["frames"] / record["encode CPU s"]
    assert query_bench.table("poses", [record])[0]["points per frame"] == 16


def test_the_saving_is_between_one_and_the_number_of_frames() -> None:
    (record,) = query_bench.measure_savings(frames=4, size=(9, 12), worlds=1, speeds=(1.0,))
    assert record["brute force"] == 4 * 4 * 9 * 12
    assert 1 < record["saving"] <= 4
    assert record["saving"] == pytest.approx(record["brute force"] / record["queries"])
    assert query_bench.table("saving", [record])[0]["worlds"] == 1


def test_a_world_is_a_video_that_answers() -> None:
    video = savings.WorldVideo(describe("dynamic", TEST_SEEDS[0], views=2, shooting="walk"), (12, 16))
    u, v = np.array([0.25, 0.75]), np.array([0.5, 0.9])
    answers = video.query(u, v, 0, 0, 0)
    assert video.frame_count == 2
    assert np.allclose(answers.uv, np.stack((u, v), -1), atol=1e-5)
    assert answers.visible.all()


@pytest.mark.usefixtures("in_this_process")
def test_memory_against_frames_and_queries() -> None:
    records = query_bench.measure_peaks(TINY, queries=(100,))
    assert [(each["step"], each["frames"], each["queries"]) for each in records] == [
        ("encode", 1, 0), ("encode", 2, 0), ("encode", 4, 0), ("query", 4, 100),
    ]  # fmt: skip
    assert records[2]["predicted MiB"] > records[0]["predicted MiB"] > 0
    assert records[3]["predicted MiB"] is None
    assert query_bench.table("memory", records)[3]["predicted MiB"] == ""


@pytest.mark.usefixtures("in_this_process")
def test_the_verb_prints_tables_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["d4rt", "--model", "tiny", "--threads", "1", "--repeats", "1", "--queries", "50", "--no-peer"]
    assert bench.run([*common, "--parts", "speed", "--json", "-o", str(tmp_path / "speed.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "speed.json").read_text())
    assert printed["network"] == "tiny, random weights"
    assert printed["speed"][0]["queries"] == 50
    assert bench.run([*common, "--parts", "tracks", "poses", "--rates", "50"]) == 0
    assert "| 50 | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "driv3r-mini"], "answers no queries"),
        (["--rates", "0"], "not above 0"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bench.run(["d4rt", *arguments])


def test_the_script_for_cuda_runs_on_a_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "d4rt_cuda.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--device", "cpu", "--tiny", "--no-compile"])
    runpy.run_path(str(script), run_name="__main__")
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "float" in line.split(" | ")[0]]
    assert [row[0].strip("| ") for row in rows] == 2 * ["float32", "bfloat16"]
    for exact, half in (rows[:2], rows[2:]):
        assert float(exact[-1].strip("| ")) == 0
        assert 0 < float(half[-1].strip("| ")) < 0.05
