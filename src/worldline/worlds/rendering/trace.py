"""From ray packets to what a camera needs to know about each ray: depth, point, normal, object, light.

Edges get three more rays per pixel in a second pass: photographs have soft outlines, and their share of the pixels is
small. Ground truth always belongs to the ray through the pixel's centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.rendering import shading
from worldline.worlds.rendering.cast import Packets, SceneTables, cast, pack, surface_frames
from worldline.worlds.rendering.surfaces import hit_geometry
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import World

_CPU_PIXELS = 24_576  # pixels shaded at a time on a CPU: temporaries stay in the cache
_EDGE_PACKET = 64  # edge pixels per packet of the second pass
_SUBPIXELS = ((-0.375, 0.125), (0.125, 0.375), (0.375, -0.125))  # with the centre: one sample per quarter


@dataclass(frozen=True)
class Hits:
    """What the rays of some packets found."""

    depth: Float[Tensor, "packet ray"]  # in units of the ray's direction; 0 where the sky is seen
    surface: Int[Tensor, "packet ray"]
    points: Float[Tensor, "packet ray 3"]  # the ray's origin where the sky is seen
    normals: Float[Tensor, "packet ray 3"]
    instance: Int[Tensor, "packet ray"]
    body: Int[Tensor, "packet ray"]  # -1 where the sky is seen
    lit: Float[Tensor, "packet ray"]  # 1 where the main light arrives
    light: Float[Tensor, "packet ray 3"]  # linear radiance towards the camera


class Stage:
    """A batch of worlds on one device, ready to be seen."""

    def __init__(self, worlds: Sequence[World], device: torch.device) -> None:
        self.scenes = len(worlds)
        self.tables: SceneTables = pack(worlds, device)
        self.paint = shading.Paint(worlds, device)
        self.frames = tuple(t.flatten(0, 1) for t in surface_frames(self.tables, worlds, device))
        self.surfaces = len(self.frames[0]) // self.scenes  # rows of the surface tables per scene

    def trace(self, packets: Packets, length: Float[Tensor, "packet ray"], focal: Float[Tensor, "packet"]) -> Hits:
        """Follow camera rays; ``length`` are the lengths of the directions, ``focal`` is in pixels."""
        depth, surface = cast(self.tables, packets)
        depth = torch.where(depth.isfinite(), depth, 0.0)
        rays = torch.stack(packets.direction, -1)
        points = packets.origin[:, None] + depth[..., None] * rays
        lit = shading.shadow(self.tables, self.paint, points, self.scenes)
        count, width = depth.shape
        normals, light = torch.empty_like(points), torch.empty_like(points)
        instance, body = torch.empty_like(surface), torch.empty_like(surface)
        for part, scene in self._parts(count, width, depth.device):
            self._shade(
                part, scene, surface, points, rays, depth, length, focal, lit, (normals, light, instance, body)
            )  # fmt: skip
        return Hits(depth, surface, points, normals, instance, body, lit, light)

    def _parts(self, count: int, width: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
        """Packets to shade together, with their scene: all on a GPU, a cache-sized run of one scene on a CPU."""
        per_scene = count // self.scenes
        if device.type != "cpu":
            yield slice(0, count), torch.arange(self.scenes, device=device).repeat_interleave(per_scene * width)
            return
        step = max(1, _CPU_PIXELS // width)
        for scene in range(self.scenes):
            for start in range(scene * per_scene, (scene + 1) * per_scene, step):
                yield slice(start, min(start + step, (scene + 1) * per_scene)), torch.tensor([scene])

    def _shade(
        self, part: slice, scene: Tensor, surface: Tensor, points: Tensor, rays: Tensor, depth: Tensor, length: Tensor,
        focal: Tensor, lit: Tensor, out: tuple[Tensor, ...],
    ) -> None:  # fmt: skip
        ids, point, ray = surface[part].flatten(), points[part].flatten(0, 1), rays[part].flatten(0, 1)
        index = scene * self.surfaces + ids
        normal, local, uv = hit_geometry(self.frames, index, ids, point, ray)
        view = ray / length[part].flatten()[:, None]
        cosine = (normal * view).sum(-1).abs().clamp_min(0.15)
        footprint = (depth[part] / focal[part, None]).flatten() * cosine.rsqrt()
        light = shading.radiance(
            self.paint, self.tables, scene, index, point, normal, view, local, uv, footprint, lit[part].flatten()
        )
        sky = depth[part].flatten() == 0
        if bool(sky.any()):
            light = torch.where(sky[:, None], shading.sky_light(self.paint, scene, view), light)
            normal = torch.where(sky[:, None], 0.0, normal)
        shape = surface[part].shape
        out[0][part], out[1][part] = normal.view(*shape, 3), light.view(*shape, 3)
        out[2][part] = self.paint.object_id[index].view(shape)
        out[3][part] = self.paint.body[index].view(shape)


def edges(
    surface: Int[Tensor, "scene view height width"],
    normals: Float[Tensor, "scene view height width 3"],
    lit: Float[Tensor, "scene view height width"],
    light: Float[Tensor, "scene view height width 3"],
) -> Bool[Tensor, "scene view height width"]:
    """Both pixels of each pair of neighbours that differ in solid, face or side of a shadow, and visibly in light."""
    mask = torch.zeros_like(surface, dtype=torch.bool)
    for axis in (2, 3):
        size = surface.shape[axis] - 1
        near, far = (slice(None),) * axis + (slice(0, size),), (slice(None),) * axis + (slice(1, size + 1),)
        differs = (surface[near] != surface[far]) | (lit[near] != lit[far])
        differs |= (normals[near] * normals[far]).sum(-1) < 0.8
        differs &= (light[near] - light[far]).abs().sum(-1) > 0.08 * (light[near] + light[far]).sum(-1)
        mask[near] |= differs
        mask[far] |= differs
    return mask


def soften(
    stage: Stage,
    light: Float[Tensor, "scene view height width 3"],
    mask: Bool[Tensor, "scene view height width"],
    matrices: Float[Tensor, "image 3 3"],
    world_from_cam: Float[Tensor, "image 4 4"],
    tiling: Tiling,
) -> Float[Tensor, "scene view height width 3"]:
    """Average the light of masked pixels over four samples."""
    tiled = tiling.tiled(mask)  # image, pixel in tile order: neighbours stay in one packet
    counts = tiled.sum(1)
    most = int(counts.max())
    if most == 0:
        return light
    packets_per_image = -(-most // _EDGE_PACKET)
    slots = packets_per_image * _EDGE_PACKET
    # the n-th masked pixel of each image; images with fewer repeat their last one
    order = torch.argsort(~tiled, dim=1, stable=True)[:, :slots]
    if order.shape[1] < slots:
        order = torch.nn.functional.pad(order, (0, slots - order.shape[1]), mode="replicate")
    slot = torch.arange(slots, device=mask.device)
    chosen = order.gather(1, torch.minimum(slot[None], (counts - 1).clamp_min(0)[:, None]))
    y, x = tiling.pixel(chosen)
    shift = torch.tensor(_SUBPIXELS, device=mask.device)
    y = (y[..., None] + shift[:, 1]).view(len(y), packets_per_image, -1)
    x = (x[..., None] + shift[:, 0]).view(len(x), packets_per_image, -1)
    packets, length, focal = tiling.rays(x, y, matrices, world_from_cam)
    extra = stage.trace(packets, length, focal).light.view(len(y), slots, len(_SUBPIXELS), 3).sum(2)
    rows = (slot[None] < counts[:, None]).nonzero(as_tuple=True)
    py, px = (p[rows] for p in tiling.pixel(chosen))
    result = light.flatten(0, 1).clone()
    result[rows[0], py, px] = (result[rows[0], py, px] + extra[rows]) / (1 + len(_SUBPIXELS))
    return result.view_as(light)


@dataclass(frozen=True)
class Moment:
    """What the cameras of one instant of a world see, before the camera has done anything to the light."""

    light: Float[Tensor, "view height width 3"]  # linear radiance
    depth: Float[Tensor, "view height width"]
    points: Float[Tensor, "view height width 3"]
    normals: Float[Tensor, "view height width 3"]
    instance: Int[Tensor, "view height width"]
    body: Int[Tensor, "view height width"]
    intrinsics: Float[Tensor, "view 3 3"]
    world_from_cam: Float[Tensor, "view 4 4"]


def see(worlds: Sequence[World], height: int, width: int, device: torch.device) -> list[Moment]:
    """Look at worlds at rest with equally many cameras each, as one batch."""
    scenes, views = len(worlds), worlds[0].views
    matrices = torch.as_tensor(np.stack([intrinsics(w.cameras, height, width) for w in worlds]), device=device)
    poses = torch.as_tensor(np.stack([w.cameras.world_from_cam for w in worlds]), device=device)
    images = (matrices.flatten(0, 1), poses.flatten(0, 1))
    stage, tiling = Stage(worlds, device), Tiling(scenes, views, height, width)
    hits = stage.trace(*tiling.packets(*images))
    surface, normals, lit = (tiling.untile(t) for t in (hits.surface, hits.normals, hits.lit))
    light = tiling.untile(hits.light)
    light = soften(stage, light, edges(surface, normals, lit, light), *images, tiling)
    depth, points, instance, body = (tiling.untile(t) for t in (hits.depth, hits.points, hits.instance, hits.body))
    return [
        Moment(light[i], depth[i], points[i], normals[i], instance[i], body[i], matrices[i], poses[i])
        for i in range(scenes)
    ]
