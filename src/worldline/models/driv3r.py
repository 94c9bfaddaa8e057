"""Driv3R and Spann3R: a stream of images -> pointmaps in the frame of the first, through a memory (arXiv 2412.06777).

Consecutive images form pairs: the *reference* and the *target*. The reference's encoder tokens are replaced by what it
recalls from the memory of all earlier images, so its pointmap, and through the decoders that of the target, lie in the
frame of the stream's first camera. Then the reference is written to the memory, and the target becomes the reference of
the next pair.

The released Driv3R runs this loop on one camera at a time (:meth:`Driv3r.forward`). What the paper describes, a pool of
memories that neighbouring cameras read, is :meth:`Driv3r.forward_rig` for training and
:class:`worldline.models.pool.RigStream` for use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.config import Driv3rConfig
from worldline.models.dust3r import PairDecoder, head_layers, pointmap_head, read_pointmaps
from worldline.models.layers.recall import KeyHead, MemoryReader, ValueEncoder
from worldline.models.layers.rope import grid_rope
from worldline.models.layers.trunk import Encoder, check_image_sizes, full_precision
from worldline.models.memory import MemoryOptions, StepReport, TokenMemory
from worldline.types import Pointmaps

Tokens = Float[Tensor, "batch patch channel"]


@dataclass(frozen=True)
class Sequence4D:
    """Pointmaps of a stream of T images, all in the frame of its first camera. Maps are [..., T - 1, H, W, ·]."""

    reference: Pointmaps  # reference head, images 0 … T - 2
    target: Pointmaps  # target head, images 1 … T - 1
    steps: tuple[StepReport, ...]  # what the memory did, one entry per pair

    @property
    def final(self) -> Pointmaps:
        """The published result: the reference head's maps, and for the last image the target head's."""
        return Pointmaps(
            torch.cat((self.reference.points, self.target.points[..., -1:, :, :, :]), -4),
            torch.cat((self.reference.confidence, self.target.confidence[..., -1:, :, :]), -3),
        )


class PairResult(NamedTuple):
    """A decoded pair, before the heads."""

    reference_tokens: list[Tensor]  # of the layers that the heads read, the last one normalised
    target_tokens: list[Tensor]
    key: Tokens  # of the reference, for the memory
    query: Tokens  # of the target, with which it will read the memory when it is the reference


class Driv3r(nn.Module):
    """A pairwise model with a memory."""

    def __init__(self, config: Driv3rConfig, memory: MemoryOptions | None = None) -> None:
        super().__init__()
        self.config = config
        self.memory = memory or MemoryOptions()
        self.encoder = Encoder(config)
        self.decoder = PairDecoder(config)
        self.reference_head = pointmap_head(config)
        self.source_head = pointmap_head(config)
        self.key_head = KeyHead(config)
        self.query_head = KeyHead(config)
        self.value_encoder = ValueEncoder(config)
        self.reader = MemoryReader(config)

    def forward(self, images: Float[Tensor, "batch time 3 height width"]) -> Sequence4D:
        """The published loop over the images of one camera, in order of time.

        In training mode every image is stored and read (no similarity test, cut or pruning). At inference the streams
        of a batch share the decisions to store and to prune, as published.

        Args:
            images: two or more per stream, in [-1, 1], sides multiples of the patch size.

        Returns:
            both heads' maps of every pair in the frame of image 0, in an arbitrary unit, and the memory's log.

        Raises:
            InputError: a single image, or a size that patches do not divide.
        """
        self._check(images, 5)
        batch, times = images.shape[:2]
        encoded = self.encode(images.flatten(0, 1)).unflatten(0, (batch, times))
        memory = TokenMemory.empty(self.memory, batch, encoded.shape[-1], encoded)
        query, maps, reports = encoded[:, 0], [], []
        for time in range(times - 1):
            reference = self.recall(query, memory) if len(memory) else encoded[:, 0]
            pair = self.decode(reference, encoded[:, time], encoded[:, time + 1], _size(images))
            first = self.read_out(self.reference_head, pair.reference_tokens, images[:, time])
            second = self.read_out(self.source_head, pair.target_tokens, images[:, time + 1])
            value = self.remember(first.points, pair.key)
            reports.append(self._store(memory, pair.key, value))
            query = pair.query
            maps.append((first, second))
        first, second = (_stack([pair[side] for pair in maps], 1) for side in (0, 1))
        return Sequence4D(first, second, tuple(reports))

    def forward_rig(
        self,
        images: Float[Tensor, "batch sensor time 3 height width"],
        neighbors: Int[Tensor, "sensor neighbor"] | None = None,
        relative: Float[Tensor, "batch sensor neighbor 3 4"] | None = None,
        keep: float = 1.0,
    ) -> Sequence4D:
        """Training on a rig: every camera reads its own past and that of its neighbours (Driv3R section 3.2).

        All cameras take a step at once, so what a neighbour has stored is older than the pair that reads it.

        Args:
            images: of all cameras at the same times.
            neighbors: for every sensor the rows of the sensors that it also reads; None: each reads its own past.
            relative: pose of each neighbour's camera in the reader's camera, where the network has been told of it.
            keep: share of the stored images that a read sees, chosen at random but always with the first own one.

        Returns:
            maps [B, S, T - 1, H, W, ·]; those of a sensor lie in the frame of its own camera at time 0.
        """
        self._check(images, 6)
        batch, sensors, times = images.shape[:3]
        encoded = self.encode(images.flatten(0, 2)).unflatten(0, (batch * sensors, times))
        flat = images.flatten(0, 1)
        query, maps = encoded[:, 0], []
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for time in range(times - 1):
            reference = encoded[:, 0]
            if keys:
                stored = self._gather(keys, values, sensors, neighbors, relative, keep)
                with full_precision(query.device):
                    reference, _ = self.reader(query.float(), *stored, cut=self.memory.attention_cut)
            pair = self.decode(reference, encoded[:, time], encoded[:, time + 1], _size(images))
            first = self.read_out(self.reference_head, pair.reference_tokens, flat[:, time])
            second = self.read_out(self.source_head, pair.target_tokens, flat[:, time + 1])
            keys.append(pair.key.float())
            values.append(self.remember(first.points, pair.key).float())
            query = pair.query
            maps.append((first, second))
        first, second = (_unflatten(_stack([pair[side] for pair in maps], 1), (batch, sensors)) for side in (0, 1))
        return Sequence4D(first, second, ())

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Tokens:
        """Encoder tokens; every image is encoded once."""
        return self.encoder(images)

    def recall(self, query: Tokens, memory: TokenMemory) -> Tokens:
        """What a reference remembers, in place of its encoder tokens. The memory notes what was attended to."""
        options = memory.options
        with full_precision(query.device):
            fused, received = self.reader(
                query.float(),
                memory.keys,
                memory.values,
                cut=options.attention_cut,
                keep_nan=options.official,
            )
        memory.note_attention(received.detach())
        return fused

    def decode(self, reference: Tokens, encoded: Tokens, target: Tokens, size: tuple[int, int]) -> PairResult:
        """One pair: ``reference`` is what the reference recalls, ``encoded`` its tokens as the encoder gave them."""
        config = self.config
        grid = self.encoder.patch_embed.grid(*size)
        rope = grid_rope(*grid, config.decoder_dim // config.decoder_heads, config.rope_base, encoded.device)
        first, second = self.decoder(reference, target, rope, rope, head_layers(config))
        return PairResult(first, second, self.key_head.of(encoded, first[-1]), self.query_head.of(target, second[-1]))

    def read_out(
        self, head: nn.Module, tokens: list[Tensor], images: Float[Tensor, "batch 3 height width"]
    ) -> Pointmaps:
        """A head on the tokens of its side, in float32."""
        with full_precision(images.device):
            grid = self.encoder.patch_embed.grid(*images.shape[-2:])
            return read_pointmaps(head, self.config, [layer.float() for layer in tokens], grid, images.float())

    def remember(self, points: Float[Tensor, "batch height width 3"], key: Tokens) -> Tokens:
        """The value that belongs to a key: what the reference looks like in space, plus the key itself."""
        return self.value_encoder(points) + key

    def _gather(
        self,
        keys: list[Tensor],
        values: list[Tensor],
        sensors: int,
        neighbors: Tensor | None,
        relative: Tensor | None,
        keep: float,
    ) -> tuple[Tensor, Tensor]:
        """Tokens that each sensor reads: its own, then those of its neighbours, as [batch·sensor, token, channel]."""
        own = _chosen(len(keys), keep, first=True)
        parts = [_of_sensors(keys, values, own, sensors)]
        if neighbors is not None:
            code = None if relative is None or self.reader.relation is None else self.reader.relate(relative)
            for place in range(neighbors.shape[1]):
                times = _chosen(len(keys), keep, first=False)
                if not times:
                    continue
                rows = neighbors[:, place]
                near = [part[:, rows] for part in _of_sensors(keys, values, times, sensors)]
                if code is not None:
                    near = [part + code[:, :, place, None] for part in near]
                parts.append((near[0], near[1]))
        return tuple(torch.cat(each, 2).flatten(0, 1) for each in zip(*parts, strict=True))  # type: ignore[return-value]

    def _store(self, memory: TokenMemory, key: Tokens, value: Tokens) -> StepReport:
        if not self.training:
            return memory.write(key.float(), value.float())
        before = len(memory)
        memory.append(key.float(), value.float())
        return StepReport(False, False, before, len(memory), -1.0, 0, 0)

    def _check(self, images: Tensor, dims: int) -> None:
        if isinstance(images, Tensor) and images.dim() == dims:
            check_image_sizes(images.flatten(0, dims - 4), "images", self.config.patch_size, 4)
            if images.shape[dims - 4] >= 2:
                return
            raise InputError("A stream of one image has no pair.", "Give two or more images per stream.")
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        layout = "[batch, time, 3, height, width]" if dims == 5 else "[batch, sensor, time, 3, height, width]"
        raise InputError(f"`images` must be a tensor {layout}, got {shape}.", "Stack the images of a stream in order.")


def _of_sensors(keys: list[Tensor], values: list[Tensor], times: list[int], sensors: int) -> tuple[Tensor, Tensor]:
    """Keys and values of some stored images as [batch, sensor, token, channel], without an index that a GPU needs."""
    chosen = (torch.stack([part[time] for time in times], 1) for part in (keys, values))
    key, value = (part.flatten(1, 2).unflatten(0, (-1, sensors)) for part in chosen)
    return key, value


def _chosen(count: int, keep: float, first: bool) -> list[int]:
    """Indices of the images that a read sees, from torch's random generator."""
    if keep >= 1:
        return list(range(count))
    lucky = (torch.rand(count) < keep).tolist()
    return [index for index in range(count) if lucky[index] or (first and index == 0)]


def _stack(maps: list[Pointmaps], axis: int) -> Pointmaps:
    return Pointmaps(
        torch.stack([each.points for each in maps], axis), torch.stack([each.confidence for each in maps], axis)
    )


def _unflatten(maps: Pointmaps, shape: tuple[int, int]) -> Pointmaps:
    return Pointmaps(maps.points.unflatten(0, shape), maps.confidence.unflatten(0, shape))


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
