"""What a recipe builds before the first step: network, optimiser, precision, and the forward pass of a stage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from worldline.models.config import MVDust3rConfig
from worldline.models.layers.blocks import DecoderBlock
from worldline.models.mvdust3r import MVDust3r
from worldline.train.recipes import TrainRecipe
from worldline.types import Pointmaps

_FEW_TOKENS = 64


def build_model(recipe: TrainRecipe) -> MVDust3r:
    """The network of a recipe, freshly initialised."""
    model = MVDust3r(recipe.config if recipe.config is not None else MVDust3rConfig.mini())
    start_at_unit_depth(model)
    attend_to_similar(model)
    return model


@torch.no_grad()
def start_at_unit_depth(model: MVDust3r) -> None:
    """Let the first predictions lie around (0, 0, 1): in front of the camera, where every normalised scene is.

    From a start at the origin the direction of a point would be noise and its distance ill-conditioned.
    """
    raw_depth = {"exp": math.log(2), "square": 1.0, "linear": 1.0}[model.config.depth_mode]
    for head in (model.reference_head, model.source_head):
        head.projection.bias.unflatten(0, (4, -1))[2] = raw_depth


@torch.no_grad()
def attend_to_similar(model: MVDust3r) -> None:
    """Let cross-attention start with equal projections of queries and keys: tokens read what looks like them.

    With independent projections it takes long until a token reads its true counterpart in another view more often than
    chance. In the fusion every token starts by reading itself in the other paths. (In the spirit of mimetic
    initialisation, Trockman and Kolter 2023.)
    """
    decoder = model.decoder
    for blocks in (decoder.reference_blocks, decoder.source_blocks, decoder.fusion_blocks or ()):
        for block in blocks:
            attention = cast(DecoderBlock, block).cross_attention
            attention.key.load_state_dict(attention.query.state_dict())


def forward_paths(model: MVDust3r, images: Float[Tensor, "scene view 3 height width"], paths: int) -> Pointmaps:
    """Pointmaps of ``paths`` reference paths, fields ``[scene, path, view, …]``; one path trains without fusion."""
    with attention_kernel(model, images):
        if paths > 1:
            return model.forward_paths(images, paths)
        with without_fusion(model):
            height, width = images.shape[-2:]
            return model.read_out(model.decode(model.encode(images), (height, width), 1), images)


def attention_kernel(model: MVDust3r, images: Tensor) -> AbstractContextManager[Any]:
    """Plain products instead of the tiled kernel for few tokens on a processor: a sixth less time per step at 49."""
    rows, columns = model.encoder.patch_embed.grid(*images.shape[-2:])
    few = images.device.type == "cpu" and rows * columns <= _FEW_TOKENS
    return sdpa_kernel(SDPBackend.MATH) if few else nullcontext()


@contextmanager
def without_fusion(model: MVDust3r) -> Iterator[None]:
    """The plain model inside the fused one. Fusion blocks start as the identity, so this is where training starts."""
    blocks = model.decoder.fusion_blocks
    model.decoder.fusion_blocks = None
    try:
        yield
    finally:
        model.decoder.fusion_blocks = blocks


def build_optimizer(model: nn.Module, recipe: TrainRecipe) -> torch.optim.AdamW:
    """AdamW with weight decay on everything that has two or more dimensions."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    groups: list[dict[str, list[Tensor] | float]] = [
        {"params": [value for value in parameters if value.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [value for value in parameters if value.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


def autocast(recipe: TrainRecipe) -> AbstractContextManager[Any]:
    """The mixed-precision context of a recipe.

    ``auto`` keeps processors at float32: without native bfloat16 products (AVX512-BF16, AMX) they get much slower.
    """
    kind = torch.device(recipe.device).type
    half = recipe.precision == "bfloat16" or (recipe.precision == "auto" and kind == "cuda")
    return torch.autocast(kind, dtype=torch.bfloat16) if half else nullcontext()
