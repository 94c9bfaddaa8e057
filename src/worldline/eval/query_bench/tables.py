"""Records of the benchmark as rows for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[dict[str, object]]


def table(part: str, records: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows of one part: speed, tracks, poses, saving or memory."""
    return {"speed": _speed, "tracks": _tracks, "poses": _poses, "saving": _saving, "memory": _memory}[part](records)


def _speed(records: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        {
            "implementation": each["implementation"],
            "threads": each["threads"],
            "parameters": f"{each['parameters'] / 1e6:.1f} M",
            "encode: s (CPU s)": f"{each['encode s']:.3f} ({each['encode CPU s']:.3f})",
            "times ours": f"{each['encode times']:.2f} ({each['encode CPU times']:.2f})",
            "decode: s (CPU s)": f"{each['decode s']:.3f} ({each['decode CPU s']:.3f})",
            "queries per s (CPU s)": f"{each['queries'] / each['decode s']:.0f} "
            f"({each['queries'] / each['decode CPU s']:.0f})",
            "times ours, per query": f"{each['decode times']:.2f} ({each['decode CPU times']:.2f})",
            "batch dependence": f"{each['batch dependence']:.0e}",
        }
        for each in records
    ]


def _tracks(records: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        {
            "FPS": f"{each['rate']:g}",
            "threads": each["threads"],
            "tracks (by CPU time)": f"{each['tracks by wall time']} ({each['tracks by CPU time']})",
            "FPS of a direct run (by CPU time)": ""
            if each["reached by wall time"] is None
            else f"{each['reached by wall time']:.1f} ({each['reached by CPU time']:.1f})",
        }
        for each in records
    ]


def _poses(records: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        {
            "threads": each["threads"],
            "points per frame": each["grid"] ** 2,
            **{f"{step}, CPU s": f"{each[f'{step} CPU s']:.3f}" for step in ("encode", "queries", "fit")},
            "FPS (by CPU time)": f"{each['FPS by wall time']:.1f} ({each['FPS by CPU time']:.1f})",
        }
        for each in records
    ]


def _saving(records: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        {
            "speed of things": f"{each['speed']:g}",
            "worlds": each["worlds"],
            "queries": each["queries"],
            "brute force": each["brute force"],
            "saving": f"{each['saving']:.1f}x",
            "least, most": f"{each['least']:.1f}x, {each['most']:.1f}x",
        }
        for each in records
    ]


def _memory(records: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        {
            "step": each["step"],
            "frames": each["frames"],
            "queries": each["queries"] or "",
            "peak MiB": f"{each['peak MiB']:.0f}",
            "predicted MiB": "" if each["predicted MiB"] is None else f"{each['predicted MiB']:.0f}",
        }
        for each in records
    ]
