"""The scales of one step: gather the votes of all sources, remember them, fuse them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.scene.align.rig.evidence import (
    FLOOR,
    Seen,
    Vote,
    ego_vote,
    ground_vote,
    lidar_vote,
    speed_vote,
)
from worldline.scene.align.rig.factors import Factor, Moved, carried_vote, overlap_factor, turn_factor
from worldline.scene.align.rig.fusion import Fused, Opinion, fuse
from worldline.scene.align.rig.records import AlignOptions, inverse
from worldline.scene.align.rig.state import METRIC, NOTHING, UNIT, VOTED, RigState, StreamState
from worldline.scene.scene import SCALES
from worldline.types import Rig

_OVERLAP, _TURN = range(2)
_PAVEMENT = 0.05  # a pavement is this much nearer to the camera than the road, and cameras at the side may see one
_LOWER = 0.45  # the road is looked for below this share of the image
_ROUND = 4  # steps after which a pair is asked for the absolute scale again
_SURE = 0.3  # standard deviation of a log scale from which factors may be linearised
_UNIT_VARIANCE = 1e-6
_GROWTH = 0.01  # standard deviation added whenever a scale is carried over
_KINDS = {
    "ego": "known-poses", "speed": "known-poses", "lidar": "depth", "overlap": "known-baseline",
    "turn": "known-baseline", "ground": "known-baseline",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What one update knows."""

    time: float
    seen: Mapping[int, Seen]
    given: Mapping[int, Float64[np.ndarray, "4 4"]]  # world_from_rig at the sensor's own time
    rigs: Mapping[int, Float64[np.ndarray, "4 4"]]  # given or estimated
    mounts: Mapping[int, Float64[np.ndarray, "4 4"]]  # rig_from_cam, given or estimated; not of all sensors
    fresh: frozenset[int]  # sensors that opened a fragment
    lidar: Mapping[int, Float64[np.ndarray, "n 3"]]  # camera axes
    driven: bool  # a speed was given


def estimate_scales(
    rig: Rig, options: AlignOptions, streams: Sequence[StreamState], state: RigState, step: Step
) -> Fused:
    """Fused log scales of all sensors; the streams remember them."""
    for index, seen in step.seen.items():
        stream = streams[index]
        if index in step.fresh and options.previous:
            _carry_over(stream, seen, step)
        if not seen.camera.failed:
            _own_votes(rig, options, state.odometer, stream, seen, step)
    opinions = [o for index, stream in enumerate(streams) for o in _opinions(options, index, stream, step)]
    units = _units(streams)
    rough = fuse(len(rig), opinions, _factors(options, state), units)
    if len(step.mounts) > 1 and len(step.seen) > 1:
        _pair_factors(rig, options, streams, state, step, rough)
    fused = fuse(len(rig), opinions, _factors(options, state), units)
    for index, stream in enumerate(streams):
        if stream.started:
            stream.mean, stream.variance = float(fused.mean[index]), float(fused.variance[index])
            stream.status = METRIC if fused.known[index] else UNIT
    _name_kind(state, streams, fused)
    return fused


def _carry_over(stream: StreamState, seen: Seen, step: Step) -> None:
    """Take the scale of the last fragment along, through the image (or the surfaces) that both have seen."""
    if stream.status == NOTHING or not np.isfinite(stream.placed).all():
        return
    move = np.eye(4)
    if step.time != stream.time:
        told = any(index in step.mounts and index not in step.fresh for index in step.seen)
        if seen.sensor not in step.mounts or not (seen.sensor in step.given or told):
            return  # nobody knows how the camera moved in between
        move = inverse(step.rigs[seen.sensor] @ step.mounts[seen.sensor]) @ stream.placed
    vote = carried_vote(stream.points.astype(np.float64), seen, move, stream.mean)
    if vote is None:
        return
    variance = vote.variance + FLOOR["previous"] ** 2 + _GROWTH**2
    stream.previous_status, stream.previous_mean = stream.status, vote.mean
    stream.previous_variance = variance + (stream.variance if stream.status == METRIC else 0.0)


def _own_votes(rig: Rig, options: AlignOptions, odometer: float, stream: StreamState, seen: Seen, step: Step) -> None:
    """Votes on the scale of one sensor."""
    mounts, index = rig.rig_from_cam, seen.sensor  # estimated mountings bring their own displacements, and no height
    if options.ego and mounts is not None and index in step.given:
        known = step.given[index] @ mounts[index]
        if not np.isfinite(stream.ego_known).all():
            stream.ego_reference, stream.ego_known = seen.camera.anchor_from_cam.copy(), known.copy()
        else:
            estimated = inverse(stream.ego_reference) @ seen.camera.anchor_from_cam
            moved = inverse(stream.ego_known) @ known
            stream.displace(estimated[:3, 3], moved[:3, 3], spacing=0.05)
    if options.ground and mounts is not None and rig.ground is not None:
        vote = _ground(rig, seen)
        if vote is not None:
            stream.vote("ground", vote)
    if index in step.lidar:
        vote = lidar_vote(seen, step.lidar[index])
        if vote is not None:
            stream.vote("lidar", vote)
    if options.speed and step.driven:
        vote = _speed(odometer, stream, seen, step)
        if vote is not None:
            stream.vote("speed", vote)


def _ground(rig: Rig, seen: Seen) -> Vote | None:
    mount = rig.rig_from_cam[seen.sensor]  # type: ignore[index]
    points, usable, rows = seen.sample()
    road = points[usable & (rows > _LOWER)]
    aside = abs(float(mount[1, 2]))  # sine of the angle between the optical axis and the direction of travel
    return ground_vote(road, mount[2, :3], float(mount[2, 3] - rig.ground), 0.02 + _PAVEMENT * aside)  # type: ignore[operator]


def _speed(odometer: float, stream: StreamState, seen: Seen, step: Step) -> Vote | None:
    past = stream.past()
    if past is None or not step.time > past[0]:
        return None
    moved = inverse(past[2]) @ seen.camera.anchor_from_cam
    way, lever, turn = moved[:3, 3], np.zeros(3), moved[:3, :3]
    mount = step.mounts.get(seen.sensor)
    if mount is not None:
        turn = mount[:3, :3] @ turn @ mount[:3, :3].T
        way, lever = mount[:3, :3] @ way, -(np.eye(3) - turn) @ mount[:3, 3]
    half = 0.5 * np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    chord = np.sinc(half / np.pi)  # of a circular arc of unit length
    return speed_vote(way, lever, (odometer - past[1]) * chord, seen.median)


def _opinions(options: AlignOptions, index: int, stream: StreamState, step: Step) -> list[Opinion]:
    """What all remembered votes of a sensor come to."""
    opinions = []
    rows = stream.ego[np.isfinite(stream.ego).all(1)]
    if options.ego and len(rows):
        depth = float(np.median(stream.points[:, 2][stream.points[:, 2] > 0])) if (stream.points > 0).any() else 0.0
        if index in step.seen:
            depth = step.seen[index].median
        vote = ego_vote(rows[:, :3], rows[:, 3:], depth)
        if vote is not None:
            opinions.append(Opinion(index, "ego", vote.mean, vote.variance + FLOOR["ego"] ** 2))
    for source in VOTED:
        polled = stream.poll(source)
        if polled is not None:
            opinions.append(Opinion(index, source, *polled))
    if stream.previous_status == METRIC:
        opinions.append(Opinion(index, "previous", stream.previous_mean, stream.previous_variance))
    return opinions


def _units(streams: Sequence[StreamState]) -> list[Opinion]:
    """Where nothing is metric: units carried over, and that of the first sensor."""
    units = [
        Opinion(index, "unit", s.previous_mean, s.previous_variance)
        for index, s in enumerate(streams)
        if s.started and s.previous_status == UNIT
    ]
    first = next((index for index, s in enumerate(streams) if s.started), None)
    if not units and first is not None:
        units.append(Opinion(first, "unit", 0.0, _UNIT_VARIANCE))
    return units


def _factors(options: AlignOptions, state: RigState) -> dict[tuple[int, int], dict[str, Factor]]:
    """Remembered factors by pair."""
    pairs: dict[tuple[int, int], dict[str, Factor]] = {}
    for source, name in ((_OVERLAP, "overlap"), (_TURN, "turn")):
        for a, b in np.argwhere(np.abs(state.pairs[source]).sum((-1, -2)) > 0):
            stored = state.pairs[source, a, b]
            pairs.setdefault((int(a), int(b)), {})[name] = Factor(stored[:, :2], stored[:, 2])
    return pairs


def _pair_factors(
    rig: Rig, options: AlignOptions, streams: Sequence[StreamState], state: RigState, step: Step, rough: Fused
) -> None:
    """Add what the pairs of this step say."""
    order = sorted(step.seen)
    moved = _moves(streams, step) if options.turn and not step.given else {}
    for a in order:
        for b in order:
            if a >= b:
                continue
            start = (float(rough.mean[a]), float(rough.mean[b]))
            sure = max(rough.variance[a], rough.variance[b]) < _SURE**2 and bool(rough.known[a] and rough.known[b])
            if options.overlap and rig.rig_from_cam is not None and _may_overlap(rig, step.seen[a], step.seen[b]):
                state.fade(_OVERLAP, a, b)
                profiled = not sure or (a + b) % _ROUND == state.steps % _ROUND
                factor = _overlap(rig, step, (a, b) if state.steps // _ROUND % 2 else (b, a), start, profiled, sure)
                if factor is not None:
                    state.add(_OVERLAP, a, b, factor)
            if a in moved and b in moved:
                state.fade(_TURN, a, b)
                factor = turn_factor(moved[a], moved[b], start, absolute=rig.rig_from_cam is not None)
                if factor is not None:
                    state.add(_TURN, a, b, factor)


def _overlap(
    rig: Rig, step: Step, pair: tuple[int, int], start: tuple[float, float], profiled: bool, sure: bool
) -> Factor | None:
    """Factor on (lower index, higher index), from the map of the first of the pair seen in that of the second."""
    first, second = pair
    swap = first > second
    at = [step.rigs[each] @ rig.rig_from_cam[each] for each in pair]  # type: ignore[index]
    factor = overlap_factor(
        step.seen[first], step.seen[second], inverse(at[1]) @ at[0], start[::-1] if swap else start, profiled, sure
    )
    if factor is None or not swap:
        return factor
    return Factor(factor.information[::-1, ::-1], factor.vector[::-1])


def _may_overlap(rig: Rig, a: Seen, b: Seen) -> bool:
    """Whether the fields of view meet, by the angle between the optical axes."""
    axes = [rig.rig_from_cam[each.sensor][:3, 2] for each in (a, b)]  # type: ignore[index]
    apart = np.arccos(np.clip(axes[0] @ axes[1], -1, 1))
    half = [np.arctan(0.5 * each.depth.shape[1] / each.intrinsics[0, 0]) for each in (a, b)]
    return bool(apart < half[0] + half[1])


def _moves(streams: Sequence[StreamState], step: Step) -> dict[int, Moved]:
    """Displacements of all cameras since the same earlier step."""
    moves, turns = {}, []
    pasts = {index: streams[index].past() for index in step.seen if index in step.mounts}
    pasts = {index: past for index, past in pasts.items() if not step.seen[index].camera.failed}
    times = [past[0] for past in pasts.values() if past is not None]
    common = max(times, default=np.nan)
    for index, past in pasts.items():
        if past is None or past[0] != common or not step.time > common:
            continue
        mount = step.mounts[index]
        moved = inverse(past[2]) @ step.seen[index].camera.anchor_from_cam
        turns.append(mount[:3, :3] @ moved[:3, :3] @ mount[:3, :3].T)
        moves[index] = mount[:3, :3] @ moved[:3, 3]
    if len(moves) < 2:
        return {}
    turn = np.median(np.stack(turns), axis=0)  # entries differ by noise only; orthogonal to its square
    lever = np.eye(3) - turn
    return {
        index: Moved(way, step.seen[index].median, lever @ step.mounts[index][:3, 3]) for index, way in moves.items()
    }


def _name_kind(state: RigState, streams: Sequence[StreamState], fused: Fused) -> None:
    """What fixes the unit: the greatest source of all metric sensors."""
    total: dict[str, float] = {}
    for index, stream in enumerate(streams):
        if stream.started and fused.known[index]:
            for source, share in fused.shares[index].items():
                if source in _KINDS:
                    total[_KINDS[source]] = total.get(_KINDS[source], 0.0) + share
    if total:
        state.kind = SCALES.index(max(sorted(total), key=lambda kind: total[kind]))
    elif not any(fused.known[index] for index, stream in enumerate(streams) if stream.started):
        state.kind = SCALES.index("arbitrary")
