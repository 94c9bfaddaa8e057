"""A step of constant shapes: the same numbers as :class:`RigStream`, in a form that compilers and CUDA graphs can take.

What a camera recalls is padded to the most that it may recall, and cameras without a past are told apart by masks, so
that every step of a stream is one and the same computation on the same buffers. Which tokens are recalled, and what
the memory does with an image, is still decided by the host between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r
from worldline.models.layers.trunk import full_precision
from worldline.models.memory import MemoryOptions
from worldline.models.pool import CameraMaps, CameraStep, PoolOptions, RigStream
from worldline.types import Pointmaps

_WARM_UP = 3  # runs before a graph is captured, as CUDA wants


class StepInputs(NamedTuple):
    """Buffers that a step reads. They stay where they are; a step is fed by copying into them."""

    images: Float[Tensor, "camera 3 height width"]
    last: Float[Tensor, "camera patch channel"]  # encoder tokens of the images before
    has_last: Bool[Tensor, "camera 1 1"]  # False: the first image of a stream, which is paired with itself
    query: Float[Tensor, "camera patch channel"]
    reads: Bool[Tensor, "camera 1 1"]  # False: nothing to recall; the encoder tokens are the reference
    keys: Float[Tensor, "camera token channel"]
    values: Float[Tensor, "camera token channel"]
    present: Bool[Tensor, "camera token"]  # False: padding


class StepOutputs(NamedTuple):
    """What a step gives, one row per camera."""

    encoded: Float[Tensor, "camera patch channel"]  # of the images just given
    key: Float[Tensor, "camera patch channel"]  # of the images before
    value: Float[Tensor, "camera patch channel"]
    query: Float[Tensor, "camera patch channel"]  # for the next step
    received: Float[Tensor, "camera token"]  # attention that every recalled token got
    final: Pointmaps  # of the images before
    preview: Pointmaps | None  # of the images just given


class FixedStep:
    """The network's part of a step on static buffers, compiled and captured as a CUDA graph where asked for."""

    def __init__(
        self,
        model: Driv3r,
        cameras: int,
        size: tuple[int, int],
        tokens: int,
        memory: MemoryOptions,
        *,
        preview: bool = True,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        graph: bool | None = None,
    ) -> None:
        """Make the buffers; the graph is captured by the first call.

        Args:
            model: in eval mode, on its device.
            cameras: images per step.
            size: height and width of the images, multiples of the patch.
            tokens: the most that a camera may recall.
            memory: its cut, and whether it is the published one.
            preview: also run the target head.
            dtype: of matrix products under autocast, e.g. bfloat16; heads and reads stay float32. None: no autocast.
            compile: pass the computation through ``torch.compile``.
            graph: replay a CUDA graph; None: on CUDA.

        Raises:
            InputError: a graph was asked for elsewhere than on CUDA.
        """
        self.model, self.size, self.memory, self.preview = model, size, memory, preview
        self.device = next(model.parameters()).device
        if graph and self.device.type != "cuda":
            raise InputError(f"There are no CUDA graphs on {self.device.type}.", "Leave them out (graph=False).")
        self._graphed = self.device.type == "cuda" if graph is None else graph
        self._dtype, self._graph, self._static = dtype, None, None  # type: tuple[Any, Any, Any]
        self._run: Callable[[StepInputs], StepOutputs] = torch.compile(self.compute) if compile else self.compute
        rows, columns = model.encoder.patch_embed.grid(*size)
        wide = (cameras, rows * columns, model.config.encoder_dim)
        long = (cameras, max(tokens, 1), model.config.encoder_dim)
        flags = torch.zeros(cameras, 1, 1, dtype=torch.bool, device=self.device)
        self.inputs = StepInputs(
            images=torch.zeros(cameras, 3, *size, device=self.device),
            last=torch.zeros(wide, device=self.device),
            has_last=flags,
            query=torch.zeros(wide, device=self.device),
            reads=flags.clone(),
            keys=torch.zeros(long, device=self.device),
            values=torch.zeros(long, device=self.device),
            present=torch.zeros(long[:2], dtype=torch.bool, device=self.device),
        )

    @torch.inference_mode()
    def __call__(self) -> StepOutputs:
        """Process what lies in :attr:`inputs`. With a graph the result is overwritten by the next call."""
        if not self._graphed:
            return self._run(self.inputs)
        if self._graph is None:
            self._capture()
        self._graph.replay()
        return self._static

    def compute(self, inputs: StepInputs) -> StepOutputs:
        """The computation itself; without a branch that depends on data."""
        model, memory = self.model, self.memory
        with self._precision():
            encoded = model.encode(inputs.images)
            own = torch.where(inputs.has_last, inputs.last, encoded.float())
            with full_precision(inputs.images.device):
                fused, received = model.reader(
                    inputs.query,
                    inputs.keys,
                    inputs.values,
                    cut=memory.attention_cut,
                    present=inputs.present,
                    keep_nan=memory.official,
                )
            decoded = model.decode(torch.where(inputs.reads, fused, own), own, encoded, self.size)
            final = model.read_out(model.reference_head, decoded.reference_tokens, inputs.images)
            value = model.remember(final.points, decoded.key).float()
            ahead = model.read_out(model.source_head, decoded.target_tokens, inputs.images) if self.preview else None
        return StepOutputs(encoded.float(), decoded.key.float(), value, decoded.query.float(), received, final, ahead)

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self._dtype is None else torch.autocast(self.device.type, self._dtype)

    def _capture(self) -> None:
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._run(self.inputs)
        torch.cuda.current_stream(self.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._static = self._run(self.inputs)


class FixedRigStream(RigStream):
    """A :class:`RigStream` whose steps run as a :class:`FixedStep` whenever all cameras give an image of its size."""

    def __init__(
        self,
        model: Driv3r,
        sensors: Sequence[str],
        size: tuple[int, int],
        *,
        neighbors: Mapping[str, Sequence[str]] | None = None,
        relative: Mapping[tuple[str, str], Float[Tensor, "3 4"]] | None = None,
        options: PoolOptions | None = None,
        preview: bool = True,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        graph: bool | None = None,
    ) -> None:
        """Start with an empty memory; see :class:`RigStream` and :class:`FixedStep`.

        Raises:
            InputError: a camera may recall all of its past, which has no fixed size.
        """
        super().__init__(model, sensors, neighbors=neighbors, relative=relative, options=options)
        own = self.options.own_images
        if own is None:
            raise InputError("A stream that recalls its whole past has no step of fixed size.", "Limit own_images.")
        rows, columns = model.encoder.patch_embed.grid(*size)
        images = own + self.options.neighbor_images * max(len(near) for near in self.neighbors.values())
        self.fixed = FixedStep(
            model,
            len(self.sensors),
            size,
            images * rows * columns,
            self.options.memory,
            preview=preview,
            dtype=dtype,
            compile=compile,
            graph=graph,
        )

    @torch.inference_mode()
    def step(
        self, images: Mapping[str, Float[Tensor, "3 height width"]], timestamp: float, preview: bool = True
    ) -> dict[str, CameraStep]:
        """As :meth:`RigStream.step`, which also takes over where a camera is missing or has another size."""
        fits = all(tuple(image.shape[-2:]) == self.fixed.size for image in images.values())
        if not fits or set(images) != set(self.sensors) or preview != self.fixed.preview:
            return super().step(images, timestamp, preview)
        for camera in self._cameras.values():
            self._restart_if_due(camera)
        chosen = self._feed(images)
        outputs = self.fixed()
        if self.fixed._graphed:  # its results are overwritten by the next step
            outputs = StepOutputs(*(_copied(part) for part in outputs))
        for row, sources in chosen.items():
            self._note(sources, outputs.received[row])
        return {name: self._take(row, name, outputs, timestamp) for row, name in enumerate(self.sensors)}

    def _feed(self, images: Mapping[str, Tensor]) -> dict[int, list[tuple[str, Tensor]]]:
        """Fill the buffers; for every camera that reads, what it reads."""
        inputs, chosen = self.fixed.inputs, {}
        inputs.images.copy_(torch.stack([images[name] for name in self.sensors]))
        inputs.present.zero_()
        inputs.present[:, 0] = True  # a softmax needs something; what is read then is not used
        has_last, reads = [], []
        for row, name in enumerate(self.sensors):
            camera = self._cameras[name]
            has_last.append(camera.encoded is not None)
            sources = [] if camera.query is None else self._sources(name)
            reads.append(bool(sources))
            if camera.encoded is not None:
                inputs.last[row] = camera.encoded
            if sources:
                keys, values = self._tokens(name, sources)
                inputs.keys[row, : len(keys)], inputs.values[row, : len(keys)] = keys, values
                inputs.present[row, : len(keys)] = True
                inputs.query[row] = self._query(name)
                chosen[row] = sources
        for buffer, flags in ((inputs.has_last, has_last), (inputs.reads, reads)):
            buffer.copy_(torch.tensor(flags).view(-1, 1, 1))
        return chosen

    def _take(self, row: int, name: str, outputs: StepOutputs, timestamp: float) -> CameraStep:
        """Store what a camera's last image became, and carry on with the new one."""
        camera, step = self._cameras[name], CameraStep(None, None, None)
        first = camera.encoded is None
        if not first:
            maps = Pointmaps(outputs.final.points[row], outputs.final.confidence[row])
            done = CameraMaps(camera.timestamp, camera.fragment, camera.images == 1, maps)
            report = camera.memory.write(outputs.key[row : row + 1], outputs.value[row : row + 1])
            step = CameraStep(None, done, report)
        if outputs.preview is not None:
            maps = Pointmaps(outputs.preview.points[row], outputs.preview.confidence[row])
            step = replace(step, preview=CameraMaps(timestamp, camera.fragment, first, maps))
        self._carry(camera, outputs.query[row])
        camera.encoded, camera.timestamp = outputs.encoded[row], timestamp
        camera.images += 1
        return step


def _copied(part: Any) -> Any:
    if isinstance(part, Pointmaps):
        return Pointmaps(part.points.clone(), part.confidence.clone())
    return None if part is None else part.clone()
