"""From images to a Scene: load a model by name, run it once, turn its pointmaps into cameras and a Scene.

This is the only module that knows all four rooms: inputs → models (through weights) → scene. See docs/architecture.md.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from worldline.errors import InputError, MemoryPlanError
from worldline.pipeline.finish import finished, provenance
from worldline.types import GaussianMaps, Pointmaps, Rig, Views

if TYPE_CHECKING:
    import torch

    from worldline.inputs import KnownCamera
    from worldline.models.config import PointmapConfig
    from worldline.pipeline.memory import MemoryPlan
    from worldline.pipeline.stream import StreamOptions, StreamSession
    from worldline.pipeline.video import EncodedVideo, EncodeOptions
    from worldline.pipeline.video.windows import LongVideo
    from worldline.scene import Scene

log = logging.getLogger("worldline")

DEFAULT_MODEL = "mvdust3r-plus-mini"


@dataclass(frozen=True)
class ReconstructOptions:
    """Everything about a reconstruction that is a choice and not data. The defaults are those of the command line."""

    size: int | None = None  # model resolution in pixels; None = the one the weights were trained at
    fit: str = "crop"  # "crop": the square centre of each photo; "pad": the whole photo, letterboxed
    max_views: int | None = None  # at most this many views (video: chosen for sharpness)
    fps: float | None = None  # video only: candidate frames per second
    skip_bad: bool = False  # go on without unreadable files and record them
    reference: int = 0  # index of the input view whose camera is the world frame
    order: str = "demo"  # how views are fed: "demo", "evaluation" (published rules), "spread" or "input"
    references: int = 4  # reference paths of MV-DUSt3R+; min(references, views) are used
    shared_focal: bool = True  # one focal length for all views of equal size
    confidence_percent: float = 3.0  # share of the least confident pixels to mask
    alignment_iterations: int = 300  # pairwise models only: steps of global alignment
    graph: str = "complete"  # pairwise models only: which pairs are predicted
    memory_limit: int | None = None  # bytes the run may take; None = what is free


@dataclass(frozen=True)
class Reconstructor:
    """A model ready to run: ``reconstruct(images) -> Scene``. Made by :func:`load`."""

    network: torch.nn.Module
    name: str  # registry id or path
    device: str
    weights_sha256: str = ""
    license: str = ""
    image_size: int = 224
    notes: tuple[str, ...] = field(default=())

    def reconstruct(
        self,
        images: Any,
        *,
        intrinsics: Any = None,
        poses: Any = None,
        known: dict[str, KnownCamera] | None = None,
        options: ReconstructOptions | None = None,
        **choices: Any,
    ) -> Scene:
        """Images of one static scene -> :class:`worldline.Scene`, views in input order.

        Args:
            images: folder, list of files, glob, zip, video file, or array ``[V, H, W, 3]`` uint8.
            intrinsics: known ``[3, 3]`` or ``[V, 3, 3]`` in pixels of the original photos (entries may be None).
            poses: known ``world_from_cam`` ``[V, 4, 4]`` (entries may be None); they fix frame and scale.
            known: the same by image name, as :func:`worldline.inputs.read_known_cameras` gives it.
            options: all choices at once; single ones may be given by keyword, e.g. ``fit="pad"``.

        Raises:
            InputError: the images cannot be used (the sentence names every bad file).
            MemoryPlanError: the run would not fit into memory even with the smallest chunks.
        """
        from worldline.inputs import attach_cameras
        from worldline.models.d4rt import D4rt
        from worldline.pipeline.video.encoded import reconstruct_video

        options = with_choices(options or ReconstructOptions(), choices)
        if isinstance(self.network, D4rt):
            return reconstruct_video(self, images, options, intrinsics=intrinsics, poses=poses, known=known)
        views = self.read(images, options, intrinsics=intrinsics, poses=poses)
        return self.reconstruct_views(attach_cameras(views, known) if known else views, options)

    def read(
        self, images: Any, options: ReconstructOptions | None = None, *, intrinsics: Any = None, poses: Any = None
    ) -> Views:
        """Images -> :class:`worldline.types.Views` at the size this model wants; at least two.

        Raises:
            InputError: as :meth:`reconstruct`.
        """
        from worldline.inputs import load_views, require_views
        from worldline.models.dust3r import Dust3r

        options = options or ReconstructOptions()
        _check_choices(options)
        started = time.perf_counter()
        # the published crop rule for sizes other than 224 gives photos of different shapes, which pairs can take
        one_shape = options.fit == "crop" and not isinstance(self.network, Dust3r)
        views = load_views(
            images,
            size=self.image_size if options.size is None else options.size,
            fit="square" if one_shape else options.fit,
            max_views=options.max_views,
            fps=options.fps,
            skip_bad=options.skip_bad,
            intrinsics=intrinsics,
            poses=poses,
        )
        require_views(views, minimum=2)
        return replace(views, read_seconds=time.perf_counter() - started)

    def reconstruct_views(self, views: Views, options: ReconstructOptions | None = None) -> Scene:
        """The same for :class:`worldline.types.Views`; not for D4RT, which reads whole frames."""
        from worldline.models.d4rt import D4rt
        from worldline.models.driv3r import Driv3r
        from worldline.models.dust3r import Dust3r

        options = options or ReconstructOptions()
        _check_choices(options)
        if not 0 <= options.reference < len(views):
            raise InputError(
                f"The reference view {options.reference} does not exist: there are {len(views)} views.",
                f"Choose an index from 0 to {len(views) - 1}.",
            )
        if isinstance(self.network, D4rt):
            raise InputError(f"{self.name} reads videos.", "Use reconstruct(video) or encode(video).")
        if isinstance(self.network, Dust3r):
            return self._pairwise(views, options)
        if isinstance(self.network, Driv3r):
            return self._sequence(views, options)
        return self._single_pass(views, options)

    def stream(self, rig: Rig, options: StreamOptions | None = None, **choices: Any) -> StreamSession:
        """A session that takes the images of a camera rig moment by moment, for models with a memory (Driv3R, Spann3R).

        Args:
            rig: the cameras, and what is known of their calibration.
            options: all choices at once; single ones may be given by keyword, e.g. ``motion=False``.

        Raises:
            InputError: the model has no memory.
        """
        from worldline.models.driv3r import Driv3r
        from worldline.pipeline.stream import StreamOptions, StreamSession

        if not isinstance(self.network, Driv3r):
            raise InputError(f"{self.name} has no memory for streams.", "Load driv3r-mini, or a Driv3R checkpoint.")
        chosen = with_choices(options or StreamOptions(), choices)
        return StreamSession(self.network, rig, chosen, published=not self.own, provenance=provenance(self, chosen, {}))

    def encode(
        self, video: Any, options: EncodeOptions | None = None, *, intrinsics: Any = None, poses: Any = None,
        **choices: Any,
    ) -> EncodedVideo | LongVideo:  # fmt: skip
        """A video in the memory of a network that answers queries (D4RT): depth, cameras, tracks and more, on demand.

        A video longer than the network's clips goes through it in overlapping windows; nothing is known of its cameras.

        Args:
            video: file, folder or list of photos in order, or array ``[T, H, W, 3]`` uint8.
            intrinsics: known ``[3, 3]`` or ``[T, 3, 3]`` in pixels of the original frames.
            poses: known ``world_from_cam`` ``[T, 4, 4]``, or a list with None; T counts the frames taken.
            options: all choices at once; single ones may be given by keyword, e.g. ``fps=10``.

        Raises:
            InputError: the model answers no queries, or the video cannot be used.
        """
        from worldline.pipeline.video.encoded import EncodeOptions, encode_any

        chosen = with_choices(options or EncodeOptions(), choices)
        return encode_any(self, video, chosen, intrinsics=intrinsics, poses=poses)

    @property
    def own(self) -> bool:
        """Whether the weights are ours, and not published with a model that they were made for."""
        return self.name.endswith("-mini") or self.license.startswith("Apache")

    def _sequence(self, views: Views, options: ReconstructOptions) -> Scene:
        """The images in their order as a stream of one camera, as the published code runs it."""
        import torch

        from worldline.inputs import stack
        from worldline.scene.assemble import build_scene

        if options.reference:
            raise InputError("A stream is expressed in its first image.", "Leave the reference at 0.")
        images, timings = stack(views).to(self.device), {}
        started = time.perf_counter()
        with torch.inference_mode():
            maps = self.network(images).final
        timings["network"] = time.perf_counter() - started
        started = time.perf_counter()
        scene = build_scene(
            views,
            maps.points[0].float().cpu().numpy(),
            maps.confidence[0].float().cpu().numpy(),
            shared_focal=options.shared_focal,
            confidence_percent=options.confidence_percent,
            provenance=provenance(self, options, {}),
        )
        timings["cameras"] = time.perf_counter() - started
        return finished(scene, timings, views)

    def _single_pass(self, views: Views, options: ReconstructOptions) -> Scene:
        from worldline.inputs import reference_order, stack
        from worldline.scene.assemble import build_scene

        order = reference_order(len(views), options.order, options.references, first=options.reference)
        images = stack(views)[:, order].to(self.device)
        timings: dict[str, float] = {}
        started = time.perf_counter()
        pointmaps, plan = run_network(self.network, images, options.references, options.memory_limit)
        timings["network"] = time.perf_counter() - started
        pointmaps = _in_input_order(pointmaps, order)
        started = time.perf_counter()
        scene = build_scene(
            views,
            pointmaps.points[0].numpy(),
            pointmaps.confidence[0].numpy(),
            reference=options.reference,
            gaussians=_first_sample(pointmaps.gaussians),
            shared_focal=options.shared_focal,
            confidence_percent=options.confidence_percent,
            provenance=provenance(self, options, {"order": order.tolist(), "head_chunk": plan.head_chunk}),
        )
        timings["cameras"] = time.perf_counter() - started
        return finished(scene, timings, views, plan.notes)

    def _pairwise(self, views: Views, options: ReconstructOptions) -> Scene:
        from worldline.pipeline.pairwise import reconstruct_pairwise

        return reconstruct_pairwise(self, views, options)


def load(model: str | Path = DEFAULT_MODEL, device: str | None = None) -> Reconstructor:
    """A model by registry id, local folder, checkpoint file or hub id.

    Args:
        model: e.g. ``"mvdust3r-plus-mini"`` (embedded, offline) or ``"mvdust3r-plus"`` (published, downloaded once).
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` …; None takes the best one of this machine.

    Raises:
        WeightsError: unknown name, no network, altered or unreadable file.
    """
    from worldline import weights

    device = choose_device(device)
    network, info = weights.load_model(weights.resolve(model), device=device)
    return Reconstructor(
        network=network,
        name=info.name or str(model),
        device=device,
        weights_sha256=info.sha256,
        license=info.license,
        image_size=info.image_size,
    )


def reconstruct(
    images: Any,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str | None = None,
    intrinsics: Any = None,
    poses: Any = None,
    **choices: Any,
) -> Scene:
    """Photos or a video -> :class:`worldline.Scene`, in one call: :func:`load`, then :meth:`Reconstructor.reconstruct`.

    Further keywords are the fields of :class:`ReconstructOptions`, e.g. ``max_views=8``, ``fit="pad"``.
    """
    return load(model, device).reconstruct(images, intrinsics=intrinsics, poses=poses, **choices)


def choose_device(device: str | None) -> str:
    """Check a device name, or take the best one of this machine when it is None or "auto"."""
    import torch

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device in (None, "auto"):
        return available[0]
    if str(device).split(":")[0] not in available:
        raise InputError(f"There is no device '{device}' here.", f"Choose one of: {', '.join(available)}.")
    return str(device)


def run_network(
    network: torch.nn.Module, images: torch.Tensor, references: int, memory_limit: int | None = None
) -> tuple[Pointmaps, MemoryPlan]:
    """One forward pass within a memory plan; an out-of-memory error leads to one reported retry with smaller chunks.

    Args:
        images: ``[1, V, 3, H, W]`` in [-1, 1], network order.

    Returns:
        Pointmaps on the CPU and the plan that was used.
    """
    import torch

    from worldline.pipeline.memory import free_memory, memory_errors, parameter_bytes, plan_memory

    _, view_count, _, height, width = images.shape
    config, device = cast("PointmapConfig", network.config), str(images.device)
    if memory_limit is None:
        memory_limit = free_memory(device) + parameter_bytes(config)  # the weights are there already
    plan = plan_memory(config, view_count, height, width, references, device=device, limit=memory_limit)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=images.device.type == "cuda")
    for attempt in (plan, plan.smallest()):
        try:
            with memory_errors(), torch.inference_mode(), autocast:
                return _to_cpu(network(images, references, head_chunk=attempt.head_chunk)), attempt
        except (torch.OutOfMemoryError, MemoryError) as error:
            if attempt.head_chunk == 1:
                raise MemoryPlanError(
                    f"Out of memory with {view_count} views of {width}x{height} even with the smallest chunks.",
                    "Use fewer views (--max-views), a smaller --size, or another device.",
                ) from error
            log.warning("out of memory; once more with the heads run one view at a time")
            if images.device.type == "cuda":
                torch.cuda.empty_cache()
    raise MemoryPlanError("Out of memory.", "Use fewer views.")  # unreachable: the last plan has chunk 1


def with_choices(options: Any, choices: dict[str, Any]) -> Any:
    """Options with single fields replaced; InputError for one that does not exist."""
    unknown = sorted(set(choices) - set(options.__dict__))
    if unknown:
        raise InputError(f"Unknown option(s): {', '.join(unknown)}.", f"Known are: {', '.join(options.__dict__)}.")
    return replace(options, **choices)


def _check_choices(options: ReconstructOptions) -> None:
    """Numbers that no run can use are refused before a photo is read."""
    if options.max_views is not None and options.max_views < 2:
        raise InputError(f"max_views is {options.max_views}.", "Multi-view reconstruction needs at least 2.")
    if options.references < 1:
        raise InputError(f"references is {options.references}.", "At least one reference path is needed.")
    if not 0 <= options.confidence_percent < 100:
        raise InputError(
            f"confidence_percent is {options.confidence_percent}.",
            "It is the share of pixels to mask: from 0 to less than 100.",
        )


def _in_input_order(pointmaps: Pointmaps, order: np.ndarray) -> Pointmaps:
    """Undo the feeding order on the view axis (1)."""
    inverse = np.argsort(order)

    def undo(tensor: Any) -> Any:
        return tensor[:, inverse]

    maps = pointmaps.gaussians
    if maps is not None:
        maps = GaussianMaps(undo(maps.scales), undo(maps.rotations), undo(maps.opacities), undo(maps.colors))
    return Pointmaps(undo(pointmaps.points), undo(pointmaps.confidence), maps)


def _to_cpu(pointmaps: Pointmaps) -> Pointmaps:
    maps = pointmaps.gaussians
    if maps is not None:
        maps = GaussianMaps(*(t.float().cpu() for t in (maps.scales, maps.rotations, maps.opacities, maps.colors)))
    return Pointmaps(pointmaps.points.float().cpu(), pointmaps.confidence.float().cpu(), maps)


def _first_sample(maps: GaussianMaps | None) -> GaussianMaps | None:
    if maps is None:
        return None
    return GaussianMaps(maps.scales[0], maps.rotations[0], maps.opacities[0], maps.colors[0])
