"""WorldTrack's figures equal those of the public re-implementation of D4RT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from worldline.eval.video.world_tracks import score_worldtrack

DATA = Path(__file__).parent / "data" / "video"
TRACKS = load_file(DATA / "worldtrack.safetensors")
EXPECTED = json.loads((DATA / "worldtrack.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("alignment", "published"), [("global", "global"), ("per_track", "per_traj"), ("sim3", "sim3_closed")]
)
def test_worldtrack(alignment: str, published: str) -> None:
    found, expected = (
        score_worldtrack(TRACKS["worldtrack/pred"], TRACKS["worldtrack/gt"], alignment),
        EXPECTED[published],
    )
    assert found.apd == pytest.approx(expected["apd"], rel=1e-9)
    assert found.epe == pytest.approx(expected["epe"], rel=1e-9)
    assert found.scale == pytest.approx(expected["scale"], rel=1e-9)
    assert list(found.shares) == pytest.approx(list(expected["fractions"].values()), rel=1e-9)
