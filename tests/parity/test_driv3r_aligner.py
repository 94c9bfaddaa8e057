"""Placement of the released Driv3R script, and the focal lengths that its cameras start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.geometry import estimate_focal
from worldline.scene.align.rig import published_alignment

DATA = Path(__file__).parent / "data" / "driv3r"
FOCALS = {  # components.json of the reference
    "a": (13.999999046325684, 14.0),
    "b": (19.883949279785156, 19.81161117553711),
    "c": (17.665828704833984, 17.636844635009766),
}


def test_placement_equals_the_released_script() -> None:
    vectors = load_file(DATA / "aligner.safetensors")

    def frames(key: str) -> torch.Tensor:
        return torch.cat([vectors[f"seq.gt.{key}.{frame}"] for frame in range(3)])

    # head 1 for all frames but the last, head 2 for the last
    predicted = torch.cat([vectors["seq.ref.pts3d.0"], vectors["seq.ref.pts3d.1"], vectors["seq.tgt.pts3d.1"]])
    truth = (frames("pts3d"), frames("valid_mask"), vectors["seq.intrinsics"][0], frames("camera_pose"))
    placed = published_alignment(predicted, *truth)
    torch.testing.assert_close(placed, vectors["seq.world"], rtol=1e-5, atol=1e-4)
    # the unit and the offset of the prediction do not survive: the script stretches every map
    torch.testing.assert_close(published_alignment(3 * predicted + 5, *truth), placed, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", sorted(FOCALS))
def test_focal_equals_published(case: str) -> None:
    points = load_file(DATA / "aligner_focal.safetensors")[f"{case}.pts3d"][0]
    for method, expected in zip(("weiszfeld", "median"), FOCALS[case], strict=True):
        assert float(estimate_focal(points, method=method)) == pytest.approx(expected, rel=1e-5)
