"""Things with joints and things on tracks: robot arms, four-legged walkers, trains, carousels, doors, drawers, drones.

As in :mod:`worldline.worlds.layouts.actors`, every maker claims the ground that its thing will ever sweep. An
articulated thing is several bodies with one object id; the poses of its bodies come from forward kinematics.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.layouts import furniture
from worldline.worlds.layouts.actors import Cast
from worldline.worlds.layouts.movers import Assembly
from worldline.worlds.layouts.people import cyclist, pedestrian
from worldline.worlds.layouts.solids import ball, box, tube, upright
from worldline.worlds.layouts.trajectories import Drive, Loop, Shuttle, moved, turned
from worldline.worlds.layouts.vehicles import car
from worldline.worlds.world import Part

Pose = Float64[np.ndarray, "4 4"]
Track = Float64[np.ndarray, "t k 4 4"]
Times = Float64[np.ndarray, "t"]


def _on(loop: Loop, travel: Float[np.ndarray, "*t"], height: float = 0.0) -> Float64[np.ndarray, "*t 4 4"]:
    """Poses on a loop, x forward."""
    flat = np.asarray(travel, float).reshape(-1)
    place, yaw = loop.at(flat)
    pose = moved(np.c_[place, np.full(len(flat), height)]) @ turned(yaw, 2)
    return pose.reshape(*np.shape(travel), 4, 4)


def _loop(cast: Cast, half_width: float, tightest: float, smallest: float, largest: float) -> tuple[Loop, Pose] | None:
    """A closed way on free ground for something ``half_width`` wide that turns no tighter than ``tightest``."""
    rng = cast.rng
    for shrink in (1.0, 0.8, 0.6, 0.45):
        a = max(smallest, rng.uniform(smallest, largest) * shrink)
        b = max(tightest, a * rng.uniform(0.45, 1.0))
        a = max(a, b)
        loop = Loop(a, b, float(rng.uniform(min(tightest, b), b)))
        frame = cast.claim((a + half_width, b + half_width))
        if frame is not None:
            return loop, frame
    return None


def _drive(cast: Cast, speed: float, *, stops: float = 0.4) -> Drive:
    """A motor that goes on for ever, or with stops, and perhaps begins later."""
    m = cast.motion
    if m.random() < stops:
        return Drive(speed, cast.begin(), 0.6, m.uniform(1.5, 4.0), m.uniform(0.5, 2.0))
    return Drive(speed, cast.begin(), 0.8)


def _assembly(cast: Cast, assembly: Assembly, loop: Loop, frame: Pose, speed: float, stops: float) -> None:
    drive, start = _drive(cast, speed, stops=stops), cast.motion.uniform(0.0, loop.length)

    def poses(t: Times) -> Track:
        travel = drive.travel(t)
        return (frame @ _on(loop, start + travel))[:, None] @ assembly.joints(travel, drive.rate(t))

    cast.add(assembly.groups, poses)


def person(cast: Cast) -> bool:
    """Somebody who walks round and stops now and then."""
    found = _loop(cast, 0.35, 0.35, 0.6, 0.3 * cast.extent)
    if found is None:
        return False
    _assembly(cast, pedestrian(cast.builder, cast.rng), *found, cast.motion.uniform(0.6, 1.5), 0.5)
    return True


def vehicle(cast: Cast) -> bool:
    """A car or a bicycle in a yard."""
    small = cast.rng.random() < 0.5
    assembly = cyclist(cast.builder, cast.rng) if small else car(cast.builder, cast.rng)
    found = _loop(
        cast, max(assembly.half) * (0.6 if small else 0.75), 1.2 if small else 2.2, 1.5 if small else 3.0, 6.0
    )
    if found is None:
        return False
    _assembly(cast, assembly, *found, cast.motion.uniform(1.2, 4.0), 0.3)
    return True


def train(cast: Cast) -> bool:
    """A toy train with wagons on a closed track, wheels turning with the way."""
    rng = cast.rng
    size = rng.uniform(0.7, 1.4)
    wide, long, wheel = 0.09 * size, 0.15 * size, 0.035 * size
    found = _loop(cast, wide + 0.05, 2.2 * long, 3.0 * long, 1.6)
    if found is None:
        return False
    loop, frame = found
    wood, metal = cast.mat("furniture"), cast.mat("plain")
    sleepers = []
    for s in np.arange(0.0, loop.length, 0.16 * size):
        pose = _on(loop, np.array(s))
        blank = box((-0.03 * size, -wide, 0.0), (0.03 * size, wide, 0.012), wood)
        sleepers.append(Part(blank.kind, pose[:3, :3] @ blank.center + pose[:3, 3], blank.half, wood, pose[:3, :3]))
    cast.stand(sleepers, frame)
    wagons, gap = int(rng.integers(2, 5)), 0.05 * size
    drive, start = _drive(cast, cast.motion.uniform(0.3, 1.2) * size), cast.motion.uniform(0, loop.length)
    level = 0.012 + wheel

    def poses(t: Times, back: float) -> Track:
        travel = drive.travel(t)
        body = frame @ _on(loop, start + travel - back, level)
        roll = turned(travel / wheel, 1)
        axles = [body @ moved(np.array([x, 0.0, 0.0])) @ roll for x in (-0.6 * long, 0.6 * long)]
        return np.stack([body, *axles], 1)

    for index in range(wagons):
        paint, other = cast.mat(), cast.mat()
        parts = [box((-long, -wide * 0.75, 0.0), (long, wide * 0.75, 0.05 * size), metal)]
        if index == 0:
            parts += [box((-long, -wide * 0.8, 0.05 * size), (-0.2 * long, wide * 0.8, 0.2 * size), paint),
                      tube((-0.2 * long, 0, 0.1 * size), (long, 0, 0.1 * size), 0.055 * size, other),
                      upright(0.7 * long, 0, 0.14 * size, 0.21 * size, 0.018 * size, paint)]  # fmt: skip
        elif rng.random() < 0.5:
            parts.append(box((-0.95 * long, -wide * 0.8, 0.05 * size), (0.95 * long, wide * 0.8, 0.17 * size), paint))
        else:
            parts += [
                ball((x * long, 0, 0.1 * size), (0.3 * long, 0.06 * size, 0.055 * size), other) for x in (-0.5, 0.5)
            ]
            parts.append(box((-0.95 * long, -wide * 0.8, 0.05 * size), (0.95 * long, wide * 0.8, 0.08 * size), paint))
        axle = [tube((0, s * wide * 0.5, 0), (0, s * wide * 0.8, 0), wheel, metal) for s in (-1, 1)]
        axle.append(tube((0, -wide * 0.5, 0), (0, wide * 0.5, 0), 0.2 * wheel, metal))
        axle.append(box((-0.7 * wheel, wide * 0.8, -0.2 * wheel), (0.7 * wheel, wide * 0.82, 0.2 * wheel), paint))
        cast.add([parts, axle, axle], lambda t, back=index * (2 * long + gap): poses(t, back))  # type: ignore[misc]
    return True


def carousel(cast: Cast) -> bool:
    """A belt that carries boxes round, as at an airport."""
    rng = cast.rng
    width, level = rng.uniform(0.2, 0.3), rng.uniform(0.3, 0.6)
    found = _loop(cast, width, width + 0.15, 0.7, 1.8)
    if found is None:
        return False
    frame = found[1]
    loop = Loop(found[0].a, found[0].b, min(found[0].radius, width))  # round corners would lead over the middle
    belt, side = cast.mat("plain"), cast.mat("furniture")
    a, b = loop.a, loop.b
    body = [box((-a - width, -b - width, 0.0), (a + width, b + width, level - 0.03), side)]
    rim = (a + width - 0.03, b + width - 0.03)
    body.append(box((-rim[0], -rim[1], level - 0.03), (*rim, level), belt))
    if b > width + 0.02:  # what the belt runs around
        body.append(box((-a + width, -b + width, level), (a - width, b - width, level + 0.12), side))
    cast.stand(body, frame)
    count = min(int(rng.integers(2, 6)), int(loop.length / (3 * width)))
    drive = _drive(cast, cast.motion.uniform(0.15, 0.7))
    for index in range(count):
        thing = furniture.clutter(cast.builder, rng, 0.75 * width, 0.6)
        start = (index + cast.motion.uniform(0.0, 0.3)) * loop.length / count

        def poses(t: Times, start: float = start) -> Track:
            return (frame @ _on(loop, start + drive.travel(t), level))[:, None]

        cast.add([thing.parts], poses)
    return True


def robot_arm(cast: Cast) -> bool:
    """A robot with a turning base, shoulder, elbow and wrist, a gripper of two fingers, and a thing in its hand."""
    rng, m = cast.rng, cast.motion
    size = rng.uniform(0.6, 1.1) * min(1.0, (cast.height - 0.4) / 2.0)
    links = np.array([0.65, 0.55, 0.16]) * size
    base, reach = 0.35 * size, float(links.sum() + 0.25 * size)
    half = 0.8 * reach
    frame = cast.claim((half, half))
    if frame is None:
        return False
    paint, metal, held = cast.mat(), cast.mat("plain"), cast.mat()
    cast.stand([upright(0, 0, 0, 0.06 * size, 0.2 * size, metal)], frame)
    wide = 0.07 * size
    level = base - 0.06 * size
    turret = [upright(0, 0, 0.0, level, 0.12 * size, paint),
              tube((0, -1.6 * wide, level), (0, 1.6 * wide, level), 0.09 * size, metal)]  # fmt: skip
    groups = [turret]
    for index, length in enumerate(links):
        thick = wide * (1.0, 0.8, 0.55)[index]
        groups.append([box((-thick, -thick, 0.0), (thick, thick, length), paint),
                       tube((0, -1.3 * thick, length), (0, 1.3 * thick, length), 1.1 * thick, metal)])  # fmt: skip
    finger = box((-0.012, -0.02, 0.0), (0.012, 0.02, 0.14 * size), metal)
    groups += [[finger], [finger]]
    groups[3].append(
        box((-0.03 * size,) * 2 + (links[2] + 0.05 * size,), (0.03 * size,) * 2 + (links[2] + 0.11 * size,), held)
    )
    w, p = m.uniform(0.5, 2.2, 4), m.uniform(0, 2 * np.pi, 4)
    a = np.array([m.uniform(0.5, 1.5), 0.35, 0.5, 0.5])
    rest = np.array([0.0, 0.35, 1.1, 0.9])
    begin = cast.begin()

    def poses(t: Times) -> Track:
        since = Drive(1.0, begin, 1.0).travel(t)
        q = rest + a * np.sin(w * since[:, None] + p)
        joint = frame @ moved(np.array([0, 0, 0.06 * size])) @ turned(q[:, 0], 2)
        chain = [joint]
        joint = joint @ moved(np.array([0, 0, level]))
        for index, length in enumerate(links):
            joint = joint @ turned(q[:, index + 1], 1)
            chain.append(joint)
            joint = joint @ moved(np.array([0, 0, length]))
        grip = (0.045 + 0.03 * np.sin(1.7 * since)) * size
        for side in (-1.0, 1.0):
            chain.append(joint @ moved(np.stack([side * grip, 0 * grip, 0 * grip], -1)))
        return np.stack(chain, 1)

    cast.add(groups, poses)
    return True


def dog(cast: Cast) -> bool:
    """A four-legged walker; the feet keep their place on the ground while they carry."""
    rng = cast.rng
    size = rng.uniform(0.35, 0.75)  # height of the hips
    found = _loop(cast, 0.4 * size + 0.1, 0.8 * size, 1.2 * size, 3.0)
    if found is None:
        return False
    loop, frame = found
    coat, other = cast.mat(), cast.mat()
    long, wide, link = 0.6 * size, 0.2 * size, 0.55 * size
    trunk = [ball((0, 0, 0.08 * size), (long + 0.12 * size, 0.24 * size, 0.22 * size), coat),
             tube((long, 0, 0.15 * size), (long + 0.2 * size, 0, 0.45 * size), 0.09 * size, coat)]  # fmt: skip
    head = [ball((0.1 * size, 0, 0), (0.2 * size, 0.13 * size, 0.13 * size), coat),
            box((0.22 * size, -0.06 * size, -0.1 * size), (0.38 * size, 0.06 * size, 0.02 * size), other)]  # fmt: skip
    tail = [tube((0, 0, 0), (-0.35 * size, 0, 0.2 * size), 0.035 * size, other)]
    upper = [tube((0, 0, 0.02), (0, 0, -link), 0.07 * size, coat)]
    lower = [
        tube((0, 0, 0), (0, 0, -link), 0.045 * size, other),
        ball((0.02, 0, -link), (0.08 * size, 0.06 * size, 0.05 * size), other),
    ]
    stride, lift = 0.9 * size, 0.16 * size
    drive, start = _drive(cast, cast.motion.uniform(0.8, 2.0) * size), cast.motion.uniform(0, loop.length)
    hips = [(x * long, y * wide, phase) for x, y, phase in ((1, 1, 0.0), (1, -1, 0.5), (-1, 1, 0.5), (-1, -1, 0.0))]

    def poses(t: Times) -> Track:
        travel = drive.travel(t)
        share = np.clip(drive.rate(t) / drive.speed, 0.0, 1.0)
        root = frame @ _on(loop, start + travel, size + 0.05 * size)
        nod = 0.15 * np.sin(4 * np.pi * travel / stride)
        wag = 0.5 * np.sin(9 * t)
        bodies = [
            root,
            root @ moved(np.array([long + 0.2 * size, 0, 0.5 * size])) @ turned(nod, 1),
            root @ moved(np.array([-long - 0.1 * size, 0, 0.15 * size])) @ turned(wag, 2),
        ]
        for x, y, phase in hips:
            forward, up = _step((travel / stride + phase) % 1.0, stride, lift)
            thigh, knee = _bend(forward, up * share - size, link)
            hip = root @ moved(np.array([x, y, 0.0])) @ turned(thigh, 1)
            bodies += [hip, hip @ moved(np.array([0, 0, -link])) @ turned(knee, 1)]
        return np.stack(bodies, 1)

    cast.add([trunk, head, tail, *[upper, lower] * 4], poses)
    return True


def _step(phase: Times, stride: float, lift: float) -> tuple[Times, Times]:
    """Foot relative to its hip: on the ground it goes back as the body goes forward, then swings to the front."""
    carries = phase < 0.5
    swing = np.clip(2 * phase - 1.0, 0.0, 1.0)
    forward = np.where(carries, 0.25 - phase, -0.25 + 0.5 * (3 * swing**2 - 2 * swing**3))
    return stride * forward, lift * np.sin(np.pi * swing) ** 2


def _bend(x: Times, z: Times, link: float) -> tuple[Times, Times]:
    """Angles about y of two equal links that hang from the origin and end at (x, z); the knee points forward."""
    far = np.minimum(np.hypot(x, z), 2 * link * 0.999)
    half = np.arccos(far / (2 * link))
    straight = np.arctan2(-x, -z)
    return straight - half, 2 * half


def cabinet(cast: Cast) -> bool:
    """A cupboard whose door or drawers open and close."""
    rng, m = cast.rng, cast.motion
    w, d, h = rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.3), rng.uniform(0.6, 1.2)
    doors = rng.random() < 0.5
    open_by = 2 * w - 0.04 if doors else 1.3 * d
    frame = cast.claim((w + 0.02, d + 0.5 * open_by))
    if frame is None:
        return False
    frame = frame @ moved(np.array([0.0, -0.5 * open_by, 0.0]))
    body, front, metal = cast.mat("furniture"), cast.mat("furniture"), cast.mat("plain")
    shell = [box((-w, -d, 0.0), (-w + 0.02, d, h), body), box((w - 0.02, -d, 0.0), (w, d, h), body),
             box((-w, -d, h - 0.02), (w, d, h), body), box((-w, -d, 0.0), (w, -d + 0.02, h), body),
             box((-w, -d, 0.0), (w, d, 0.08), body)]  # fmt: skip
    rows = 1 if doors else int(rng.integers(2, 5))
    if doors:
        shell.append(box((-w + 0.02, -d + 0.02, 0.5 * h), (w - 0.02, d - 0.03, 0.5 * h + 0.02), body))
    cast.stand(shell, frame)
    tall = (h - 0.1) / rows
    for row in range(rows):
        low = 0.08 + row * tall
        way = Shuttle(m.uniform(0.5, 1.0), m.uniform(0.7, 2.0), m.uniform(0.2, 1.5), cast.begin() + 0.7 * row)
        if doors:
            leaf = [box((0.0, 0.0, 0.0), (2 * w - 0.04, 0.02, tall - 0.02), front),
                    box((2 * w - 0.14, 0.02, 0.5 * tall), (2 * w - 0.11, 0.05, 0.5 * tall + 0.12), metal)]  # fmt: skip
            hinge = frame @ moved(np.array([-w + 0.02, d, low]))
            cast.add([leaf], lambda t, way=way, hinge=hinge: (hinge @ turned(1.9 * way.travel(t), 2))[:, None])  # type: ignore[misc]
            continue
        drawer = [box((-w + 0.025, d, 0.005), (w - 0.025, d + 0.02, tall - 0.005), front),
                  box((-0.06, d + 0.02, 0.6 * tall), (0.06, d + 0.045, 0.6 * tall + 0.02), metal),
                  box((-w + 0.04, -d + 0.04, 0.02), (w - 0.04, d, 0.03), body)]  # fmt: skip
        drawer += [
            box((s * (w - 0.04) - 0.006, -d + 0.04, 0.02), (s * (w - 0.04) + 0.006, d, 0.7 * tall), body)
            for s in (-1, 1)
        ]

        def poses(t: Times, way: Shuttle = way, low: float = low) -> Track:
            y = 1.2 * d * way.travel(t)
            return (frame @ moved(np.stack([0 * y, y, 0 * y + low], -1)))[:, None]

        cast.add([drawer], poses)
    return True
