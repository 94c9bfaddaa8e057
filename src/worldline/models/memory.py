"""The memory of Spann3R, which Driv3R was released with: what a stream has seen, as tokens (one stream or a batch).

Every processed image leaves one key and one value per token. The latest images are the *working memory*, all older
tokens the *long-term memory*, which is pruned to the tokens that were attended to most. An image that looks like one of
the working memory is not stored at all.

Published quirks are kept only where ``MemoryOptions.official`` is set, see docs/models/driv3r.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from worldline.errors import InputError

Pruning = Literal["attention", "oldest", "diverse", "none"]

PROTECTED_FRAMES = 5  # stored images beside the working memory whose tokens are never pruned (Spann3R, released code)
_PROTECTED = 1e8  # weight of their tokens


@dataclass(frozen=True)
class MemoryOptions:
    """Sizes and thresholds of a memory; the defaults are the published ones."""

    long_tokens: int = 4000  # tokens left by a pruning; 0 keeps the working memory only
    working_frames: int = 5  # images of the working memory
    attention_cut: float = 5e-4  # attention weights below are set to 0 at inference
    similarity_limit: float = 0.95  # an image more similar than this to the working memory is not stored; 1: all are
    official: bool = False  # keep the published quirks: NaN of a fully cut row, order by weight after a pruning
    frame_tokens: int | None = None  # the released Driv3R accepts 196 tokens per image only; None: any number
    pruning: Pruning = "attention"  # what leaves a full memory: attention (published): tokens that were attended to
    # least; oldest: those of the oldest images; diverse: images that resemble another one; none: nothing ever leaves

    def __post_init__(self) -> None:
        if self.pruning not in get_args(Pruning):
            raise InputError(
                f"Unknown way of pruning {self.pruning!r}.", f"Choose one of: {', '.join(get_args(Pruning))}."
            )
        if self.long_tokens < 0 or self.working_frames < 1 or not 0 <= self.attention_cut < 1:
            raise InputError(
                f"A memory of {self.long_tokens} tokens and {self.working_frames} images with an attention cut of "
                f"{self.attention_cut} is not possible.",
                "Use 0 or more tokens, 1 or more images, and a cut in [0, 1).",
            )
        if not -1 <= self.similarity_limit <= 1:
            raise InputError(f"The similarity limit is {self.similarity_limit}.", "It is a cosine: give -1 to 1.")


@dataclass(frozen=True)
class StepReport:
    """What the memory did with one image."""

    skipped: bool  # not stored, because the working memory holds a similar image
    pruned: bool
    tokens_before: int
    tokens_after: int
    sim_max: float  # largest mean cosine with an image of the working memory; -1 for an empty memory
    wm: int  # images in the working memory
    lm: int  # tokens in the long-term memory


@dataclass
class TokenMemory:
    """Memory of a batch of streams that store, skip and prune together, as the published code does."""

    options: MemoryOptions
    keys: Float[Tensor, "batch token channel"]
    values: Float[Tensor, "batch token channel"]
    attention: Float[Tensor, "batch token"]  # sum of what each token received in all reads
    count: Float[Tensor, "batch token"]  # images stored since the token
    image: Int[Tensor, "batch token"]  # number of the stored image that the token is of
    cell: Int[Tensor, "batch token"]  # its place in that image's grid
    stored: int = 0  # images stored so far
    working: int = 0  # images in the working memory
    long: int = 0  # tokens in the long-term memory

    @classmethod
    def empty(cls, options: MemoryOptions, batch: int, channels: int, like: Tensor) -> Self:
        """A memory of nothing, on the device and of the dtype of ``like``."""
        tokens, none = like.new_zeros(batch, 0, channels), like.new_zeros(batch, 0)
        return cls(options, tokens, tokens, none, none, none.long(), none.long())

    def __len__(self) -> int:
        return self.keys.shape[1]

    def note_attention(self, received: Float[Tensor, "batch token"]) -> None:
        """Add up what a read gave to every token."""
        self.attention = self.attention + received

    def append(self, key: Float[Tensor, "batch patch channel"], value: Float[Tensor, "batch patch channel"]) -> None:
        """Store an image without any test, as in training."""
        if len(self):
            self.count = self.count + 1
        self.keys, self.values = torch.cat((self.keys, key), 1), torch.cat((self.values, value), 1)
        new = key.new_zeros(key.shape[:2])
        self.attention, self.count = torch.cat((self.attention, new), 1), torch.cat((self.count, new), 1)
        cell = torch.arange(key.shape[1], device=key.device).expand(key.shape[:2])
        self.image = torch.cat((self.image, torch.full_like(cell, self.stored)), 1)
        self.cell = torch.cat((self.cell, cell), 1)
        self.stored += 1

    def write(
        self, key: Float[Tensor, "batch patch channel"], value: Float[Tensor, "batch patch channel"]
    ) -> StepReport:
        """Store an image unless it is like one of the working memory; prune when the long-term memory is full.

        An image that is not finite is not stored (officially it is).
        """
        options, patches, before = self.options, key.shape[1], len(self)
        self._check_patches(patches)
        if not self.options.official and not bool(key.isfinite().all() & value.isfinite().all()):
            return StepReport(True, False, before, before, -1.0, self.working, self.long)  # it would spoil every read
        similarity = self._similarity(key)
        if similarity > options.similarity_limit and options.similarity_limit < 1:
            return StepReport(True, False, before, before, similarity, self.working, self.long)
        self.append(key, value)
        self.working += 1
        if self.working > options.working_frames:
            self.working = options.working_frames
            if options.long_tokens == 0:
                self._keep(torch.arange(patches, len(self), device=key.device).expand(key.shape[0], -1))
            else:
                self.long += patches
        pruned = self.long > options.long_tokens and options.pruning != "none"
        if pruned:
            self.prune(options.long_tokens, patches)
            self.long = max(0, len(self) - self.working * patches)
        return StepReport(False, pruned, before, len(self), similarity, self.working, self.long)

    def prune(self, keep: int, patches: int) -> None:
        """Keep so many tokens; which ones, :attr:`MemoryOptions.pruning` says.

        By attention: those with the most attention per image stored since; the latest images are protected. Officially
        the tokens are then ordered by weight, and "the last rows" are no longer the working memory. Without
        ``official`` they keep their order in time, and the working memory is never cut.
        """
        weight = self._worth()
        if not self.options.official:
            keep = max(keep, self.working * patches)
            weight[:, len(self) - self.working * patches :] = torch.inf
        kept = weight.topk(min(keep, len(self)), dim=1).indices
        self._keep(kept if self.options.official else kept.sort(1).values)

    def _worth(self) -> Float[Tensor, "batch token"]:
        """Tokens with the least worth leave first."""
        if self.options.pruning == "oldest":
            return self.image.to(self.attention.dtype)
        if self.options.pruning == "diverse":
            return torch.stack([_distinctness(key, image) for key, image in zip(self.keys, self.image, strict=True)])
        recent = self.count < self.options.working_frames + PROTECTED_FRAMES
        return torch.where(recent, _PROTECTED, self.attention / self.count.clamp_min(1))

    def _keep(self, rows: Int[Tensor, "batch kept"]) -> None:
        wide = rows[..., None].expand(-1, -1, self.keys.shape[-1])
        self.keys, self.values = self.keys.gather(1, wide), self.values.gather(1, wide)
        self.attention, self.count = self.attention.gather(1, rows), self.count.gather(1, rows)
        self.image, self.cell = self.image.gather(1, rows), self.cell.gather(1, rows)

    def _similarity(self, key: Float[Tensor, "batch patch channel"]) -> float:
        """Largest mean cosine of same-place tokens over the images of the working memory and over the batch."""
        if not len(self):
            return -1.0
        patches = key.shape[1]
        latest = self.keys[:, len(self) - self.working * patches :].unflatten(1, (self.working, patches))
        return float(cosine_similarity(latest.detach(), key[:, None].detach(), dim=-1).mean(-1).max())

    def _check_patches(self, patches: int) -> None:
        expected = self.options.frame_tokens
        if expected is not None and patches != expected:
            raise InputError(
                f"An image of {patches} tokens cannot enter the memory of the released Driv3R.",
                f"It accepts {expected} tokens (224×224 pixels); use the pool mode for other sizes.",
            )


def image_descriptors(
    keys: Float[Tensor, "token channel"], image: Int[Tensor, "token"]
) -> tuple[Int[Tensor, "image"], Float[Tensor, "image channel"], Int[Tensor, "token"]]:
    """Numbers of the images that tokens are of, the mean key of each, and each token's row among them."""
    numbers, row = image.unique(return_inverse=True)
    total = keys.new_zeros(len(numbers), keys.shape[1]).index_add(0, row, keys)
    return numbers, total / row.bincount(minlength=len(numbers))[:, None], row


def _distinctness(keys: Float[Tensor, "token channel"], image: Int[Tensor, "token"]) -> Float[Tensor, "token"]:
    """Rank of every token's image when, again and again, the older of the two most similar images is taken away."""
    numbers, descriptors, row = image_descriptors(keys, image)
    unit = normalize(descriptors, dim=-1)
    likeness = (unit @ unit.T).triu(1)  # row: the older one
    likeness[likeness.new_ones(likeness.shape).tril().bool()] = -torch.inf
    rank = torch.full((len(numbers),), float(len(numbers)), device=keys.device)
    for place in range(len(numbers) - 1):
        older = int(likeness.amax(1).argmax())
        rank[older] = place
        likeness[older], likeness[:, older] = -torch.inf, -torch.inf
    return rank[row].to(keys.dtype)


def read_memory(
    query: Float[Tensor, "batch patch channel"],
    keys: Float[Tensor, "batch token channel"],
    values: Float[Tensor, "batch token channel"],
    *,
    cut: float = 0.0,
    dropout: float = 0.0,
    present: Bool[Tensor, "batch token"] | None = None,
    confidence: Float[Tensor, "batch token"] | None = None,
    keep_nan: bool = False,
) -> tuple[Float[Tensor, "batch patch channel"], Float[Tensor, "batch token"]]:
    """Single-head attention of normalised queries to normalised keys and values, without a projection.

    Args:
        query, keys, values: after their layer norms.
        cut: attention weights below are set to 0 and the rest is divided by its sum.
        dropout: probability of dropping an attention weight.
        present: False for padding.
        confidence: factor on the logits of every memory token.
        keep_nan: a row whose weights are all cut becomes NaN, as published; else it stays uncut.

    Returns:
        what was read, and the attention that every memory token received, summed over the queries.
    """
    logits = query @ keys.transpose(1, 2) * query.shape[-1] ** -0.5
    if confidence is not None:
        logits = logits * confidence[:, None]
    if present is not None:
        logits = logits.masked_fill(~present[:, None], -torch.inf)
    weights = logits.softmax(-1)
    if dropout > 0:
        weights = torch.dropout(weights, dropout, True)
    if cut > 0:
        kept = torch.where(weights < cut, 0.0, weights)
        total = kept.sum(-1, keepdim=True)
        kept = kept / total
        weights = kept if keep_nan else torch.where(total > 0, kept, weights)
    return weights @ values, weights.sum(1)
