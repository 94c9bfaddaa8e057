"""Dense prediction transformer head: tokens of four depths, fused coarse to fine (arXiv 2103.13413)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


def _double(maps: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h2 w2"]:
    return interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two pre-activated 3×3 convolutions with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, maps: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Same shape out."""
        return maps + self.conv2(relu(self.conv1(relu(maps))))


class FusionStage(nn.Module):
    """Add a finer level to the coarser features, refine, and double the resolution."""

    def __init__(self, dim: int, takes_level: bool) -> None:
        super().__init__()
        self.level_unit = ResidualUnit(dim) if takes_level else None
        self.unit = ResidualUnit(dim)
        self.output = nn.Conv2d(dim, dim, 1)

    def forward(
        self, maps: Float[Tensor, "batch channel h w"], level: Float[Tensor, "batch channel h w"] | None = None
    ) -> Float[Tensor, "batch channel h2 w2"]:
        """Maps of twice the size."""
        if level is not None and self.level_unit is not None:
            maps = maps + self.level_unit(level)
        return self.output(_double(self.unit(maps)))


class DptHead(nn.Module):
    """Tokens after encoder, half, three quarters and all of the decoder -> raw maps [batch, 4, height, width].

    The levels live at 4, 2, 1 and 1/2 times the token grid.
    """

    def __init__(
        self,
        encoder_dim: int,
        decoder_dim: int,
        feature_dim: int = 256,
        last_dim: int = 128,
        layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768),
        channels: int = 4,
    ) -> None:
        super().__init__()
        first, second, third, fourth = layer_dims
        self.resample = nn.ModuleList(
            (
                nn.Sequential(nn.Conv2d(encoder_dim, first, 1), nn.ConvTranspose2d(first, first, 4, stride=4)),
                nn.Sequential(nn.Conv2d(decoder_dim, second, 1), nn.ConvTranspose2d(second, second, 2, stride=2)),
                nn.Sequential(nn.Conv2d(decoder_dim, third, 1)),
                nn.Sequential(nn.Conv2d(decoder_dim, fourth, 1), nn.Conv2d(fourth, fourth, 3, stride=2, padding=1)),
            )
        )
        self.project = nn.ModuleList(nn.Conv2d(dim, feature_dim, 3, padding=1, bias=False) for dim in layer_dims)
        # finest first, like the levels; the coarsest stage starts the chain and takes no further level
        self.stages = nn.ModuleList(FusionStage(feature_dim, takes_level=index < 3) for index in range(4))
        self.output = nn.ModuleList(
            (
                nn.Conv2d(feature_dim, feature_dim // 2, 3, padding=1),
                nn.Conv2d(feature_dim // 2, last_dim, 3, padding=1),
                nn.Conv2d(last_dim, channels, 1),
            )
        )

    def forward(
        self, tokens: list[Float[Tensor, "batch token channel"]], grid: tuple[int, int]
    ) -> Float[Tensor, "batch 4 height width"]:
        """``tokens`` are the four depths in that order; ``grid`` is (rows, columns)."""
        levels = []
        for layer, resample, project in zip(tokens, self.resample, self.project, strict=True):
            levels.append(project(resample(layer.transpose(1, 2).unflatten(2, grid))))
        maps = self.stages[3](levels[3])
        maps = maps[:, :, : levels[2].shape[2], : levels[2].shape[3]]  # an odd grid was rounded up when halved
        for index in (2, 1, 0):
            maps = self.stages[index](maps, levels[index])
        return self.output[2](relu(self.output[1](_double(self.output[0](maps)))))
