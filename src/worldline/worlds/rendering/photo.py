"""From linear light to photos: lens, shaking hand, exposure, sensor noise, tone curve, sharpening, JPEG.

Everything is decided view by view: a photo depends neither on the batch nor on how many photos follow it. (The
exposure of a view also looks at the light of the first view of its set.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn import functional

from worldline.worlds.rendering import jpeg, optics
from worldline.worlds.world import PhotoEffects, World, choose_rows

_METERED = 4096  # pixels per view that the light meter looks at
_KNEE = 0.6  # linear light below it is shown in proportion, above it on a shoulder


def draw_effects(
    rng: np.random.Generator,
    views: int,
    light_change: float | None = None,
    effects: float = 1.0,
    *,
    steady: bool = False,
) -> PhotoEffects:
    """How a set of photos was taken. The first views of a longer set are those of a shorter one.

    Of ten sets one or two are nearly ideal, two are hard (dark, shaken, out of focus, strongly compressed), the others
    in between.

    Args:
        rng: of the photos.
        views: number of photos.
        light_change: spread of the exposure between views in stops, 0 for none; None: drawn with the set.
        effects: factor on all strengths; 0 gives ideal photos but for ``light_change``.
        steady: shots of one running camera, which keeps its settings.
    """
    own = np.random.default_rng(rng.integers(2**62))
    rows, spots, seeds = (np.random.default_rng(rng.integers(2**62)) for _ in range(3))
    normal = rows.normal(size=(views, 16))
    kind = own.random()
    hard = own.uniform(0.0, 0.15) if kind < 0.15 else own.uniform(0.25, 0.9) if kind < 0.8 else own.uniform(1.0, 1.8)
    common = 0.3 * hard * own.normal()  # stops
    spread, jitter = own.uniform(0.02, 0.35) * hard, 0.2 if steady else 1.0
    balance = (1.0 + 0.06 * hard * own.normal(size=3)) * (1.0 + 0.03 * hard * jitter * normal[:, 1:4])
    blurred, shaken, filed = own.random(3) < (0.45, 0.4, 0.75)
    lens = 0.005 * np.exp(own.normal(0.0, 0.7)) * hard * blurred  # metres: a telephone has 2 mm, a camera 5 to 30 mm
    hand = 0.006 * hard * shaken  # radians per exposure
    quality = np.clip(100 - hard * (own.uniform(5, 45) + 4 * jitter * normal[:, 12]), 30, 98)
    drawn = PhotoEffects(
        exposure=common + spread * jitter * normal[:, 0],
        metering=np.full(views, own.uniform(0.3, 1.0)),
        white_balance=np.clip(balance, 0.5, 2.0),
        vignetting=np.full(views, own.uniform(0.0, 0.4) * min(1.0, hard)),
        aperture=np.full(views, lens),
        focus_at=np.full((views, 2), 0.5) if steady else 0.5 + 0.25 * spots.uniform(-1, 1, (views, 2)),
        focus_error=0.05 * hard * jitter * normal[:, 4],
        shake_turn=hand * normal[:, 5:8] * np.abs(normal[:, 13:14]),  # most are still, some are not
        shake_move=0.5 * hand * normal[:, 8:11],
        read_noise=np.full(views, own.uniform(0.0005, 0.004) * hard),
        shot_noise=np.full(views, (own.uniform(0.002, 0.02) * hard) ** 2),
        contrast=np.clip(0.35 * min(1.0, hard) * own.normal() + 0.08 * hard * jitter * normal[:, 11], -0.8, 0.8),
        saturation=np.clip(1.0 + 0.2 * hard * own.normal() + 0.05 * hard * jitter * normal[:, 14], 0.3, 1.7),
        sharpening=np.full(views, own.uniform(0.0, 0.9) * hard),
        jpeg=np.rint(quality).astype(np.int64) * bool(filed),
        seed=seeds.integers(0, 2**62, views),
    )
    drawn = scale_effects(drawn, effects)
    if light_change is None:
        return drawn
    return replace(drawn, exposure=effects * common + light_change * normal[:, 0], metering=np.zeros(views))


def scale_effects(effects: PhotoEffects, factor: float) -> PhotoEffects:
    """The same photos, more or less strongly affected; 0 gives ideal ones."""
    if factor == 1.0:
        return effects
    plain = PhotoEffects.none(len(effects.seed))
    if factor == 0.0:
        return plain
    linear = (
        "exposure", "metering", "vignetting", "aperture", "focus_error", "shake_turn", "shake_move", "read_noise",
        "contrast", "sharpening",
    )  # fmt: skip
    quality = np.clip(np.rint(100 - factor * (100 - effects.jpeg)), 10, 98).astype(np.int64)
    scaled = replace(
        effects,
        white_balance=effects.white_balance**factor,
        shot_noise=factor**2 * effects.shot_noise,
        saturation=effects.saturation**factor,
        jpeg=np.where(effects.jpeg > 0, quality, 0),
        **{name: factor * getattr(effects, name) for name in linear},
    )
    return replace(
        scaled, **{name: np.clip(getattr(scaled, name), -1, 1) for name in ("metering", "vignetting", "contrast")}
    )


def photograph(
    light: Float[Tensor, "view height width 3"],
    depth: Float[Tensor, "view height width"],
    intrinsics: Float64[Tensor, "view 3 3"],
    world: World,
) -> UInt8[Tensor, "view height width 3"]:
    """Photos of the linear light that arrived at the cameras of a world.

    Args:
        light: of pinhole cameras.
        depth: along the optical axis, metres; 0 is the sky.
        intrinsics: in pixels.
        world: its ``photo`` says what lens, hand, sensor and file do.
    """
    light = light * meter(light, world.photo.metering)
    step = 1 if light.device.type == "cpu" else len(light)  # on a CPU one photo at a time stays in the cache
    return torch.cat([
        _develop(light[part], depth[part], intrinsics[part], choose_rows(world.photo, np.arange(len(light))[part]))
        for part in (slice(start, start + step) for start in range(0, len(light), step))
    ])  # fmt: skip


def meter(
    light: Float[Tensor, "view height width 3"], metering: Float64[np.ndarray, "v"]
) -> Float[Tensor, "view 1 1 1"]:
    """Factors that bring a middle tone to the middle of the range, unless the bright twentieth would burn out.

    With ``metering`` 0 a view gets the factor of the first one, with 1 its own; between them, as much of the way.
    """
    luminance = light.mean(-1).flatten(1)
    luminance = luminance[:, :: max(1, luminance.shape[1] // _METERED)].sort(1).values
    last = luminance.shape[1] - 1
    middle, bright = (luminance[:, int(share * last)].clamp_min(1e-4) for share in (0.5, 0.95))
    factor = torch.minimum(0.24 / middle, 1.2 / bright)
    own = torch.as_tensor(metering, dtype=torch.float32, device=light.device)
    return (factor[0] * (factor / factor[0]) ** own).view(-1, 1, 1, 1)


def _develop(
    light: Float[Tensor, "view height width 3"], depth: Float[Tensor, "view height width"],
    intrinsics: Float64[Tensor, "view 3 3"], photo: PhotoEffects,
) -> UInt8[Tensor, "view height width 3"]:  # fmt: skip
    device = light.device

    def rows(name: str) -> Tensor:
        return torch.as_tensor(getattr(photo, name), dtype=torch.float32, device=device)

    def per_view(name: str) -> Tensor:
        return rows(name).view(len(light), 1, 1, -1)

    if photo.aperture.any():
        focal = intrinsics[:, 0, 0].float()
        lens = (rows(name) for name in ("aperture", "focus_at", "focus_error"))
        light = optics.defocus(light, optics.circles_of_confusion(depth, focal, *lens))
    if photo.shake_turn.any() or photo.shake_move.any():
        light = optics.shake(light, optics.trails(depth, intrinsics, rows("shake_turn"), rows("shake_move")))
    light = light * (torch.exp2(per_view("exposure")) * shading(light, per_view("vignetting")))
    light = add_noise(light, photo) * per_view("white_balance")
    shown = tone_curve(light)
    if photo.contrast.any():
        shown = shown + per_view("contrast") * (shown * shown * (3.0 - 2.0 * shown) - shown)
    if (photo.saturation != 1.0).any():
        grey = shown.mean(-1, keepdim=True)
        shown = torch.lerp(grey, shown, per_view("saturation"))
    if photo.sharpening.any():
        shown = sharpen(shown, per_view("sharpening"))
    images = (shown * 255.0 + 0.5).clamp_(0, 255).to(torch.uint8)
    filed = np.flatnonzero(photo.jpeg)
    if len(filed):
        chosen = torch.as_tensor(filed, device=device)
        images[chosen] = jpeg.compress(images[chosen], photo.jpeg[filed])
    return images


def shading(light: Tensor, loss: Float[Tensor, "view 1 1 1"]) -> Float[Tensor, "view height width 1"]:
    """Share of the light that passes the lens: less by ``loss`` in the corners, quadratic in the distance."""
    _, height, width, _ = light.shape
    y = torch.linspace(-1, 1, height, device=light.device)[:, None, None]
    x = torch.linspace(-1, 1, width, device=light.device)[None, :, None]
    return 1.0 - loss * 0.5 * (x * x + y * y)


def add_noise(light: Float[Tensor, "view height width 3"], photo: PhotoEffects) -> Float[Tensor, "view height width 3"]:
    """Shot and read noise, a third of the variance in grey and the rest in colour, which is coarser.

    The random numbers come from the CPU, whatever the device: a photo has the same grain everywhere.
    """
    if not (photo.read_noise.any() or photo.shot_noise.any()):
        return light
    _, height, width, _ = light.shape
    grains = []
    for seed in photo.seed:
        source = torch.Generator().manual_seed(int(seed))
        grey = torch.randn(1, height, width, generator=source)
        color = torch.randn(3, -(-height // 2), -(-width // 2), generator=source)
        color = color.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]
        grains.append((0.5774 * grey + 0.8165 * color).permute(1, 2, 0))

    def column(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=light.device).view(-1, 1, 1, 1)

    variance = column(photo.read_noise**2) + column(photo.shot_noise) * light
    return light + torch.stack(grains).to(light.device) * variance.sqrt()


def tone_curve(light: Tensor) -> Tensor:
    """Linear light to display values in [0, 1]: a gamma of 2.2, and a shoulder that keeps highlights."""
    above = 1.0 - (1.0 - _KNEE) * torch.exp((_KNEE - light.clamp_min(_KNEE)) / (1.0 - _KNEE))
    return torch.where(light < _KNEE, light, above).clamp(0.0, 1.0) ** (1.0 / 2.2)


def sharpen(shown: Float[Tensor, "view height width 3"], amount: Tensor) -> Float[Tensor, "view height width 3"]:
    """Unsharp masking with a 3x3 box, clipped to [0, 1]."""
    planes = functional.pad(shown.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    soft = functional.avg_pool2d(planes, 3, stride=1).permute(0, 2, 3, 1)
    return (shown + amount * (shown - soft)).clamp(0.0, 1.0)
