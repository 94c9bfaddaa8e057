"""Random state dicts under the published names, for `naive_mvdust3r`: every entry differs from its usual start.

The last norm of the image skip is large, so that the branch's factor of 1e-4 does not hide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def random_weights(config: dict, seed: int = 0) -> Weights:
    """A complete state dict for published options plus `skip_hidden_dim`, `gs_hidden_dim` and `dpt`."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}

    def add(name: str, *shape: int, bias: bool = True, gain: float = 1.0) -> None:
        fan_in = math.prod(shape[1:])
        weights[f"{name}.weight"] = torch.randn(*shape, generator=generator) * gain / math.sqrt(fan_in)
        if bias:
            weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.2

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=generator)
        weights[f"{name}.bias"] = 0.2 * torch.randn(width, generator=generator)

    encoder, decoder, patch = config["enc_embed_dim"], config["dec_embed_dim"], config["patch_size"]
    weights["mask_token"] = torch.randn(1, 1, decoder, generator=generator)
    add("patch_embed.proj", encoder, 3, patch, patch)
    for layer in range(config["enc_depth"]):
        _add_block(add, norm, f"enc_blocks.{layer}", encoder, cross=False)
    norm("enc_norm", encoder)
    add("decoder_embed", decoder, encoder)
    stacks = ["dec_blocks", "dec_blocks2"] + (["dec_same_view_blocks"] if config.get("m_ref_flag") else [])
    for stack in stacks:
        for layer in range(config["dec_depth"]):
            _add_block(add, norm, f"{stack}.{layer}", decoder, cross=True)
    norm("dec_norm", decoder)
    for head in ("downstream_head1", "downstream_head2"):
        if config["head_type"] == "dpt":
            _add_dpt(add, f"{head}.dpt", config)
            for level in range(4):
                weights[f"{head}.dpt.scratch.layer_rn.{level}.weight"] = weights[
                    f"{head}.dpt.scratch.layer{level + 1}_rn.weight"
                ]
        else:
            add(f"{head}.proj", 4 * patch**2, decoder)
        if (config.get("pts_head_config") or {}).get("skip"):
            _add_skip(add, norm, weights, f"{head}.skip_proj", config["skip_hidden_dim"], generator)
    if config.get("GS"):
        outputs = {"mlp_rgb": 3 * (config["sh_degree"] + 1) ** 2, "mlp_opacity": 1, "mlp_scale2": 3, "mlp_rotation": 4}
        for which in range(2):
            norm(f"downstream_GS_head.{which}.norm", decoder)
            for key, channels in outputs.items():
                branch, hidden = f"downstream_GS_head.{which}.{key}", config["gs_hidden_dim"]
                add(f"{branch}.0", hidden, decoder, bias=False)
                add(f"{branch}.2", channels * patch**2, hidden, bias=False)
    return weights


def _add_block(add: Callable, norm: Callable, name: str, width: int, *, cross: bool) -> None:
    add(f"{name}.attn.qkv", 3 * width, width)
    add(f"{name}.attn.proj", width, width)
    add(f"{name}.mlp.fc1", 4 * width, width)
    add(f"{name}.mlp.fc2", width, 4 * width)
    for key in ("norm1", "norm2", "norm3", "norm_y") if cross else ("norm1", "norm2"):
        norm(f"{name}.{key}", width)
    if cross:
        for key in ("projq", "projk", "projv", "proj"):
            add(f"{name}.cross_attn.{key}", width, width)


def _add_skip(
    add: Callable, norm: Callable, weights: Weights, name: str, hidden: int, generator: torch.Generator
) -> None:
    for step, ((inside, outside), size) in enumerate(
        zip(pairwise((6, hidden, hidden, hidden, 3)), (3, 5, 5, 3), strict=True)
    ):
        add(f"{name}.{step}.conv", outside, inside, size, size)
        norm(f"{name}.{step}.norm", outside)
        weights[f"{name}.{step}.norm.running_mean"] = 0.2 * torch.randn(outside, generator=generator)
        weights[f"{name}.{step}.norm.running_var"] = 0.5 + torch.rand(outside, generator=generator)
        weights[f"{name}.{step}.norm.num_batches_tracked"] = torch.tensor(7)
    weights[f"{name}.3.norm.weight"] *= 5e3


def _add_dpt(add: Callable, name: str, config: dict) -> None:
    sizes = config["dpt"]
    feature, last, widths = sizes["feature_dim"], sizes["last_dim"], sizes["layer_dims"]
    for level, width in enumerate(widths):
        inside = config["enc_embed_dim"] if level == 0 else config["dec_embed_dim"]
        add(f"{name}.act_postprocess.{level}.0", width, inside, 1, 1)
        if level != 2:
            kernel = (4, 2, 0, 3)[level]
            add(f"{name}.act_postprocess.{level}.1", width, width, kernel, kernel, gain=4.0 if level == 0 else 2.0)
        add(f"{name}.scratch.layer{level + 1}_rn", feature, width, 3, 3, bias=False)
        for unit in ("resConfUnit1", "resConfUnit2"):
            for step in ("conv1", "conv2"):
                add(f"{name}.scratch.refinenet{level + 1}.{unit}.{step}", feature, feature, 3, 3)
        add(f"{name}.scratch.refinenet{level + 1}.out_conv", feature, feature, 1, 1)
    add(f"{name}.head.0", feature // 2, feature, 3, 3)
    add(f"{name}.head.2", last, feature // 2, 3, 3)
    add(f"{name}.head.4", 4, last, 1, 1)
