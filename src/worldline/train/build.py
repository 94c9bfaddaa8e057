"""What a recipe builds before the first step: network, starting weights, optimiser, and the forward pass."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r
from worldline.models.layers.blocks import DecoderBlock
from worldline.models.layers.heads import LinearHead
from worldline.models.mvdust3r import MVDust3r
from worldline.train.matching import AttentionRecord, recorded_attention
from worldline.train.recipes import TrainRecipe
from worldline.types import Pointmaps
from worldline.weights.fetch import resolve
from worldline.weights.model_info import ModelInfo
from worldline.weights.storage import load_model

log = logging.getLogger(__name__)

NEW_PARTS = (".skip.", "fusion_blocks.", "_gaussians.")  # of the multi-view models, absent in DUSt3R
Pointmapper = MVDust3r | Driv3r


class TrainedNetwork(nn.Module):
    """The network as one training step calls it: a single forward, so that DDP and FSDP can stand around it."""

    def __init__(self, network: MVDust3r) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Float[Tensor, "scene view 3 height width"], paths: int, record: bool
    ) -> tuple[tuple[Tensor, ...], dict[int, Tensor], dict[int, Tensor]]:
        """Maps ``[scene, path, view, height, width, …]``: points, confidence and, of a network with Gaussian heads,
        their scales, rotations and opacities; with ``record`` also the queries and keys of
        :class:`~worldline.train.matching.AttentionRecord`."""
        with recorded_attention(self.network) if record else nullcontext(AttentionRecord()) as attention:
            maps = forward_paths(self.network, images, paths)
        drawn = maps.gaussians
        further = () if drawn is None else (drawn.scales, drawn.rotations, drawn.opacities, drawn.colors)
        return (maps.points, maps.confidence, *further), attention.queries, attention.keys


def build_model(recipe: TrainRecipe) -> MVDust3r:
    """The network of a recipe with its starting weights: those of ``recipe.init``, else random from the seed."""
    torch.manual_seed(recipe.seed)
    model = MVDust3r(recipe.network_config())
    start_at_unit_depth(model)
    attend_to_similar(model)
    if recipe.init is not None:
        start_from(model, recipe.init)
    learn_only(model, recipe.learn)
    return model


def learn_only(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Freeze every parameter whose name has none of the given parts; without any, all learn.

    Raises:
        InputError: no parameter has one of them.
    """
    if not parts:
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in parts))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            f"No parameter of the network is called {' or '.join(parts)}.", "Name parts that it has, e.g. _head."
        )


def start_from(model: Pointmapper, source: str, new_parts: tuple[str, ...] = NEW_PARTS) -> ModelInfo:
    """Take over all weights that a checkpoint shares with the network; returns what is known about the checkpoint.

    A pairwise DUSt3R gives encoder, both decoders and both heads. ``new_parts`` keep their fresh start, which changes
    nothing before it is trained; here they are what only the multi-view models have (image skip, fusion, Gaussians).

    Raises:
        InputError: sizes differ, or the checkpoint lacks something that is no new part.
        WeightsError: it cannot be found or read.
    """
    donor, info = load_model(resolve(source))
    given, wanted = donor.state_dict(), model.state_dict()
    unequal = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    missing = [name for name in wanted if name not in given and not any(part in name for part in new_parts)]
    if unequal or missing:
        name = (unequal or missing)[0]
        found = f"{list(given[name].shape)} instead of {list(wanted[name].shape)}" if unequal else "missing"
        raise InputError(
            f"{source} does not fit the network of this recipe: {name} is {found}.",
            "Start from a model of the same sizes with the same heads; see --dry-run for what the recipe starts from.",
        )
    model.load_state_dict({name: given.get(name, value) for name, value in wanted.items()})
    log.info("started from %s: %d of %d tensors", source, sum(name in given for name in wanted), len(wanted))
    return info


@torch.no_grad()
def start_at_unit_depth(model: Pointmapper) -> None:
    """Let the first predictions lie around (0, 0, 1): in front of the camera, where every normalised scene is.

    From a start at the origin the direction of a point would be noise and its distance ill-conditioned.
    """
    raw_depth = {"exp": math.log(2), "square": 1.0, "linear": 1.0}[model.config.depth_mode]
    for head in (model.reference_head, model.source_head):
        if not isinstance(head, LinearHead):
            continue
        head.projection.bias.unflatten(0, (4, -1))[2] = raw_depth


@torch.no_grad()
def attend_to_similar(model: Pointmapper) -> None:
    """Let cross-attention start with equal projections of queries and keys: tokens read what looks like them.

    With independent projections it takes long until a token reads its true counterpart in another view more often than
    chance. In the fusion every token starts by reading itself in the other paths. (In the spirit of mimetic
    initialisation, Trockman and Kolter 2023.)
    """
    for block in model.decoder.modules():
        if isinstance(block, DecoderBlock):
            block.cross_attention.key.load_state_dict(block.cross_attention.query.state_dict())


def forward_paths(model: MVDust3r, images: Float[Tensor, "scene view 3 height width"], paths: int) -> Pointmaps:
    """Pointmaps of ``paths`` reference paths, fields ``[scene, path, view, …]``; one path trains without fusion."""
    if paths > 1:
        return model.forward_paths(images, paths)
    with without_fusion(model):
        height, width = images.shape[-2:]
        return model.read_out(model.decode(model.encode(images), (height, width), 1), images)


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
