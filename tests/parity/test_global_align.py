"""Global alignment equals the published one: objective, gradients, start, optimum, clean-up, pair viewer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.geometry import rotation_angle
from worldline.scene.align import AlignedScene, PairPredictions, clean_pointcloud, global_align, view_pair
from worldline.scene.align.global_align import learning_rate
from worldline.scene.align.objective import AlignmentObjective
from worldline.scene.align.parameters import AlignmentParameters
from worldline.scene.align.start import make_presets, spanning_tree_start

DATA = Path(__file__).parent / "data" / "global_align"
CONFIG = json.loads((DATA / "config.json").read_text())
VECTORS = load_file(DATA / "io.safetensors")


def _predictions(prefix: str = "in/edge{:02d}", edges: list[list[int]] = CONFIG["edges"]) -> PairPredictions:
    def stack(name: str) -> torch.Tensor:
        return torch.stack([VECTORS[f"{prefix.format(e)}.{name}"] for e in range(len(edges))])

    return PairPredictions(torch.tensor(edges), stack("pts_i"), stack("pts_j"), stack("conf_i"), stack("conf_j"))


def _views(prefix: str, count: int = 4) -> torch.Tensor:
    return torch.stack([VECTORS[f"{prefix}{v}"] for v in range(count)])


def _parameters() -> AlignmentParameters:
    values = {name: VECTORS[f"objective/params/im_{name}"].clone() for name in ("poses", "depthmaps", "focals")}
    return AlignmentParameters(
        edge_codes=VECTORS["objective/params/pw_poses"].clone().requires_grad_(),
        pose_codes=values["poses"].requires_grad_(),
        log_depths=values["depthmaps"].requires_grad_(),
        focal_codes=values["focals"].requires_grad_(),
        principal_points=torch.tensor([[16.0, 12.0]] * 4),
        frozen_poses=torch.zeros(4, dtype=torch.bool),
        frozen_focals=torch.zeros(4, dtype=torch.bool),
    )


def _close(actual: torch.Tensor, expected: torch.Tensor, limit: float = 1e-4) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= limit * expected.abs().max()


@pytest.fixture(scope="module")
def optimised() -> AlignedScene:
    return global_align(_predictions(), iterations=CONFIG["niter"], lr=CONFIG["lr"], published_focals=True)


def test_objective_and_gradients() -> None:
    parameters, objective = _parameters(), AlignmentObjective(_predictions())
    loss = objective(parameters)
    _close(loss.detach()[None], VECTORS["objective/loss"])
    _close(objective.world_points(parameters).detach().mT.unflatten(1, (24, 32)), _views("objective/pts3d_"))
    _close(parameters.focals().detach(), VECTORS["objective/focals"])
    _close(parameters.world_from_cam().detach(), VECTORS["objective/im_poses_cam2world"])
    _close(parameters.edge_transforms().detach(), VECTORS["objective/pw_poses"])
    loss.backward()
    names = ("pw_poses", "im_poses", "im_depthmaps", "im_focals")
    for tensor, name in zip(parameters.tensors, names, strict=True):
        _close(tensor.grad, VECTORS[f"objective/grad/{name}"])


def test_spanning_tree_start() -> None:
    predictions = _predictions()
    parameters = spanning_tree_start(predictions, make_presets(predictions, None, None, None), published_focals=True)
    loss = float(AlignmentObjective(predictions)(parameters))
    assert loss == pytest.approx(CONFIG["loss_after_init"], rel=1e-2)
    _close(parameters.focals(), VECTORS["mst_init/focals"])
    _close(parameters.edge_transforms(), VECTORS["mst_init/pw_poses"], 2e-3)
    angles = rotation_angle(parameters.world_from_cam()[:, :3, :3], VECTORS["mst_init/im_poses_cam2world"][:, :3, :3])
    assert torch.rad2deg(angles).max() < 0.5
    _close(parameters.log_depths.exp().unflatten(1, (24, 32)), _views("mst_init/depth"), 1e-2)


def test_own_start_reads_focals_off_the_right_edge() -> None:
    predictions = _predictions()
    parameters = spanning_tree_start(predictions, make_presets(predictions, None, None, None))
    torch.testing.assert_close(parameters.focals(), VECTORS["in/true_focals"], rtol=0.02, atol=0)


def test_optimum(optimised: AlignedScene) -> None:
    assert optimised.losses[0] == pytest.approx(CONFIG["loss_after_init"], rel=1e-2)
    assert optimised.losses[-1] == pytest.approx(CONFIG["loss_final"], rel=0.03)
    expected = VECTORS["optimised/im_poses_cam2world"]
    for i in range(4):
        for j in range(i):
            ours = optimised.world_from_cam[i, :3, :3].T @ optimised.world_from_cam[j, :3, :3]
            theirs = expected[i, :3, :3].T @ expected[j, :3, :3]
            assert torch.rad2deg(rotation_angle(ours, theirs)) < 0.5
    torch.testing.assert_close(optimised.focals, VECTORS["optimised/focals"], rtol=0.02, atol=0)


def test_optimum_is_the_true_scene(optimised: AlignedScene) -> None:
    truth = VECTORS["in/true_cam2world"]
    relative = truth[:1, :3, :3].mT @ truth[:, :3, :3]
    ours = optimised.in_frame_of(0).world_from_cam[:, :3, :3]
    assert torch.rad2deg(rotation_angle(ours, relative)).max() < 1.0


def test_learning_rate_trace() -> None:
    rates = torch.tensor([learning_rate(k, 300, 0.01, "cosine") for k in range(300)], dtype=torch.float64)
    torch.testing.assert_close(rates, VECTORS["optimised/lr_trace"], rtol=1e-9, atol=1e-12)
    assert learning_rate(150, 300, 0.01, "linear") == pytest.approx(0.0050005)


def test_clean_up() -> None:
    cleaned = clean_pointcloud(
        _views("optimised/pts3d_"),
        _predictions().max_confidence(),
        _views("optimised/depth"),
        VECTORS["optimised/intrinsics"],
        VECTORS["optimised/im_poses_cam2world"],
    )
    expected = _views("optimised/conf_after_cleaning_")
    assert (expected == 0).any()
    assert ((cleaned - expected).abs() > 1e-6).float().mean() < 1e-3


def test_pair_viewer() -> None:
    scene = view_pair(_predictions("pair_viewer/in/edge{}", CONFIG["pair_viewer_edges"]))
    _close(scene.focals, VECTORS["pair_viewer/out/focals"])
    expected = VECTORS["pair_viewer/out/im_poses_cam2world"]
    assert torch.rad2deg(rotation_angle(scene.world_from_cam[:, :3, :3], expected[:, :3, :3])).max() < 0.5
    _close(scene.depth, _views("pair_viewer/out/depth", 2), 1e-2)
    _close(scene.points, _views("pair_viewer/out/pts3d_", 2), 1e-2)
