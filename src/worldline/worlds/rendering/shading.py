"""Colour of the hits: albedo by pattern, Lambert with a little gloss, one shadowed main light; and of the sky."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.worlds.appearance import textures
from worldline.worlds.rendering.cast import Packets, SceneTables, occluded
from worldline.worlds.world import SHELL_FACES, SKY, World, material_slices

_COLUMNS = material_slices()


class Paint:
    """Materials and lights of a batch of worlds on one device."""

    def __init__(self, worlds: Sequence[World], device: torch.device | str) -> None:
        count = max(len(w.primitives.kind) for w in worlds) + SHELL_FACES
        material = np.zeros((len(worlds), count), np.int64)
        self.object_id = torch.zeros(len(worlds), count, dtype=torch.int32)
        self.body = torch.zeros(len(worlds), count, dtype=torch.int32)
        start = 0
        for index, world in enumerate(worlds):
            n = len(world.primitives.kind)
            material[index, :SHELL_FACES] = world.shell_material + start
            material[index, SHELL_FACES : SHELL_FACES + n] = world.primitives.material + start
            self.object_id[index, :SHELL_FACES] = torch.arange(SHELL_FACES)
            if world.sky is not None:
                self.object_id[index, SKY] = self.body[index, SKY] = -1
            self.object_id[index, SHELL_FACES : SHELL_FACES + n] = torch.as_tensor(world.primitives.object_id)
            self.body[index, SHELL_FACES : SHELL_FACES + n] = torch.as_tensor(world.primitives.body)
            start += len(world.material_kind)
        self.material = torch.as_tensor(material, device=device).flatten()
        self.object_id, self.body = self.object_id.to(device).flatten(), self.body.to(device).flatten()
        self.kind = torch.as_tensor(np.concatenate([w.material_kind for w in worlds]), device=device)
        self.rows = torch.as_tensor(np.concatenate([w.material_table for w in worlds]), device=device)
        lights = max(len(w.light_position) for w in worlds)

        def per_light(name: str, width: int) -> Float[Tensor, "scene light k"]:
            values = np.zeros((len(worlds), lights, width), np.float32)  # missing lights are black
            for index, world in enumerate(worlds):
                own = getattr(world, name)
                values[index, : len(own)] = own.reshape(len(own), width)
            return torch.as_tensor(values, device=device)

        self.light_position, self.light_color = per_light("light_position", 3), per_light("light_color", 3)
        self.light_axis, self.light_focus = per_light("light_axis", 3), per_light("light_focus", 1)
        self.sky = torch.zeros(len(worlds), 2, 3, device=device)  # horizon and zenith
        for index, world in enumerate(worlds):
            if world.sky is not None:
                self.sky[index] = torch.as_tensor(np.stack([world.sky.horizon, world.sky.zenith]), dtype=torch.float32)
        self.ambient = torch.as_tensor(np.stack([w.ambient for w in worlds]), dtype=torch.float32, device=device)

    def albedo(
        self,
        index: Int[Tensor, "n"],
        local: Float[Tensor, "n 3"],
        uv: Float[Tensor, "n 2"],
        footprint: Float[Tensor, "n"],
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"], Float[Tensor, "n"]]:
        """(albedo, gloss, emission) of hits, one batch per pattern."""
        material = self.material[index]
        pattern = self.kind[material]
        color = torch.empty_like(local)
        for kind in torch.unique(pattern).tolist():
            chosen = (pattern == kind).nonzero().squeeze(1)
            rows = self.rows[material[chosen]]
            color[chosen] = textures.albedo(kind, local[chosen], uv[chosen], rows, footprint[chosen])
        gloss, emission = self.rows[:, _COLUMNS["gloss"]], self.rows[:, _COLUMNS["emission"]]
        return color, gloss[material, 0], emission[material, 0]


def shadow(
    tables: SceneTables, paint: Paint, points: Float[Tensor, "packet ray 3"], scenes: int
) -> Float[Tensor, "packet ray"]:
    """1 where the main light is seen, 0 where something is between."""
    light = paint.light_position[:, 0].repeat_interleave(len(points) // scenes, 0)
    rays = points - light[:, None]
    x, y, z = (rays[..., i].contiguous() for i in range(3))
    packets = Packets(light, (x, y, z), scenes)
    return 1.0 - occluded(tables, packets).float()


def radiance(
    paint: Paint, tables: SceneTables, scene: Int[Tensor, "s"], index: Int[Tensor, "n"], point: Float[Tensor, "n 3"],
    normal: Float[Tensor, "n 3"], view: Float[Tensor, "n 3"], local: Tensor, uv: Tensor, footprint: Tensor,
    lit: Float[Tensor, "n"],
) -> Float[Tensor, "n 3"]:  # fmt: skip
    """Light that leaves each hit towards the camera (linear).

    ``view`` are unit directions from camera to hit; ``scene`` is the scene of each hit, or one for all of them.
    """
    color, gloss, emission = paint.albedo(index, local, uv, footprint)
    up = 0.6 + 0.2 * (1.0 + normal[:, 2])
    received = paint.ambient[scene] * (up * _corner_shade(tables, scene, point))[:, None] + emission[:, None]
    shine = torch.zeros_like(received)
    glossy = bool((gloss > 0).any())
    for number in range(paint.light_position.shape[1]):
        offset = paint.light_position[scene, number] - point
        square = (offset * offset).sum(-1)
        to_light = offset * square.clamp_min(1e-6).rsqrt()[:, None]
        lambert = (normal * to_light).sum(-1).clamp_min(0.0)
        focus = paint.light_focus[scene, number, 0]
        ahead = -(to_light * paint.light_axis[scene, number]).sum(-1)
        power = (1.0 + focus * (ahead.clamp_min(0.0) - 1.0)) / (square + 0.5)
        if number == 0:
            power = power * lit
        intensity = paint.light_color[scene, number]
        received = torch.addcmul(received, intensity, (power * lambert)[:, None])
        if glossy:
            middle = torch.nn.functional.normalize(to_light - view, dim=-1)
            lobe = (normal * middle).sum(-1).clamp_min(0.0) ** 2
            lobe = (lobe**2) ** 2  # to the 8th; then to the 40th by another five
            lobe = lobe * (lobe**2) ** 2
            shine = torch.addcmul(shine, intensity, (power * gloss * lobe * (lambert > 0))[:, None])
    return color * received + shine


def _corner_shade(tables: SceneTables, scene: Int[Tensor, "s"], point: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Ambient light fades into the corners of a room; two walls always count, the one under the point included."""
    away = torch.cat([point - tables.room_low[scene], tables.room_high[scene] - point], -1).clamp_min(0.0)
    return (1.0 - 0.35 * torch.exp(-away * 4.0)).prod(-1)


def sky_light(paint: Paint, scene: Int[Tensor, "s"], view: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Radiance of the sky in unit directions; ``scene`` as in :func:`radiance`."""
    horizon, zenith = paint.sky[scene].unbind(1)
    return torch.lerp(horizon, zenith, view[:, 2:].clamp(0.0, 1.0).sqrt())
