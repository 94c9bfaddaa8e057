"""The loss of D4RT against values and gradients of the public re-implementation (data/opend4rt)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from worldline.models.d4rt import Answers
from worldline.train.clips.losses import LossWeights, Targets, query_loss

DATA = Path(__file__).parent / "data" / "opend4rt"
EXPECTED = json.loads((DATA / "loss.json").read_text())
OUTPUTS = {
    "points": "xyz_3d", "uv": "uv_2d", "visibility": "visibility", "motion": "displacement", "normal": "normal",
    "confidence": "confidence",
}  # fmt: skip


@pytest.mark.parametrize("case", ["a", "b"])
def test_terms_and_gradients_are_those_of_open_d4rt(case: str) -> None:
    data = load_file(DATA / "loss.safetensors")
    answers = Answers(**{ours: data[f"{case}/out/{theirs}"].requires_grad_() for ours, theirs in OUTPUTS.items()})
    true = {name: data[f"{case}/target/{name}"] for name in OUTPUTS.values() if name != "confidence"}
    masks = {name: data[f"{case}/mask/{name}"].bool() for name in true}
    targets = Targets(
        true["xyz_3d"], true["uv_2d"], true["visibility"] > 0.5, true["displacement"], true["normal"],
        masks["xyz_3d"], masks["displacement"], masks["uv_2d"], masks["visibility"], masks["normal"],
    )  # fmt: skip
    weights = LossWeights(**EXPECTED["weights"], motion_unit="metric")
    loss = query_loss(answers, targets, weights)
    expected = EXPECTED[case]
    assert loss.total.item() == pytest.approx(expected["total"], rel=1e-5)
    factors = {"penalty": "confidence", "weighted_error": "points"}
    for name in ("penalty", "weighted_error", "uv", "visibility", "motion", "normal"):
        factor = EXPECTED["weights"][factors.get(name, name)]
        assert getattr(loss, name).item() * factor == pytest.approx(expected[name], rel=1e-5, abs=1e-8), name
    loss.total.backward()
    for ours, theirs in OUTPUTS.items():
        gradient = data[f"{case}/grad/{theirs}"]
        found = getattr(answers, ours).grad
        assert (found - gradient).abs().max() <= 1e-5 * max(1e-6, gradient.abs().max()), ours
