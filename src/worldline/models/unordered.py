"""Spann3R on images without an order: the network's own confidence decides which comes next (arXiv 2408.16061).

Every pair is first decoded on its own, without a memory; the surest one starts the sequence. After that, the last
image recalls the memory and is decoded with each image that is left, and the surest of those pairs continues.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r, PairResult
from worldline.models.dust3r import Dust3r, EncodedImages
from worldline.models.layers.trunk import check_image_sizes
from worldline.models.memory import TokenMemory
from worldline.types import Pointmaps


@dataclass(frozen=True)
class UnorderedSequence:
    """Pointmaps of T images in order of use, all in the frame of the camera of image ``order[0]``."""

    order: tuple[int, ...]  # input row of every map
    points: Float[Tensor, "time height width 3"]  # in the network's own unit
    confidence: Float[Tensor, "time height width"]
    scores: Float[Tensor, "pair"]  # of the T - 1 pairs that were used, each the sum of its images' sureness: 0 to 2
    sureness: Float[Tensor, "image image 2"]  # of all pairs without memory, first and second image; 0 on the diagonal

    def in_input_order(self) -> Pointmaps:
        """Maps in the order in which the images were given; still in the frame of image ``order[0]``."""
        rows = torch.tensor(self.order, device=self.points.device).argsort()
        return Pointmaps(self.points[rows], self.confidence[rows])


@torch.inference_mode()
def reconstruct_unordered(
    model: Driv3r, images: Float[Tensor, "time 3 height width"], *, pairs_at_once: int = 8
) -> UnorderedSequence:
    """The published "offline" reconstruction. Decodes T (T - 1) pairs for the start and (T - 1)² / 2 afterwards.

    Args:
        model: in evaluation mode; its :attr:`Driv3r.memory` decides what is stored.
        images: two or more of one size in [-1, 1], sides multiples of the patch size, in any order.
        pairs_at_once: pairs in one batch; more is faster on a GPU and takes more memory. The result does not depend
            on it, but for rounding.

    Returns:
        maps in order of use: the reference head's, and for the last image the target head's.

    Raises:
        InputError: a single image, a size that patches do not divide, a model in training mode.
    """
    _check(model, images, pairs_at_once)
    count = len(images)
    encoded = torch.cat([model.encode(part) for part in images.split(pairs_at_once)])
    sureness = _pair_graph(model, images, encoded, pairs_at_once)
    first, second = divmod(int(sureness.sum(-1).argmax()), count)
    order, remaining = [first], [second]
    memory = TokenMemory.empty(model.memory, 1, encoded.shape[-1], encoded)
    reference, maps, scores = encoded[first][None], [], []
    for _ in range(count - 1):
        best = _best_pair(model, images, encoded, reference, order[-1], remaining, pairs_at_once)
        memory.write(best.pair.key.float(), model.remember(best.first.points, best.pair.key).float())
        order.append(best.target)
        maps.append(best.first)
        scores.append(best.score)
        remaining = [row for row in range(count) if row not in order]
        if remaining:
            reference = model.recall(best.pair.query, memory)
    maps.append(best.second)
    return UnorderedSequence(
        tuple(order),
        torch.cat([each.points for each in maps]),
        torch.cat([each.confidence for each in maps]),
        torch.stack(scores),
        sureness,
    )


def _check(model: Driv3r, images: Tensor, pairs_at_once: int) -> None:
    check_image_sizes(images, "images", model.config.patch_size, 4)
    if len(images) < 2:
        raise InputError("One image has no pair.", "Give two or more images of one scene.")
    if model.training:
        raise InputError("The network is in training mode.", "Call model.eval() first.")
    if pairs_at_once < 1:
        raise InputError(f"pairs_at_once is {pairs_at_once}.", "Decode one pair or more at once.")


def _pair_graph(model: Driv3r, images: Tensor, encoded: Tensor, pairs_at_once: int) -> Float[Tensor, "image image 2"]:
    """Sureness of both images of every ordered pair, decoded without a memory, as by DUSt3R."""
    count = len(images)
    plain = Dust3r.sharing(model.config, model.encoder, model.decoder, model.reference_head, model.source_head)
    rows = EncodedImages(encoded, images, ((images.shape[-2], images.shape[-1]),) * count)
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
    sureness = encoded.new_zeros(count, count, 2, dtype=torch.float32)
    for start in range(0, len(pairs), pairs_at_once):
        first, second = (list(side) for side in zip(*pairs[start : start + pairs_at_once], strict=True))
        maps = plain.decode_pairs(rows[first], rows[second])
        sureness[first, second] = torch.stack([_sureness(each) for each in maps], -1)
    return sureness


def _sureness(maps: Pointmaps) -> Float[Tensor, "batch"]:
    """Confidence 1 … ∞ mapped to 0 … 1, mean over the pixels."""
    return ((maps.confidence - 1) / maps.confidence).mean((-2, -1))


@dataclass(frozen=True)
class _Continuation:
    """The surest pair of the last image with one that is left."""

    target: int
    score: Float[Tensor, ""]
    pair: PairResult
    first: Pointmaps
    second: Pointmaps


def _best_pair(
    model: Driv3r,
    images: Tensor,
    encoded: Tensor,
    reference: Float[Tensor, "1 patch channel"],
    last: int,
    candidates: list[int],
    pairs_at_once: int,
) -> _Continuation:
    """Decode what the last image recalls with every candidate; of equally sure ones the first."""
    best: _Continuation | None = None
    for start in range(0, len(candidates), pairs_at_once):
        targets = candidates[start : start + pairs_at_once]
        own = (len(targets), -1, -1)
        pair = model.decode(
            reference.expand(own), encoded[last].expand(own), encoded[targets], (images.shape[-2], images.shape[-1])
        )
        first = model.read_out(
            model.reference_head, pair.reference_tokens, images[last].expand(len(targets), -1, -1, -1)
        )
        second = model.read_out(model.source_head, pair.target_tokens, images[targets])
        score, row = (_sureness(first) + _sureness(second)).max(0)
        if best is None or score > best.score:
            here = slice(int(row), int(row) + 1)
            pair = PairResult([], [], pair.key[here], pair.query[here])
            best = _Continuation(targets[int(row)], score, pair, _row(first, here), _row(second, here))
    assert best is not None
    return best


def _row(maps: Pointmaps, here: slice) -> Pointmaps:
    return Pointmaps(maps.points[here], maps.confidence[here])
