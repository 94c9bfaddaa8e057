"""What a GPU runs fast: few compiled graphs for all shapes of a run, attention without masks in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from worldline.models.layers import attention
from worldline.train.build import TrainedNetwork, forward_paths
from worldline.train.catalog import find_recipe
from worldline.train.launch import compile_blocks
from worldline.train.tasks import task_of


@pytest.fixture
def dynamo() -> Iterator[None]:
    """Compiled code and its settings of this test only."""
    from torch._dynamo import config
    from torch.fx.experimental import _config as symbols

    before = config.suppress_errors, symbols.use_duck_shape  # type: ignore[attr-defined]
    torch._dynamo.reset()
    yield
    config.suppress_errors, symbols.use_duck_shape = before  # type: ignore[attr-defined]
    torch._dynamo.reset()


@pytest.mark.slow
def test_three_graphs_serve_every_number_of_views_scenes_paths_and_every_size(dynamo: None, tmp_path: Path) -> None:
    recipe = find_recipe("tiny").build(tmp_path)
    network = task_of(recipe).build(recipe).train()
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_blocks(network, backend)
    for scenes, views, size, paths in ((4, 3, 32, 1), (3, 4, 32, 1), (2, 7, 64, 1), (3, 5, 32, 4), (4, 4, 48, 4)):
        found = forward_paths(network, torch.randn(scenes, views, 3, size, size), paths)
        found.points.sum().backward()
    assert len(graphs) == 3  # block of the encoder; self-attention and MLP of the decoder


@pytest.mark.parametrize("paths", [1, 2])
def test_attention_is_what_fused_kernels_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paths: int) -> None:
    recipe = find_recipe("mini-cuda").build(tmp_path)
    network = TrainedNetwork(task_of(recipe).empty(recipe))  # type: ignore[arg-type]
    seen: list[tuple[Tensor, ...]] = []
    attend = attention.attend

    def recorded(*given: Tensor) -> Tensor:
        seen.append(given)
        return attend(*given)

    monkeypatch.setattr(attention, "attend", recorded)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 3, 3, 32, 32), paths, True)
    assert len(seen) > 10
    for given in seen:  # query, key and value: no mask
        assert len(given) == 3 and {part.dtype for part in given} == {torch.bfloat16}
        assert all(part.ndim == 4 and part.shape[-1] == 64 and part.stride(-1) == 1 for part in given)
