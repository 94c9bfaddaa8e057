"""The result of a run: averaged weights in float16, sharded for version control, with a card that says where from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import worldline
from worldline.train.recipes import TrainRecipe
from worldline.train.schedule import Progress
from worldline.train.tasks import task_of
from worldline.weights.fetch import resolve
from worldline.weights.folder import read_info
from worldline.weights.storage import SHARD_BYTES, save_model

EXPORT = "export"
LICENCE = "Apache-2.0"


def averaged_model(recipe: TrainRecipe, weights: dict[str, Tensor], device: str | torch.device = "cpu") -> nn.Module:
    """A network with the given whole tensors, in evaluation mode."""
    with torch.device("meta"):
        model = task_of(recipe).empty(recipe)
    model.load_state_dict({name: value.to(device) for name, value in weights.items()}, assign=True)
    return model.eval()


def export_model(recipe: TrainRecipe, weights: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """Write the folder that ``worldline.load`` reads; returns it.

    Raises:
        OutputError: something else lies there, full disk, no permission.
        WeightsError: a weight is not finite in float16.
    """
    model = averaged_model(recipe, weights)
    folder = recipe.output / EXPORT
    for target in filter(None, (folder, recipe.export_to)):
        target.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, target, card=card, shard_bytes=SHARD_BYTES)
    return folder


def model_card(
    recipe: TrainRecipe, progress: Progress, data: dict[str, Any], metrics: dict[str, float], devices: int
) -> dict[str, Any]:
    """What people should know about the weights. Entries of ``recipe.card`` win over the measured ones."""
    stages = recipe.stages
    card: dict[str, Any] = {
        "name": recipe.model,
        **_terms(recipe),
        "domain": f"procedural worlds: {', '.join(name for name, _ in recipe.layouts)}",
        "image_size": stages[-1].sizes[-1],
        **task_of(recipe).card(recipe),
        "data": data,
        "seed": recipe.seed,
        "samples_seen": progress.samples,
        "views_seen": progress.views,
        "steps": progress.step,
        "steps_skipped": progress.skipped,
        "minutes": round(progress.seconds / 60, 2),
        "resolutions": sorted({size for stage in stages for size in stage.sizes}),
        "precision": recipe.precision,
        "hardware": hardware(recipe.device, devices),
        "versions": versions(),
        "validation": metrics,
    }
    return card | recipe.card


def _terms(recipe: TrainRecipe) -> dict[str, Any]:
    """Our licence, unless the start was somebody else's weights: their terms stay with what comes of them."""
    if recipe.init is None:
        return {"license": LICENCE}
    info = read_info(resolve(recipe.init))
    return {"license": LICENCE if info.is_permissive else info.license, "started_from": f"{info.id} ({info.license})"}


def hardware(device: str, devices: int) -> str:
    """The devices of this run in words."""
    if torch.device(device).type == "cuda":
        return f"{devices} × {torch.cuda.get_device_name(torch.device(device))}"
    return f"{devices} × {platform.processor() or platform.machine()}, {os.cpu_count()} cores each, no GPU"


def versions() -> dict[str, str]:
    """Of Python and the libraries that decide about numbers."""
    found = {"worldline": worldline.__version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("lightning", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
