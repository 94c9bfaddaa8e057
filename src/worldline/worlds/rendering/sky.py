"""The sky of open worlds: a gradient with a horizon, clouds, the sun and its glow, and the haze in front of things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.worlds.appearance import textures
from worldline.worlds.world import World

_FAR = 500.0  # metres: a first light beyond this is the sun, and shows in the sky
_HAZE = 1200.0  # metres after which 63 % of what is seen is haze
_DOME = 0.12  # clouds lie on a flat dome: they shrink towards the horizon, but not without end


class Dome:
    """Skies of a batch of worlds on one device; black for closed rooms."""

    def __init__(self, worlds: Sequence[World], device: torch.device | str) -> None:
        rows = np.zeros((len(worlds), 5, 3), np.float32)  # zenith, horizon, sun's direction, sun's light, clouds
        sun = np.zeros((len(worlds), 2), np.float32)  # cosine of the sun's radius, whether there is one
        for index, world in enumerate(worlds):
            if world.sky is None:
                continue
            place, radius = world.light_position[0], float(world.light_radius[0])
            away = float(np.linalg.norm(place))
            arrives = world.light_color[0] / away**2
            offset = np.random.default_rng(world.sky.seed).uniform(0, 64, 2)
            rows[index] = [world.sky.zenith, world.sky.horizon, place / away, arrives, [world.sky.clouds, *offset]]
            sun[index] = np.cos(np.arctan(max(radius, 0.004 * away) / away)), away > _FAR
        self.zenith, self.horizon, self.sun, self.sunlight, self.clouds = (
            torch.as_tensor(rows[:, i], device=device) for i in range(5)
        )
        self.sun_cosine, self.has_sun = torch.as_tensor(sun, device=device).unbind(1)
        self.open_air = torch.tensor([w.sky is not None for w in worlds], device=device)
        self.any_open = any(w.sky is not None for w in worlds)

    def gradient(self, scene: Int[Tensor, "s"], view: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Clear sky, and the horizon's colour below it. ``scene`` of each direction, or one for all."""
        return torch.lerp(self.horizon[scene], self.zenith[scene], view[:, 2:].clamp(0.0, 1.0).sqrt())

    def light(self, scene: Int[Tensor, "s"], view: Float[Tensor, "n 3"], pixel: float) -> Float[Tensor, "n 3"]:
        """Radiance from unit directions; ``pixel`` is the angle between two neighbours, radians."""
        color, height = self.gradient(scene, view), view[:, 2].clamp_min(0.0)
        sunlight, cosine = self.sunlight[scene], (view * self.sun[scene]).sum(-1)
        has_sun = self.has_sun[scene]
        glow = 0.10 * torch.exp((cosine - 1.0) * 12.0) + 0.25 * torch.exp((cosine - 1.0) * 400.0)
        color = color + sunlight * (has_sun * glow)[:, None]
        edge = (1.0 - self.sun_cosine[scene]).clamp_min(1e-7)
        disc = ((edge - (1.0 - cosine)) / edge * 4.0 + 0.5).clamp(0.0, 1.0) * has_sun
        color = color + sunlight * (12.0 * disc)[:, None]
        cover, bright = self._clouds(scene, view, height, pixel)
        white = 0.7 * self.horizon[scene] + 0.3 * sunlight * (0.7 + 0.6 * torch.exp((cosine - 1.0) * 3.0))[:, None]
        return torch.lerp(color, white * bright[:, None], cover[:, None])

    def _clouds(
        self, scene: Int[Tensor, "s"], view: Float[Tensor, "n 3"], height: Float[Tensor, "n"], pixel: float
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """How much of the sky they hide, and their brightness: thick ones are darker, more so away from the sun."""
        amount = self.clouds[scene]
        flat = view[:, :2] / (height + _DOME)[:, None]
        footprint = pixel / (height + _DOME) ** 2

        def density(shift: Tensor | float) -> Tensor:
            place = torch.cat([0.9 * (flat + shift) + amount[:, 1:], torch.full_like(flat[:, :1], 3.7)], -1)
            return textures.fbm(place, 5, 0.9 * footprint)

        thick = density(0.0)
        shaded = density(0.25 * self.sun[scene, :2])
        level = 0.75 - 1.5 * amount[:, 0]  # fbm lies within about -0.7 .. 0.7
        cover = ((thick - level) * 2.2).clamp(0.0, 1.0)
        cover = cover * cover * (3.0 - 2.0 * cover) * (height * 12.0).clamp(0.0, 1.0) * (amount[:, 0] > 0)
        return cover, (1.1 - 0.5 * (thick - level).clamp(0.0, 0.8) - 0.5 * shaded).clamp(0.6, 1.4)

    def haze(
        self, scene: Int[Tensor, "s"], light: Float[Tensor, "n 3"], distance: Float[Tensor, "n"]
    ) -> Float[Tensor, "n 3"]:
        """Aerial perspective: far things take on the colour of the horizon."""
        share = (1.0 - torch.exp(distance * (-1.0 / _HAZE))) * self.open_air[scene]
        return torch.lerp(light, self.horizon[scene], share[:, None])
