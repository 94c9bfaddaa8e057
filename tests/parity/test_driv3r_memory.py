"""The memory of Driv3R and Spann3R by itself: reads, prunings, a stream, and what the corrected memory does better."""

from __future__ import annotations

import json

import driv3r_vectors as vectors
import pytest
import torch
from network_vectors import assert_close
from torch import Tensor

from worldline.models.config import Driv3rConfig
from worldline.models.layers.recall import MemoryReader
from worldline.models.memory import MemoryOptions, TokenMemory, read_memory

SETTINGS, VECTORS = vectors.memory_vectors()
LIMIT = vectors.SMALLEST_LIMIT


def reader_of(tensors: dict[str, Tensor], part: str) -> MemoryReader:
    """The three norms of one part of the vectors."""
    reader = MemoryReader(Driv3rConfig(encoder_dim=len(tensors[f"{part}.norm_q.weight"])))
    for name, norm in (("q", reader.query_norm), ("k", reader.key_norm), ("v", reader.value_norm)):
        norm.weight.data, norm.bias.data = tensors[f"{part}.norm_{name}.weight"], tensors[f"{part}.norm_{name}.bias"]
    return reader.eval()


@pytest.mark.parametrize("case", ["thresh0", "thresh5e4", "thresh2e2", "withconf"])
def test_read(case: str) -> None:
    about = SETTINGS[f"read.{case}"]
    reader = reader_of(VECTORS, "read")
    with torch.inference_mode():
        out, received = reader(
            *(VECTORS[f"read.{name}"] for name in ("query", "mem_k", "mem_v")),
            cut=about["attn_thresh"],
            confidence=VECTORS["read.mem_confidence"][..., 0] if about.get("conf") else None,
            keep_nan=True,
        )
    assert_close(out, VECTORS[f"read.{case}.out"], LIMIT)
    total = VECTORS["read.mem_attn_before"][..., 0] + received
    assert_close(total, VECTORS[f"read.{case}.mem_attn_after"][..., 0], LIMIT)


def test_read_without_residual() -> None:
    reader = reader_of(VECTORS, "read")
    with torch.inference_mode():
        query = reader.query_norm(VECTORS["read.query"])
        keys, values = reader.key_norm(VECTORS["read.mem_k"]), reader.value_norm(VECTORS["read.mem_v"])
        out, received = read_memory(query, keys, values, cut=SETTINGS["read.nores"]["attn_thresh"])
    assert_close(out, VECTORS["read.nores.out"], LIMIT)
    total = VECTORS["read.mem_attn_before"][..., 0] + received
    assert_close(total, VECTORS["read.nores.mem_attn_after"][..., 0], LIMIT)


def test_the_cut_of_the_vectors_changes_something() -> None:
    assert (VECTORS["read.thresh0.out"] - VECTORS["read.thresh2e2.out"]).abs().max() > 100 * LIMIT


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("case", ["ties", "noties"])
def test_prune(case: str, official: bool) -> None:
    """Which tokens stay; the corrected order differs, the set does not."""
    about = SETTINGS[f"prune.{case}"]
    before = {name: VECTORS[f"prune.{case}.mem_{name}_before"] for name in ("k", "v", "attn", "count")}
    memory = memory_of(before, MemoryOptions(working_frames=about["work_mem_size"], official=official))
    assert int((memory.count < about["protected_if_count_below"]).sum()) == about["protected_tokens"]
    memory.prune(about["keep"], patches=4)
    after = {f"mem_{name}": VECTORS[f"prune.{case}.mem_{name}_after"] for name in before}
    vectors.assert_same_memory(memory, after, "", 1, 0.0)
    if not official:
        assert memory.image[0].tolist() == sorted(memory.image[0].tolist())


def memory_of(tensors: dict[str, Tensor], options: MemoryOptions) -> TokenMemory:
    """A memory with this content, the tokens numbered in their order."""
    number = torch.arange(tensors["k"].shape[1])[None]
    attention, count = tensors["attn"][..., 0], tensors["count"][..., 0]
    return TokenMemory(options, tensors["k"], tensors["v"], attention, count, number, number)


def check_stream(settings: dict, tensors: dict[str, Tensor]) -> None:
    """The published order of calls: read with the last query, then store."""
    options = MemoryOptions(
        settings["long_mem_size"], settings["work_mem_size"], settings["attn_thresh"], settings["sim_thresh"], True
    )
    reader = reader_of(tensors, "stream")
    keys, values, queries = (tensors[f"stream.{name}"] for name in ("keys", "values", "queries"))
    memory = TokenMemory.empty(options, 1, keys.shape[-1], keys)
    with torch.inference_mode():
        for time, expected in enumerate(settings["steps"]):
            if time:
                query = queries[time - 1 : time]
                out, received = reader(
                    query, memory.keys, memory.values, cut=options.attention_cut, keep_nan=options.official
                )
                memory.note_attention(received)
                assert_close(out[0], tensors["stream.reads"][time - 1], LIMIT)
            report = memory.write(keys[time : time + 1], values[time : time + 1])
            assert report.sim_max == pytest.approx(expected["sim_max"], abs=1e-5)
            assert {name: getattr(report, name) for name in expected if name != "sim_max"} == {
                name: value for name, value in expected.items() if name != "sim_max"
            }
            total = tensors["stream.mem_attn_sum"][time].item()
            assert memory.attention.sum().item() == pytest.approx(total, rel=1e-5, abs=LIMIT)
    vectors.assert_same_memory(memory, tensors, "stream.final.", 1, LIMIT)


def test_stream_with_skips_and_prunings() -> None:
    steps = SETTINGS["stream"]["steps"]
    assert sum(step["skipped"] for step in steps) >= 2 and sum(step["pruned"] for step in steps) >= 2
    check_stream(SETTINGS["stream"], VECTORS)


@pytest.mark.shared
@pytest.mark.skipif(not vectors.SHARED.is_dir(), reason="no reference data beside the checkout")
@pytest.mark.parametrize("family", ["driv3r", "spann3r"])
def test_shared_stream_with_skips_and_prunings(family: str) -> None:
    from safetensors.torch import load_file

    folder = vectors.SHARED / family
    settings = json.loads((folder / "components.json").read_text())["memory"]["stream"]
    check_stream(settings, load_file(folder / "memory.safetensors"))


@pytest.mark.parametrize(("tokens", "lost"), [(1900, False), (2100, True)])
def test_flat_attention_over_many_tokens(tokens: int, lost: bool) -> None:
    """Above 2000 tokens of equal attention every weight is below the cut: published NaN, here the uncut mean."""
    query, keys = torch.zeros(1, 3, 8), torch.randn(1, tokens, 8)
    values = torch.randn(1, tokens, 8)
    published, _ = read_memory(query, keys, values, cut=5e-4, keep_nan=True)
    ours, received = read_memory(query, keys, values, cut=5e-4)
    assert bool(published.isnan().all()) == lost
    assert_close(ours, values.mean(1, keepdim=True).expand(1, 3, 8), 1e-5)
    assert_close(received, torch.full((1, tokens), 3 / tokens), 1e-6)


def test_a_memory_with_flat_attention_does_not_poison_the_stream() -> None:
    """NaN attention would reach the weights by which tokens are pruned."""
    reader = MemoryReader(Driv3rConfig(encoder_dim=8)).eval()
    keys = torch.ones(1, 2100, 8)
    for official in (True, False):
        memory = TokenMemory.empty(MemoryOptions(official=official), 1, 8, keys)
        memory.append(keys, torch.randn(1, 2100, 8))
        with torch.inference_mode():
            out, received = reader(
                torch.randn(1, 3, 8), memory.keys, memory.values, cut=5e-4, keep_nan=memory.options.official
            )
        memory.note_attention(received)
        assert bool(out.isnan().any()) == official and bool(memory.attention.isnan().any()) == official


def fill(memory: TokenMemory, images: int, patches: int, channels: int = 16) -> None:
    """Store so many images that do not resemble one another, attended to at random."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(images):
        if len(memory):
            memory.note_attention(torch.rand(1, len(memory), generator=generator))
        key, value = torch.randn(2, 1, patches, channels, generator=generator)
        memory.write(key, value)


@pytest.mark.parametrize("long_tokens", [60, 8, 1])
def test_corrected_pruning_keeps_order_and_working_memory(long_tokens: int) -> None:
    """Also where the working memory has more tokens than a pruning leaves."""
    memory = TokenMemory.empty(MemoryOptions(long_tokens=long_tokens, working_frames=3), 1, 16, torch.zeros(1))
    fill(memory, 30, patches=4)
    assert len(memory) < 30 * 4
    places = (memory.image * 4 + memory.cell)[0]
    assert bool((places.diff() > 0).all())
    assert memory.image[0, -12:].tolist() == [27] * 4 + [28] * 4 + [29] * 4


def test_official_pruning_loses_the_working_memory_from_the_end() -> None:
    """The quirk that the corrected memory does not have: rows by weight, so the last ones are no longer the latest."""
    memory = TokenMemory.empty(MemoryOptions(long_tokens=60, working_frames=3, official=True), 1, 16, torch.zeros(1))
    images = next(n for n in range(1, 40) if pruned_at(n, memory))
    assert memory.image[0, -12:].tolist() != [images - 3] * 4 + [images - 2] * 4 + [images - 1] * 4


def pruned_at(number: int, memory: TokenMemory) -> bool:
    generator = torch.Generator().manual_seed(number)
    if len(memory):
        memory.note_attention(torch.rand(1, len(memory), generator=generator))
    return memory.write(*torch.randn(2, 1, 4, 16, generator=generator)).pruned


def test_similar_images_are_recognised_after_a_corrected_pruning() -> None:
    """Officially the test after a pruning compares with arbitrary tokens, so a repeated image is stored again."""
    for official in (True, False):
        options = MemoryOptions(long_tokens=60, working_frames=3, official=official)
        memory = TokenMemory.empty(options, 1, 16, torch.zeros(1))
        next(n for n in range(1, 40) if pruned_at(n, memory))
        latest = memory.image[0].max()
        key = memory.keys[:, memory.image[0] == latest]
        key = key[:, memory.cell[0, memory.image[0] == latest].argsort()]
        assert memory.write(key, key).skipped != official
