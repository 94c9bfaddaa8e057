"""Tiny checkpoints in the published form: official key names, constructor text, argparse.Namespace, torch.save."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ENCODER, DECODER, PATCH, SKIP, HIDDEN = 16, 8, 4, 4, 8

DUST3R_OPTIONS: dict[str, Any] = {
    "pos_embed": "RoPE100",
    "patch_embed_cls": "ManyAR_PatchEmbed",
    "img_size": (512, 512),
    "head_type": "linear",
    "output_mode": "pts3d",
    "depth_mode": ("exp", -math.inf, math.inf),
    "conf_mode": ("exp", 1, math.inf),
    "landscape_only": True,
    "enc_embed_dim": ENCODER,
    "enc_depth": 2,
    "enc_num_heads": 2,
    "dec_embed_dim": DECODER,
    "dec_depth": 1,
    "dec_num_heads": 1,
    "patch_size": PATCH,
}
MVDUST3R_OPTIONS: dict[str, Any] = {
    **{key: value for key, value in DUST3R_OPTIONS.items() if key not in ("patch_embed_cls", "landscape_only")},
    "img_size": (224, 224),
    "conf_mode": ("exp", 1, 1e9),
    "GS": True,
    "sh_degree": 0,
    "pts_head_config": {"skip": True},
    "m_ref_flag": True,
    "n_ref": 4,
}


def dust3r_state() -> dict[str, Tensor]:
    """Random state dict of a pairwise model with linear heads."""
    shapes = _trunk_shapes(("dec_blocks", "dec_blocks2"))
    for head in ("downstream_head1", "downstream_head2"):
        shapes |= _linear(f"{head}.proj", 4 * PATCH**2, DECODER)
    return _random(shapes)


def mvdust3r_state() -> dict[str, Tensor]:
    """Random state dict of a fused multi-view model with image skip and Gaussian heads."""
    shapes = _trunk_shapes(("dec_blocks", "dec_blocks2", "dec_same_view_blocks"))
    for head in ("downstream_head1", "downstream_head2"):
        shapes |= _linear(f"{head}.proj", 4 * PATCH**2, DECODER)
        for layer, (inputs, outputs, kernel) in enumerate(
            ((6, SKIP, 3), (SKIP, SKIP, 5), (SKIP, SKIP, 5), (SKIP, 3, 3))
        ):
            name = f"{head}.skip_proj.{layer}"
            shapes |= {f"{name}.conv.weight": (outputs, inputs, kernel, kernel), f"{name}.conv.bias": (outputs,)}
            shapes |= {f"{name}.norm.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
            shapes |= {f"{name}.norm.num_batches_tracked": ()}
    for slot in (0, 1):
        shapes |= _norm(f"downstream_GS_head.{slot}.norm", DECODER)
        for branch, channels in (("rgb", 3), ("opacity", 1), ("scale2", 3), ("rotation", 4)):
            name = f"downstream_GS_head.{slot}.mlp_{branch}"
            shapes |= {f"{name}.0.weight": (HIDDEN, DECODER), f"{name}.2.weight": (channels * PATCH**2, HIDDEN)}
    return _random(shapes)


def constructor_text(class_name: str, options: dict[str, Any]) -> str:
    """The text that training scripts store; ``inf`` is a bare word in it."""
    return f"{class_name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def write_pth(path: Path, state: dict[str, Tensor], model_text: str | None) -> Path:
    """A file as training writes it."""
    content: dict[str, Any] = {"model": state, "epoch": 3, "best_so_far": 0.25}
    if model_text is not None:
        content["args"] = argparse.Namespace(model=model_text, lr=1.5e-4, output_dir="checkpoints/run", amp=0)
    torch.save(content, path)
    return path


def write_dust3r(path: Path) -> Path:
    """A complete pairwise checkpoint."""
    return write_pth(path, dust3r_state(), constructor_text("AsymmetricCroCo3DStereo", DUST3R_OPTIONS))


def write_mvdust3r(path: Path) -> Path:
    """A complete multi-view checkpoint."""
    return write_pth(path, mvdust3r_state(), constructor_text("AsymmetricCroCo3DStereoMultiView", MVDUST3R_OPTIONS))


def _trunk_shapes(stacks: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"mask_token": (1, 1, DECODER)}
    shapes |= {"patch_embed.proj.weight": (ENCODER, 3, PATCH, PATCH), "patch_embed.proj.bias": (ENCODER,)}
    for layer in range(DUST3R_OPTIONS["enc_depth"]):
        block = f"enc_blocks.{layer}"
        shapes |= _norm(f"{block}.norm1", ENCODER) | _norm(f"{block}.norm2", ENCODER)
        shapes |= _self_attention(block, ENCODER) | _mlp(block, ENCODER)
    shapes |= _norm("enc_norm", ENCODER) | _linear("decoder_embed", DECODER, ENCODER)
    for stack in stacks:
        block = f"{stack}.0"
        for norm in ("norm1", "norm2", "norm3", "norm_y"):
            shapes |= _norm(f"{block}.{norm}", DECODER)
        for part in ("projq", "projk", "projv", "proj"):
            shapes |= _linear(f"{block}.cross_attn.{part}", DECODER, DECODER)
        shapes |= _self_attention(block, DECODER) | _mlp(block, DECODER)
    return shapes | _norm("dec_norm", DECODER)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def _self_attention(block: str, dim: int) -> dict[str, tuple[int, ...]]:
    return _linear(f"{block}.attn.qkv", 3 * dim, dim) | _linear(f"{block}.attn.proj", dim, dim)


def _mlp(block: str, dim: int) -> dict[str, tuple[int, ...]]:
    return _linear(f"{block}.mlp.fc1", 4 * dim, dim) | _linear(f"{block}.mlp.fc2", dim, 4 * dim)


def _random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            state[name] = 0.3 * torch.randn(shape, generator=generator)
    return state
