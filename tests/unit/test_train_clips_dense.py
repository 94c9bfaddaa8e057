"""The dense layer's targets and loss, and the correspondence loss of the decoder's reads."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt
from worldline.models.queries import Queries
from worldline.train.clips.clips import Clip, render_clip
from worldline.train.clips.dense import FLOW, DenseTargets, dense_loss, dense_targets
from worldline.train.clips.matching import Matches, matching_loss, recorded_asks, token_weights
from worldline.worlds.truth import query

SIZE, PATCH, SEED = 48, 16, worlds.VALIDATION_SEEDS[5]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip("dynamic", SEED, size=48, frames=4)


def small(**changes: object) -> D4rtConfig:
    return replace(
        D4rtConfig.mini(),
        clip_frames=4, image_size=(SIZE, SIZE), encoder_dim=32, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=32,
        decoder_dim=32, decoder_depth=2, decoder_heads=4, decoder_mlp_dim=32, **changes,
    )  # fmt: skip


def stacked(clip: Clip) -> DenseTargets:
    return DenseTargets(*(torch.from_numpy(part)[None] for part in dense_targets(clip, SIZE, PATCH)))


def test_targets_are_those_of_the_clip(clip: Clip) -> None:
    depth, flow, known = dense_targets(clip, SIZE, PATCH)
    assert depth.shape == (4, SIZE, SIZE) and flow.shape == (4, 3, 3, FLOW) and known.shape == (4, 3, 3, 2)
    assert depth[depth > 0].mean() == pytest.approx(1, abs=1e-3)
    assert (
        not known[0, ..., 1].any() and not known[-1, ..., 0].any()
    )  # nothing before the first, nothing after the last
    assert known.mean() > 0.4


def test_flow_agrees_with_the_world(clip: Clip) -> None:
    _, flow, known = dense_targets(clip, SIZE, PATCH)
    height, width = clip.size
    frame, row, column = np.nonzero(known[..., 0])
    y, x = (
        np.clip(np.round((part + 0.5) / 3 * size - 0.5), 0, size - 1) for part, size in ((row, height), (column, width))
    )
    u, v = (x + 0.5) / width, (y + 0.5) / height
    sample = worlds.sample("dynamic", SEED, views=4, height=height, width=width, shooting="video", rate=clip_rate(clip))
    exact = query(sample.world, u, v, frame, frame + 1, frame + 1, height=height, width=width)
    kept = exact.valid
    found = flow[frame, row, column, :2] + np.stack([u, v], -1)
    assert kept.mean() > 0.9
    np.testing.assert_allclose(found[kept], exact.uv[kept], atol=2e-3)  # depth is kept as float16


def clip_rate(clip: Clip) -> float:
    return float(1 / np.diff(clip.times).mean())


@pytest.mark.parametrize("per_slice", [1, 2])
def test_a_layer_that_says_the_truth_has_no_loss(clip: Clip, per_slice: int) -> None:
    targets, cells = stacked(clip), SIZE // PATCH
    config = small(patch=(per_slice, PATCH, PATCH))
    pixels = targets.depth.clamp_min(1e-4).log().view(1, 4 // per_slice, per_slice, cells, PATCH, cells, PATCH)
    pixels = pixels.permute(0, 1, 3, 5, 2, 4, 6).flatten(-2)
    flow = targets.flow.view(1, 4 // per_slice, per_slice, cells, cells, FLOW).movedim(2, 4)
    said = torch.cat((pixels, flow), -1).reshape(1, -1, per_slice * (PATCH * PATCH + FLOW))
    assert dense_loss(said, targets, config) == pytest.approx(0, abs=1e-6)
    assert dense_loss(said + 0.1, targets, config) == pytest.approx(0.1 + 2 * 0.1, rel=1e-3)


def test_unknown_pixels_teach_nothing(clip: Clip) -> None:
    targets = stacked(replace(clip, depth=np.zeros_like(clip.depth)))
    assert not targets.depth.any() and not targets.has_flow.any()
    said = torch.zeros(1, 36, PATCH * PATCH + FLOW, requires_grad=True)
    loss = dense_loss(said, targets, small())
    loss.backward()
    assert loss == 0 and not said.grad.any()


def test_tokens_around_a_place() -> None:
    uv = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    numbers, weights = token_weights(uv, torch.tensor([[3, 1]]), (2, 4), 2)
    assert numbers[0, 0].tolist() == [9, 10, 13, 14] and torch.allclose(weights[0, 0], torch.full((4,), 0.25))
    assert set(numbers[0, 1].tolist()) == {4} and weights[0, 1].sum() == pytest.approx(1)


def test_attention_at_the_true_place_costs_nothing() -> None:
    network = D4rt(small()).eval()
    frames, count = torch.rand(1, 4, 3, SIZE, SIZE), 5
    middles = torch.tensor([0.5 / 3, 0.5, 2.5 / 3])
    place = middles[torch.randint(0, 3, (2, 1, count))]
    times = torch.randint(0, 4, (3, 1, count))
    queries = Queries(place[0], place[1], *times)
    memory = network.encode(frames, torch.ones(1))
    with recorded_asks(network) as records, torch.no_grad():
        network.decode(memory, queries)
    uv, seen = torch.stack((place[0], place[1]), -1), torch.ones(1, count, dtype=torch.bool)
    matches = Matches(uv, seen, uv, seen)
    plain = matching_loss(network, memory, records, queries, matches)
    asked = records[0][0]
    for head, time in ((2, queries.t_tgt), (3, queries.t_cam)):  # ask exactly for the key of the true token
        numbers, _ = token_weights(uv, time, (3, 3), 1)
        keys = memory.layers[1].keys[0, head]
        keys = keys / keys.norm(dim=-1, keepdim=True)
        asked[0, head] = 1e4 * keys[numbers[0, :, 0]]
        memory.layers[1].keys[0, head] = keys
    assert matching_loss(network, memory, records, queries, matches) < 1e-3 < plain
    unseen = matches._replace(seen=~seen, seen_cam=~seen)
    assert matching_loss(network, memory, records, queries, unseen) == 0
    assert all(block.record is None for block in network.decoder.blocks)
    assert plain < math.log(36) + 1
