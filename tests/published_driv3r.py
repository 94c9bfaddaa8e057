"""Names and shapes of published Spann3R and Driv3R checkpoints, and tiny files in that form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from published_checkpoints import write_pth

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """Of the network; the defaults are the released ones."""

    encoder: int = 1024
    encoder_depth: int = 24
    decoder: int = 768
    decoder_depth: int = 12
    patch: int = 16
    value_depth: int = 6
    feature: int = 256
    last: int = 128
    levels: tuple[int, int, int, int] = (96, 192, 384, 768)


TINY = Sizes(64, 2, 64, 4, 16, 2, 8, 4, (4, 4, 8, 8))  # one attention head everywhere: no options are needed


def shapes(sizes: Sizes = Sizes()) -> Shapes:
    """Every entry of the `model` of a checkpoint, also those that no output depends on or that are there twice."""
    wide, narrow = sizes.encoder, sizes.decoder
    found: Shapes = {"dust3r.mask_token": (1, 1, narrow)}
    for name in ("dust3r.patch_embed.proj", "pos_patch_embed.proj"):
        found |= {f"{name}.weight": (wide, 3, sizes.patch, sizes.patch), f"{name}.bias": (wide,)}
    for layer in range(sizes.encoder_depth):
        found |= _encoder_block(f"dust3r.enc_blocks.{layer}", wide)
    for layer in range(sizes.value_depth):
        found |= _encoder_block(f"value_encoder.{layer}", wide)
    for stack in ("dec_blocks", "dec_blocks2"):
        for layer in range(sizes.decoder_depth):
            found |= _decoder_block(f"dust3r.{stack}.{layer}", narrow)
    found |= _linear("dust3r.decoder_embed", narrow, wide) | _norm("dust3r.dec_norm", narrow)
    for name in ("dust3r.enc_norm", "value_norm", "norm_q", "norm_k", "norm_v"):
        found |= _norm(name, wide)
    found |= _linear("value_out", wide, wide)
    for head in (1, 2):
        found |= _linear(f"attn_head_{head}.0", wide + narrow, wide + narrow)
        found |= _linear(f"attn_head_{head}.2", wide, wide + narrow)
        found |= _dpt(f"dust3r.downstream_head{head}.dpt", sizes)
    return found


def is_unused(name: str) -> bool:
    """No output depends on it: left over from pre-training, or the unit of a level that the coarsest stage lacks."""
    return name == "dust3r.mask_token" or ".refinenet4.resConfUnit1." in name


def is_copy(name: str) -> bool:
    """The second name of a tensor."""
    return ".scratch.layer_rn." in name


def state(sizes: Sizes = TINY) -> dict[str, Tensor]:
    """Random tensors."""
    generator = torch.Generator().manual_seed(0)
    found = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes(sizes).items()}
    for name in filter(is_copy, found):
        head, level = name.removesuffix(".weight").split("layer_rn.")
        found[name] = found[f"{head}layer{int(level) + 1}_rn.weight"]
    return found


def write(path: Path, text: str | None = "Spann3R(dus3r_name='checkpoints/backbone.pth', use_feat=False)") -> Path:
    """A checkpoint as training writes it."""
    return write_pth(path, state(), text)


def _dpt(name: str, sizes: Sizes) -> Shapes:
    first, second, third, fourth = sizes.levels
    feature, half = sizes.feature, sizes.feature // 2
    found = _conv(f"{name}.act_postprocess.0.0", first, sizes.encoder, 1)
    found |= _conv(f"{name}.act_postprocess.0.1", first, first, 4)
    found |= _conv(f"{name}.act_postprocess.1.0", second, sizes.decoder, 1)
    found |= _conv(f"{name}.act_postprocess.1.1", second, second, 2)
    found |= _conv(f"{name}.act_postprocess.2.0", third, sizes.decoder, 1)
    found |= _conv(f"{name}.act_postprocess.3.0", fourth, sizes.decoder, 1)
    found |= _conv(f"{name}.act_postprocess.3.1", fourth, fourth, 3)
    for level, dim in enumerate(sizes.levels):
        found[f"{name}.scratch.layer{level + 1}_rn.weight"] = (feature, dim, 3, 3)
        found[f"{name}.scratch.layer_rn.{level}.weight"] = (feature, dim, 3, 3)
        stage = f"{name}.scratch.refinenet{level + 1}"
        for unit in ("resConfUnit1", "resConfUnit2"):
            for conv in ("conv1", "conv2"):
                found |= _conv(f"{stage}.{unit}.{conv}", feature, feature, 3)
        found |= _conv(f"{stage}.out_conv", feature, feature, 1)
    found |= _conv(f"{name}.head.0", half, feature, 3) | _conv(f"{name}.head.2", sizes.last, half, 3)
    return found | _conv(f"{name}.head.4", 4, sizes.last, 1)


def _encoder_block(name: str, dim: int) -> Shapes:
    found = _norm(f"{name}.norm1", dim) | _norm(f"{name}.norm2", dim)
    found |= _linear(f"{name}.attn.qkv", 3 * dim, dim) | _linear(f"{name}.attn.proj", dim, dim)
    return found | _linear(f"{name}.mlp.fc1", 4 * dim, dim) | _linear(f"{name}.mlp.fc2", dim, 4 * dim)


def _decoder_block(name: str, dim: int) -> Shapes:
    found = _encoder_block(name, dim) | _norm(f"{name}.norm3", dim) | _norm(f"{name}.norm_y", dim)
    for part in ("projq", "projk", "projv", "proj"):
        found |= _linear(f"{name}.cross_attn.{part}", dim, dim)
    return found


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _conv(name: str, outputs: int, inputs: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def _norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
