"""Reference vectors of Open-D4RT: small networks with random weights, and its recipes for long videos.

Intermediate values are stored for every ``STRIDE``-th token or query. Places are stored as u = x / (W - 1).
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import numpy as np
import torch
from network_vectors import DATA, load_planes
from torch import Tensor

from worldline.models.d4rt import Answers, D4rt, Queries
from worldline.weights import from_official

FOLDER = DATA / "opend4rt"
CASES = ("interleaved", "plain_global", "token_budget")
STRIDE = {"interleaved": 8, "plain_global": 1, "token_budget": 4}
OUTPUTS = {
    "xyz_3d": "points",
    "uv_2d": "uv",
    "visibility": "visibility",
    "displacement": "motion",
    "normal": "normal",
    "confidence": "confidence",
}


@cache
def document() -> dict[str, Any]:
    """Sizes of the cases and everything that is not a tensor."""
    return json.loads((FOLDER / "config.json").read_text())


@cache
def read(name: str) -> dict[str, Tensor]:
    """Tensors of one file; images as uint8."""
    tensors = load_planes(FOLDER / f"{name}.npz")
    return {
        key: torch.from_numpy(t.numpy().view(np.uint8)) if t.dtype == torch.int8 else t for key, t in tensors.items()
    }


def options(case: str) -> dict[str, Any]:
    """The model.yaml of a case."""
    return document()["cases"][case]["model_yaml"]


def network(case: str) -> D4rt:
    """The network of a case as published."""
    model = from_official(read(f"{case}_weights"), options(case), compat=True)
    assert isinstance(model, D4rt)
    return model


def frames(video: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1]."""
    return video.float() / 255


def queries(model: D4rt, tensors: dict[str, Tensor], u: str = "in/u", v: str = "in/v") -> Queries:
    """Our queries; places in float64, so that the conversion adds no rounding to theirs."""
    height, width = model.config.image_size
    count = tensors[u].shape[1]
    times = [tensors[f"in/{name}"][:, :count].long() for name in ("t_src", "t_tgt", "t_cam")]
    return Queries(
        ((width - 1) * tensors[u].double() + 0.5) / width, ((height - 1) * tensors[v].double() + 0.5) / height, *times
    )


def their_uv(model: D4rt, uv: Tensor) -> Tensor:
    """Our image positions in their convention."""
    size = torch.tensor(model.config.image_size[::-1])
    return (size * uv - 0.5) / (size - 1)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


def assert_answers(model: D4rt, answers: Answers, tensors: dict[str, Tensor], prefix: str, limit: float = 1e-5) -> None:
    """All six outputs."""
    for theirs, ours in OUTPUTS.items():
        value = getattr(answers, ours)
        value = their_uv(model, value) if ours == "uv" else value
        assert relative_error(value, tensors[prefix + theirs]) <= limit, theirs


def published_shapes(frames: int) -> dict[str, list[int]]:
    """Names and shapes of all 627 tensors of the released file for clips of so many frames."""
    shapes = json.loads(gzip.decompress((FOLDER / "state_dict_shapes_48.json.gz").read_bytes()))
    return {name: [frames, *shape[1:]] if ".t_" in name else shape for name, shape in shapes.items()}
