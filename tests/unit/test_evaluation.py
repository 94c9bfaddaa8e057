"""Scores against truth: perfect reconstructions score zero whatever their frame and scale, wrong ones do not."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.covisibility import covisibility, overlap
from worldline.eval.figures import FIGURES
from worldline.eval.methods import CONSTANT_DEPTH, load_models
from worldline.eval.metrics import depth_inliers
from worldline.eval.paper import PAPER_FIGURES
from worldline.eval.readers import find_sequences, read_sequence
from worldline.eval.report import Report, Trial
from worldline.eval.scores import SceneScore, constant_depth, score_scene
from worldline.eval.sequences import GroundTruth
from worldline.eval.suites import evaluate_real, evaluate_worlds, score_network
from worldline.eval.worlds_truth import truth_of
from worldline.inputs import load_views
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor
from worldline.types import Camera, Pointmaps

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
    assert (score.auc5, score.auc30) == pytest.approx((1, 1), abs=1e-4)
    assert (score.delta125, score.delta103) == (1, 1)
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
    nan = float("nan")
    rows = [
        SceneScore(0.1, 0.2, 0.9, 0.5, 3, 4, 0.1, 0.2, 0.5, 1, 1),
        SceneScore(nan, 0.4, 0.7, 0.1, 5, 6, 0.3, 0.4, 0.7, 0, 0.5),
    ]
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


@pytest.fixture(scope="module")
def untrained() -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor(MVDust3r(MVDust3rConfig.mini()).eval(), name="untrained", device="cpu", image_size=SIZE)


def test_the_rooms_suite_reports_the_model_beside_its_baselines(untrained: Reconstructor) -> None:
    report = evaluate_worlds({"untrained": untrained}, scenes=1, counts=(2,), baselines=(CONSTANT_DEPTH,), paper=True)
    model, baseline = report.summary()
    assert (model["method"], baseline["method"]) == ("untrained", "constant depth")
    assert model["scenes"] == 1
    assert set(PAPER_FIGURES) <= set(model)
    assert not set(PAPER_FIGURES) & set(baseline)  # only networks have reference rows
    stated = {entry["figure"]: entry for entry in report.as_json()["definitions"]}
    assert set(stated) >= {*PAPER_FIGURES, "point_error", "abs_rel", "auc5", "delta125"}
    assert all(entry["alignment"] for entry in stated.values())


def test_a_scene_that_cannot_be_photographed_is_left_out(
    untrained: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worlds.sample

    def crowded(layout: str, seed: int, **keywords: object) -> worlds.WorldSample:
        if seed == worlds.TEST_SEEDS[0] or keywords["views"] == 3:
            raise NoPlaceError("no place for the photographer", "take another seed")
        return real(layout, seed, **keywords)

    monkeypatch.setattr(worlds, "sample", crowded)
    said: list[str] = []
    report = evaluate_worlds({"m": untrained}, scenes=2, counts=(2,), baselines=(), say=said.append)
    assert [trial.trial for trial in report.trials] == [str(worlds.TEST_SEEDS[1])]
    assert "no place for the photographer" in said[0]
    with pytest.raises(InputError, match="no place"):
        evaluate_worlds({"m": untrained}, scenes=2, counts=(3,), baselines=())
    with pytest.raises(InputError, match="Unknown layout 'moon'"):
        evaluate_worlds({"m": untrained}, "moon", scenes=2)


def test_two_models_are_compared_on_the_same_scenes(untrained: Reconstructor) -> None:
    torch.manual_seed(1)
    other = Reconstructor(MVDust3r(MVDust3rConfig.mini()).eval(), name="other", device="cpu", image_size=SIZE - 16)
    report = evaluate_worlds({"untrained": untrained, "other": other}, scenes=2, counts=(2,), baselines=())
    assert {(trial.method, trial.trial) for trial in report.trials} == {
        (name, str(seed)) for name in ("untrained", "other") for seed in worlds.TEST_SEEDS[:2]
    }
    compared = {entry["figure"]: entry for entry in report.comparison()}
    assert {"point_error", "abs_rel", "rotation", "auc30"} <= set(compared)
    assert all((entry["method"], entry["against"]) == ("other", "untrained") for entry in compared.values())


def test_sequences_on_disk_are_evaluated_and_those_without_enough_frames_left_out(
    written: Path, untrained: Reconstructor
) -> None:
    said: list[str] = []
    report = evaluate_real(
        {"untrained": untrained}, written, (2, 9), max_subsets=1, baselines=(CONSTANT_DEPTH,), say=said.append
    )
    assert [(record["views"], record["scenes"]) for record in report.summary()] == [(2, 1), (2, 1)]
    assert any("with 9 views: it has 4 frames" in line for line in said)
    with pytest.raises(InputError, match="No sequence"):
        evaluate_real({"untrained": untrained}, written / "nothing here", (2,))


def test_a_model_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        load_models(["mvdust3r-plus-mini", "mvdust3r-plus-mini"])


def test_every_figure_of_a_score_is_defined() -> None:
    assert {field.name for field in fields(SceneScore)} | set(PAPER_FIGURES) <= set(FIGURES)
    assert all(figure.meaning and figure.alignment for figure in FIGURES.values())


def trial(method: str, seed: int, **figures: float) -> Trial:
    return Trial("rooms test", 4, str(seed), method, figures)


def test_a_report_compares_scene_by_scene_and_says_when_scenes_are_missing(tmp_path: Path) -> None:
    report = Report({"command": "worldline eval rooms"}, ["old", "new"])
    for seed, error in enumerate((0.1, 0.2, 0.4)):
        report.trials.append(trial("old", seed, point_error=error, auc30=0.5))
        if seed < 2:
            report.trials.append(trial("new", seed, point_error=error - 0.05, auc30=float("nan")))
    compared = {entry["figure"]: entry for entry in report.comparison()}
    assert (compared["point_error"]["difference"], compared["point_error"]["better"]) == (-0.05, 1)
    assert compared["point_error"]["scenes"] == 2
    assert compared["auc30"]["scenes"] == 0
    assert report.summary()[0]["point_error"] == 0.2  # the median of the three
    files = report.write(tmp_path / "result.json")
    content = json.loads(files[0].read_text())  # strict JSON: NaN is null
    assert content["trials"][1]["auc30"] is None
    assert content["spread"][0]["point_error"]["quartiles"] == [0.15, 0.3]
    text = files[1].read_text()
    assert "worldline eval rooms" in text and "| point_error |" in text and "one robust similarity" in text


def test_frames_can_be_a_fixed_number_of_frames_apart(written: Path) -> None:
    sequence = read_sequence(find_sequences(written)[0])
    assert sequence.subsets(3, spacing=1) == [[0, 1, 2], [1, 2, 3]]
    assert sequence.subsets(3, spacing=2) == []


def test_sky_has_no_truth_whatever_the_sample_holds_there(sample: worlds.WorldSample) -> None:
    depth, points, valid = (torch.as_tensor(part).clone() for part in (sample.depth, sample.points, sample.valid))
    depth[:, :8], points[:, :8], valid[:, :8] = float("inf"), float("nan"), False
    truth = truth_of(replace(sample, depth=depth, points=points, valid=valid))
    assert not truth.valid[:, :8].any()
    assert np.isfinite(truth.points).all() and np.isfinite(truth.depth).all()
    assert score_scene(*moved(truth), truth).point_error < 1e-4


def test_depths_are_inliers_up_to_the_factor_and_never_behind_the_camera() -> None:
    true = torch.full((1, 1, 4), 2.0)
    predicted = torch.tensor([[[2.0, 2.0, 2.4, -1.0]]])
    valid = torch.ones_like(true, dtype=torch.bool)
    assert depth_inliers(predicted, true, valid, 1.25) == 0.75
    assert depth_inliers(predicted, true, valid, 1.03) == 0.5
    assert depth_inliers(7 * predicted, true, valid, 1.03) == 0.5  # one scale per scene is removed


def test_overlap_is_the_share_that_another_view_sees() -> None:
    """Two cameras before a wall, shifted by half of what they see."""
    sample = wall_photos(shift=1.0)
    shares = covisibility(sample)
    assert shares[0, 1] == pytest.approx(0.5, abs=0.04) and shares[1, 0] == pytest.approx(0.5, abs=0.04)
    assert overlap(sample) == pytest.approx(0.5, abs=0.04)
    assert overlap(wall_photos(shift=5.0)) == 0


def wall_photos(shift: float) -> GroundTruth:
    size, depth = 65, 1.0
    intrinsics = np.array([[32.0, 0, 32], [0, 32, 32], [0, 0, 1]])  # sees 2 x 2 metres of a wall one metre away
    rows, columns = np.indices((size, size))
    seen = np.stack([(columns - 32) / 32, (rows - 32) / 32, np.ones_like(rows)], -1) * depth
    poses = [np.eye(4), np.eye(4)]
    poses[1][0, 3] = shift
    points = np.stack([seen + pose[:3, 3] for pose in poses])
    maps = np.full((2, size, size), depth)
    cameras = tuple(Camera(intrinsics, pose, size, size) for pose in poses)
    return GroundTruth(points, maps, maps > 0, cameras)


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


def test_without_pycolmap_a_validation_has_points_and_depth(
    sample: worlds.WorldSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    figures = score_network(Oracle(sample), [sample])
    assert figures == score_network(Oracle(sample), [sample], cameras=False)
    assert figures["point_error"] < 1e-4 and figures["abs_rel"] < 1e-4 and figures["delta103"] == 1
    assert "rotation" not in figures and "registered" not in figures
