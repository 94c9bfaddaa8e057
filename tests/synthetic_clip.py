"""A video whose every pixel is known in closed form: a tilted wall, and in front of it a square card that moves."""

from __future__ import annotations

import numpy as np

from worldline.train.clips.clips import SKY, Clip

CARD = 0.55  # half of the card's edge
WALL = np.array([0.25, -0.1, -1.0]) / np.linalg.norm([0.25, -0.1, -1.0])  # normal, towards the cameras
WALL_AT = np.array([0.0, 0.0, 4.0])


def turn(axis: int, angle: float) -> np.ndarray:
    """Rotation about a coordinate axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    rows = [row for row in range(3) if row != axis]
    matrix[np.ix_(rows, rows)] = [[cos, -sin], [sin, cos]]
    return matrix


def texture(body: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Smooth colours in [0, 255] of places in the frames of their bodies."""
    base = 128 + 26 * np.sin(place @ np.array([[0.7, 0.2, 0.5], [-0.3, 0.6, 0.4], [0.1, 0.3, -0.2]]) + 1.0)
    return base + np.where(body == 1, 45.0, -20.0)[..., None]


def make_clip(seed: int = 0, frames: int = 6, height: int = 40, width: int = 56, sky: bool = True) -> Clip:
    """A camera that walks and turns past a wall with a card in front, which swings and turns."""
    rng = np.random.default_rng(seed)
    poses, cards = np.tile(np.eye(4), (frames, 1, 1)), np.tile(np.eye(4), (frames, 2, 1, 1))
    way, swing = rng.uniform(-0.15, 0.15, 3), rng.uniform(-0.2, 0.2, 3) * (1, 1, 0.3)
    for frame in range(frames):
        poses[frame, :3, :3] = turn(1, 0.05 * frame * rng.choice([-1, 1])) @ turn(0, 0.02 * frame)
        poses[frame, :3, 3] = frame * way
        cards[frame, 1, :3, :3] = turn(2, 0.2 * frame) @ turn(1, 0.1 * frame)
        cards[frame, 1, :3, 3] = np.array([-0.2, 0.1, 2.2]) + frame * swing
    focal = 0.9 * width
    matrix = np.array([[focal, 0, width / 2 - 1.3], [0, 1.1 * focal, height / 2 + 0.4], [0, 0, 1]])
    images, depth, normals, body = (
        np.stack(part)
        for part in zip(*(_see(poses[t], cards[t], matrix, height, width, sky) for t in range(frames)), strict=True)
    )
    return Clip(
        images, depth.astype(np.float32), normals, body, cards.astype(np.float32),
        np.tile(matrix.astype(np.float32), (frames, 1, 1)), poses.astype(np.float32), np.arange(frames) / 10,
    )  # fmt: skip


def _see(pose: np.ndarray, bodies: np.ndarray, matrix: np.ndarray, height: int, width: int, sky: bool):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(matrix).T @ pose[:3, :3].T
    card = bodies[1]
    eye, ahead = card[:3, :3].T @ (pose[:3, 3] - card[:3, 3]), rays @ card[:3, :3]
    near = -eye[2] / ahead[..., 2]
    on_card = eye + near[..., None] * ahead
    hit = (near > 0) & (np.abs(on_card[..., :2]) < CARD).all(-1)
    far = (WALL_AT - pose[:3, 3]) @ WALL / (rays @ WALL)
    on_wall = pose[:3, 3] + far[..., None] * rays
    depth = np.where(hit, near, far)
    body = hit.astype(np.uint8)
    colors = texture(body, np.where(hit[..., None], on_card, on_wall))
    facing = card[:3, 2] * -np.sign(rays @ card[:3, 2])[..., None]
    normals = np.where(hit[..., None], facing, WALL)
    if sky:
        above = ~hit & (on_wall[..., 1] < -1.2)
        body[above], depth[above], normals[above] = SKY, 0, 0
    return colors.round().astype(np.uint8), depth, np.round(normals * 127).astype(np.int8), body
