"""From a trained network to the files that ship: float16 weights, configuration, card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


def export_model(model: nn.Module, folder: Path, card: dict[str, Any]) -> Path:
    """Write ``model.safetensors`` (float16), ``config.json`` and ``card.json``; every file appears complete or not at all.

    The layout is the one that ``worldline.weights`` reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    overflown = [name for name, value in half.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    card = {**card, "parameters": sum(value.numel() for value in model.parameters())}
    if overflown:
        card["not_finite"] = overflown
    partial = folder / "model.safetensors.partial"
    save_file(half, partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    config = {"family": "mvdust3r", **model.config.to_dict()}
    for name, values in (("config.json", config), ("card.json", card)):
        partial = folder / f"{name}.partial"
        partial.write_text(json.dumps(values, indent=1, default=str) + "\n")
        partial.replace(folder / name)
    return folder
