"""Scores against truth: perfect reconstructions score zero whatever their frame and scale, wrong ones do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError
from worldline.eval.datasets import GroundTruth, find_sequences, read_sequence, truth_of
from worldline.eval.scores import SceneScore, constant_depth, score_scene
from worldline.eval.suites import evaluate_rooms, score_network
from worldline.inputs import load_views
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor
from worldline.types import Pointmaps

SIZE = 64


@pytest.fixture(scope="module")
def sample() -> worlds.WorldSample:
    return worlds.sample("rooms", worlds.TEST_SEEDS[5], views=4, height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def truth(sample: worlds.WorldSample) -> GroundTruth:
    return truth_of(sample)


def moved(truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """The true scene in another frame and unit."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    poses = truth.world_from_cam.copy()
    poses[:, :3, :3] = turn @ poses[:, :3, :3]
    poses[:, :3, 3] = 0.3 * poses[:, :3, 3] @ turn.T + [1, 2, 3]
    return 0.3 * truth.points @ turn.T + [1, 2, 3], poses


def test_a_perfect_scene_in_another_frame_and_unit_scores_zero(truth: GroundTruth) -> None:
    score = score_scene(*moved(truth), truth)
    assert max(score.point_error, score.abs_rel, score.rotation, score.translation) < 1e-4
    assert score.auc30 == pytest.approx(1, abs=1e-4)
    assert score.coverage == score.registered == 1


def test_errors_are_what_they_say(truth: GroundTruth) -> None:
    points, poses = moved(truth)
    turned = poses.copy()
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    turned[0, :3, :3] = turned[0, :3, :3] @ turn  # one of four cameras looks 10 degrees aside: 3 of 6 pairs are off
    errors = score_scene(points, turned, truth)
    assert errors.rotation in (pytest.approx(0, abs=1e-3), pytest.approx(10, abs=1e-3))
    assert errors.auc30 == pytest.approx((3 * 1 + 3 * (1 - 10 / 30)) / 6, abs=0.1)


def test_views_without_a_pose_count_as_failed(truth: GroundTruth) -> None:
    points, poses = moved(truth)
    poses[3] = np.nan
    score = score_scene(points, poses, truth, predicted=np.arange(4)[:, None, None] < np.full(truth.valid.shape, 3))
    assert score.registered == 0.75
    assert score.coverage == pytest.approx(truth.valid[:3].sum() / truth.valid.sum())
    assert score.auc30 == pytest.approx(0.5, abs=1e-3)  # 3 of 6 pairs are known, and right


def test_the_baseline_that_knows_nothing_is_far_off(sample: worlds.WorldSample, truth: GroundTruth) -> None:
    score = constant_depth(truth, np.asarray(sample.intrinsics))
    assert score.point_error > 0.1
    assert score.abs_rel > 0.05
    assert score.rotation > 1


def test_summaries_leave_out_what_is_undefined() -> None:
    rows = [SceneScore(0.1, 0.2, 3, 4, 0.5, 1, 1), SceneScore(float("nan"), 0.4, 5, 6, 0.7, 0, 0.5)]
    summary = SceneScore.summary(rows)
    assert (summary["point_error"], summary["abs_rel"], summary["registered"]) == (0.1, 0.3, 0.75)
    assert summary["scenes"] == 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    worlds.write("rooms", 1, folder, views=4, height=SIZE, width=SIZE + 32)
    return folder


def test_sequences_that_worlds_writes_are_read_back_with_their_truth(written: Path) -> None:
    (place,) = find_sequences(written)
    sequence = read_sequence(place)
    views = load_views(list(sequence.images), size=48, fit="square")
    truth = sequence.truth([0, 1, 2, 3], views)
    assert truth.valid.mean() > 0.95
    for index, (view, camera) in enumerate(zip(views, sequence.cameras, strict=True)):
        pixels, depth = camera.to_model(view.transform).project(truth.points[index])
        rows, columns = np.indices(depth.shape)
        # the truth of a model pixel is that of the nearest original pixel
        assert np.abs(pixels - np.stack([columns, rows], -1))[truth.valid[index]].max() < 0.6
        np.testing.assert_allclose(depth[truth.valid[index]], truth.depth[index][truth.valid[index]], rtol=1e-6)


def test_subsets_are_evenly_spaced(written: Path) -> None:
    sequence = read_sequence(find_sequences(written)[0])
    assert sequence.subsets(2) == [[0, 2], [1, 3]]
    assert sequence.subsets(5) == []


def test_sparse_points_stand_in_for_depth(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    frames = []
    for index in range(2):
        Image.fromarray(np.full((48, 48, 3), 90, np.uint8)).save(tmp_path / "images" / f"{index}.png")
        pose = np.eye(4)
        pose[0, 3] = index
        frame = {"image": f"images/{index}.png", "width": 48, "height": 48}
        frames.append({**frame, "K": [50, 50, 23.5, 23.5], "T_c2w": pose.tolist()})
    (tmp_path / "scene.json").write_text(json.dumps({"frames": frames}))
    with pytest.raises(InputError, match="neither depth maps nor"):
        read_sequence(tmp_path)
    np.save(tmp_path / "points.npy", np.array([[0, 0, 5.0]]))
    np.save(tmp_path / "observations.npy", np.array([[0, 0, 23.5, 23.5], [0, 1, 13.5, 23.5]]))
    sequence = read_sequence(tmp_path)
    truth = sequence.truth([0, 1], load_views(list(sequence.images), size=48, fit="square"))
    assert truth.valid.sum() == 2
    assert truth.depth[1][truth.valid[1]] == pytest.approx(5)


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sequence"):
        read_sequence(tmp_path)


def test_the_rooms_suite_reports_the_model_beside_its_baselines() -> None:
    torch.manual_seed(0)
    model = Reconstructor(MVDust3r(MVDust3rConfig.mini()).eval(), name="untrained", device="cpu", image_size=SIZE)
    records = evaluate_rooms(model, scenes=1, counts=(2,), baselines=("constant depth",))
    assert [record["method"] for record in records] == ["untrained", "constant depth"]
    assert records[0]["scenes"] == 1


class Oracle(torch.nn.Module):
    """The true points of one scene in the frame of its first view."""

    def __init__(self, sample: worlds.WorldSample) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        pose = torch.as_tensor(sample.world_from_cam)[0].double()
        self.points = (torch.as_tensor(sample.points).double() - pose[:3, 3]) @ pose[:3, :3]

    def forward(self, images: torch.Tensor, references: int = 4) -> Pointmaps:
        return Pointmaps(self.points[None].float(), torch.full((1, *self.points.shape[:3]), 5.0))


def test_a_network_that_knows_the_truth_scores_near_zero_while_training(sample: worlds.WorldSample) -> None:
    figures = score_network(Oracle(sample), [sample])
    assert figures["point_error"] < 1e-4
    assert figures["abs_rel"] < 0.02
    assert figures["rotation"] < 0.5
    assert (figures["registered"], figures["scenes"]) == (1, 1)
