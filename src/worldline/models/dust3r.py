"""DUSt3R: two images -> pointmaps of both in the first camera's frame (CVPR 2024, arXiv 2312.14132)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.config import Dust3rConfig, PointmapConfig
from worldline.models.layers.blocks import NORM_EPS, DecoderBlock
from worldline.models.layers.dpt import DptHead
from worldline.models.layers.heads import LinearHead, confidence_from_raw, points_from_raw
from worldline.models.layers.patch_embed import mixed_rope
from worldline.models.layers.rope import RopeTable, grid_rope
from worldline.models.layers.trunk import Encoder, check_image_sizes, decoder_blocks, full_precision
from worldline.types import Pointmaps

TrueShapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EncodedImages:
    """Images after the encoder: encode once, then decode in as many pairs as needed. Index it like a batch."""

    tokens: Float[Tensor, "batch token channel"]
    images: Float[Tensor, "batch 3 height width"]
    true_shapes: TrueShapes  # (height, width) of each image before it was stored

    def __len__(self) -> int:
        return len(self.true_shapes)

    def __getitem__(self, rows: slice | list[int]) -> EncodedImages:
        """A sub-batch, given by a slice or a list of row numbers (repetition is allowed)."""
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        return EncodedImages(self.tokens[rows], self.images[rows], tuple(self.true_shapes[row] for row in chosen))


class Dust3r(nn.Module):
    """The pairwise model. Image 1 and image 2 may differ in size."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = PairDecoder(config)
        self.reference_head = pointmap_head(config)
        self.source_head = pointmap_head(config)

    @classmethod
    def sharing(
        cls,
        config: PointmapConfig,
        encoder: Encoder,
        decoder: PairDecoder,
        reference_head: nn.Module,
        source_head: nn.Module,
    ) -> Dust3r:
        """A pairwise model made of parts of another one; the weights are shared, not copied."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        common = {key: value for key, value in config.to_dict().items() if key in Dust3rConfig.__dataclass_fields__}
        model.config = Dust3rConfig.from_dict(common)
        model.encoder, model.decoder = encoder, decoder
        model.reference_head, model.source_head = reference_head, source_head
        return model.train(reference_head.training)

    def forward(
        self,
        image1: Float[Tensor, "batch 3 height1 width1"],
        image2: Float[Tensor, "batch 3 height2 width2"],
        true_shapes1: TrueShapes | Tensor | None = None,
        true_shapes2: TrueShapes | Tensor | None = None,
    ) -> tuple[Pointmaps, Pointmaps]:
        """Points [B, H, W, 3] and confidence [B, H, W] of image 1 and of image 2, both in the frame of camera 1.

        Args:
            image1, image2: batches of equal length in [-1, 1], sides multiples of the patch size.
            true_shapes1, true_shapes2: (height, width) of every sample, for models that store portrait images as
                landscape; None means the tensor's own shape.

        Raises:
            InputError: sizes that patches do not divide, unequal batches, or shapes that contradict the tensors.
        """
        if image1.shape[0] != image2.shape[0]:
            raise InputError(
                f"The batches have {image1.shape[0]} and {image2.shape[0]} images.", "Give one partner per image."
            )
        if image1.shape != image2.shape:
            return self.decode_pairs(self.encode(image1, true_shapes1), self.encode(image2, true_shapes2))
        shapes = _parse_shapes(image1, true_shapes1) + _parse_shapes(image2, true_shapes2)
        both = self.encode(torch.cat((image1, image2)), shapes)
        return self.decode_pairs(both[: len(image1)], both[len(image1) :])

    def encode(
        self, images: Float[Tensor, "batch 3 height width"], true_shapes: TrueShapes | Tensor | None = None
    ) -> EncodedImages:
        """Encoder tokens of a batch, with what the decoder and the heads need to know about the images."""
        check_image_sizes(images, "images", self.config.patch_size, 4)
        shapes = _parse_shapes(images, true_shapes)
        if not self.config.many_aspect:
            return EncodedImages(self.encoder(images), images, shapes)
        height, width = images.shape[-2:]
        if height > width:
            raise InputError(
                f"This model stores images as landscape, got {height}×{width} (height×width).",
                "Swap the two pixel axes and pass the original sizes as true_shapes.",
            )
        portrait = tuple(shape[0] > shape[1] for shape in shapes)
        rope = self._mixed_rope(images, portrait, self.encoder.head_dim)
        tokens = self.encoder.transform(self.encoder.patch_embed.mixed(images, portrait), rope)
        return EncodedImages(tokens, images, shapes)

    def decode_pairs(self, encoded1: EncodedImages, encoded2: EncodedImages) -> tuple[Pointmaps, Pointmaps]:
        """Row i of ``encoded1`` with row i of ``encoded2``; both results in the frame of image 1."""
        layers = head_layers(self.config)
        tokens1, tokens2 = self.decoder(
            encoded1.tokens, encoded2.tokens, self._decoder_rope(encoded1), self._decoder_rope(encoded2), layers
        )
        with full_precision(encoded1.images.device):
            return (
                self._read_out(self.reference_head, tokens1, encoded1),
                self._read_out(self.source_head, tokens2, encoded2),
            )

    def _decoder_rope(self, encoded: EncodedImages) -> RopeTable:
        config = self.config
        head_dim = config.decoder_dim // config.decoder_heads
        if config.many_aspect:
            portrait = tuple(shape[0] > shape[1] for shape in encoded.true_shapes)
            return self._mixed_rope(encoded.images, portrait, head_dim).per_sample()
        grid = self.encoder.patch_embed.grid(*encoded.images.shape[-2:])
        return grid_rope(*grid, head_dim, config.rope_base, encoded.tokens.device)

    def _mixed_rope(self, images: Tensor, portrait: tuple[bool, ...], head_dim: int) -> RopeTable:
        grid = self.encoder.patch_embed.grid(*images.shape[-2:])
        return mixed_rope(*grid, portrait, head_dim, self.config.rope_base, images.device)

    def _read_out(self, head: nn.Module, tokens: list[Tensor], encoded: EncodedImages) -> Pointmaps:
        """Run a head on groups of equal true shape and put the results into the stored layout."""
        shapes = encoded.true_shapes
        tokens = [layer.float() for layer in tokens]
        images = encoded.images.float()
        if not self.config.landscape_only:
            if len(set(shapes)) > 1:
                raise InputError(
                    f"One batch mixes images of sizes {sorted(set(shapes))} (height, width).",
                    "Batch images of one size, or use a model that stores all as landscape.",
                )
            return self._maps(head, tokens, images, shapes[0])
        short, long = min(min(shape) for shape in shapes), max(max(shape) for shape in shapes)
        portrait = torch.tensor([shape[0] > shape[1] for shape in shapes], device=images.device)
        points = images.new_empty(len(shapes), short, long, 3)
        confidence = images.new_empty(len(shapes), short, long)
        for turned, size in ((False, (short, long)), (True, (long, short))):
            rows = (portrait == turned).nonzero()[:, 0]
            if not len(rows):
                continue
            maps = self._maps(head, [layer[rows] for layer in tokens], images[rows], size)
            axes = (2, 1) if turned else (1, 2)
            points = points.index_copy(0, rows, maps.points.permute(0, *axes, 3))
            confidence = confidence.index_copy(0, rows, maps.confidence.permute(0, *axes))
        return Pointmaps(points, confidence)

    def _maps(self, head: nn.Module, tokens: list[Tensor], images: Tensor, size: tuple[int, int]) -> Pointmaps:
        return read_pointmaps(head, self.config, tokens, self.encoder.patch_embed.grid(*size), images)


class PairDecoder(nn.Module):
    """Two stacks of blocks, one per role; in every layer each image reads the other's tokens of the layer before."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.encoder_dim, config.decoder_dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.reference_blocks = decoder_blocks(config)
        self.source_blocks = decoder_blocks(config)
        self.norm = nn.LayerNorm(config.decoder_dim, eps=NORM_EPS)

    @classmethod
    def sharing(
        cls, embed: nn.Linear, reference_blocks: nn.ModuleList, source_blocks: nn.ModuleList, norm: nn.LayerNorm
    ) -> PairDecoder:
        """A decoder made of another one's modules; the weights are shared, not copied."""
        pair = cls.__new__(cls)
        nn.Module.__init__(pair)
        pair.embed, pair.norm = embed, norm
        pair.reference_blocks, pair.source_blocks = reference_blocks, source_blocks
        return pair

    def forward(
        self,
        encoded1: Float[Tensor, "batch token1 channel"],
        encoded2: Float[Tensor, "batch token2 channel"],
        rope1: RopeTable,
        rope2: RopeTable,
        layers: tuple[int, ...],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of both images after the asked layers (0 = encoder output); only the last layer is normalised."""
        tokens1, tokens2 = self.embed(encoded1).unsqueeze(1), self.embed(encoded2).unsqueeze(1)
        kept = {0: (encoded1, encoded2)} if 0 in layers else {}
        depth = len(self.reference_blocks)
        for layer, (block1, block2) in enumerate(zip(self.reference_blocks, self.source_blocks, strict=True), start=1):
            tokens1, tokens2 = (
                _read_other(block1, tokens1, tokens2, rope1, rope2),
                _read_other(block2, tokens2, tokens1, rope2, rope1),
            )
            if layer in layers:
                both = (self.norm(tokens1), self.norm(tokens2)) if layer == depth else (tokens1, tokens2)
                kept[layer] = both[0].squeeze(1), both[1].squeeze(1)
        return [kept[layer][0] for layer in layers], [kept[layer][1] for layer in layers]


def _read_other(
    block: nn.Module,
    own: Float[Tensor, "batch 1 token1 channel"],
    other: Float[Tensor, "batch 1 token2 channel"],
    own_rope: RopeTable,
    other_rope: RopeTable,
) -> Float[Tensor, "batch 1 token1 channel"]:
    block = cast(DecoderBlock, block)
    return block(own, block.remember(other, other_rope).everything(), own_rope)


def head_layers(config: Dust3rConfig) -> tuple[int, ...]:
    """Layers whose tokens the heads read: 0 is the decoder's input, the last the end."""
    depth = config.decoder_depth
    return (0, depth // 2, depth * 3 // 4, depth) if config.head == "dpt" else (depth,)


def read_pointmaps(
    head: nn.Module, config: Dust3rConfig, tokens: list[Tensor], grid: tuple[int, int], images: Tensor | None
) -> Pointmaps:
    """Tokens of :func:`head_layers` -> points [B, H, W, 3] and confidence [B, H, W]; call it in full precision."""
    raw = head(tokens, grid) if config.head == "dpt" else head(tokens[-1], grid, images)
    raw = raw.permute(0, 2, 3, 1)
    return Pointmaps(
        points_from_raw(raw[..., :3], config.depth_mode),
        confidence_from_raw(raw[..., 3], config.confidence_mode, config.confidence_min, config.confidence_max),
    )


def pointmap_head(config: Dust3rConfig) -> nn.Module:
    """A new head of the kind that the configuration names."""
    if config.head == "dpt":
        return DptHead(
            config.encoder_dim,
            config.decoder_dim,
            feature_dim=config.dpt_dim,
            last_dim=config.dpt_last_dim,
            layer_dims=config.dpt_layer_dims,
        )
    return LinearHead(config.decoder_dim, config.patch_size, config.skip_dim if config.image_skip else 0)


def _parse_shapes(images: Tensor, true_shapes: TrueShapes | Tensor | None) -> TrueShapes:
    """(height, width) per sample; each must be the stored size or its transpose."""
    stored = (images.shape[-2], images.shape[-1])
    if true_shapes is None:
        return (stored,) * images.shape[0]
    values = true_shapes.tolist() if isinstance(true_shapes, Tensor) else true_shapes
    shapes = tuple((int(height), int(width)) for height, width in values)
    if len(shapes) != images.shape[0] or any(shape not in (stored, stored[::-1]) for shape in shapes):
        raise InputError(
            f"true_shapes {list(shapes)} do not fit {images.shape[0]} stored images of {stored[0]}×{stored[1]}.",
            "Give one (height, width) per image, equal to the stored size or with its sides exchanged.",
        )
    return shapes
