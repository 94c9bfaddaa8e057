"""State dicts and options that no published checkpoint has: refused in a sentence, never half understood."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import published_checkpoints as published
from worldline.errors import WeightsError
from worldline.weights import from_official
from worldline.weights.files import read_json


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conf_mode": ("softplus", 1, 9)}, "confidence mode"),
        ({"conf_mode": ("sigmoid", 0, "inf")}, "confidence mode"),
        ({"conf_mode": ("exp", 2, 1)}, "confidence mode"),
        ({"conf_mode": "exp"}, "not those of"),
        ({"depth_mode": ("exp", -5, 5)}, "depth mode"),
        ({"pts_head_config": True}, "pts_head_config"),
        ({"pts_head_config": "skip"}, "pts_head_config"),
        ({"pos_embed": "cosine"}, "position embedding"),
        ({"pos_embed": "RoPE0"}, "position embedding"),
        ({"enc_num_heads": 3}, "enc_num_heads"),
        ({"GS_skip": True}, "GS_skip"),
        ({"head_type": "dpt"}, "linear head"),
        ({"GS": False}, "unexpected: downstream_GS_head"),
        ({"m_ref_flag": False}, "unexpected: dec_same_view_blocks"),
    ],
)
def test_options_that_are_not_understood_are_refused(options: dict, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        from_official(published.mvdust3r_state(), {**published.MVDUST3R_OPTIONS, **options})


@pytest.mark.parametrize(
    "entry",
    [
        torch.complex(torch.zeros(16), torch.zeros(16)),
        torch.zeros(16).to_sparse(),
        "sixteen",
        None,
    ],
)
def test_entries_that_are_no_plain_numbers_are_named(entry: object) -> None:
    state = {**published.dust3r_state(), "enc_norm.weight": entry}
    with pytest.raises(WeightsError, match=r"enc_norm\.weight"):
        from_official(state, published.DUST3R_OPTIONS)


def test_an_absurd_block_number_builds_no_absurd_model() -> None:
    state = {**published.dust3r_state(), "enc_blocks.400000000.norm1.weight": torch.zeros(16)}
    options = {key: value for key, value in published.DUST3R_OPTIONS.items() if key != "enc_depth"}
    with pytest.raises(WeightsError, match=r"enc_blocks\.400000000"):
        from_official(state, options)


@pytest.mark.parametrize("dim", [16, 72, 96])
def test_head_counts_are_not_guessed_for_unpublished_widths(dim: int) -> None:
    """96 channels may be 2, 3 or 6 heads; any guess would load, and compute nonsense."""
    with torch.no_grad():
        state = published.dust3r_state()
    wide = {name: _widen(name, value, dim) for name, value in state.items()}
    options = {**published.DUST3R_OPTIONS, "enc_embed_dim": dim, "enc_num_heads": 2}
    assert from_official(wide, options).config.encoder_heads == 2
    del options["enc_num_heads"]
    with pytest.raises(WeightsError, match="State enc_num_heads"):
        from_official(wide, options)


def _widen(name: str, value: torch.Tensor, dim: int) -> torch.Tensor:
    if not name.startswith(("patch_embed", "enc_", "decoder_embed.weight")):
        return value
    factor = {published.ENCODER: dim, 3 * published.ENCODER: 3 * dim, 4 * published.ENCODER: 4 * dim}
    return torch.zeros([factor.get(size, size) for size in value.shape])


def test_any_width_of_the_mlp_is_taken_as_it_is() -> None:
    """44 -> 15 -> 44: the ratio 15 / 44 times 44 is a hair below 15."""
    state = published.dust3r_state()
    wide = {name: _widen(name, value, 44) for name, value in state.items()}
    narrow = {}
    for name, value in wide.items():
        if ".mlp." in name and "enc_" in name:
            value = torch.zeros([15 if size == 176 else size for size in value.shape])
        elif ".mlp." in name:
            value = torch.zeros([round(15 * published.DECODER / 44) if size == 32 else size for size in value.shape])
        narrow[name] = value
    model = from_official(narrow, {**published.DUST3R_OPTIONS, "enc_embed_dim": 44, "enc_num_heads": 1})
    assert model.encoder.blocks[0].mlp.hidden.weight.shape == (15, 44)


def test_json_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="not JSON"):
        read_json(tmp_path / "config.json")
