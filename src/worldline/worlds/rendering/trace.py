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

from worldline.worlds.rendering import shading, shadows
from worldline.worlds.rendering.cast import Packets, SceneTables, cast, pack, surface_frames
from worldline.worlds.rendering.kernels import EAGER, Kernels
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
    rays: Float[Tensor, "packet ray 3"]  # directions
    points: Float[Tensor, "packet ray 3"]  # the ray's origin where the sky is seen
    normals: Float[Tensor, "packet ray 3"]  # 0 where the sky is seen
    local: Float[Tensor, "packet ray 3"]  # points in the frame of the solid
    uv: Float[Tensor, "packet ray 2"]  # and along its face
    index: Int[Tensor, "packet ray"]  # row of the tables over (scene, surface)


class Stage:
    """A batch of worlds on one device, ready to be seen."""

    def __init__(self, worlds: Sequence[World], device: torch.device, kernels: Kernels = EAGER) -> None:
        self.scenes = len(worlds)
        self.kernels = kernels
        self.tables: SceneTables = pack(worlds, device)
        self.paint = shading.Paint(worlds, device)
        self.frames = tuple(t.flatten(0, 1) for t in surface_frames(self.tables, worlds, device))
        self.surfaces = len(self.frames[0]) // self.scenes  # rows of the surface tables per scene

    def strike(self, packets: Packets) -> Hits:
        """Follow camera rays to what they meet."""
        depth, surface = cast(self.tables, packets, self.kernels.visit)
        depth = torch.where(depth.isfinite(), depth, 0.0)
        rays = torch.stack(packets.direction, -1)
        points = packets.origin[:, None] + depth[..., None] * rays
        normals, local, uv = torch.empty_like(points), torch.empty_like(points), torch.empty_like(points[..., :2])
        index = surface + (self._scene_of(packets) * self.surfaces)[:, None]
        for part, _ in self._parts(depth):
            flat = (t[part].flatten(0, 1) for t in (index, surface, points, rays))
            normal, place, face = hit_geometry(self.frames, *flat)
            shape = depth[part].shape
            normals[part] = torch.where((depth[part] > 0)[..., None], normal.view(*shape, 3), 0.0)
            local[part], uv[part] = place.view(*shape, 3), face.view(*shape, 2)
        return Hits(depth, surface, rays, points, normals, local, uv, index)

    def shadows(
        self, packets: Packets, hits: Hits, aim: Int[Tensor, "packet ray"]
    ) -> Float[Tensor, "packet ray light"]:
        """1 where a ray to each light is free. ``aim``: see :func:`worldline.worlds.rendering.shadows.pattern_of`."""
        paint, scene = self.paint, self._scene_of(packets)
        x, y, z = (hits.points[..., i].contiguous() for i in range(3))
        shines = (paint.light_color > 0).any(-1)
        lit = [
            shadows.light_arrives(
                self.tables, (x, y, z), hits.normals, hits.depth, paint.light_position[scene, number],
                paint.light_radius[scene, number], shines[scene, number], aim, self.kernels.visit,
            )
            for number in range(paint.light_position.shape[1])
        ]  # fmt: skip
        return torch.stack(lit, -1)

    def shade(
        self, hits: Hits, lit: Float[Tensor, "packet ray light"], length: Float[Tensor, "packet ray"],
        focal: Float[Tensor, "packet"],
    ) -> Float[Tensor, "packet ray 3"]:  # fmt: skip
        """Linear radiance towards the camera; ``length`` are the lengths of the directions, ``focal`` is in pixels."""
        light = torch.empty_like(hits.points)
        for part, scene in self._parts(hits.depth):
            light[part] = self._shade(part, scene, hits, lit, length, focal).view(*hits.depth[part].shape, 3)
        return light

    def _shade(
        self, part: slice, scene: Tensor, hits: Hits, lit: Tensor, length: Tensor, focal: Tensor
    ) -> Float[Tensor, "n 3"]:
        paint, kernels = self.paint, self.kernels
        depth, away = hits.depth[part].flatten(), length[part].flatten()
        normal, view = hits.normals[part].flatten(0, 1), hits.rays[part].flatten(0, 1) / away[:, None]
        cosine = (normal * view).sum(-1).abs().clamp_min(0.15)
        footprint = (hits.depth[part] / focal[part, None]).flatten() * cosine.rsqrt()
        color, gloss, emission = paint.albedo(
            hits.index[part].flatten(),
            hits.local[part].flatten(0, 1),
            hits.uv[part].flatten(0, 1),
            footprint,
            kernels.albedo,
        )
        lights = paint.lights(scene)
        mirror = shading.mirrored(paint.dome, lights, scene, normal, view) if paint.glossy else None
        light = kernels.radiance(
            color,
            gloss,
            emission,
            hits.points[part].flatten(0, 1),
            normal,
            view,
            lit[part].flatten(0, 1),
            lights,
            mirror,
        )
        if not paint.dome.any_open:
            return light
        light = paint.dome.haze(scene, light, depth * away)
        sky = (depth == 0).nonzero().squeeze(1)
        if len(sky):
            own = scene if len(scene) == 1 else scene[sky]
            light[sky] = paint.dome.light(own, view[sky], float(1.0 / focal[part].mean()))
        return light

    def _scene_of(self, packets: Packets) -> Int[Tensor, "packet"]:
        count = len(packets.origin)
        return torch.arange(self.scenes, device=packets.origin.device).repeat_interleave(count // self.scenes)

    def _parts(self, rays: Float[Tensor, "packet ray"]) -> Iterator[tuple[slice, Tensor]]:
        """Packets to shade together, with their scene: all on a GPU, a cache-sized run of one scene on a CPU."""
        (count, width), device = rays.shape, rays.device
        per_scene = count // self.scenes
        if device.type != "cpu":
            yield slice(0, count), torch.arange(self.scenes, device=device).repeat_interleave(per_scene * width)
            return
        step = max(1, _CPU_PIXELS // width)
        for scene in range(self.scenes):
            for start in range(scene * per_scene, (scene + 1) * per_scene, step):
                yield slice(start, min(start + step, (scene + 1) * per_scene)), torch.tensor([scene])


def edges(
    surface: Int[Tensor, "scene view height width"],
    normals: Float[Tensor, "scene view height width 3"],
    lit: Float[Tensor, "scene view height width light"],
    light: Float[Tensor, "scene view height width 3"],
) -> Bool[Tensor, "scene view height width"]:
    """Both pixels of each pair of neighbours that differ in solid, face or side of a shadow, and visibly in light."""
    mask = torch.zeros_like(surface, dtype=torch.bool)
    for axis in (2, 3):
        size = surface.shape[axis] - 1
        near, far = (slice(None),) * axis + (slice(0, size),), (slice(None),) * axis + (slice(1, size + 1),)
        differs = (surface[near] != surface[far]) | ((lit[near] - lit[far]).abs().amax(-1) > 0.5)
        differs |= (normals[near] * normals[far]).sum(-1) < 0.8
        differs &= (light[near] - light[far]).abs().sum(-1) > 0.08 * (light[near] + light[far]).sum(-1)
        mask[near] |= differs
        mask[far] |= differs
    return mask


@dataclass(frozen=True)
class FirstPass:
    """What the rays through the pixel centres found, as images."""

    surface: Int[Tensor, "scene view height width"]
    normals: Float[Tensor, "scene view height width 3"]
    lit: Float[Tensor, "scene view height width light"]
    light: Float[Tensor, "scene view height width 3"]


def soften(
    stage: Stage, first: FirstPass, matrices: Float[Tensor, "image 3 3"], world_from_cam: Float[Tensor, "image 4 4"],
    tiling: Tiling,
) -> Float[Tensor, "scene view height width 3"]:  # fmt: skip
    """Average the light of pixels on edges over four samples."""
    tiled = tiling.tiled(edges(first.surface, first.normals, first.lit, first.light))
    counts = tiled.sum(1)
    most = int(counts.max())
    if most == 0:
        return first.light
    packets_per_image = -(-most // _EDGE_PACKET)
    slots = packets_per_image * _EDGE_PACKET
    # the n-th masked pixel of each image; images with fewer repeat their last one
    order = torch.argsort(~tiled, dim=1, stable=True)[:, :slots]
    if order.shape[1] < slots:
        order = torch.nn.functional.pad(order, (0, slots - order.shape[1]), mode="replicate")
    slot = torch.arange(slots, device=tiled.device)
    chosen = order.gather(1, torch.minimum(slot[None], (counts - 1).clamp_min(0)[:, None]))
    y, x = tiling.pixel(chosen)
    extra = _between(stage, first, y, x, (matrices, world_from_cam), tiling).sum(2)
    rows = (slot[None] < counts[:, None]).nonzero(as_tuple=True)
    result = first.light.flatten(0, 1).clone()
    py, px = y[rows], x[rows]
    result[rows[0], py, px] = (result[rows[0], py, px] + extra[rows]) / (1 + len(_SUBPIXELS))
    return result.view_as(first.light)


def _between(
    stage: Stage, first: FirstPass, y: Int[Tensor, "image slot"], x: Int[Tensor, "image slot"],
    images: tuple[Tensor, Tensor], tiling: Tiling,
) -> Float[Tensor, "image slot sample 3"]:  # fmt: skip
    """Light of the samples around the centres of pixels."""
    shift = torch.tensor(_SUBPIXELS, device=y.device)
    samples, count = len(_SUBPIXELS), len(y)
    shape = (count, y.shape[1] // _EDGE_PACKET, _EDGE_PACKET * samples)
    fine_y, fine_x = ((v[..., None] + shift[:, i]).view(shape) for v, i in ((y, 1), (x, 0)))
    packets, length, focal = tiling.rays(fine_x, fine_y, *images)
    hits = stage.strike(packets)
    own_y, own_x = (v[..., None].expand(-1, -1, samples).reshape(-1) for v in (y, x))
    turn = torch.arange(samples, device=y.device).repeat(len(own_y) // samples) * 5
    aim = (shadows.pattern_of(own_y, own_x) + turn) % shadows.PATTERN**2
    lit = stage.shadows(packets, hits, aim.view_as(hits.surface))
    soft = stage.paint.light_radius > 0
    if bool(soft.any()):  # single samples of soft lights are noisy; the pixels around have means
        image = torch.arange(count, device=y.device).repeat_interleave(len(own_y) // count)
        around = shadows.from_neighbours(
            first.lit.flatten(0, 1), first.surface.flatten(0, 1), first.normals.flatten(0, 1), image, own_y, own_x,
            hits.surface.flatten(), hits.normals.flatten(0, 1), lit.flatten(0, 1),
        )  # fmt: skip
        lit = torch.where(soft[image // tiling.views], around, lit.flatten(0, 1)).view_as(lit)
    return stage.shade(hits, lit, length, focal).view(count, -1, samples, 3)


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


def aims(tiling: Tiling, device: torch.device) -> Int[Tensor, "packet ray"]:
    """Which point of a light's disc each pixel of the tiles aims at."""
    y, x = tiling.pixel(torch.arange(tiling.rows * tiling.columns * tiling.tile**2, device=device))
    one = shadows.pattern_of(y, x).view(-1, tiling.tile**2)
    return one.repeat(tiling.scenes * tiling.views, 1)


def see(
    worlds: Sequence[World], height: int, width: int, device: torch.device, kernels: Kernels = EAGER
) -> list[Moment]:
    """Look at worlds at rest with equally many cameras each, as one batch."""
    scenes, views = len(worlds), worlds[0].views
    matrices = torch.as_tensor(np.stack([intrinsics(w.cameras, height, width) for w in worlds]), device=device)
    poses = torch.as_tensor(np.stack([w.cameras.world_from_cam for w in worlds]), device=device)
    images = (matrices.flatten(0, 1), poses.flatten(0, 1))
    stage, tiling = Stage(worlds, device, kernels), Tiling(scenes, views, height, width)
    packets, length, focal = tiling.packets(*images)
    hits = stage.strike(packets)
    depth, surface, points, normals = (tiling.untile(t) for t in (hits.depth, hits.surface, hits.points, hits.normals))
    lit = tiling.untile(stage.shadows(packets, hits, aims(tiling, device)))
    lit = shadows.smooth(lit, surface, normals, stage.paint.light_radius > 0)
    shares = tiling.tiled(lit).view(*hits.depth.shape, -1)
    light = tiling.untile(stage.shade(hits, shares, length, focal))
    light = soften(stage, FirstPass(surface, normals, lit, light), *images, tiling)
    instance, body = (tiling.untile(table[hits.index]) for table in (stage.paint.object_id, stage.paint.body))
    return [
        Moment(light[i], depth[i], points[i], normals[i], instance[i], body[i], matrices[i], poses[i])
        for i in range(scenes)
    ]
