"""Operations of a training step, for the achieved rate in the log: matrix products and attention, counted exactly."""

from __future__ import annotations

from worldline.models.config import MVDust3rConfig
from worldline.models.layers.skip_branch import KERNEL_SIZES

_BACKWARD = 3  # forward and backward cost three times the forward pass


def step_flops(config: MVDust3rConfig, views: int, size: int, references: int) -> int:
    """Operations (2 per multiply-add) of forward and backward for one scene of square images.

    Args:
        references: reference paths; with 1 the fusion blocks are left out, as in training.
    """
    tokens = (size // config.patch_size) ** 2
    paths = min(references, views)
    encoder = views * config.encoder_depth * _block(config.encoder_dim, tokens, config.mlp_ratio)
    embed = 2 * tokens * views * config.encoder_dim * (3 * config.patch_size**2 + config.decoder_dim)
    layer = paths * _exchange(config, tokens, queries=views, sets=2 * views - 1, pairs=(views - 1) * views)
    if config.fused_references and paths > 1:
        layer += views * _exchange(config, tokens, queries=paths, sets=paths, pairs=paths * (paths - 1))
    heads = paths * views * (2 * tokens * config.decoder_dim * 4 * config.patch_size**2 + _skip(config, size))
    heads += paths * views * tokens * _gaussians(config)
    return _BACKWARD * (encoder + embed + config.decoder_depth * layer + heads)


def _block(dim: int, tokens: int, mlp_ratio: float) -> int:
    """Self-attention and MLP of one token set."""
    return 2 * tokens * dim * (4 * dim + 2 * round(mlp_ratio * dim)) + 4 * tokens**2 * dim


def _exchange(config: MVDust3rConfig, tokens: int, queries: int, sets: int, pairs: int) -> int:
    """Decoder blocks over ``queries`` token sets: ``sets`` are projected to keys and values, ``pairs`` attend."""
    dim = config.decoder_dim
    own = queries * (_block(dim, tokens, config.mlp_ratio) + 2 * tokens * 2 * dim**2)
    return own + sets * 2 * tokens * 2 * dim**2 + pairs * 4 * tokens**2 * dim


def _gaussians(config: MVDust3rConfig) -> int:
    """The four MLPs of a token; rendering what they say is not counted."""
    if not config.gaussians:
        return 0
    channels = 3 * (config.sh_degree + 1) ** 2 + 1 + 3 + 4
    return 2 * config.gaussian_dim * (4 * config.decoder_dim + channels * config.patch_size**2)


def _skip(config: MVDust3rConfig, size: int) -> int:
    if not config.image_skip:
        return 0
    widths = (6, config.skip_dim, config.skip_dim, config.skip_dim, 3)
    products = sum(widths[i] * widths[i + 1] * kernel**2 for i, kernel in enumerate(KERNEL_SIZES))
    return 2 * products * size**2
