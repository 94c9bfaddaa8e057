"""Reading of the networks' reference vectors.

A float32 array [...] is stored as uint8 [4, ...], one plane per byte, because planes compress better; nothing is lost.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from worldline.weights.official import from_official

DATA = Path(__file__).parent / "data"
RELATIVE = 1e-5  # of the largest expected value, per tensor
ROTATION = 2e-4  # absolute: normalisation amplifies rounding where the raw quaternion is short


def load_planes(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of one packed file."""
    tensors = {}
    with np.load(path) as stored:
        for name in stored.files:
            array = stored[name]
            if array.dtype == np.uint8:
                array = np.ascontiguousarray(np.moveaxis(array, 0, -1)).view(np.float32)[..., 0]
            tensors[name] = torch.from_numpy(array.copy())
    return tensors


def read(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """(config.json, inputs and outputs) of one set of vectors."""
    folder = DATA / name
    return json.loads((folder / "config.json").read_text()), load_planes(folder / "io.npz")


def weights(name: str) -> dict[str, torch.Tensor]:
    """State dict under the published key names."""
    return load_planes(DATA / name / "weights.npz")


def build(name: str):
    """The network of one set of vectors."""
    document, _ = read(name)
    return from_official(weights(name), document["config"])


def assert_close(actual: torch.Tensor, expected: torch.Tensor, limit: float | None = None) -> None:
    """Largest difference at most ``limit``, or 1e-5 of the largest expected value."""
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max().item()
    assert error <= (RELATIVE * expected.abs().max().item() if limit is None else limit)
