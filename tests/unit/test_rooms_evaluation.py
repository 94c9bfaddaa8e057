"""The room evaluation: a perfect prediction scores perfectly under any similarity, a constant depth does not."""

import numpy as np
import pytest
import torch
from torch import nn

from worldline import worlds
from worldline.errors import InputError
from worldline.eval.rooms import evaluate_scenes
from worldline.geometry import invert_rigid, transform_points
from worldline.types import Pointmaps


class Oracle(nn.Module):
    """Knows the scene; answers in the frame of view 0 in a unit of its own, as a network would."""

    def __init__(self, sample: worlds.WorldSample) -> None:
        super().__init__()
        self.unit = nn.Parameter(torch.tensor(0.37))
        cam_from_world = invert_rigid(sample.world_from_cam[0])
        flat = transform_points(cam_from_world, sample.points.double().reshape(-1, 3))
        self.points = flat.reshape(sample.points.shape).float()

    def forward(self, images: torch.Tensor, references: int) -> Pointmaps:
        assert images.shape[1] == len(self.points)
        assert images.abs().max() <= 1
        return Pointmaps((self.unit * self.points)[None], torch.ones(1, *self.points.shape[:3]))


def test_oracle_and_constant_depth():
    sample = worlds.sample("rooms", worlds.VALIDATION_SEEDS[3], views=3, height=64, width=64)
    result = evaluate_scenes(Oracle(sample), [sample])
    oracle, baseline = result["model"], result["constant_depth"]
    assert oracle["relative_point_error_median"] < 1e-4
    assert oracle["depth_absrel_median"] < 0.02
    assert oracle["rotation_deg_median"] < 1
    assert oracle["translation_deg_median"] < 3
    assert oracle["pose_auc30"] > 0.9
    assert baseline["relative_point_error_median"] > 0.1
    assert baseline["depth_absrel_median"] > 0.1
    assert baseline["translation_deg_median"] == pytest.approx(90)
    assert np.isfinite(list(baseline.values())).all()


def test_nothing_to_evaluate():
    with pytest.raises(InputError, match="no scene"):
        evaluate_scenes(nn.Linear(1, 1), [])
