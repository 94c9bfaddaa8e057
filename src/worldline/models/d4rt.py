"""D4RT: encode a video once, then ask for the 3D position of any of its points (arXiv 2512.08924).

A video is encoded into a memory, a set of tokens. A query (u, v, t_src, t_tgt, t_cam) asks: the point that is seen at
(u, v) in frame t_src, where is it at the time of frame t_tgt, in the camera of frame t_cam? Queries read the memory and
nothing else, so an answer does not depend on what else is asked, in which order or in which portions.

Images are [0, 1]; (u, v) = ((x + 0.5) / W, (y + 0.5) / H) with pixel centres at integers; times count frames from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d

from worldline.errors import InputError
from worldline.models.config import D4rtConfig
from worldline.models.layers.blocks import EncoderBlock, init_linear_layers
from worldline.models.layers.clip_position import LearnedPosition, axes_code, flat_code
from worldline.models.layers.reading import (
    TIME_OF_KIND,
    KeysValues,
    ReadingBlock,
    grid_angles,
    guiding_angles,
)
from worldline.models.layers.rope import RopeTable, grid_rope
from worldline.models.layers.trunk import full_precision
from worldline.models.queries import TIMES, Queries, QueryEmbedding, check_times

Grid = tuple[int, int, int]  # slices, rows, columns
OUTPUTS = (3, 2, 1, 3, 3, 1)  # points, uv, visibility, motion, normal, confidence: 13 numbers (figure 7)


@dataclass(frozen=True)
class Answers:
    """Answers of the network, before probabilities are made of logits. Lengths are in the unit of the video."""

    points: Float[Tensor, "batch query 3"]  # at t_tgt, in the camera of t_cam (OpenCV axes)
    uv: Float[Tensor, "batch query 2"]  # in the view of t_tgt, same convention as the queries
    visibility: Float[Tensor, "batch query"]  # logit, in the view of t_tgt
    motion: Float[Tensor, "batch query 3"]  # from t_src to t_tgt, in the axes of the camera of t_cam
    normal: Float[Tensor, "batch query 3"]  # not normalised, axes of the camera of t_cam
    confidence: Float[Tensor, "batch query"]  # logit; c = sigmoid (the mapping is not in the paper)

    @staticmethod
    def join(parts: list[Answers]) -> Answers:
        """Portions, one after the other."""
        return Answers(*(torch.cat([getattr(part, name) for part in parts], 1) for name in Answers.__annotations__))


@dataclass(frozen=True)
class Memory:
    """An encoded clip, ready to be read any number of times."""

    tokens: Float[Tensor, "batch token channel"]
    layers: tuple[KeysValues, ...]  # the tokens as every block of the decoder reads them
    pixels: Tensor  # [batch, frame, height, width, 3] that colour patches are cut from, float in [0, 1] or uint8

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        return self.pixels.shape[1]

    def with_pixels(self, frames: Tensor) -> Memory:
        """The same memory with colour patches from other, usually finer, images ``[batch, frame, 3, h, w]`` of it.

        Raises:
            InputError: another number of frames.
        """
        if frames.shape[:2] != self.pixels.shape[:2]:
            raise InputError(
                f"The finer video has {frames.shape[1]} frames, the encoded one {self.frames}.",
                "Give the same frames in another resolution.",
            )
        return replace(self, pixels=frames.permute(0, 1, 3, 4, 2).contiguous())


class D4rt(nn.Module):
    """A video encoder and a decoder of queries."""

    def __init__(self, config: D4rtConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ClipEncoder(config)
        same = config.encoder_dim == config.decoder_dim
        self.memory_projection = nn.Identity() if same else nn.Linear(config.encoder_dim, config.decoder_dim)
        self.queries = QueryEmbedding(config)
        self.decoder = QueryDecoder(config)
        self.head = nn.Linear(config.decoder_dim, sum(OUTPUTS))
        # depths of all pixels of a token, and 4 offsets per frame: see worldline.train.clips.dense
        numbers = config.patch[0] * (config.patch[1] * config.patch[2] + 4)
        self.dense = nn.Linear(config.decoder_dim, numbers) if config.dense else None
        init_linear_layers(self.memory_projection)
        self._start()

    def forward(
        self, frames: Float[Tensor, "batch frame 3 height width"], aspect_ratio: Float[Tensor, "batch"],
        queries: Queries,
    ) -> Answers:  # fmt: skip
        """Encode and answer, as one call for training. Times are not checked."""
        return self.decode(self.encode(frames, aspect_ratio), queries, checked=True)

    def encode(
        self, frames: Float[Tensor, "batch frame 3 height width"], aspect_ratio: Float[Tensor, "batch"] | None = None
    ) -> Memory:
        """Clips -> memories (section 2.2). Keys and values of all decoder blocks are projected here, once.

        Args:
            frames: in [0, 1], at the size that the network was trained at, whatever the video's shape. Frames that do
                not fill a patch are completed by repeating the last one.
            aspect_ratio: width / height of the original videos; None: 1.

        Raises:
            InputError: not a clip, too many frames, or more tokens than the budget.
        """
        self._check(frames)
        tokens, grid = self.encoder(frames, aspect_ratio)
        tokens = self.memory_projection(tokens)
        return Memory(tokens, self.decoder.remember(tokens, grid), frames.permute(0, 1, 3, 4, 2).contiguous())

    def decode(self, memory: Memory, queries: Queries, *, checked: bool = False) -> Answers:
        """Answers to queries, each for itself.

        Args:
            checked: the caller has made sure that all times are frames of the clip.

        Raises:
            InputError: a time is outside of the clip.
        """
        if self.config.clamp_times:
            last = self.config.clip_frames - 1
            queries = queries._replace(t_tgt=queries.t_tgt.clamp(0, last), t_cam=queries.t_cam.clamp(0, last))
        if not checked:
            check_times(queries, memory.frames, ("t_src",) if self.config.clamp_times else TIMES)
        features = self.decoder(self.queries(queries, memory.pixels), queries, memory.layers)
        with full_precision(features.device):
            return self._read(features.float(), queries)

    def _read(self, features: Float[Tensor, "batch query channel"], queries: Queries) -> Answers:
        points, uv, visibility, motion, normal, confidence = self.head(features).split(OUTPUTS, -1)
        if self.config.points == "exp":
            points, motion = (_grow(part) for part in (points, motion))
        if self.config.depth_offset:
            points = points + points.new_tensor((0.0, 0.0, self.config.depth_offset))
        if self.config.corners:
            size = uv.new_tensor(self.config.image_size[::-1])
            uv = ((size - 1) * uv + 0.5) / size
        if self.config.uv_residual:
            uv = uv + torch.stack((queries.u, queries.v), -1)
        return Answers(points, uv, visibility[..., 0], motion, normal, confidence[..., 0])

    def _check(self, frames: Tensor) -> None:
        config = self.config
        if frames.dim() != 5 or frames.shape[2] != 3 or not torch.is_floating_point(frames):
            raise InputError(
                f"A clip must be a float tensor [batch, frame, 3, height, width], got {list(frames.shape)}.",
                "Stack RGB frames in [0, 1] of equal size.",
            )
        count, (height, width) = frames.shape[1], frames.shape[-2:]
        least = config.patch[0] if config.drop_odd_frame else 1
        if not least <= count <= config.clip_frames:
            raise InputError(
                f"The clip has {count} frames, this network takes {least} to {config.clip_frames}.",
                "Split the video into overlapping windows, as EncodedVideo does.",
            )
        slices = math.ceil(count / config.patch[0])
        tokens = slices * (height // config.patch[1]) * (width // config.patch[2])
        ragged = not config.drop_odd_frame and (height % config.patch[1] or width % config.patch[2])
        if ragged or not tokens:
            raise InputError(
                f"Frames of {height}×{width} pixels do not divide into patches of {config.patch[1]}×{config.patch[2]}.",
                f"Resize them to {config.image_size[0]}×{config.image_size[1]}.",
            )
        if tokens > config.max_tokens and not config.pool_tokens:
            raise InputError(
                f"The clip makes {tokens} tokens, the budget is {config.max_tokens}.",
                "Use smaller frames, fewer frames, or raise max_tokens of the configuration.",
            )

    @torch.no_grad()
    def _start(self) -> None:
        """Small outputs: answers begin at unit depth, with uncertain visibility."""
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if self.dense is not None:
            nn.init.trunc_normal_(self.dense.weight, std=0.02)
            nn.init.zeros_(self.dense.bias)
        self.head.bias[2] = math.log1p(1.0) if self.config.points == "exp" else 1.0 - self.config.depth_offset

    @torch.no_grad()
    def start_from_photo_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Start as an encoder of single photos in [-1, 1] (names as in :class:`.layers.trunk.Encoder`, no prefix).

        Its blocks become the local layers; a slice starts as the mean of its frames; global layers add nothing yet.
        """
        self.encoder.start_from_photos(state)


def _grow(vector: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Lengths grow exponentially: the direction stays, the length l becomes e^l - 1."""
    length = vector.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    return vector * (torch.expm1(length) / length)


class ClipEncoder(nn.Module):
    """Frames to tokens: layers inside a slice of frames alternate with layers over the whole clip (section 2.2)."""

    def __init__(self, config: D4rtConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.encoder_dim
        self.patch_embed = nn.Conv3d(3, dim, config.patch, config.patch)
        self.position = LearnedPosition(dim) if config.position == "learned" else None
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, config.encoder_heads, config.encoder_mlp_dim / dim, config.norm_eps)
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.aspect: nn.Module | None = None
        if config.aspect_token:
            hidden = [nn.GELU(), nn.Linear(dim, dim)] if config.aspect_hidden else []
            self.aspect = nn.Sequential(nn.Linear(1, dim), *hidden)
        init_linear_layers(self.blocks)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(dim, -1))
        nn.init.zeros_(self.patch_embed.bias)  # type: ignore[arg-type]
        self._codes: dict[tuple[Grid, torch.device], Tensor] = {}

    def forward(
        self, frames: Float[Tensor, "batch frame 3 height width"], aspect_ratio: Float[Tensor, "batch"] | None
    ) -> tuple[Float[Tensor, "batch token channel"], Grid]:
        """Tokens in the order (slice, row, column), the aspect token last if it stays; and the grid."""
        tokens, grid = self._embed(frames)
        slices, places = grid[0], grid[1] * grid[2]
        batch, extra = len(tokens), self._aspect_token(len(tokens), aspect_ratio, tokens)
        local_rope, global_rope = self._ropes(grid, 0 if extra is None else 1, tokens.device)
        for number, block in enumerate(self.blocks):
            if self.config.local_layers and number % 2 == 0:
                tokens = block(tokens.reshape(batch * slices, places, -1), local_rope).view(tokens.shape)
            elif extra is None:
                tokens = block(tokens.reshape(batch, slices * places, -1), global_rope).view(tokens.shape)
            else:
                everything = block(torch.cat((tokens.reshape(batch, slices * places, -1), extra), 1), global_rope)
                tokens, extra = everything[:, :-1].reshape(tokens.shape), everything[:, -1:]
        tokens = tokens.reshape(batch, slices * places, -1)
        if extra is not None and self.config.aspect_in_memory:
            tokens = torch.cat((tokens, extra), 1)
        return self.norm(tokens), grid

    def _embed(self, frames: Tensor) -> tuple[Float[Tensor, "batch slice place channel"], Grid]:
        missing = -frames.shape[1] % self.config.patch[0]
        if missing and not self.config.drop_odd_frame:
            frames = torch.cat((frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)), 1)
        embedded = self.patch_embed(frames.transpose(1, 2))  # batch channel slice row column
        grid = tuple(embedded.shape[2:])
        if math.prod(grid) > self.config.max_tokens:  # pool_tokens is set: encode() has checked
            shrink = math.sqrt(self.config.max_tokens / math.prod(grid))
            grid = (grid[0], max(1, round(grid[1] * shrink)), max(1, round(grid[2] * shrink)))
            embedded = adaptive_avg_pool3d(embedded, grid)
        tokens = embedded.flatten(3).permute(0, 2, 3, 1)
        if self.position is not None:
            return self.position(tokens, *grid[1:]), grid
        return tokens + self._code(grid, tokens).to(tokens.dtype), grid

    def _code(self, grid: Grid, like: Tensor) -> Float[Tensor, "slice place channel"]:
        """The fixed position code, computed once per grid on the processor, so that all devices have the same."""
        key = (grid, like.device)
        if key not in self._codes:
            with torch.inference_mode(False), torch.no_grad():
                if self.config.position == "flat":
                    code = flat_code(grid, self.config.encoder_dim)
                else:
                    code = axes_code(grid, reference_grid(self.config), self.config.encoder_dim)
                self._codes = {key: code.flatten(1, 2).to(like.device)}
        return self._codes[key]

    def _aspect_token(
        self, batch: int, aspect_ratio: Tensor | None, like: Tensor
    ) -> Float[Tensor, "batch 1 channel"] | None:
        if self.aspect is None:
            return None
        ratio = like.new_ones(batch) if aspect_ratio is None else aspect_ratio.to(like).reshape(batch)
        return self.aspect(ratio[:, None, None])

    def _ropes(
        self, grid: Grid, extra: int, device: torch.device
    ) -> tuple[RopeTable | None, RopeTable | None]:  # fmt: skip
        """Turns of the tokens of a slice, and of the whole clip with the aspect token, which does not turn."""
        if not self.config.rotary:
            return None, None
        head_dim = self.config.encoder_dim // self.config.encoder_heads
        table = grid_rope(grid[1], grid[2], head_dim, 100.0, device)
        cos, sin = (part.repeat(grid[0], 1, 1, 1) for part in table)
        if extra:
            cos, sin = torch.cat((cos, torch.ones_like(cos[:1]))), torch.cat((sin, torch.zeros_like(sin[:1])))
        return table, RopeTable(cos, sin)

    @torch.no_grad()
    def start_from_photos(self, state: Mapping[str, Tensor]) -> None:
        """See :meth:`D4rt.start_from_photo_encoder`."""
        weight, bias = state["patch_embed.projection.weight"], state["patch_embed.projection.bias"]
        frames = self.config.patch[0]
        # photos are 2 x - 1 of our frames
        self.patch_embed.weight.copy_((2 / frames * weight)[:, :, None].expand_as(self.patch_embed.weight))
        self.patch_embed.bias.copy_(bias - weight.sum((1, 2, 3)))  # type: ignore[union-attr]
        if self.position is not None:
            prefix = "position."
            part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            self.position.photo.load_state_dict(part)
        self.norm.load_state_dict({name: state[f"norm.{name}"] for name in ("weight", "bias")})
        for number, block in enumerate(self.blocks):
            prefix = f"blocks.{number // 2}."
            part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            block.load_state_dict(part)
            assert isinstance(block, EncoderBlock)
            if number % 2:  # a global layer: it knows how to look, and says nothing until it has learned what
                for layer in (block.self_attention.output, block.mlp.output):
                    nn.init.zeros_(layer.weight)
                    nn.init.zeros_(layer.bias)


def reference_grid(config: D4rtConfig) -> tuple[int, int]:
    """(rows, columns) of tokens at the size that the network was trained at."""
    return config.image_size[0] // config.patch[1], config.image_size[1] // config.patch[2]


class QueryDecoder(nn.Module):
    """Blocks of cross-attention; queries never see each other (section 2.2)."""

    def __init__(self, config: D4rtConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(
            ReadingBlock(config.decoder_dim, config.decoder_heads, config.decoder_mlp_dim, config.norm_eps)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(config.decoder_dim, eps=config.norm_eps)
        self.head_dim = config.decoder_dim // config.decoder_heads
        init_linear_layers(self.blocks)
        if config.guided:
            self._start_guided()

    def _start_guided(self) -> None:
        """The first block hands on what it finds at the query's place, the others look for it in the other frames."""
        generator = torch.Generator("cpu").manual_seed(0)
        dim = self.config.decoder_dim
        basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator, device="cpu"))[0]
        for number, block in enumerate(self._reading):
            block.start_guided()
            if number == 0:
                block.start_copying(basis.to(block.value.weight.device))
            else:
                block.start_matching(basis.to(block.value.weight.device))

    @property
    def _reading(self) -> list[ReadingBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def remember(self, tokens: Float[Tensor, "batch token channel"], grid: Grid) -> tuple[KeysValues, ...]:
        """Keys and values for all blocks."""
        angles = self._token_angles(grid, tokens) if self.config.guided else None
        return tuple(block.remember(tokens, angles) for block in self._reading)

    def forward(
        self, tokens: Float[Tensor, "batch query channel"], queries: Queries, layers: tuple[KeysValues, ...]
    ) -> Float[Tensor, "batch query channel"]:
        """Features of the answers."""
        angles = self._query_angles(queries) if self.config.guided else None
        for block, memory in zip(self._reading, layers, strict=True):
            tokens = block(tokens, memory, angles)
        return self.norm(tokens)

    def _token_angles(self, grid: Grid, tokens: Tensor) -> Float[Tensor, "token pair"]:
        angles = grid_angles(grid, reference_grid(self.config), self.head_dim, tokens.device)
        extra = tokens.shape[1] - len(angles)
        return torch.cat((angles, angles.new_zeros(extra, angles.shape[1]))) if extra else angles

    def _query_angles(self, queries: Queries) -> Float[Tensor, "batch head query pair"]:
        rows, columns = reference_grid(self.config)
        place = torch.stack((queries.v.float() * rows - 0.5, queries.u.float() * columns - 0.5), -1)
        frames = self.config.patch[0]
        kinds = []
        for time in dict.fromkeys(TIME_OF_KIND):
            moment = (queries[2 + time].float() + 0.5) / frames - 0.5  # a slice is where the middle of its frames is
            kinds.append(guiding_angles(torch.cat((moment[..., None], place), -1), self.head_dim))
        return torch.stack(
            [kinds[TIME_OF_KIND[head % len(TIME_OF_KIND)]] for head in range(self.config.decoder_heads)], 1
        )


__all__ = ["Answers", "D4rt", "Memory", "Queries"]
