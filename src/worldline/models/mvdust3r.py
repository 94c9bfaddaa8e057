"""MV-DUSt3R and MV-DUSt3R+: all views of a static scene in one pass (arXiv 2412.06974, sections 3.1-3.4).

One view is the reference; everything is expressed in its camera frame. In the fused model several views act as
reference at once: each has its own *path* through the decoder, and after every layer the tokens of a view exchange
what they learned in the different paths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.config import MVDust3rConfig
from worldline.models.dust3r import Dust3r, PairDecoder
from worldline.models.layers.blocks import NORM_EPS, DecoderBlock
from worldline.models.layers.gaussian_head import GaussianHead
from worldline.models.layers.heads import LinearHead, confidence_from_raw, points_from_raw
from worldline.models.layers.rope import RopeTable, grid_rope
from worldline.models.layers.trunk import Encoder, check_image_sizes, decoder_blocks, full_precision
from worldline.types import GaussianMaps, Pointmaps

DEFAULT_REFERENCES = 4  # the published number of reference paths
CPU_CHUNK_TOKENS = 2048  # tokens that go through a decoder block at a time


class MVDust3r(nn.Module):
    """Images of one static scene -> pointmaps of all of them in the first camera's frame."""

    def __init__(self, config: MVDust3rConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = CrossReferenceDecoder(config)
        skip_dim = config.skip_dim if config.image_skip else 0
        self.reference_head = LinearHead(config.decoder_dim, config.patch_size, skip_dim)
        self.source_head = LinearHead(config.decoder_dim, config.patch_size, skip_dim)
        self.reference_gaussians = _gaussian_head(config)
        self.source_gaussians = _gaussian_head(config)

    def forward(
        self,
        images: Float[Tensor, "batch view 3 height width"],
        references: int = DEFAULT_REFERENCES,
        head_chunk: int | None = None,
    ) -> Pointmaps:
        """Pointmaps of all views in the frame of view 0, in input order, with arbitrary scale.

        Args:
            images: two or more views in [-1, 1], sides multiples of the patch size.
            references: how many views, from the first on, act as reference in the fused model; at most the number
                of views are used. The plain model reads path 0 only, so there it changes nothing.
            head_chunk: views per call of the heads; None chooses. The result does not depend on it.

        Returns:
            points [B, V, H, W, 3], confidence [B, V, H, W] and, if the model has Gaussian heads, Gaussians.

        Raises:
            InputError: fewer than two views, a size that patches do not divide, or a bad number of references.
        """
        paths = self._paths(images, references)
        tokens = self.decode(self.encode(images), _size(images), paths, first_path_only=True)
        return _drop_path_axis(self.read_out(tokens, images, head_chunk))

    def forward_paths(
        self,
        images: Float[Tensor, "batch view 3 height width"],
        references: int = DEFAULT_REFERENCES,
        head_chunk: int | None = None,
    ) -> Pointmaps:
        """As :meth:`forward`, for every path: fields have leading axes [B, R, V], row r in the frame of view r.

        Views are in input order in every row. Rows have unrelated scales; never average them. In the plain model
        the paths are independent passes with another reference each.
        """
        paths = self._paths(images, references, independent=True)
        tokens = self.decode(self.encode(images), _size(images), paths)
        return self.read_out(tokens, images, head_chunk)

    def encode(self, images: Float[Tensor, "batch view 3 height width"]) -> Float[Tensor, "batch view token channel"]:
        """Encoder tokens; every view is encoded once, whatever the number of references."""
        return self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def decode(
        self,
        tokens: Float[Tensor, "batch view token channel"],
        size: tuple[int, int],
        references: int,
        first_path_only: bool = False,
    ) -> Float[Tensor, "batch path view token channel_out"]:
        """Let the views see each other. ``size`` is the images' (height, width)."""
        config = self.config
        head_dim = config.decoder_dim // config.decoder_heads
        grid = self.encoder.patch_embed.grid(*size)
        rope = grid_rope(*grid, head_dim, config.rope_base, tokens.device)
        return self.decoder(tokens, rope, references, first_path_only)

    def read_out(
        self,
        tokens: Float[Tensor, "batch path view token channel"],
        images: Float[Tensor, "batch view 3 height width"],
        head_chunk: int | None = None,
    ) -> Pointmaps:
        """Heads on the first paths: the reference view of a path has its own weights. Always float32."""
        with full_precision(images.device):
            batch, paths, views = tokens.shape[:3]
            slots = _reference_first(paths, views, tokens.device)
            path = torch.arange(paths, device=tokens.device)[:, None]
            tokens = tokens[:, path, slots].float()
            photos = images[:, slots].float() if self.config.image_skip else None
            parts = []
            for head, gaussian_head, role in (
                (self.reference_head, self.reference_gaussians, slice(0, 1)),
                (self.source_head, self.source_gaussians, slice(1, None)),
            ):
                role_photos = None if photos is None else photos[:, :, role].flatten(0, 2)
                maps = self._run_heads(
                    head, gaussian_head, tokens[:, :, role].flatten(0, 2), role_photos, _size(images), head_chunk
                )
                parts.append([part.unflatten(0, (batch, paths, -1)) for part in maps])
            maps = [torch.cat(pair, dim=2)[:, path, slots] for pair in zip(*parts, strict=True)]
        return Pointmaps(maps[0], maps[1], GaussianMaps(*maps[2:]) if len(maps) > 2 else None)

    def _run_heads(
        self,
        head: LinearHead,
        gaussian_head: GaussianHead | None,
        tokens: Float[Tensor, "slot token channel"],
        photos: Float[Tensor, "slot 3 height width"] | None,
        size: tuple[int, int],
        chunk: int | None,
    ) -> list[Tensor]:
        """Points, confidence and Gaussian maps of all slots of one role, a few slots at a time."""
        grid = self.encoder.patch_embed.grid(*size)
        slots = tokens.shape[0]
        step = min(slots, self._head_step(tokens.device) if chunk is None else max(1, chunk))
        if self.training:  # batch statistics must not depend on a chunk size
            step = slots
        results = []
        for start in range(0, slots, step):
            piece = tokens[start : start + step]
            raw = head(piece, grid, None if photos is None else photos[start : start + step]).permute(0, 2, 3, 1)
            maps = [points_from_raw(raw[..., :3], self.config.depth_mode), self._confidence(raw[..., 3])]
            if gaussian_head is not None:
                gaussians = gaussian_head(piece, grid)
                maps += [gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.colors]
            results.append(maps)
        return [torch.cat(pieces) if len(pieces) > 1 else pieces[0] for pieces in zip(*results, strict=True)]

    def _confidence(self, raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        config = self.config
        return confidence_from_raw(raw, config.confidence_mode, config.confidence_min, config.confidence_max)

    def _head_step(self, device: torch.device) -> int:
        """Convolutions at full resolution need some 150 MB per 224² view, the rest of the heads a tenth of it."""
        if self.config.image_skip:
            return 1 if device.type == "cpu" else 4
        return 4 if device.type == "cpu" else 32

    def _paths(self, images: Tensor, references: int, independent: bool = False) -> int:
        check_image_sizes(images, "images", self.config.patch_size, 5)
        views = images.shape[1]
        if views < 2:
            raise InputError(
                "MV-DUSt3R needs at least two views of the scene, got one.", "Add a second photo of the same scene."
            )
        fused = self.config.fused_references
        if references < (2 if fused else 1):
            raise InputError(
                f"{references} reference paths were asked for.",
                "Use 2 or more: fusion needs another path to read from." if fused else "Use 1 or more.",
            )
        return min(references, views) if fused or independent else 1


class CrossReferenceDecoder(nn.Module):
    """Per layer: views of a path exchange tokens (one view is special: the reference), then paths exchange tokens.

    All exchanges of a layer read the state before it, never a half-updated one.
    """

    def __init__(self, config: MVDust3rConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.encoder_dim, config.decoder_dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.reference_blocks = decoder_blocks(config)
        self.source_blocks = decoder_blocks(config)
        self.fusion_blocks = decoder_blocks(config) if config.fused_references else None
        for block in self.fusion_blocks or ():
            cast(DecoderBlock, block).start_as_identity()
        self.norm = nn.LayerNorm(config.decoder_dim, eps=NORM_EPS)

    def forward(
        self,
        tokens: Float[Tensor, "batch view token channel"],
        rope: RopeTable,
        paths: int,
        first_path_only: bool = False,
    ) -> Float[Tensor, "batch path view token channel_out"]:
        """Decoded tokens of every path, views in input order; with ``first_path_only`` the path axis has length 1."""
        views = tokens.shape[1]
        path = torch.arange(paths, device=tokens.device)[:, None]
        slots = _reference_first(paths, views, tokens.device)  # path, slot -> view; exchanging twice undoes it
        state = self.embed(tokens)[:, slots]  # batch path slot token channel, slot 0 is the path's reference
        last = len(self.reference_blocks) - 1
        for layer in range(last + 1):
            roles = self.reference_blocks[layer], self.source_blocks[layer]
            state = _group_by_group(partial(exchange_views, *roles, rope=rope), state.flatten(0, 1))
            state = state.unflatten(0, (-1, paths))
            if self.fusion_blocks is not None:
                by_view = state[:, path.T, slots.T]  # batch view path token channel
                only_first = first_path_only and layer == last
                fuse = partial(exchange_paths, self.fusion_blocks[layer], rope=rope, only_first=only_first)
                by_view = _group_by_group(fuse, by_view.flatten(0, 1)).unflatten(0, (-1, views))
                if layer == last:
                    return self.norm(by_view).transpose(1, 2)
                state = by_view.transpose(1, 2)[:, path, slots]
        if first_path_only:
            return self.norm(state[:, :1])  # path 0 is in input order: its reference is view 0
        return self.norm(state[:, path, slots])


def exchange_views(
    reference_block: nn.Module,
    source_block: nn.Module,
    tokens: Float[Tensor, "group slot token channel"],
    rope: RopeTable,
) -> Float[Tensor, "group slot token channel"]:
    """Every view reads all other views of its path; slot 0, the reference, with weights of its own."""
    reference_block, source_block = cast(DecoderBlock, reference_block), cast(DecoderBlock, source_block)
    reference = reference_block(tokens[:, :1], reference_block.remember(tokens[:, 1:], rope).everything(), rope)
    sources = source_block(tokens[:, 1:], source_block.remember(tokens, rope).everything_else(first=1), rope)
    return torch.cat((reference, sources), dim=1)


def exchange_paths(
    block: nn.Module,
    tokens: Float[Tensor, "group path token channel"],
    rope: RopeTable,
    only_first: bool = False,
) -> Float[Tensor, "group path_out token channel"]:
    """One view's tokens in every path read that view's tokens in all other paths."""
    block = cast(DecoderBlock, block)
    if only_first:
        return block(tokens[:, :1], block.remember(tokens[:, 1:], rope).everything(), rope)
    return block(tokens, block.remember(tokens, rope).everything_else(), rope)


def _group_by_group(
    step: Callable[[Float[Tensor, "group set token channel"]], Float[Tensor, "group set_out token channel"]],
    tokens: Float[Tensor, "group set token channel"],
) -> Float[Tensor, "group set_out token channel"]:
    """Bound the memory of a step without autograd on a CPU: groups do not see each other, so a few go at a time.

    A chunk holds enough tokens to keep the matrix products efficient, so this costs no time.
    """
    groups = tokens.shape[0]
    size = max(1, CPU_CHUNK_TOKENS // tokens.shape[1:3].numel())
    if torch.is_grad_enabled() or tokens.device.type != "cpu" or size >= groups:
        return step(tokens)
    result = None
    for start in range(0, groups, size):
        piece = step(tokens[start : start + size])
        result = piece.new_empty(groups, *piece.shape[1:]) if result is None else result
        result[start : start + size] = piece
    return cast(Tensor, result)


def as_pairwise(model: MVDust3r) -> Dust3r:
    """The two-view, one-path use of a multi-view model, as a pairwise model that shares its weights.

    Reference and source blocks and heads mean the same in both; fusion blocks and Gaussian heads are left out.
    """
    parts = model.decoder
    decoder = PairDecoder.sharing(parts.embed, parts.reference_blocks, parts.source_blocks, parts.norm)
    return Dust3r.sharing(model.config, model.encoder, decoder, model.reference_head, model.source_head)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _gaussian_head(config: MVDust3rConfig) -> GaussianHead | None:
    if not config.gaussians:
        return None
    return GaussianHead(config.decoder_dim, config.gaussian_dim, config.patch_size, config.sh_degree)


def _reference_first(paths: int, views: int, device: torch.device) -> Tensor:
    """[path, slot] -> view: in row r, view 0 and view r change places. Made there: no copy is waited for."""
    path, slot = torch.arange(paths, device=device)[:, None], torch.arange(views, device=device)
    return torch.where(slot == 0, path, torch.where(slot == path, 0, slot))


def _drop_path_axis(maps: Pointmaps) -> Pointmaps:
    gaussians = maps.gaussians
    if gaussians is not None:
        gaussians = GaussianMaps(
            gaussians.scales[:, 0], gaussians.rotations[:, 0], gaussians.opacities[:, 0], gaussians.colors[:, 0]
        )
    return Pointmaps(maps.points[:, 0], maps.confidence[:, 0], gaussians)
