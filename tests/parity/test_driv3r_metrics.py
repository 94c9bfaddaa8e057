"""Metrics of driving sequences equal the numbers of the published evaluation (Driv3R, and Spann3R before it)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from worldline.eval import driving
from worldline.train.losses import in_reference_frame

DATA = Path(__file__).parent / "data" / "driv3r"
PUBLISHED = load_file(DATA / "metrics.safetensors")
EXPECTED = json.loads((DATA / "metrics.json").read_text(encoding="utf-8"))
FRAMES = 3


def frames(key: str, count: int = FRAMES) -> Tensor:
    return torch.cat([PUBLISHED[f"{key}.{frame}"] for frame in range(count)])


def sequence(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and true points in camera 0, and where the truth is known."""
    last = PUBLISHED[f"{name}.tgt.pts3d.{FRAMES - 2}"]
    predicted = torch.cat([frames(f"{name}.ref.pts3d", FRAMES - 1), last])
    truth = in_reference_frame(frames(f"{name}.gt.pts3d"), PUBLISHED[f"{name}.gt.camera_pose.0"][0])
    return predicted, truth, frames(f"{name}.gt.valid_mask")


@pytest.mark.parametrize("name", ["seq0", "seq1"])
def test_alignment(name: str) -> None:
    predicted, truth, valid = sequence(name)
    found = driving.align_sequence(predicted, truth, valid)
    expected = frames(f"{name}.aligned.pred")  # kept before the depth of the truth is added back
    expected[..., 2] += PUBLISHED[f"{name}.gt_shift_z"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["seq0", "seq1"])
def test_depth(name: str) -> None:
    predicted, truth, valid = sequence(name)
    aligned = driving.align_sequence(predicted, truth, valid)
    depths = driving.depth_along(aligned), driving.depth_along(truth)
    found = driving.depth_scores(*depths, valid, released=True).means()
    expected = {"sq_rel_released" if key == "sq_rel" else key: value for key, value in EXPECTED[name].items()}
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    # these sequences have no depth at or behind camera 0, so nothing but the range differs from the usual protocol
    assert driving.depth_scores(*depths, valid).means() == pytest.approx(found)


def test_clouds() -> None:
    parts = [PUBLISHED[f"cloud.{key}"].numpy() for key in ("pred", "gt", "pred_normals", "gt_normals")]
    found, expected = driving.cloud_scores(*parts, within=0.5), EXPECTED["cloud"]
    names = {
        "acc": found.accuracy, "acc_med": found.accuracy_median, "comp": found.completion,
        "comp_med": found.completion_median, "nc1": found.accuracy_normals, "nc1_med": found.accuracy_normals_median,
        "nc2": found.completion_normals, "nc2_med": found.completion_normals_median,
        "completion_ratio_0p5": found.completion_ratio,
    }  # fmt: skip
    assert names == pytest.approx(expected, rel=1e-6)
