"""The paper's protocol: its figures equal the published program's, and a perfect prediction scores as it should."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline import worlds
from worldline.eval.paper import PaperScore, paper_score, score_paths
from worldline.eval.worlds_truth import truth_of
from worldline.inputs import load_views, reference_order
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor
from worldline.train.losses import in_reference_frame
from worldline.types import Pointmaps

DATA = Path(__file__).parents[1] / "parity/data/mv_metrics"
IO = load_file(DATA / "io.safetensors")
CASES = json.loads((DATA / "config.json").read_text())["cases"]
SIZE = 64


def published_scores(name: str) -> list[PaperScore]:
    """Scores of the two scenes of a published case; the file has reference-first rows, networks give input order."""
    case = CASES[name]
    views, paths = case["n_views_total"] - case["n_render_views"], case["n_ref"]
    part = lambda key: torch.stack([IO[f"{name}/in/{key.format(v)}"] for v in range(views)], 1)  # noqa: E731
    keys = ["pred0.pts3d", *(f"pred{v}.pts3d_in_other_view" for v in range(1, views))]
    points = torch.stack([IO[f"{name}/in/{key}"] for key in keys], 1).unflatten(0, (-1, paths)).clone()
    confidence = part("pred{}.conf").unflatten(0, (-1, paths)).clone()
    for path in range(paths):
        order = list(range(views))
        order[0], order[path] = path, 0
        points[:, path], confidence[:, path] = points[:, path, order], confidence[:, path, order]
    truth = part("view{}.pts3d"), part("view{}.valid_mask").bool(), part("view{}.camera_pose")
    return [score_paths(points[scene], confidence[scene], *(t[scene] for t in truth)) for scene in range(len(points))]


@pytest.mark.parametrize("name", ["one_reference", "two_references"])
def test_first_and_best_rows_equal_the_published_figures(name: str) -> None:
    scores, case = published_scores(name), CASES[name]
    mean = lambda field: sum(getattr(score, field) for score in scores) / len(scores)  # noqa: E731
    expected = case["expected"]["evaluation"]
    assert mean("nd_first") == pytest.approx(expected["ND_first_reference_mean"], rel=1e-5)
    assert mean("nd_best") == pytest.approx(expected["ND_best_reference_per_view_mean"], rel=1e-5)
    assert mean("cd_first") == pytest.approx(expected["CD_first_reference_mean"], rel=1e-5)
    assert mean("cd_best") == pytest.approx(expected["CD_best_reference_mean"], rel=1e-5)
    rows = slice(None, None, case["n_ref"])
    assert [score.dac_first for score in scores] == expected["DAc_0.2_per_row"][rows]
    poses = case["expected"]["poses_from_pointmaps"]
    assert [1 - score.rre_first for score in scores] == pytest.approx(poses["RRA15_per_row"][rows], abs=1e-6)
    assert [1 - score.rte_first for score in scores] == pytest.approx(poses["RTA15_per_row"][rows], abs=1e-6)
    assert [1 - score.mae_first for score in scores] == pytest.approx(poses["mAA30_per_row"][rows], abs=0.012)


class PathOracle(MVDust3r):
    """Knows the true points of one scene; row r is in the frame of the r-th view that it is fed."""

    def __init__(self, sample: worlds.WorldSample, fused: bool) -> None:
        super().__init__(MVDust3rConfig.mini() if fused else MVDust3rConfig.mini(fused_references=False))
        self.sample = sample
        self.asked: list[int] = []

    def forward_paths(self, images: torch.Tensor, references: int = 4, head_chunk: int | None = None) -> Pointmaps:
        self.asked.append(references)
        order = reference_order(images.shape[1], "evaluation")
        points, poses = self.sample.points[order].double(), self.sample.world_from_cam[order]
        paths = min(references, len(points))
        rows = torch.stack([0.1 * in_reference_frame(points[None], poses[None, path])[0] for path in range(paths)])
        return Pointmaps(rows[None].float(), torch.full((1, *rows.shape[:-1]), 5.0))


@pytest.fixture(scope="module")
def sample() -> worlds.WorldSample:
    return worlds.sample("rooms", worlds.TEST_SEEDS[5], views=4, height=SIZE, width=SIZE)


def test_a_network_that_knows_the_truth_gets_the_paper_s_best_figures(sample: worlds.WorldSample) -> None:
    oracle = PathOracle(sample, fused=True)
    model = Reconstructor(oracle, name="oracle", device="cpu", image_size=SIZE)
    views = load_views(list(sample.images.numpy()), size=SIZE, fit="square")
    score = paper_score(model, views, truth_of(sample))
    assert oracle.asked == [4]
    assert max(score.nd_first, score.cd_first, score.nd_best, score.cd_best) < 1e-4
    assert (score.dac_first, score.dac_best) == (1, 1)
    assert max(score.rre_first, score.rte_first, score.rre_best, score.rte_best) == 0
    # one camera of a perfect set still measures 0.4 degrees of rotation, so nothing is lost at the threshold of 1
    assert score.mae_first < 0.1


def test_the_best_row_is_never_worse_than_the_first(sample: worlds.WorldSample) -> None:
    torch.manual_seed(0)
    model = Reconstructor(MVDust3r(MVDust3rConfig.mini()).eval(), name="untrained", device="cpu", image_size=SIZE)
    views = load_views(list(sample.images.numpy()), size=SIZE, fit="square")
    score = paper_score(model, views, truth_of(sample))
    for name in ("nd", "cd", "rre", "rte", "mae"):
        assert getattr(score, f"{name}_best") <= getattr(score, f"{name}_first")
    assert score.dac_best >= score.dac_first


def test_ssim_equals_its_formula_window_by_window() -> None:
    """Against a direct evaluation with SciPy's Gaussian filter (same window, mirrored borders)."""
    from scipy.ndimage import correlate1d

    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, 24, 20, generator=generator).double().numpy()[:, 0]
    offset = torch.arange(-5, 6).double().numpy()
    line = pow(math.e, -(offset**2) / (2 * 1.5**2))
    line /= line.sum()

    def blur(image):
        return correlate1d(correlate1d(image, line, axis=0, mode="mirror"), line, axis=1, mode="mirror")

    means = blur(first), blur(second)
    spreads = blur(first**2) - means[0] ** 2, blur(second**2) - means[1] ** 2
    common = blur(first * second) - means[0] * means[1]
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * means[0] * means[1] + c1) * (2 * common + c2)
    value /= (means[0] ** 2 + means[1] ** 2 + c1) * (spreads[0] + spreads[1] + c2)
    from worldline.eval.metrics import ssim

    ours = ssim(torch.from_numpy(first)[None], torch.from_numpy(second)[None], data_range=1.0)
    assert ours == pytest.approx(value.mean(), rel=1e-9)
