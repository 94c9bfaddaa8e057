"""The tables for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .bench import Values

_TITLES = {
    "device": "The device",
    "mvdust3r": "MV-DUSt3R and MV-DUSt3R+",
    "d4rt": "D4RT",
    "driv3r": "Driv3R, a rig of six cameras",
    "accuracy": "Shorter numbers against float32",
    "gaussians": "Rendering Gaussians",
    "worlds": "Worlds",
    "compiled": "MV-DUSt3R+, compiled",
}
_TEXTS = {
    "mvdust3r": (
        "Published size, random weights, 224×224, four reference paths, medians. *float32*: full products; *TF32*: "
        "products of float32 as TensorFloat-32; *bfloat16*: autocast, heads in float32; *as loaded*: what "
        "`worldline.load(…).reconstruct` calls, results on the host."
    ),
    "d4rt": (
        "Poses: ViT-g, 48 frames of 256×256, 8×8 points of the first frame in the camera of every frame, rigid fits. "
        "Queries: the size of `d4rt-mini`. float32 is with TF32 products."
    ),
    "driv3r": (
        "Published size, random weights, six images of 224×224 per step, neighbours on the ring, from images on the "
        "host to maps on the host. *network*: the device's part of a step of constant shape. float32 is with TF32."
    ),
    "accuracy": (
        "Distance of every point from that of true float32, over its length there. Embedded weights see photos of a "
        "test room; the published sizes have random weights."
    ),
    "gaussians": "One Gaussian per pixel of four photos of a room, float32, gradients of all Gaussians.",
    "worlds": "Four photos of 224×224 per world, two worlds per batch; shaded: one light, one shadow ray.",
}
_TEXTS["compiled"] = "As above, every transformer block through `torch.compile`; *first s* is the compilation."
_HIDDEN = ("state", "took s", "reason", "trace")


def tables(contents: Mapping[str, Any]) -> str:
    """Markdown of everything that was measured, and what was not, with the reason."""
    machine = contents.get("machine", {})
    lines = ["## On a CUDA device", "", "```text", str(contents.get("command", "")), "```", ""]
    lines += [", ".join(f"{name} {value}" for name, value in machine.items()) + ".", ""]
    for name, title in _TITLES.items():
        rows = contents.get("sections", {}).get(name)
        if rows:
            lines += [f"### {title}", ""]
            lines += [_TEXTS[name], ""] if name in _TEXTS else []
            lines += [*_section(rows), ""]
    if contents.get("left_out"):
        lines += ["Not measured for lack of time: " + "; ".join(contents["left_out"]) + ".", ""]
    return "\n".join(lines)


def _section(rows: Mapping[str, Values]) -> list[str]:
    measured = {key: row for key, row in rows.items() if row["state"] == "measured"}
    columns = _columns(measured.values())
    lines = []
    if measured:
        lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for key, row in measured.items():
            lines.append(f"| {key} | " + " | ".join(_cell(row.get(column), column) for column in columns) + " |")
    failed = [f"* {key}: {row.get('reason', row['state'])}" for key, row in rows.items() if row["state"] != "measured"]
    return [*lines, "", "Not measured:", "", *failed] if failed else lines


def _columns(rows: Iterable[Values]) -> list[str]:
    """Of all rows, in order of appearance; without those that are empty everywhere."""
    found = {name: None for row in rows for name, value in row.items() if name not in _HIDDEN and value is not None}
    return list(found)


def _cell(value: Any, column: str) -> str:
    if value is None:
        return ""
    if column == "share of peak":
        return f"{100 * value:.0f} %"
    if isinstance(value, float):
        size = abs(value)
        if size >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}" if size >= 1e-3 or not size else f"{value:.1e}"
    return str(value)
