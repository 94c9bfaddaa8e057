"""Pre-norm transformer blocks of the encoder and the decoders."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from worldline.models.layers.attention import AttentionMemory, CrossAttention, KeysValues, SelfAttention
from worldline.models.layers.rope import RopeTable

NORM_EPS = 1e-6
# The widened MLP tokens are the largest tensor of a forward pass. Without autograd nobody keeps them, so they are
# made in pieces of at most this many numbers.
MLP_CHUNK_NUMBERS = 4_000_000


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them, applied to every token on its own."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Same shape out."""
        rows = tokens.shape[:-1].numel()
        if torch.is_grad_enabled() or tokens.is_cuda or rows * self.hidden.out_features <= MLP_CHUNK_NUMBERS:
            return self.output(gelu(self.hidden(tokens)))
        pieces = tokens.reshape(rows, -1).split(max(1, MLP_CHUNK_NUMBERS // self.hidden.out_features))
        return torch.cat([self.output(gelu(self.hidden(piece))) for piece in pieces]).view(tokens.shape)


class EncoderBlock(nn.Module):
    """Self-attention, then MLP, each with a residual."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim, eps=eps)
        self.self_attention = SelfAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], rope: RopeTable | None
    ) -> Float[Tensor, "batch token channel"]:
        """Same shape out; without ``rope`` attention does not see positions."""
        tokens = tokens + self.self_attention(self.self_norm(tokens), rope)
        return tokens + self.mlp(self.mlp_norm(tokens))


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to a memory of other token sets, MLP, each with a residual.

    The block that *receives* information owns the norm and the projections of the memory, so what a sender looks
    like depends only on the sender's tokens and on which block reads them: :meth:`remember` is called once per
    block, and all query sets share its result.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.self_attention = SelfAttention(dim, heads)
        self.memory_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.cross_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.cross_attention = CrossAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def remember(self, tokens: Float[Tensor, "group set token channel"], rope: RopeTable) -> KeysValues:
        """Keys and values of other views' tokens as this block sees them."""
        return self.cross_attention.keys_values(self.memory_norm(tokens), rope)

    def forward(
        self, tokens: Float[Tensor, "group query token channel"], memory: AttentionMemory, rope: RopeTable
    ) -> Float[Tensor, "group query token channel"]:
        """Same shape out; query set q of every group reads ``memory[q]``."""
        tokens = tokens + self.self_attention(self.self_norm(tokens), rope)
        tokens = tokens + self.cross_attention(self.cross_norm(tokens), memory, rope)
        return tokens + self.mlp(self.mlp_norm(tokens))

    def start_as_identity(self) -> None:
        """Zero the three output projections, so that an added block changes nothing before it is trained."""
        for layer in (self.self_attention.output, self.cross_attention.output, self.mlp.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


def init_linear_layers(module: nn.Module) -> None:
    """Start for training from scratch: Xavier-uniform weights and zero biases of all linear layers inside."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
