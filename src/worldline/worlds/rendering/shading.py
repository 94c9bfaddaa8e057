"""Colour of the hits: albedo by pattern, Lambert with a glossy coat, lights with their shadows, and ambient light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.appearance import textures
from worldline.worlds.rendering.sky import Dome
from worldline.worlds.world import SHELL_FACES, SKY, World, material_slices

_COLUMNS = material_slices()


class Lights(NamedTuple):
    """What lights the hits: one row per hit, or one for all of them."""

    position: Float[Tensor, "n light 3"]
    color: Float[Tensor, "n light 3"]
    axis: Float[Tensor, "n light 3"]
    focus: Float[Tensor, "n light 1"]
    ambient: Float[Tensor, "n 3"]
    room_low: Float[Tensor, "n 3"]
    room_high: Float[Tensor, "n 3"]
    open_air: Bool[Tensor, "n"]


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
        self.light_radius = per_light("light_radius", 1)[..., 0]

        def per_scene(name: str) -> Float[Tensor, "scene 3"]:
            return torch.as_tensor(np.stack([getattr(w, name) for w in worlds]), dtype=torch.float32, device=device)

        self.ambient, self.room = per_scene("ambient"), (per_scene("room_low"), per_scene("room_high"))
        self.dome = Dome(worlds, device)
        self.glossy = bool((self.rows[:, _COLUMNS["gloss"]] > 0).any())

    def lights(self, scene: Int[Tensor, "s"]) -> Lights:
        """The lights of scenes, one row each."""
        return Lights(
            self.light_position[scene], self.light_color[scene], self.light_axis[scene], self.light_focus[scene],
            self.ambient[scene], self.room[0][scene], self.room[1][scene], self.dome.open_air[scene],
        )  # fmt: skip

    def albedo(
        self, index: Int[Tensor, "n"], local: Float[Tensor, "n 3"], uv: Float[Tensor, "n 2"],
        footprint: Float[Tensor, "n"], paint_with: Callable[..., Tensor] = textures.albedo,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"], Float[Tensor, "n"]]:  # fmt: skip
        """(albedo, gloss, emission) of hits, one batch per pattern."""
        material = self.material[index]
        pattern = self.kind[material]
        color = torch.empty_like(local)
        for kind in torch.unique(pattern).tolist():
            chosen = (pattern == kind).nonzero().squeeze(1)
            rows = self.rows[material[chosen]]
            color[chosen] = paint_with(kind, local[chosen], uv[chosen], rows, footprint[chosen])
        gloss, emission = self.rows[:, _COLUMNS["gloss"]], self.rows[:, _COLUMNS["emission"]]
        return color, gloss[material, 0], emission[material, 0]


def radiance(
    color: Float[Tensor, "n 3"], gloss: Float[Tensor, "n"], emission: Float[Tensor, "n"], point: Float[Tensor, "n 3"],
    normal: Float[Tensor, "n 3"], view: Float[Tensor, "n 3"], lit: Float[Tensor, "n light"], lights: Lights,
    mirrored: Float[Tensor, "n 3"] | None,
) -> Float[Tensor, "n 3"]:  # fmt: skip
    """Light that leaves each hit towards the camera (linear). Elementwise, so that it compiles into one loop.

    Args:
        color: albedo.
        gloss: specular strength.
        emission: of the surface itself, as a multiple of the albedo.
        point: world frame.
        normal: unit.
        view: unit directions from camera to hit.
        lit: share of each light that arrives.
        lights: of each hit's scene, or of one for all.
        mirrored: what a mirror would show; None where nothing is glossy.
    """
    up = 0.6 + 0.2 * (1.0 + normal[:, 2])
    received = lights.ambient * (up * _corner_shade(lights, point, normal))[:, None] + emission[:, None]
    shine = torch.zeros_like(received)
    for number in range(lights.position.shape[1]):
        offset = lights.position[:, number] - point
        square = (offset * offset).sum(-1)
        to_light = offset * square.clamp_min(1e-6).rsqrt()[:, None]
        lambert = (normal * to_light).sum(-1).clamp_min(0.0)
        focus = lights.focus[:, number, 0]
        ahead = -(to_light * lights.axis[:, number]).sum(-1)
        power = (1.0 + focus * (ahead.clamp_min(0.0) - 1.0)) / (square + 0.5) * lit[:, number]
        intensity = lights.color[:, number]
        received = torch.addcmul(received, intensity, (power * lambert)[:, None])
        if mirrored is not None:
            middle = torch.nn.functional.normalize(to_light - view, dim=-1)
            lobe = (normal * middle).sum(-1).clamp_min(0.0) ** 2
            lobe = (lobe**2) ** 2  # to the 8th; then to the 40th by another five
            lobe = lobe * (lobe**2) ** 2
            shine = torch.addcmul(shine, intensity, (power * gloss * lobe * (lambert > 0))[:, None])
    if mirrored is None:
        return color * received
    away = 1.0 - (normal * view).sum(-1).abs().clamp_max(1.0)
    share = (gloss * (0.06 + 0.94 * away**5))[:, None]  # Schlick's approximation of Fresnel's law
    return torch.lerp(color * received, mirrored, share) + shine


def mirrored(dome: Dome, lights: Lights, scene: Int[Tensor, "s"], normal: Tensor, view: Tensor) -> Float[Tensor, "n 3"]:
    """What a mirror would show, were nothing else there: the sky above the ground, or a room as bright as its walls."""
    bounced = view - 2.0 * (normal * view).sum(-1, keepdim=True) * normal
    room = lights.ambient * (0.55 + 0.35 * bounced[:, 2:])
    if not dome.any_open:
        return room
    open_air = torch.lerp(
        0.35 * lights.ambient, dome.gradient(scene, bounced), (bounced[:, 2:] * 8.0 + 0.5).clamp(0, 1)
    )
    return torch.where(dome.open_air[scene][:, None], open_air, room)


def _corner_shade(lights: Lights, point: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Ambient light fades into the corners of a room; two walls always count, the one under the point included.

    In the open air it fades where things stand on the ground, but not on the ground itself.
    """
    away = torch.cat([point - lights.room_low, lights.room_high - point], -1).clamp_min(0.0)
    room = (1.0 - 0.35 * torch.exp(-away * 4.0)).prod(-1)
    upright = 1.0 - normal[:, 2].clamp_min(0.0)
    return torch.where(lights.open_air, 1.0 - 0.45 * upright * torch.exp(-away[:, 2] * 4.0), room)
