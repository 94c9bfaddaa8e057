"""People who walk or ride a bicycle: torso, head and limbs, as assemblies that face +x."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from worldline.worlds.layouts.movers import Assembly, translation, turn_y
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import ball, box, tube, wheel
from worldline.worlds.world import Builder, Part

_THIGH, _SHIN, _ARM = 0.245, 0.25, 0.36  # lengths as shares of a person's height
_STEP = 0.80  # length of a full cycle of two steps, as a share of the height, times the square root of the speed


def _clothes(builder: Builder, rng: np.random.Generator) -> tuple[int, int, int, int, int]:
    """Materials of top, trousers, skin, hair and shoes."""
    return tuple(paint(builder, rng, name) for name in ("cloth", "trousers", "skin", "hair", "dark"))  # type: ignore[return-value]


def _upper_body(rng: np.random.Generator, height: float, top: int, skin: int, hair: int) -> list[Part]:
    """Torso, neck, head and hair of a standing person."""
    wide, deep = rng.uniform(0.105, 0.13) * height, rng.uniform(0.07, 0.1) * height
    head = 0.935 * height
    return [
        ball((0.0, 0.0, 0.68 * height), (deep, wide, 0.175 * height), top),
        ball((0.0, 0.0, 0.535 * height), (0.95 * deep, 0.85 * wide, 0.085 * height), top),
        tube((0.0, 0.0, 0.8 * height), (0.01, 0.0, 0.9 * height), 0.03 * height, skin),
        ball((0.012 * height, 0.0, head), (0.055 * height, 0.045 * height, 0.065 * height), skin),
        ball((-0.004 * height, 0.0, head + 0.014 * height), (0.056 * height, 0.05 * height, 0.062 * height), hair),
    ]


def _leg(height: float, trousers: int, shoe: int) -> tuple[list[Part], list[Part]]:
    """Thigh below the hip, and shin with foot below the knee, each in the frame of its joint."""
    thigh, shin = _THIGH * height, _SHIN * height
    foot = 0.035 * height
    upper = [tube((0.0, 0.0, 0.03), (0.0, 0.0, -1.08 * thigh), 0.048 * height, trousers)]
    lower = [
        tube((0.0, 0.0, 0.0), (0.0, 0.0, -shin), 0.038 * height, trousers),
        box((-0.05 * height, -0.026 * height, -shin - foot), (0.105 * height, 0.026 * height, -shin + 0.01), shoe),
    ]
    return upper, lower


def _arm(height: float, sleeve: int, skin: int) -> list[Part]:
    length = _ARM * height
    return [
        tube((0.0, 0.0, 0.0), (0.0, 0.0, -0.62 * length), 0.032 * height, sleeve),
        tube((0.0, 0.0, -0.6 * length), (0.05 * height, 0.0, -length), 0.026 * height, sleeve),
        ball((0.055 * height, 0.0, -1.04 * length), (0.03 * height, 0.02 * height, 0.035 * height), skin),
    ]


def pedestrian(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A walking adult or child, now and then with a bag."""
    height = rng.uniform(1.55, 1.92) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    top, trousers, skin, hair, shoe = _clothes(builder, rng)
    root = _upper_body(rng, height, top, skin, hair)
    if rng.random() < 0.35:  # rucksack
        root.append(ball((-0.12 * height, 0.0, 0.7 * height), (0.07 * height, 0.09 * height, 0.13 * height),
                         paint(builder, rng, "cloth")))  # fmt: skip
    upper, lower = _leg(height, trousers, shoe)
    arms = [_arm(height, top, skin) for _ in range(2)]
    groups = [root, upper, lower, upper, lower, *arms]
    hips = [translation(0.0, side * 0.055 * height, 0.53 * height) for side in (1, -1)]
    shoulders = [translation(0.0, side * 0.135 * height, 0.8 * height) for side in (1, -1)]
    knee, sole = translation(0.0, 0.0, -_THIGH * height), (_SHIN + 0.035) * height

    def joints(travelled: np.ndarray, speed: np.ndarray) -> np.ndarray:
        strength = np.clip(speed / 0.9, 0.0, 1.0)
        phase = 2 * np.pi * travelled / (_STEP * height)
        limbs, soles = [], []
        for side in (0, 1):
            swing = phase + np.pi * side
            thigh = hips[side] @ turn_y(-strength * (0.08 + 0.45 * np.sin(swing)))
            bend = strength * (0.12 + 0.75 * np.clip(np.cos(swing), 0.0, 1.0))
            shin = thigh @ knee @ turn_y(bend)
            limbs += [thigh, shin]
            soles.append(shin[:, 2, 3] - sole * shin[:, 2, 2])
        for side in (0, 1):
            limbs.append(shoulders[side] @ turn_y(strength * 0.4 * np.sin(phase + np.pi * side)))
        root = np.broadcast_to(np.eye(4), thigh.shape)
        poses = np.stack([root, *limbs], 1)
        poses[:, :, 2, 3] -= np.minimum(*soles)[:, None]  # the lower foot stands on the ground
        return poses

    return Assembly(groups, joints, (0.3 * height, 0.19 * height), height)


def cyclist(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A person on a bicycle; the legs follow the pedals."""
    top, trousers, skin, hair, shoe = _clothes(builder, rng)
    frame, tyre, rim = paint(builder, rng, "hue"), paint(builder, rng, "tyre"), paint(builder, rng, "metal")
    radius, base, crank = 0.34, rng.uniform(1.0, 1.08), (0.0, 0.29)
    rear, front = -0.45, base - 0.45
    seat, bar, hip = (-0.2, 0.93), (front - 0.18, 1.02), (-0.2, 1.0)
    shoulder = (0.17, 1.46)
    root = [
        tube((seat[0], 0, seat[1]), (crank[0], 0, crank[1]), 0.02, frame),
        tube((crank[0], 0, crank[1]), (bar[0], 0, 0.8), 0.022, frame),
        tube((seat[0] + 0.04, 0, 0.78), (bar[0], 0, 0.82), 0.02, frame),
        tube((rear, 0, radius), (seat[0] + 0.03, 0, 0.8), 0.014, frame),
        tube((rear, 0, radius), (crank[0], 0, crank[1]), 0.014, frame),
        tube((front, 0, radius), (bar[0], 0, bar[1]), 0.02, frame),
        tube((bar[0], -0.28, bar[1]), (bar[0], 0.28, bar[1]), 0.014, tyre),
        ball((seat[0], 0, seat[1]), (0.13, 0.08, 0.035), tyre),
        tube((hip[0], 0, hip[1]), (shoulder[0], 0, shoulder[1]), 0.13, top),
        ball((shoulder[0], 0, shoulder[1]), (0.13, 0.19, 0.13), top),
        ball((hip[0], 0, hip[1]), (0.15, 0.17, 0.12), trousers),
        ball((shoulder[0] + 0.12, 0, shoulder[1] + 0.27), (0.1, 0.08, 0.12), skin),
        ball((shoulder[0] + 0.09, 0, shoulder[1] + 0.31), (0.13, 0.1, 0.1), hair if rng.random() < 0.5 else frame),
    ]
    for side in (-1, 1):
        root.append(tube((shoulder[0], side * 0.19, shoulder[1] - 0.03), (bar[0], side * 0.24, bar[1]), 0.042, top))
    rolling = [
        wheel(0.0, 0.0, 0.0, radius, 0.035, tyre),
        wheel(0.0, 0.0, 0.0, 0.87 * radius, 0.042, rim),
        box((-0.85 * radius, -0.024, -0.012), (0.85 * radius, 0.024, 0.012), tyre),
    ]
    size = 1.75
    upper, lower = _leg(size, trousers, shoe)
    anchors = np.stack([translation(rear, 0.0, radius), translation(front, 0.0, radius)])

    def joints(travelled: np.ndarray, speed: np.ndarray) -> np.ndarray:
        wheels = anchors @ turn_y(travelled / radius)[:, None]
        limbs = []
        for side in (0, 1):
            turn = travelled / (2.4 * radius) + np.pi * side
            foot = np.stack([crank[0] + 0.17 * np.sin(turn), crank[1] + 0.17 * np.cos(turn) + 0.09], -1)
            limbs += _two_links(np.array(hip), foot, _THIGH * size, _SHIN * size, 0.1 - 0.2 * side)
        root_pose = np.broadcast_to(np.eye(4), (len(travelled), 1, 4, 4))
        return np.concatenate([root_pose, wheels, np.stack(limbs, 1)], 1)

    length = 0.5 * base + radius
    middle = translation(-(0.5 * (rear + front)), 0.0, 0.0)
    return Assembly([root, rolling, rolling, upper, lower, upper, lower],
                    lambda travelled, speed: middle @ joints(travelled, speed), (length, 0.32), 1.9)  # fmt: skip


def _two_links(
    hip: Float64[np.ndarray, "2"], foot: Float64[np.ndarray, "t 2"], upper: float, lower: float, y: float
) -> list[Float64[np.ndarray, "t 4 4"]]:
    """Poses of thigh and shin in the x-z plane so that the ankle meets ``foot``, the knee to the front."""
    reach = foot - hip
    length = np.clip(np.linalg.norm(reach, axis=1), abs(upper - lower) + 1e-3, upper + lower - 1e-3)
    inner = np.arccos((upper**2 + length**2 - lower**2) / (2 * upper * length))
    first = np.arctan2(-reach[:, 0], -reach[:, 1]) - inner
    knee = hip + upper * np.stack([-np.sin(first), -np.cos(first)], -1)
    second = np.arctan2(-(foot - knee)[:, 0], -(foot - knee)[:, 1])
    thigh, shin = turn_y(first), turn_y(second)
    thigh[:, :3, 3] = hip[0], y, hip[1]
    shin[:, 0, 3], shin[:, 1, 3], shin[:, 2, 3] = knee[:, 0], y, knee[:, 1]
    return [thigh, shin]
