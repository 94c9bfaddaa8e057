"""What is run at a level of a sweep: models as they are, another reference, fewer paths, pairs instead of one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from worldline.errors import InputError
from worldline.eval.covisibility import references_by_overlap
from worldline.eval.methods import Scores, score_model, score_reconstruction
from worldline.eval.sequences import GroundTruth
from worldline.models.mvdust3r import MVDust3r

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.types import Views


@dataclass(frozen=True)
class Photographed:
    """One scene of a level, as the methods get it."""

    views: Views
    truth: GroundTruth  # for scoring, and to rank references
    value: float  # of the level


Measure = Callable[[Mapping[str, "Reconstructor"], Photographed], dict[str, Scores]]


def measure_models(models: Mapping[str, Reconstructor], scene: Photographed) -> dict[str, Scores]:
    """Every model with its defaults."""
    return {label: score_model(model, scene.views, scene.truth) for label, model in models.items()}


def measure_reference(models: Mapping[str, Reconstructor], scene: Photographed) -> dict[str, Scores]:
    """The level is the rank of the reference view among all views."""
    from worldline.pipeline import ReconstructOptions

    ranked = references_by_overlap(scene.truth)
    rank = int(scene.value)
    if not 1 <= rank <= len(ranked):
        raise InputError(f"There is no view of rank {rank} among {len(ranked)}.", "Use more --views or fewer --levels.")
    options = ReconstructOptions(reference=ranked[rank - 1])
    return {label: score_model(model, scene.views, scene.truth, options) for label, model in models.items()}


def measure_paths(models: Mapping[str, Reconstructor], scene: Photographed) -> dict[str, Scores]:
    """The level is the number of reference paths; one path means without fusion."""
    from worldline.pipeline import ReconstructOptions

    paths, found = int(scene.value), {}
    options = ReconstructOptions(references=max(2, paths))
    for label, model in models.items():
        if not isinstance(model.network, MVDust3r) or not model.network.config.fused_references:
            raise InputError(f"{label} does not fuse reference paths.", "Choose an MV-DUSt3R+ model for this sweep.")
        used = without_fusion(model) if paths == 1 else model
        found[label] = score_model(used, scene.views, scene.truth, options)
    return found


def measure_single_pass(models: Mapping[str, Reconstructor], scene: Photographed) -> dict[str, Scores]:
    """Every model in one pass, and in pairs with global alignment."""
    from worldline.pipeline import ReconstructOptions
    from worldline.pipeline.pairwise import reconstruct_pairwise

    found = {}
    for label, model in models.items():
        if isinstance(model.network, MVDust3r):
            found[f"{label}, single pass"] = score_model(model, scene.views, scene.truth)
        started = time.perf_counter()
        result = reconstruct_pairwise(model, scene.views, ReconstructOptions())
        seconds = time.perf_counter() - started
        found[f"{label}, pairs + alignment"] = {
            **asdict(score_reconstruction(result, scene.truth)),
            "seconds": seconds,
        }
    return found


def without_fusion(model: Reconstructor) -> Reconstructor:
    """The same weights with one path and no fusion blocks: what fusion adds at inference is the difference."""
    network = model.network
    if not isinstance(network, MVDust3r):
        raise InputError(f"{model.name} has no reference paths.", "Choose an MV-DUSt3R+ model.")
    plain = MVDust3r(replace(network.config, fused_references=False))
    kept = {name: tensor for name, tensor in network.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(kept, assign=True)  # shares the tensors
    return replace(model, network=plain.eval())
