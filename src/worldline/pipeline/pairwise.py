"""The baseline: DUSt3R's way. Every pair of photos through the network, then global alignment of all pairs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from worldline.inputs import stack
from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r, as_pairwise
from worldline.pipeline.finish import finished, provenance
from worldline.scene.align import PairPredictions, global_align, make_pairs
from worldline.scene.assemble import assemble_scene
from worldline.types import Pointmaps, View, Views

if TYPE_CHECKING:
    from worldline.pipeline.single_pass import ReconstructOptions, Reconstructor
    from worldline.scene import Scene

PAIRS_AT_ONCE = 8  # pairs per decoder call


def reconstruct_pairwise(
    model: Reconstructor,
    views: Views,
    options: ReconstructOptions,
    *,
    encode_once: bool = True,
) -> Scene:
    """Pairwise pointmaps of a pair graph, aligned into one scene (DUSt3R section 3.4), views in input order.

    Args:
        model: a pairwise model, or a multi-view model, whose two-view, one-path use is a pairwise model.
        options: ``graph`` and ``alignment_iterations`` matter here.
        encode_once: False encodes both images of every ordered pair anew, as the published program does; same answer.
    """
    timings: dict[str, float] = {}
    network = as_pairwise(model.network) if isinstance(model.network, MVDust3r) else cast(Dust3r, model.network)
    images = stack(views)[0].to(model.device)
    edges = np.array(make_pairs(len(views), options.graph, symmetrize=True), dtype=np.int64)
    started = time.perf_counter()
    predictions = predict_pairs(network, images, torch.from_numpy(edges), encode_once=encode_once)
    timings["network"] = time.perf_counter() - started
    started = time.perf_counter()
    aligned = global_align(
        predictions,
        iterations=options.alignment_iterations,
        poses=[view.world_from_cam for view in views],
        focals=[_known_focal(view) for view in views],
        principal_points=torch.tensor([_principal_point(view) for view in views], dtype=torch.float32),
    )
    aligned = aligned.in_frame_of(options.reference).cleaned()
    timings["alignment"] = time.perf_counter() - started
    scene = assemble_scene(
        views,
        aligned.points,
        aligned.confidence,
        aligned.camera_estimates(),
        confidence_percent=options.confidence_percent,
        scale="arbitrary",
        provenance=provenance(model, options, {"pairs": len(edges), "method": "pairs + global alignment"}),
    )
    return finished(scene, timings, views)


def predict_pairs(
    network: Dust3r, images: Tensor, edges: Int[Tensor, "edge 2"], *, encode_once: bool = True
) -> PairPredictions:
    """Run a pairwise network on all edges of a graph; every image is encoded once unless asked otherwise.

    Args:
        images: ``[V, 3, H, W]`` in [-1, 1] on the network's device.
        edges: ordered pairs (i, j); the points of both are in the frame of camera i.
    """
    first: list[Pointmaps] = []
    second: list[Pointmaps] = []
    with torch.inference_mode():
        encoded = network.encode(images) if encode_once else None
        for start in range(0, len(edges), PAIRS_AT_ONCE):
            i, j = edges[start : start + PAIRS_AT_ONCE].T.tolist()
            pair = (
                (encoded[i], encoded[j])
                if encoded is not None
                else (network.encode(images[i]), network.encode(images[j]))
            )
            maps_i, maps_j = network.decode_pairs(*pair)
            first.append(maps_i)
            second.append(maps_j)
    # outside inference mode: the alignment differentiates through what it builds from these
    return PairPredictions(
        edges=edges,
        points_i=torch.cat([maps.points for maps in first]).float().cpu().clone(),
        points_j=torch.cat([maps.points for maps in second]).float().cpu().clone(),
        confidence_i=torch.cat([maps.confidence for maps in first]).float().cpu().clone(),
        confidence_j=torch.cat([maps.confidence for maps in second]).float().cpu().clone(),
    )


def _known_focal(view: View) -> float | None:
    """Focal length in model pixels of a photo with known intrinsics (the aligner knows one per image)."""
    if view.intrinsics is None:
        return None
    intrinsics = view.transform.model_from_original @ view.intrinsics
    return float((intrinsics[0, 0] + intrinsics[1, 1]) / 2)


def _principal_point(view: View) -> tuple[float, float]:
    """In model pixels: the known one, else the photo's centre."""
    height, width = view.transform.original_size
    center = (width - 1) / 2, (height - 1) / 2
    known = center if view.intrinsics is None else view.intrinsics[:2, 2]
    x, y = view.transform.to_model(np.asarray(known))
    return float(x), float(y)
