"""Blur of real cameras: a lens of finite aperture, and hands that shake. Works on linear light with known depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Variance (pixels^2, per axis) of the levels of the blur pyramid: the picture itself, then [1 2 1] at full size and
# [1 2 1] between halving and doubling by 2, 4 and 8: box + binomial + bilinear interpolation
_VARIANCES = (0.0, 0.5, 2.917, 11.917, 47.917)
_LEAST_BLUR = 0.6  # diameter of the largest circle in pixels below which a photo counts as sharp
_LEAST_SHAKE = 0.35  # length of the longest trail in pixels below which a photo counts as still
_MOST_TAPS = 13  # samples along a trail


def circles_of_confusion(
    depth: Float[Tensor, "view height width"],
    focal: Float[Tensor, "view"],
    aperture: Float[Tensor, "view"],
    focus_at: Float[Tensor, "view 2"],
    focus_error: Float[Tensor, "view"],
) -> Float[Tensor, "view height width"]:
    """Diameter of the image of a point by a thin lens, pixels: aperture * focal * |1 / depth - 1 / focus|.

    Args:
        depth: metres; 0 is the sky, infinitely far.
        focal: pixels.
        aperture: metres across the lens.
        focus_at: (x, y) in units of the image; the lens is focused on what is seen there.
        focus_error: dioptres by which it misses.
    """
    views, height, width = depth.shape
    nearness = torch.where(depth > 0, 1.0 / depth.clamp_min(1e-3), 0.0)
    x = (focus_at[:, 0] * width).long().clamp(0, width - 1)
    y = (focus_at[:, 1] * height).long().clamp(0, height - 1)
    focus = nearness[torch.arange(views, device=depth.device), y, x] + focus_error
    return (aperture * focal).view(-1, 1, 1) * (nearness - focus.view(-1, 1, 1)).abs()


def defocus(
    light: Float[Tensor, "view height width 3"], circle: Float[Tensor, "view height width"]
) -> Float[Tensor, "view height width 3"]:
    """Blur every pixel by its own circle of confusion (diameter in pixels).

    A pixel mixes two levels of a blur pyramid such that the variance of the mix is that of a disc, diameter^2 / 16.
    Sharp pixels count little in the blur around them, so that things in focus keep their outline. Blurred things do
    not spread over sharp ones behind them.
    """
    chosen = (circle.flatten(1).amax(1) > _LEAST_BLUR).nonzero().squeeze(1)
    if len(chosen) == 0:
        return light
    picked, circle = light[chosen], circle[chosen]
    planes = picked.permute(0, 3, 1, 2)
    variance = (circle * circle / 16.0).clamp_max(_VARIANCES[-1])[:, None]
    deepest = float(variance.max())
    # each level weights its pixels by how blurred they are themselves
    result = planes
    for level in range(1, len(_VARIANCES)):
        low, high = _VARIANCES[level - 1], _VARIANCES[level]
        if deepest <= low:
            break
        weight = (variance / high).clamp(0.05, 1.0)
        blurred = _blur(torch.cat([planes * weight, weight], 1), 2 ** (level - 1))
        share = ((variance - low) / (high - low)).clamp(0.0, 1.0)
        result = torch.lerp(result, blurred[:, :3] / blurred[:, 3:], share)
    out = light.clone()
    out[chosen] = result.permute(0, 2, 3, 1)
    return out


def _blur(planes: Float[Tensor, "n c y x"], factor: int) -> Float[Tensor, "n c y x"]:
    """[1 2 1] in both directions, on the picture reduced by a factor."""
    height, width = planes.shape[2:]
    if factor > 1:
        planes = functional.pad(planes, (0, -width % factor, 0, -height % factor), mode="replicate")
        planes = functional.avg_pool2d(planes, factor)
    padded = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + 2.0 * padded[:, :, 1:-1] + padded[:, :, 2:]
    planes = (rows[..., :-2] + 2.0 * rows[..., 1:-1] + rows[..., 2:]) * 0.0625
    if factor > 1:
        planes = functional.interpolate(planes, scale_factor=factor, mode="bilinear", align_corners=False)
    return planes[:, :, :height, :width]


def trails(
    depth: Float[Tensor, "view height width"],
    intrinsics: Float[Tensor, "view 3 3"],
    turn: Float[Tensor, "view 3"],
    move: Float[Tensor, "view 3"],
) -> Float[Tensor, "view height width 2"]:
    """How far (x, y; pixels) the picture of a point at rest moves while the camera turns and moves a little.

    Args:
        depth: metres; 0 is the sky, infinitely far.
        intrinsics: pixels.
        turn: rotation vector of the camera, radians, in camera axes.
        move: translation of the camera, metres, in camera axes.
    """
    _, height, width = depth.shape
    device = depth.device
    nearness = torch.where(depth > 0, 1.0 / depth.clamp_min(1e-3), 0.0)
    matrix = intrinsics.float()
    focal, center = matrix[:, 0, 0].view(-1, 1, 1), matrix[:, :2, 2]
    x = (torch.arange(width, device=device) - center[:, :1])[:, None] / focal
    y = (torch.arange(height, device=device) - center[:, 1:])[:, :, None] / focal
    wx, wy, wz = turn.view(-1, 3, 1, 1).unbind(1)
    tx, ty, tz = move.view(-1, 3, 1, 1).unbind(1)
    # a point at rest moves by -(turn x point) - move in camera axes
    away = -(wx * y - wy * x) - tz * nearness
    along_x = -(wy - wz * y) - tx * nearness - x * away
    along_y = -(wz * x - wx) - ty * nearness - y * away
    return torch.stack([along_x, along_y], -1) * focal[..., None]


def shake(
    light: Float[Tensor, "view height width 3"], trail: Float[Tensor, "view height width 2"]
) -> Float[Tensor, "view height width 3"]:
    """Average the light along each pixel's trail; the middle of the exposure is where the pixel is."""
    longest = trail.square().sum(-1).flatten(1).amax(1).sqrt()
    out = light
    _, height, width, _ = light.shape
    size = torch.tensor([width, height], device=light.device)
    place = torch.stack(
        torch.meshgrid(
            torch.arange(width, device=light.device), torch.arange(height, device=light.device), indexing="xy"
        ),
        -1,
    )
    for view, length in enumerate(longest.tolist()):
        if length <= _LEAST_SHAKE:
            continue
        out = light.clone() if out is light else out
        count = min(_MOST_TAPS, 2 + int(length))
        picture, total = light[view].permute(2, 0, 1)[None], torch.zeros_like(light[view])
        for tap in range(count):
            spot = place + ((tap + 0.5) / count - 0.5) * trail[view]
            grid = (2.0 * spot + 1.0) / size - 1.0
            total += functional.grid_sample(picture, grid[None], padding_mode="border", align_corners=False)[0].permute(
                1, 2, 0
            )
        out[view] = total / count
    return out
