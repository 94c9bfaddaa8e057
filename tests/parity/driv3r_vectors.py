"""Reference vectors of Driv3R and Spann3R: small sizes, random weights, outputs of the published loop.

The vectors in the repository hold every few pixels of the maps and every few channels of the memories. Beside the
checkout there may be all of them, which the tests marked ``shared`` read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network_vectors import DATA, load_planes
from torch import Tensor

from worldline.models.driv3r import Driv3r
from worldline.models.memory import TokenMemory
from worldline.types import Pointmaps
from worldline.weights.official import from_official

FOLDER = DATA / "driv3r"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference"
SMALLEST_LIMIT = 1e-4  # absolute; the vectors state ten times their own rounding where that is more


@dataclass(frozen=True)
class Case:
    """One set of vectors and how densely it is stored."""

    about: dict[str, Any]
    tensors: dict[str, Tensor]
    weights: dict[str, Tensor]
    map_stride: int | None = None  # None: as `about` says
    channel_stride: int = 1

    @property
    def streams(self) -> list[str]:
        """Names of the streams, each a camera of its own."""
        return list(self.about["streams"])

    def model(self) -> Driv3r:
        """The network with its memory, in eval mode."""
        network = from_official(self.weights, self.about)
        assert isinstance(network, Driv3r)
        return network

    def images(self, name: str) -> Tensor:
        """[..., 3, H, W] in [-1, 1]."""
        return (self.tensors[name].float() / 255 - 0.5) / 0.5

    def limit(self, stream: str) -> float:
        """Largest difference that rounding explains."""
        return max(SMALLEST_LIMIT, 10 * max(self.about["streams"][stream]["max_abs_diff_vs_float64"].values()))

    def thin(self, maps: Pointmaps, stream: str | None = None) -> Pointmaps:
        """Maps [..., H, W, ·] as densely as they are stored."""
        about = self.about["streams"][stream] if stream else self.about
        step = self.map_stride or about.get("output_pixel_stride", 1)
        return Pointmaps(maps.points[..., ::step, ::step, :], maps.confidence[..., ::step, ::step])

    def expected(self, prefix: str) -> Pointmaps:
        """Maps of consecutive numbers, e.g. all of ``sensor0.ref``, stacked along a new axis 1."""
        dot, stacks = f"{prefix}." if prefix else "", []
        for kind in ("pts3d", "conf"):
            parts: list[Tensor] = []
            while (name := f"{dot}{kind}.{len(parts)}") in self.tensors:
                parts.append(self.tensors[name])
            stacks.append(torch.stack(parts, 1))
        return Pointmaps(stacks[0], stacks[1])


@cache
def stored(name: str) -> Case:
    """Vectors of the repository."""
    about = _document()[name]
    tensors = _images_as_bytes(FOLDER / f"{name}.npz")
    return Case(about, tensors, _stored_weights(about["weights"]), about["map_stride"], about["channel_stride"])


@cache
def shared(family: str, name: str) -> Case:
    """Complete vectors beside the checkout."""
    from safetensors.torch import load_file

    folder = SHARED / family
    about = json.loads((folder / "config.json").read_text())["cases"][name]
    tensors = load_file(folder / f"{name}_inputs.safetensors") | load_file(folder / f"{name}_outputs.safetensors")
    return Case(about, tensors, load_file(folder / about["weights"]))


def stored_trace() -> dict[str, Tensor]:
    """Inner tensors of the first two pairs of the stream ``sensor0`` of ``dpt``, every fourth channel."""
    return load_planes(FOLDER / "dpt_trace.npz")


def memory_vectors() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and tensors of reads, prunings and a stream through the memory alone."""
    return _document()["memory"], load_planes(FOLDER / "memory.npz")


def assert_same_rows(actual: Tensor, expected: Tensor, limit: float) -> None:
    """Two sets of rows are equal: their order is the sort's choice where weights tie."""
    assert actual.shape == expected.shape
    distance = torch.cdist(actual.double(), expected.double(), p=torch.inf)
    nearest, found = distance.min(1)
    assert nearest.max() <= limit
    assert sorted(found.tolist()) == list(range(len(expected))), "rows are missing, others are there twice"


def assert_same_memory(memory: TokenMemory, tensors: dict[str, Tensor], stream: str, stride: int, limit: float) -> None:
    """Keys, values, attention and count of all tokens, in any order of the tokens."""
    for row in range(memory.keys.shape[0]):
        expected = [tensors[f"{stream}mem_{kind}"][row] for kind in ("k", "v", "attn", "count")]
        scale = max(1.0, float(expected[2].abs().max()))  # of the attention, which adds up over all queries and reads
        expected[2] = expected[2] / scale
        own = [memory.keys[row, :, ::stride], memory.values[row, :, ::stride]]
        own += [memory.attention[row, :, None] / scale, memory.count[row, :, None]]
        assert_same_rows(torch.cat(own, 1), torch.cat(expected, 1), limit)


@cache
def _document() -> dict[str, Any]:
    return json.loads((FOLDER / "networks.json").read_text())


@cache
def _stored_weights(name: str) -> dict[str, Tensor]:
    """With the second names of the projections and the unused units, which every published file holds as well."""
    weights = load_planes(FOLDER / f"{name}_weights.npz")
    for key in [key for key in weights if ".scratch.layer_rn." in key]:
        head, level = key.removesuffix(".weight").split("layer_rn.")
        weights[f"{head}layer{int(level) + 1}_rn.weight"] = weights[key]
    for key in [key for key in weights if ".scratch.refinenet4.resConfUnit2." in key]:
        weights[key.replace("resConfUnit2", "resConfUnit1")] = torch.zeros_like(weights[key])
    return weights


def _images_as_bytes(path: Path) -> dict[str, Tensor]:
    """Like load_planes, with images, which are stored as signed bytes."""
    tensors = load_planes(path)
    return {
        name: torch.from_numpy(tensor.numpy().view(np.uint8)) if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
    }
