"""Colours that say when, by which camera and whether it moves; and what the colours of the points mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np
from jaxtyping import Float32, UInt8

from worldline.outputs.view.logic.colors import COLORINGS, depth_scale, palette, ramp
from worldline.outputs.view.stage import Stage

MOVING_COLOR = (255, 96, 32)
STILL_COLOR = (72, 110, 168)
UNKNOWN_COLOR = (150, 150, 150)
_TINT = 0.65  # share of the tint that goes with the photo's lightness
# well apart from each other, readable on white and on black; after these the palette goes on
_SENSOR_COLORS = (
    *((58, 134, 214), (240, 140, 40), (62, 160, 82), (208, 62, 78), (140, 98, 198), (146, 104, 76)),
    *((222, 118, 186), (64, 190, 196), (188, 182, 48), (112, 122, 134)),
)

Coloring = Callable[[Stage, int], UInt8[np.ndarray, "n 3"]]


def by_time(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    """The moment of the view, from the first of the scene (dark) to the last; grey where it has none."""
    moment, times = int(stage.moments[index]), stage.times
    if moment < 0 or len(times) < 2:
        return _plain(stage, index, UNKNOWN_COLOR)
    red, green, blue = ramp(np.array([(times[moment] - times[0]) / (times[-1] - times[0])]))[0].tolist()
    return _plain(stage, index, (red, green, blue))


def by_sensor(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    """A colour per camera of the rig."""
    return _plain(stage, index, sensor_color(stage.scene.views[index].sensor, stage.scene.sensors))


def by_scene(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    """The photo's lightness, tinted by the scene: tells scenes apart that are laid over each other."""
    tint = np.array(sensor_color(stage.prefix, ("/a", "/b", "/c", "/d", "/e", "/f")), np.float32)
    return _tinted(stage.pixels(index).colors, tint)


def by_motion(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    """The photo's lightness, tinted by what moves, what stands still and what is not known."""
    pixels = stage.pixels(index)
    if pixels.dynamic is None:
        tint = np.array(UNKNOWN_COLOR, np.float32)
    else:
        tint = np.where(pixels.dynamic[:, None], MOVING_COLOR, STILL_COLOR).astype(np.float32)
    return _tinted(pixels.colors, tint)


# name in the panel -> colours: those of colors.py and these
ALL_COLORINGS: dict[str, Coloring] = COLORINGS | {
    "time": by_time,
    "sensor": by_sensor,
    "moving / still": by_motion,
    "scene": by_scene,
}


def useful_colorings(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The names of the colourings that say something about one of the stages."""
    useful = {
        "time": any(len(stage.times) > 1 for stage in stages),
        "sensor": any(len(stage.scene.sensors) > 1 for stage in stages),
        "scene": len(stages) > 1,
        "moving / still": any(view.dynamic is not None for stage in stages for view in stage.scene.views),
    }
    return tuple(name for name in ALL_COLORINGS if useful.get(name, True))


def sensor_color(sensor: str | None, sensors: Sequence[str]) -> tuple[int, int, int]:
    """The colour of a camera of the rig; grey for none or an unknown one."""
    if sensor is None or sensor not in sensors:
        return UNKNOWN_COLOR
    number = list(sensors).index(sensor)
    return _SENSOR_COLORS[number] if number < len(_SENSOR_COLORS) else palette(number)


def view_color(stage: Stage, index: int) -> tuple[int, int, int]:
    """The colour of a camera: of its sensor where there are several, else its own."""
    sensors = stage.scene.sensors
    return sensor_color(stage.scene.views[index].sensor, sensors) if len(sensors) > 1 else palette(stage.ids[index])


def legend(coloring: str, stage: Stage) -> str:
    """What the colours mean, as a small piece of HTML; empty where they explain themselves."""
    if coloring == "confidence":
        return _bar("least sure", "confidence", "surest")
    if coloring == "depth":
        unit = "m" if stage.scene.metric else "units"
        scale = depth_scale(stage)
        return _bar(f"{scale.low:.3g} {unit}", "depth", f"{scale.high:.3g} {unit}", colors="near")
    if coloring == "time" and len(stage.times) > 1:
        length = f"{stage.times[-1] - stage.times[0]:.3g} s"
        return _bar("0 s", "time", length) if stage.timed else _bar("1", "frame", str(len(stage.times)))
    if coloring == "sensor":
        names = stage.scene.sensors
        return patches((sensor_color(name, names), name) for name in names)
    if coloring == "moving / still":
        return patches([(MOVING_COLOR, "moves"), (STILL_COLOR, "stands still"), (UNKNOWN_COLOR, "not known")])
    return ""


def _tinted(colors: UInt8[np.ndarray, "n 3"], tint: Float32[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "n 3"]:
    light = colors.astype(np.float32).mean(-1, keepdims=True) / 128
    return (tint * (1 - _TINT + _TINT * light)).clip(0, 255).astype(np.uint8)


def _plain(stage: Stage, index: int, color: tuple[int, int, int]) -> UInt8[np.ndarray, "n 3"]:
    return np.broadcast_to(np.array(color, np.uint8), (len(stage.pixels(index)), 3))


def _bar(low: str, label: str, high: str, colors: str = "amount") -> str:
    """Ends and name of a ramp, one of the palettes of pictures."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in ramp(np.linspace(0, 1, 9), colors).tolist())
    ends = f"<span>{escape(low)}</span><span>{escape(label)}</span><span>{escape(high)}</span>"
    return (
        '<div style="font-size:0.75em;padding:0 0.8em 0.4em"><div style="height:0.7em;border-radius:0.2em;'
        f'background:linear-gradient(to right, {stops})"></div>'
        f'<div style="display:flex;justify-content:space-between">{ends}</div></div>'
    )


def patches(entries: Iterable[tuple[tuple[int, int, int], str]]) -> str:
    """Colours and their meanings as HTML."""
    return (
        '<div style="font-size:0.75em;padding:0 0.8em 0.4em;line-height:1.6">'
        + "".join(
            '<span style="white-space:nowrap;margin-right:0.8em"><span style="display:inline-block;width:0.7em;'
            f'height:0.7em;border-radius:0.2em;margin-right:0.3em;background:rgb{color}"></span>{escape(text)}</span>'
            for color, text in entries
        )
        + "</div>"
    )
