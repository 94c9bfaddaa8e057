"""Self- and cross-attention with rotary positions, and the layout that lets many views share keys and values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from worldline.models.layers.rope import RopeTable, apply_rope

# Keys and values are read once per block of queries: with this many tokens, a copy in which the tokens of a head lie
# next to each other costs less than it saves (5 % of a layer of 2049 tokens on a processor).
_MANY_TOKENS = 1024


class KeysValues(NamedTuple):
    """Projected, rotated memory of M token sets per group: computed once, read by every query that needs it."""

    keys: Float[Tensor, "group set token head head_dim"]
    values: Float[Tensor, "group set token head head_dim"]

    def everything(self) -> AttentionMemory:
        """All sets as the memory of one query set per group."""
        return AttentionMemory(*(_head_major(part, part.shape[1], ()) for part in self))

    def everything_else(self, first: int = 0) -> AttentionMemory:
        """For every query set i = first, …, M - 1: all sets but i, without copying the sets once per query.

        Written one after the other and wrapped around, the sets i + 1, …, i + M - 1 (modulo M) are a contiguous
        run for every i. So the memories of all queries are overlapping windows of one buffer of less than 2 M sets.
        """
        sets = self.keys.shape[1]
        wrapped = (slice(first + 1, None), slice(0, sets - 1))
        return AttentionMemory(*(_head_major(part, sets - 1, wrapped) for part in self))


class AttentionMemory(NamedTuple):
    """What one or more query sets attend to, head-major. Windows may overlap in storage: read only."""

    keys: Float[Tensor, "query group_head key head_dim"]
    values: Float[Tensor, "query group_head key head_dim"]


def _head_major(
    part: Float[Tensor, "group set token head head_dim"], sets: int, pieces: tuple[slice, ...]
) -> Float[Tensor, "query group_head key head_dim"]:
    tokens = part.shape[2]
    part = part.permute(0, 3, 1, 2, 4)  # group head set token head_dim
    if pieces:
        part = torch.cat([part[:, :, piece] for piece in pieces], dim=2)
    line = part.flatten(2, 3).flatten(0, 1)  # group·head, set·token, head_dim
    return line.unfold(1, sets * tokens, tokens).permute(1, 0, 3, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention; on a processor always in float32, where the bfloat16 kernels are slower."""
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return scaled_dot_product_attention(query, key, value)
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(query.float(), key.float(), value.float()).to(query.dtype)


class SelfAttention(nn.Module):
    """Tokens of one view attend to each other."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(
        self, tokens: Float[Tensor, "*batch token channel"], rope: RopeTable | None
    ) -> Float[Tensor, "*batch token channel"]:
        """Same shape out; ``rope`` broadcasts against ``*batch token``, None leaves positions out."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if rope is not None:
            query, key = apply_rope(query, rope), apply_rope(key, rope)
        query, key, value = (part.flatten(0, -4).transpose(1, 2) for part in (query, key, value))
        if key.shape[2] > _MANY_TOKENS:
            key, value = key.contiguous(), value.contiguous()
        mixed = attend(query, key, value)
        return self.output(mixed.transpose(1, 2).reshape(tokens.shape))


class CrossAttention(nn.Module):
    """Tokens of one view attend to a memory made of other views."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def keys_values(self, memory: Float[Tensor, "group set token channel"], rope: RopeTable) -> KeysValues:
        """Project and rotate memory tokens once, whoever will read them."""
        keys = apply_rope(self.key(memory).unflatten(-1, (self.heads, -1)), rope)
        return KeysValues(keys, self.value(memory).unflatten(-1, (self.heads, -1)))

    def forward(
        self, tokens: Float[Tensor, "group query token channel"], memory: AttentionMemory, rope: RopeTable
    ) -> Float[Tensor, "group query token channel"]:
        """Query set q of every group attends to ``memory[q]``."""
        groups = tokens.shape[0]
        query = apply_rope(self.query(tokens).unflatten(-1, (self.heads, -1)), rope)
        query = query.permute(1, 0, 3, 2, 4).flatten(1, 2)  # query, group·head, token, head_dim
        mixed = attend(query, memory.keys, memory.values)
        mixed = mixed.unflatten(1, (groups, self.heads)).permute(1, 0, 3, 2, 4)
        return self.output(mixed.reshape(tokens.shape))
