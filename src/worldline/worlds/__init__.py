"""Procedural worlds with exact ground truth: what the networks learn from and are measured on."""

from __future__ import annotations

from worldline.worlds.formats import write
from worldline.worlds.layouts import LAYOUTS
from worldline.worlds.options import WorldOptions
from worldline.worlds.sampling import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    WorldSample,
    describe,
    render,
    sample,
    sample_batch,
)
from worldline.worlds.sheet import contact_sheet
from worldline.worlds.world import World

__all__ = [
    "LAYOUTS",
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "VALIDATION_SEEDS",
    "World",
    "WorldOptions",
    "WorldSample",
    "contact_sheet",
    "describe",
    "render",
    "sample",
    "sample_batch",
    "write",
]
