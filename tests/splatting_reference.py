"""The definition of a picture of Gaussians, in loops over pixels and Gaussians in float64, and random scenes for it."""

import numpy as np
import torch

STOP, MIN_ALPHA, MAX_ALPHA, MARGIN = 1e-4, 1 / 255, 0.999, 0.15


def rotation(quaternion):
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross  # Rodrigues


def ellipse(mean, scale, quaternion, cam_from_world, K, size, eps2d):
    """Mean in the image, covariance in the image, depth."""
    place = cam_from_world[:3, :3] @ mean + cam_from_world[:3, 3]
    focal, center, extent = np.diag(K)[:2], K[:2, 2], np.array(size[::-1])
    ratio = place[:2] / place[2]
    low = (-0.5 - MARGIN * extent - center) / focal
    high = (extent - 0.5 + MARGIN * extent - center) / focal
    bent = np.clip(ratio, low, high)
    jacobian = np.array([[1, 0, -bent[0]], [0, 1, -bent[1]]]) * focal[:, None] / place[2]
    factor = jacobian @ cam_from_world[:3, :3] @ rotation(quaternion) @ np.diag(scale)
    return ratio * focal + center, factor @ factor.T + eps2d * np.eye(2), place[2]


def render(means, scales, quaternions, opacities, colors, pose, K, size, background=1.0, near=0.01, eps2d=0.3):
    """(color [H, W, 3], depth [H, W], alpha [H, W]) of one camera."""
    cam_from_world = np.linalg.inv(pose)
    splats = []
    for mean, scale, quaternion, opacity, color in zip(means, scales, quaternions, opacities, colors, strict=True):
        if (cam_from_world[:3, :3] @ mean + cam_from_world[:3, 3])[2] > near:
            center, covariance, depth = ellipse(mean, scale, quaternion, cam_from_world, K, size, eps2d)
            splats.append((depth, center, np.linalg.inv(covariance), opacity, color))
    splats.sort(key=lambda splat: splat[0])
    color, depth, alpha = np.zeros((*size, 3)), np.zeros(size), np.zeros(size)
    for v, u in np.ndindex(*size):
        left = 1.0
        for z, center, precision, opacity, value in splats:
            d = np.array([u, v]) - center
            a = min(MAX_ALPHA, opacity * np.exp(-0.5 * d @ precision @ d))
            if a < MIN_ALPHA:
                continue
            if left * (1 - a) <= STOP:
                break
            color[v, u] += left * a * value
            depth[v, u] += left * a * z
            alpha[v, u] += left * a
            left *= 1 - a
    return color + (1 - alpha)[..., None] * background, depth / np.maximum(alpha, 1e-30), alpha


def scene(seed, count=60, dtype=torch.float64, opaque=False):
    """Means, scales, rotations, opacities and colours of Gaussians around (0, 0, 2), some behind the camera."""
    draw = torch.Generator().manual_seed(seed)
    means = 3 * torch.rand(count, 3, generator=draw, dtype=torch.float64) - torch.tensor([1.5, 1.5, -0.5])
    means[: count // 10, 2] = -1
    scales = 0.01 + 0.3 * torch.rand(count, 3, generator=draw, dtype=torch.float64) ** 2
    rotations = torch.randn(count, 4, generator=draw, dtype=torch.float64)
    opacities = torch.rand(count, generator=draw, dtype=torch.float64)
    opacities = 1 - 0.1 * opacities if opaque else opacities
    colors = torch.rand(count, 3, generator=draw, dtype=torch.float64)
    return tuple(value.to(dtype) for value in (means, scales, rotations, opacities, colors))


def cameras(count=1, dtype=torch.float64, focal=20.0, center=(11.2, 7.9)):
    """Poses and pinhole matrices: turned a little about the vertical, each a little further."""
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for index in range(count):
        angle = 0.2 + 0.15 * index
        c, s = np.cos(angle), np.sin(angle)
        poses[index, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
        poses[index, :3, 3] = torch.tensor([-0.3, 0.1 * index, -0.2], dtype=torch.float64)
    matrix = torch.tensor([[focal, 0, center[0]], [0, 1.1 * focal, center[1]], [0, 0, 1]], dtype=torch.float64)
    return {"world_from_cam": poses.to(dtype), "intrinsics": matrix.repeat(count, 1, 1).to(dtype)}
