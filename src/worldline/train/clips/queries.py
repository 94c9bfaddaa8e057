"""Queries drawn from a clip, with exact answers: D4RT's supervision (arXiv 2512.08924, section 2.3 and appendix A).

A query asks about the pixel centre of a surface seen at t_src. In a rendered clip that surface belongs to a rigid body,
which carries it to any other moment; in a recorded clip it lies on a given trajectory. Conventions are those of
:mod:`worldline.worlds.truth.queries`, which answers the same queries from the geometry of a world.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from worldline.errors import InputError
from worldline.train.clips.clips import SKY, Clip
from worldline.train.clips.edges import edges, mapped_frames, moving_pixels, moving_tracks

CANDIDATES = 3  # pixels drawn per query, some of which show nothing
_SMOOTH = 1.25  # depths of four neighbours that differ by less are one surface: their inverse depths are interpolated
_TOLERANCE = 0.02  # share of its depth by which a visible point may lie behind the surface that is seen in its place
_NEAREST = 1e-2  # metres in front of the camera from which on a point is projected


@dataclass(frozen=True)
class QueryOptions:
    """How queries are drawn; the defaults are the paper's (appendix A)."""

    count: int = 2048  # per clip
    edges: float = 0.3  # share of them near discontinuities of depth or motion
    moving: float = 0.0  # share of them on bodies that move, on top of those that happen to be; not in the paper
    tied: float = 0.4  # share with t_tgt = t_cam on top of those where it happens by chance
    own: float = 0.0  # share with t_src = t_tgt = t_cam, which ask for depth; not in the paper
    near: tuple[tuple[float, int], ...] = ()  # (share, frames): t_tgt at most so far from t_src; the rest is uniform
    uv_margin: float = 0.5  # uv is asked for up to so far beyond the edges, in image sizes: further out it diverges

    def __post_init__(self) -> None:
        near = sum(share for share, _ in self.near)
        shares = (self.edges, self.moving, self.edges + self.moving, self.tied, self.own, near)
        if self.count < 1 or not all(0 <= share <= 1 for share in shares):
            raise InputError("Queries are counted from 1, their kinds are shares.", "Give numbers from 0 to 1.")


class Asked(NamedTuple):
    """Queries of a clip and their answers. A target counts where its mask says so."""

    u: Float32[np.ndarray, "query"]
    v: Float32[np.ndarray, "query"]
    t_src: Int64[np.ndarray, "query"]
    t_tgt: Int64[np.ndarray, "query"]
    t_cam: Int64[np.ndarray, "query"]
    points: Float32[np.ndarray, "query 3"]  # metres, camera of t_cam
    uv: Float32[np.ndarray, "query 2"]  # in the view of t_tgt
    visible: Bool[np.ndarray, "query"]  # in the view of t_tgt
    motion: Float32[np.ndarray, "query 3"]  # metres, from t_src to t_tgt, axes of t_cam
    normal: Float32[np.ndarray, "query 3"]  # unit, at t_tgt, axes of t_cam
    has_points: Bool[np.ndarray, "query"]  # points and motion
    has_uv: Bool[np.ndarray, "query"]
    has_visible: Bool[np.ndarray, "query"]
    has_normal: Bool[np.ndarray, "query"]
    uv_cam: Float32[np.ndarray, "query 2"]  # of the same surface in frame t_cam, when that was taken
    seen_cam: Bool[np.ndarray, "query"]  # it is visible there


class Sources(NamedTuple):
    """Surfaces where the queries start."""

    pixel: Float64[np.ndarray, "query 2"]  # (x, y) in the image of ``frame``, centres at integers
    frame: Int64[np.ndarray, "query"]
    world: Float64[np.ndarray, "query 3"]  # at that moment
    normal: Float64[np.ndarray, "query 3"]  # world frame; 0 = unknown
    row: Int64[np.ndarray, "query"]  # of the body, or of the track

    @classmethod
    def at(
        cls, clip: Clip, frame: Int64[np.ndarray, "query"], x: Int64[np.ndarray, "query"], y: Int64[np.ndarray, "query"]
    ) -> Sources:
        """What given pixels of a clip with dense depth show; body 0 at the camera's centre where that is nothing."""
        found = _found_pixels(clip, _Spots(frame, x, y, np.zeros_like(frame)), np.arange(len(frame)))
        return found._replace(row=np.where(found.row == SKY, 0, found.row))


def draw_queries(clip: Clip, options: QueryOptions, rng: np.random.Generator) -> Asked:
    """Queries as the paper draws them. A clip without anything to ask about gets queries without targets."""
    sources = draw_sources(clip, options, rng)
    if sources is None:
        return _nothing(options.count)
    count, frames = options.count, len(clip)
    t_tgt = _targets(sources.frame, frames, options.near, rng)
    t_cam = np.where(rng.random(count) < options.tied, t_tgt, rng.integers(frames, size=count))
    if options.own:
        own = rng.random(count) < options.own
        t_tgt, t_cam = (np.where(own, sources.frame, times) for times in (t_tgt, t_cam))
    return answer(clip, sources, t_tgt, t_cam, options.uv_margin)


def draw_sources(clip: Clip, options: QueryOptions, rng: np.random.Generator) -> Sources | None:
    """Where the queries start: points seen in uniformly drawn frames, shares of them near edges and on what moves.

    Pixels of a kind are equally likely. Where a clip shows few surfaces, some start several queries. None: it shows no
    point at all.
    """
    count = options.count
    if clip.tracks is not None:
        spots = _draw_tracks(clip, options, rng)
        kinds = [(options.edges, _near_edge(clip, spots, rng)), (options.moving, moving_tracks(clip)[spots.track])]
        special = [_picked(np.flatnonzero(mask), share * count, rng) for share, mask in kinds if share]
        rest = np.arange(len(spots.frame))
    else:
        spots, special = _draw_pixels(clip, options, rng)
        rest = np.arange(sum(map(len, special)), len(spots.frame))
    if not len(spots.frame):
        return None
    chosen = np.concatenate([*special, np.resize(rest, count - sum(map(len, special)))]).astype(np.int64)
    return _found_tracks(clip, spots, chosen) if clip.tracks is not None else _found_pixels(clip, spots, chosen)


def answer(
    clip: Clip, sources: Sources, t_tgt: Int64[np.ndarray, "query"], t_cam: Int64[np.ndarray, "query"],
    uv_margin: float = QueryOptions.uv_margin,
) -> Asked:  # fmt: skip
    """Exact targets of given surfaces at given times."""
    height, width = clip.size
    moved, turn, known = carry(clip, sources, t_tgt)
    back = clip.world_from_cam[t_cam, :3, :3].astype(np.float64)  # its transpose turns into the camera
    normal = np.einsum("nij,nj->ni", turn, sources.normal)
    local = _to_camera(clip, t_tgt, moved)
    pixel, front = _project(clip, t_tgt, local)
    uv = (pixel + 0.5) / (width, height)
    inside = front & ((uv >= 0) & (uv <= 1)).all(-1)
    visible, judged = _visible(clip, sources, t_tgt, pixel, local, inside, normal)
    close = front & ((uv >= -uv_margin) & (uv <= 1 + uv_margin)).all(-1)
    into = np.einsum("nji,nj->ni", back, normal)
    facts = [
        _to_camera(clip, t_cam, moved), np.where(close[:, None], uv, 0.5), visible & known,
        np.einsum("nji,nj->ni", back, moved - sources.world), into,
    ]  # fmt: skip
    points, uv, visible, motion, into = (np.where(_rows(known, part), part, 0) for part in facts)
    starts = (sources.pixel + 0.5) / (width, height)
    return Asked(
        u=starts[:, 0].astype(np.float32), v=starts[:, 1].astype(np.float32),
        t_src=sources.frame, t_tgt=t_tgt, t_cam=t_cam,
        points=points.astype(np.float32), uv=uv.astype(np.float32), visible=visible.astype(bool),
        motion=motion.astype(np.float32), normal=into.astype(np.float32),
        has_points=known, has_uv=known & close, has_visible=known & judged,
        has_normal=known & ((into * into).sum(-1) > 0.25),
        **dict(zip(("uv_cam", "seen_cam"), seen_at(clip, sources, t_cam), strict=True)),
    )  # fmt: skip


def place_at(
    clip: Clip, sources: Sources, frame: Int64[np.ndarray, "query"]
) -> tuple[Float64[np.ndarray, "query 2"], Bool[np.ndarray, "query"]]:
    """Image coordinates of surfaces in other frames, seen or not, and whether they are known and in front."""
    height, width = clip.size
    moved, _, known = carry(clip, sources, frame)
    pixel, front = _project(clip, frame, _to_camera(clip, frame, moved))
    return (pixel + 0.5) / (width, height), front & known


def seen_at(
    clip: Clip, sources: Sources, frame: Int64[np.ndarray, "query"]
) -> tuple[Float32[np.ndarray, "query 2"], Bool[np.ndarray, "query"]]:
    """Image coordinates of surfaces in other frames, and whether they are known to be seen there; 0.5 where not."""
    height, width = clip.size
    moved, turn, known = carry(clip, sources, frame)
    local = _to_camera(clip, frame, moved)
    pixel, front = _project(clip, frame, local)
    uv = (pixel + 0.5) / (width, height)
    inside = front & ((uv >= 0) & (uv <= 1)).all(-1)
    visible, judged = _visible(
        clip, sources, frame, pixel, local, inside, np.einsum("nij,nj->ni", turn, sources.normal)
    )
    seen = visible & judged & known
    return np.where(seen[:, None], uv, 0.5).astype(np.float32), seen


def carry(
    clip: Clip, sources: Sources, frame: Int64[np.ndarray, "query"]
) -> tuple[Float64[np.ndarray, "query 3"], Float64[np.ndarray, "query 3 3"], Bool[np.ndarray, "query"]]:
    """World positions at other moments, the rotation that the surroundings went through (0 = unknown), known or not."""
    count = len(frame)
    same = frame == sources.frame
    if clip.tracks is not None:
        turn = np.where(same[:, None, None], np.eye(3), 0.0)
        known = clip.tracks.valid[sources.row, frame]
        moved = np.where(known[:, None], clip.tracks.world[sources.row, frame], 0.0).astype(np.float64)
        return moved, turn, known
    if clip.world_from_body is None:
        return sources.world, np.broadcast_to(np.eye(3), (count, 3, 3)), np.ones(count, bool)
    poses = clip.world_from_body.astype(np.float64)
    start, end = poses[sources.frame, sources.row], poses[frame, sources.row]
    turn = end[:, :3, :3] @ start[:, :3, :3].transpose(0, 2, 1)
    moved = np.einsum("nij,nj->ni", turn, sources.world - start[:, :3, 3]) + end[:, :3, 3]
    moved = np.where((same | (sources.row == 0))[:, None], sources.world, moved)
    return moved, turn, np.ones(count, bool)


class _Spots(NamedTuple):
    """Candidates: pixels that show what has targets."""

    frame: Int64[np.ndarray, "spot"]
    x: Int64[np.ndarray, "spot"]
    y: Int64[np.ndarray, "spot"]
    track: Int64[np.ndarray, "spot"]  # 0 where there are none


def _picked(rows: Int64[np.ndarray, "n"], count: float, rng: np.random.Generator) -> Int64[np.ndarray, "m"]:
    """So many of the rows, with repetition; none where there are none."""
    return rows[rng.integers(len(rows), size=round(count))] if len(rows) else rows


def _draw_pixels(
    clip: Clip, options: QueryOptions, rng: np.random.Generator
) -> tuple[_Spots, list[Int64[np.ndarray, "n"]]]:
    """Pixels of a clip with dense depth: those near edges, those that move (rows of both), then any."""
    assert clip.depth is not None
    height, width = clip.size
    frames = mapped_frames(clip, rng)
    special = []
    for share, find in ((options.edges, edges), (options.moving, moving_pixels)):
        if share:
            found = _picked(np.flatnonzero(find(clip, frames)), share * options.count, rng)
            special.append(_known(clip, frames[found // (height * width)], found % width, found // width % height))
    anywhere = (rng.integers(most, size=CANDIDATES * options.count) for most in (len(clip), width, height))
    parts = [*special, _known(clip, *anywhere)]
    ends = np.cumsum([0, *(len(part[0]) for part in special)])
    rows = [np.arange(start, end) for start, end in pairwise(ends)]
    frame, x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Spots(frame, x, y, np.zeros_like(frame)), rows


def _known(clip: Clip, frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels among some that show a surface."""
    assert clip.depth is not None
    known = clip.depth[frame, y, x] > 0  # infinite ones are refused by the reader
    if clip.body is not None:
        known &= clip.body[frame, y, x] != SKY
    return frame[known], x[known], y[known]


def _found_pixels(clip: Clip, spots: _Spots, chosen: Int64[np.ndarray, "query"]) -> Sources:
    """Surfaces behind pixels."""
    assert clip.depth is not None
    frame, x, y, row = (part[chosen] for part in spots)
    pixel = np.stack([x, y], -1).astype(np.float64)
    world = _to_world(clip, frame, pixel, clip.depth[frame, y, x].astype(np.float64))
    if clip.body is not None:
        row = clip.body[frame, y, x].astype(np.int64)
    return Sources(pixel, frame, world, _normals(clip, frame, x, y), row)


def _draw_tracks(clip: Clip, options: QueryOptions, rng: np.random.Generator) -> _Spots:
    """Candidates among the given trajectories, at moments at which they are seen."""
    assert clip.tracks is not None
    height, width = clip.size
    track = rng.integers(len(clip.tracks.world), size=CANDIDATES * options.count)
    frame = rng.integers(len(clip), size=len(track))
    seen = clip.tracks.valid[track, frame] & clip.tracks.visible[track, frame]
    track, frame = track[seen], frame[seen]
    pixel, front = _project(clip, frame, _to_camera(clip, frame, clip.tracks.world[track, frame].astype(np.float64)))
    inside = front & ((pixel >= -0.5) & (pixel < np.array([width, height]) - 0.5)).all(-1)
    x, y = np.round(pixel[inside]).astype(np.int64).T
    return _Spots(frame[inside], np.clip(x, 0, width - 1), np.clip(y, 0, height - 1), track[inside])


def _found_tracks(clip: Clip, spots: _Spots, chosen: Int64[np.ndarray, "query"]) -> Sources:
    """Points of trajectories."""
    assert clip.tracks is not None
    frame, x, y, track = (part[chosen] for part in spots)
    world = clip.tracks.world[track, frame].astype(np.float64)
    pixel, _ = _project(clip, frame, _to_camera(clip, frame, world))
    return Sources(pixel, frame, world, _normals(clip, frame, x, y), track)


def _near_edge(clip: Clip, spots: _Spots, rng: np.random.Generator) -> Bool[np.ndarray, "spot"]:
    """Which spots are near an edge; in frames that were not looked at, none is."""
    frames = mapped_frames(clip, rng)
    found = np.zeros((len(clip), *clip.size), bool)
    found[frames] = edges(clip, frames)
    return found[spots.frame, spots.y, spots.x]


def _visible(
    clip: Clip, sources: Sources, frame: Int64[np.ndarray, "query"], pixel: Float64[np.ndarray, "query 2"],
    local: Float64[np.ndarray, "query 3"], inside: Bool[np.ndarray, "query"], normal: Float64[np.ndarray, "query 3"],
) -> tuple[Bool[np.ndarray, "query"], Bool[np.ndarray, "query"]]:  # fmt: skip
    """Visible or not, and whether that is known.

    Trajectories bring their visibility. A pixel's surface is visible where it faces the camera and nothing lies in
    front of it (see :func:`seen_depth`); where a recording has no depth, that is unknown.
    """
    same = frame == sources.frame
    if clip.tracks is not None:
        return inside & (clip.tracks.visible[sources.row, frame] | same), np.ones(len(frame), bool)
    surface, known = seen_depth(clip, frame, pixel)
    free = local[:, 2] <= surface * (1 + _TOLERANCE)
    view = clip.world_from_cam[frame, :3, :3].astype(np.float64)
    ray = np.einsum("nij,nj->ni", view, local)  # from the camera to the point, in the world
    away = (normal * ray).sum(-1) > 0.02 * np.linalg.norm(ray, axis=-1)
    return inside & (same | (free & ~away)), ~inside | known | same


def seen_depth(
    clip: Clip, frame: Int64[np.ndarray, "query"], pixel: Float64[np.ndarray, "query 2"]
) -> tuple[Float64[np.ndarray, "query"], Bool[np.ndarray, "query"]]:
    """Depth of what is seen at any place of an image, and whether it is known; the sky is infinitely far.

    Inverse depth is linear over the image of a plane, so it is interpolated between the four pixels around, unless a
    depth edge runs between them: then the nearest pixel decides.
    """
    assert clip.depth is not None
    height, width = clip.size
    place = np.clip(pixel, 0, (width - 1, height - 1))
    x, y = np.minimum(place.astype(np.int64), (max(width - 2, 0), max(height - 2, 0))).T
    columns = np.minimum(np.stack([x, x + 1, x, x + 1]), width - 1)
    rows = np.minimum(np.stack([y, y, y + 1, y + 1]), height - 1)
    depth = clip.depth[frame, rows, columns].astype(np.float64)
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    right, down = place[:, 0] - x, place[:, 1] - y
    weights = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    smooth = inverse.max(0) < _SMOOTH * inverse.min(0)
    nearest = weights.argmax(0), np.arange(len(x))
    found = np.where(smooth, (weights * inverse).sum(0), inverse[nearest])
    sky = clip.body is not None and clip.body[frame, rows[nearest], columns[nearest]] == SKY
    with np.errstate(divide="ignore"):
        return 1 / found, (found > 0) | sky


def _targets(
    t_src: Int64[np.ndarray, "query"], frames: int, near: tuple[tuple[float, int], ...], rng: np.random.Generator
) -> Int64[np.ndarray, "query"]:
    """Uniform times, or with ``near`` for a share of the queries within so many frames of their source."""
    t_tgt = rng.integers(frames, size=len(t_src))
    kind = rng.random(len(t_src))
    for share, reach in near:
        low, high = np.maximum(t_src - reach, 0), np.minimum(t_src + reach, frames - 1)
        t_tgt = np.where((kind >= 0) & (kind < share), rng.integers(low, high + 1), t_tgt)
        kind = kind - share
    return t_tgt


def _to_world(
    clip: Clip, frame: Int64[np.ndarray, "query"], pixel: Float64[np.ndarray, "query 2"],
    depth: Float64[np.ndarray, "query"],
) -> Float64[np.ndarray, "query 3"]:  # fmt: skip
    """Points at depths along the optical axis behind pixels."""
    matrix, pose = clip.intrinsics[frame].astype(np.float64), clip.world_from_cam[frame].astype(np.float64)
    slope = (pixel - matrix[:, :2, 2]) / matrix[:, [0, 1], [0, 1]]
    rays = np.concatenate([slope, np.ones_like(slope[:, :1])], 1) * depth[:, None]
    return np.einsum("nij,nj->ni", pose[:, :3, :3], rays) + pose[:, :3, 3]


def _to_camera(
    clip: Clip, frame: Int64[np.ndarray, "query"], world: Float64[np.ndarray, "query 3"]
) -> Float64[np.ndarray, "query 3"]:
    pose = clip.world_from_cam[frame].astype(np.float64)
    return np.einsum("nji,nj->ni", pose[:, :3, :3], world - pose[:, :3, 3])


def _project(
    clip: Clip, frame: Int64[np.ndarray, "query"], local: Float64[np.ndarray, "query 3"]
) -> tuple[Float64[np.ndarray, "query 2"], Bool[np.ndarray, "query"]]:
    """Pixels, and whether the points lie in front of the camera; far outside where they do not."""
    front = local[:, 2] > _NEAREST
    matrix = clip.intrinsics[frame].astype(np.float64)
    slope = local[:, :2] / np.where(front, local[:, 2], 1.0)[:, None]
    pixel = slope * matrix[:, [0, 1], [0, 1]] + matrix[:, :2, 2]
    return np.where(front[:, None], pixel, -1e6), front


def _normals(clip: Clip, frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float64[np.ndarray, "query 3"]:
    """Unit normals of pixels; 0 where they are unknown."""
    if clip.normals is None:
        return np.zeros((len(frame), 3))
    normal = clip.normals[frame, y, x].astype(np.float64)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


def _rows(mask: Bool[np.ndarray, "query"], like: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *(1,) * (like.ndim - 1))


def _nothing(count: int) -> Asked:
    """Queries at the image centre without any target."""
    middle, times, no = np.full(count, 0.5, np.float32), np.zeros(count, np.int64), np.zeros(count, bool)
    three, two = np.zeros((count, 3), np.float32), np.zeros((count, 2), np.float32)
    return Asked(middle, middle, times, times, times, three, two, no, three, three, no, no, no, no, two, no)
