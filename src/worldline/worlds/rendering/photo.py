"""From linear light to photos: exposure, white balance, vignetting, tone curve, sensor noise."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from worldline.worlds.options import MAX_PHOTOS
from worldline.worlds.world import PhotoEffects, World


def draw_effects(rng: np.random.Generator, views: int, light_change: float | None = None) -> PhotoEffects:
    """How a set of photos was taken; drawn view by view, so that a longer set starts like a shorter one."""
    strength, grain, shade = rng.uniform(0.05, 0.3), rng.uniform(0.002, 0.012), rng.uniform(0.0, 0.35)
    set_balance = 1.0 + rng.normal(0, 0.06, 3)
    set_exposure = rng.normal(0, 0.3)
    most = max(views, MAX_PHOTOS)
    rows = rng.normal(size=(most, 4))[:views]
    seeds = rng.integers(0, 2**62, most)[:views]
    balance = set_balance * (1.0 + 0.02 * rows[:, 1:])
    if light_change is not None:
        strength = light_change
    return PhotoEffects(
        set_exposure + strength * rows[:, 0], balance, np.full(views, shade), np.full(views, grain), seeds
    )


def photograph(light: Float[Tensor, "view height width 3"], world: World) -> UInt8[Tensor, "view height width 3"]:
    """Photos of the linear light that arrived at the cameras of a world."""
    views, height, width, _ = light.shape
    device = light.device

    def per_view(name: str) -> Tensor:
        return torch.as_tensor(getattr(world.photo, name), dtype=torch.float32, device=device).view(views, 1, 1, -1)

    # one exposure per set: a middle tone in the middle, but the bright twentieth must not burn out much
    luminance = light.mean(-1).flatten()
    luminance = luminance[:: max(1, len(luminance) // 8192)].sort().values
    middle, bright = (luminance[int(share * (len(luminance) - 1))].clamp_min(1e-4) for share in (0.5, 0.95))
    light = light * torch.minimum(0.24 / middle, 1.2 / bright)
    light = light * torch.exp2(per_view("exposure")) * per_view("white_balance")
    y = torch.linspace(-1, 1, height, device=device)[:, None, None]
    x = torch.linspace(-1, 1, width, device=device)[None, :, None]
    light = light * (1.0 - per_view("vignetting") * 0.5 * (x * x + y * y))
    # straight up to about display 0.8, then a shoulder that keeps highlights
    light = torch.where(light < 0.6, light, 1.0 - 0.4 * torch.exp(-(light - 0.6) / 0.4))
    shown = light.clamp(0.0, 1.0) ** (1.0 / 2.2)
    grain = torch.stack([
        torch.randn(height, width, 3, generator=torch.Generator().manual_seed(int(n))) for n in world.photo.seed
    ]).to(device)  # fmt: skip
    shown = shown + grain * per_view("noise") * (0.5 + 0.8 * shown)
    return (shown * 255.0 + 0.5).clamp(0, 255).to(torch.uint8)
