"""Correspondences are the true ones, and the matching loss reads the attention that the decoder uses."""

from dataclasses import replace

import numpy as np
import torch

from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.train import matching
from worldline.train.build import forward_paths
from worldline.train.correspondence import cameras_of, token_matches
from worldline.train.data import PosedImages

TINY = replace(
    MVDust3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=48, decoder_depth=2,
    decoder_heads=3,
)  # fmt: skip


def shifted_wall(views: int = 3, size: int = 64) -> PosedImages:
    """A wall at depth 1; camera v stands v tokens (16 pixels) to the right."""
    poses = np.tile(np.eye(4, dtype=np.float32), (views, 1, 1))
    poses[:, 0, 3] = 16 / size * np.arange(views)
    intrinsics = np.tile(np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float32), (views, 1, 1))
    images = np.zeros((views, size, size, 3), np.uint8)
    return PosedImages(images, np.ones((views, size, size), np.float32), intrinsics, poses)


def true_matches() -> torch.Tensor:
    wall = shifted_wall()
    depth = torch.from_numpy(wall.depth)[None]
    return token_matches(depth, cameras_of(wall.intrinsics[None], wall.world_from_cam[None]))


def test_matches_shift_by_one_token_per_view():
    matches = true_matches()[0].numpy()  # 4 x 4 tokens
    grid = np.arange(16).reshape(4, 4)
    expected = np.concatenate([np.full((4, 1), -1), grid[:, :-1]], 1).ravel()
    assert np.array_equal(matches[0, 1], expected)
    assert np.array_equal(matches[0, 0], grid.ravel())
    assert (matches[0, 2] >= 0).mean() == 0.5


def test_slots_follow_the_reference_and_leave_out_the_view_itself():
    matches = true_matches()
    rows = matching._in_slots(matches, 2)
    assert torch.equal(rows[0, 0, 1], matches[0, 0, 1])
    assert torch.equal(rows[1, 0, 1], matches[0, 1, 0])  # in path 1, slot 0 is view 1
    assert torch.equal(rows[1, 1, 2], matches[0, 0, 2])
    assert (rows[:, range(3), range(3)] == matching.NO_MATCH).all()


def test_attention_learns_to_match():
    torch.manual_seed(0)
    model = MVDust3r(TINY)
    images = torch.rand(1, 1, 3, 64, 64 + 32) * 2 - 1
    views = torch.cat([images[..., 16 * v : 16 * v + 64] for v in range(3)], 1)  # what shifted cameras see
    matches = true_matches()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    hits = []
    for paths in [1, 2] * 20:
        with matching.recorded_attention(model) as record:
            forward_paths(model, views, paths)
        loss, share = matching.matching_loss(model, record, matches, paths, (4, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hits.append(share)
    assert np.mean(hits[:4]) < 0.3
    assert np.mean(hits[-4:]) > 0.8
    assert not model.decoder.source_blocks[0].cross_attention.query._forward_hooks


def test_no_match_costs_nothing():
    model = MVDust3r(TINY)
    with matching.recorded_attention(model) as record:
        forward_paths(model, torch.rand(1, 2, 3, 32, 32), 1)
    loss, hits = matching.matching_loss(model, record, torch.full((1, 2, 2, 4), -1), 1, (2, 2))
    assert loss == 0
    assert hits == 0
