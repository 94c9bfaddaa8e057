"""The temporal-spatial memory pool of Driv3R (arXiv 2412.06777, section 3.2): a rig of cameras, step by step.

Every camera has a store of keys and values with the times at which they were written. At a step a camera recalls from
the most similar images of its own past and of its neighbours' pasts; only these enter attention, so a step costs the
same however long the stream is. All cameras go through encoder, decoders and heads as one batch.

What the paper leaves open is an option here; see docs/models/driv3r.md. With one camera, all images and no neighbours
the result is that of :meth:`worldline.models.driv3r.Driv3r.forward`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r, PairResult
from worldline.models.layers.trunk import full_precision
from worldline.models.memory import MemoryOptions, StepReport, TokenMemory, image_descriptors
from worldline.types import Pointmaps


@dataclass(frozen=True)
class PoolOptions:
    """How a rig remembers."""

    memory: MemoryOptions = field(default_factory=MemoryOptions)  # of every camera
    own_images: int | None = 5  # images of its own past that a camera recalls (paper: 5); None: all; 0: none
    neighbor_images: int = 2  # images of each neighbour's past that it recalls; 0: temporal memory only
    selection: Literal["similar", "recent"] = "similar"  # which ones: largest cosine with the query, or the latest
    restart: int | None = 10  # images after which a camera starts anew from its last one; None: never

    def __post_init__(self) -> None:
        if (self.own_images or 0) < 0 or self.neighbor_images < 0:
            raise InputError("A camera cannot recall fewer than no images.", "Give 0 or more.")
        if self.own_images == 0 and self.neighbor_images == 0:
            raise InputError("With no images to recall there is no memory.", "Allow own or neighbours' images.")
        if self.selection not in ("similar", "recent"):
            raise InputError(f"Unknown selection {self.selection!r}.", "Choose similar or recent.")
        if self.restart is not None and self.restart < 2:
            raise InputError(f"A stream cannot restart every {self.restart} images.", "Give 2 or more, or None.")

    @classmethod
    def official(cls, memory: MemoryOptions | None = None) -> PoolOptions:
        """Every camera on its own, as the published code runs it."""
        return cls(memory or MemoryOptions(official=True), own_images=None, neighbor_images=0, restart=None)


@dataclass(frozen=True)
class CameraMaps:
    """Pointmap of one image, in the frame of the camera at which its fragment starts, in that fragment's unit."""

    timestamp: float  # seconds, of the image
    fragment: int  # number of the fragment; grows when the camera starts anew
    anchor: bool  # the image is the fragment's first: its points are in its own camera
    maps: Pointmaps  # points [H, W, 3], confidence [H, W]


@dataclass(frozen=True)
class CameraStep:
    """What one camera got from a step."""

    preview: CameraMaps | None  # of the image just given (target head); None unless asked for
    completed: CameraMaps | None  # final maps of this camera's image before (reference head); None at the first one
    memory: StepReport | None  # what the memory did with the completed image


@dataclass
class _Camera:
    """What a camera carries from step to step."""

    memory: TokenMemory
    encoded: Float[Tensor, "patch channel"] | None = None  # of its last image
    query: Float[Tensor, "patch channel"] | None = None
    timestamp: float = 0.0
    fragment: int = 0
    images: int = 0  # of the fragment, up to the last image


class _Described(NamedTuple):
    """The images that a memory holds tokens of."""

    keys: Tensor  # the memory's keys that this is about
    numbers: Int[Tensor, "image"]
    units: Float[Tensor, "image channel"]  # mean key of each, of length 1
    row: Int[Tensor, "token"]  # of every token among the images
    has_first: bool  # the first image, which defines the frame, is among them


class _Pairs(NamedTuple):
    """Images of one size that go through the network as one batch."""

    names: list[str]  # all cameras of the batch
    active: list[str]  # those that are decoded
    images: Tensor  # of the active ones: the images just given
    encoded: Tensor  # encoder tokens of all
    target: Tensor  # and of the active ones
    own: Tensor  # encoder tokens of the active ones' last images
    reference: Tensor  # the same after the read


class RigStream:
    """A network at work on a rig."""

    def __init__(
        self,
        model: Driv3r,
        sensors: Sequence[str],
        *,
        neighbors: Mapping[str, Sequence[str]] | None = None,
        relative: Mapping[tuple[str, str], Float[Tensor, "3 4"]] | None = None,
        options: PoolOptions | None = None,
    ) -> None:
        """Start with an empty memory.

        Args:
            model: in eval mode.
            sensors: names of the cameras.
            neighbors: for every camera those whose past it reads as well.
            relative: (reader, neighbour) -> pose of the neighbour's camera in the reader's, for networks that use it.
            options: sizes and strategies.
        """
        self.model, self.options = model, options or PoolOptions(memory=model.memory)
        self.sensors = tuple(sensors)
        self.neighbors = {name: tuple((neighbors or {}).get(name, ())) for name in self.sensors}
        self.relative = dict(relative or {})
        self._cameras = {name: _Camera(self._new_memory()) for name in self.sensors}
        self._described: dict[str, _Described] = {}  # of every camera's memory as it is now

    @torch.inference_mode()
    def step(
        self, images: Mapping[str, Float[Tensor, "3 height width"]], timestamp: float, preview: bool = True
    ) -> dict[str, CameraStep]:
        """Process the images of one moment, of all cameras or of some.

        A camera that gives no image waits: its next one is paired with the last that it gave.

        Args:
            images: in [-1, 1]; cameras whose images have the same size share a batch.
            timestamp: seconds.
            preview: also give the target head's maps of these images; without it a step is cheaper by one head.

        Raises:
            InputError: unknown sensors.
        """
        unknown = sorted(set(images) - set(self.sensors))
        if unknown:
            raise InputError(f"The rig has no sensor {unknown[0]!r}.", f"It has: {', '.join(self.sensors)}.")
        names = [name for name in self.sensors if name in images]
        for name in names:
            self._restart_if_due(self._cameras[name])
        device = next(self.model.parameters()).device
        groups: dict[tuple[int, ...], list[str]] = {}
        for name in names:
            groups.setdefault(tuple(images[name].shape), []).append(name)
        pending = []
        for group in groups.values():  # all reads come before the first write
            batch = torch.stack([images[name] for name in group]).to(device)
            pending.append(self._pairs(group, batch, self.model.encode(batch), preview))
        result: dict[str, CameraStep] = {}
        for pairs in pending:
            result |= self._advance(pairs, timestamp, preview)
        return {name: result[name] for name in names}

    def _pairs(self, names: list[str], images: Tensor, encoded: Tensor, preview: bool) -> _Pairs:
        """What is decoded together. A camera without a past looks at its first image twice, for the preview only."""
        known = [self._cameras[name].encoded for name in names]
        rows = [row for row, last in enumerate(known) if preview or last is not None]
        own = [last if last is not None else new for last, new in zip(known, encoded, strict=True)]
        active = [names[row] for row in rows]
        tokens = torch.stack([own[row] for row in rows]) if rows else encoded[:0]
        return _Pairs(names, active, images[rows], encoded, encoded[rows], tokens, self._recall(active, tokens))

    def _advance(self, pairs: _Pairs, timestamp: float, preview: bool) -> dict[str, CameraStep]:
        """Decode and read out the pairs, and store what was completed."""
        model, steps = self.model, {name: CameraStep(None, None, None) for name in pairs.names}
        if pairs.active:
            size = (pairs.images.shape[-2], pairs.images.shape[-1])
            decoded = model.decode(pairs.reference, pairs.own, pairs.target, size)
            steps |= self._complete(pairs, decoded)
            if preview:
                ahead = self._read_out(model.source_head, decoded.target_tokens, pairs.images)
                for row, name in enumerate(pairs.active):
                    camera = self._cameras[name]
                    maps = Pointmaps(ahead.points[row], ahead.confidence[row])
                    seen = CameraMaps(timestamp, camera.fragment, camera.encoded is None, maps)
                    steps[name] = replace(steps[name], preview=seen)
            for row, name in enumerate(pairs.active):
                camera = self._cameras[name]
                self._carry(camera, decoded.query[row])
        for name, tokens in zip(pairs.names, pairs.encoded, strict=True):
            camera = self._cameras[name]
            camera.encoded, camera.timestamp = tokens, timestamp
            camera.images += 1
        return steps

    def _carry(self, camera: _Camera, query: Float[Tensor, "patch channel"]) -> None:
        """The query of the image just decoded; one that is not finite ends the fragment, and that image begins anew."""
        if camera.encoded is None:
            camera.query = None
        elif bool(query.isfinite().all()):
            camera.query = query
        else:
            self._forget(camera)
            camera.images = 0  # counted when the image becomes the camera's last

    def _complete(self, pairs: _Pairs, decoded: PairResult) -> dict[str, CameraStep]:
        """Final maps of the cameras' last images, and the memory's entries of them."""
        model = self.model
        rows = [row for row, name in enumerate(pairs.active) if self._cameras[name].encoded is not None]
        if not rows:
            return {}
        tokens = [layer[rows] for layer in decoded.reference_tokens]
        final = self._read_out(model.reference_head, tokens, pairs.images[rows])
        keys = decoded.key[rows].float()
        values = model.remember(final.points, decoded.key[rows]).float()
        steps = {}
        for place, row in enumerate(rows):
            camera = self._cameras[pairs.active[row]]
            maps = Pointmaps(final.points[place], final.confidence[place])
            done = CameraMaps(camera.timestamp, camera.fragment, camera.images == 1, maps)
            report = camera.memory.write(keys[place : place + 1], values[place : place + 1])
            steps[pairs.active[row]] = CameraStep(None, done, report)
        return steps

    def _read_out(self, head: nn.Module, tokens: list[Tensor], images: Tensor) -> Pointmaps:
        """A head on all images at once, or on a processor one by one: its maps at full resolution are what is large."""
        if images.device.type != "cpu" or self.model.config.head == "linear":
            return self.model.read_out(head, tokens, images)
        each = [slice(row, row + 1) for row in range(len(images))]
        maps = [self.model.read_out(head, [layer[row] for layer in tokens], images[row]) for row in each]
        return Pointmaps(torch.cat([one.points for one in maps]), torch.cat([one.confidence for one in maps]))

    def _recall(self, names: list[str], encoded: Tensor) -> Tensor:
        """References after their reads; cameras that remember nothing keep their encoder tokens."""
        chosen = {name: self._sources(name) for name in names if self._cameras[name].query is not None}
        readers = [name for name in names if chosen.get(name)]
        if not readers:
            return encoded
        parts = [self._tokens(name, chosen[name]) for name in readers]
        longest = max(len(keys) for keys, _ in parts)
        shape = (len(readers), longest, encoded.shape[-1])
        keys, values = encoded.new_zeros(shape, dtype=torch.float32), encoded.new_zeros(shape, dtype=torch.float32)
        present = torch.zeros(shape[:2], dtype=torch.bool, device=encoded.device)
        for row, (key, value) in enumerate(parts):
            keys[row, : len(key)], values[row, : len(key)], present[row, : len(key)] = key, value, True
        query = torch.stack([self._query(name) for name in readers]).float()
        memory = self.options.memory
        with full_precision(encoded.device):
            fused, received = self.model.reader(
                query, keys, values, cut=memory.attention_cut, present=present, keep_nan=memory.official
            )
        result = encoded.clone()
        for row, name in enumerate(readers):
            result[names.index(name)] = fused[row].to(result.dtype)
            self._note(chosen[name], received[row])
        return result

    def _sources(self, name: str) -> list[tuple[str, Int[Tensor, "token"]]]:
        """(camera, tokens) that a camera reads: of itself, then of its neighbours."""
        query = self._query(name)
        found = [(name, self._select(name, query, self.options.own_images, keep_first=True))]
        if self.options.neighbor_images:
            for neighbor in self.neighbors[name]:
                found.append((neighbor, self._select(neighbor, query, self.options.neighbor_images)))
        return [(source, tokens) for source, tokens in found if len(tokens)]

    def _select(self, name: str, query: Tensor, count: int | None, keep_first: bool = False) -> Int[Tensor, "token"]:
        """Tokens of the images that are recalled. The first image, which defines the frame, always is."""
        memory = self._cameras[name].memory
        everything = torch.arange(len(memory), device=query.device)
        if count is None or not len(memory) or count == 0:
            return everything[: None if count is None else 0]
        described = self._describe(name)
        if len(described.numbers) <= count:
            return everything
        if self.options.selection == "recent":
            score = described.numbers.to(query.dtype)
        else:
            score = described.units @ normalize(self.model.reader.query_norm(query.float()).mean(0), dim=0)
        if keep_first and described.has_first:
            score = score.index_fill(0, described.row.new_zeros(1), torch.inf)
        kept = torch.zeros(len(described.numbers), dtype=torch.bool, device=query.device)
        kept[score.topk(count).indices] = True
        return everything[kept[described.row]]

    def _describe(self, name: str) -> _Described:
        """The images in a camera's memory; found once per write, because the neighbours ask as well."""
        memory, known = self._cameras[name].memory, self._described.get(name)
        if known is None or known.keys is not memory.keys:  # a memory that changes gets new tensors
            keys = self.model.reader.key_norm(memory.keys[0])
            numbers, descriptors, row = image_descriptors(keys, memory.image[0])
            first = int(numbers[0]) == 0
            known = _Described(memory.keys, numbers, normalize(descriptors, dim=-1), row, first)
            self._described[name] = known
        return known

    def _tokens(self, name: str, sources: list[tuple[str, Int[Tensor, "token"]]]) -> tuple[Tensor, Tensor]:
        keys, values = [], []
        for source, tokens in sources:
            memory = self._cameras[source].memory
            key, value = memory.keys[0, tokens], memory.values[0, tokens]
            relative = self.relative.get((name, source))
            if source != name and relative is not None and self.model.reader.relation is not None:
                code = self.model.reader.relate(relative.to(key))
                key, value = key + code, value + code
            keys.append(key)
            values.append(value)
        return torch.cat(keys), torch.cat(values)

    def _note(self, sources: list[tuple[str, Int[Tensor, "token"]]], received: Float[Tensor, "token"]) -> None:
        """Attention counts for the tokens that gave it, whoever read them."""
        start = 0
        for source, tokens in sources:
            memory = self._cameras[source].memory
            memory.attention = memory.attention.index_add(1, tokens, received[None, start : start + len(tokens)])
            start += len(tokens)

    def _query(self, name: str) -> Tensor:
        query = self._cameras[name].query
        assert query is not None
        return query

    def _restart_if_due(self, camera: _Camera) -> None:
        """Forget, and let the camera's last image be the first of a new fragment."""
        if self.options.restart is not None and camera.encoded is not None and camera.images >= self.options.restart:
            self._forget(camera)

    def _forget(self, camera: _Camera) -> None:
        camera.memory, camera.query = self._new_memory(), None
        camera.fragment, camera.images = camera.fragment + 1, 1

    def restart(self, sensor: str) -> None:
        """Begin a new fragment of a camera with its next image, as after a long gap or a change of its optics."""
        self._forget(self._cameras[sensor])
        self._cameras[sensor].encoded, self._cameras[sensor].images = None, 0

    def _new_memory(self) -> TokenMemory:
        weight = self.model.reader.key_norm.weight
        return TokenMemory.empty(self.options.memory, 1, self.model.config.encoder_dim, weight.detach())

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as flat named tensors."""
        saved: dict[str, Tensor] = {}
        for name, camera in self._cameras.items():
            memory = camera.memory
            for label in ("keys", "values", "attention", "count", "image", "cell"):
                saved[f"{name}/{label}"] = getattr(memory, label).clone()
            numbers = (memory.stored, memory.working, memory.long, camera.fragment, camera.images)
            saved[f"{name}/numbers"] = torch.tensor(numbers)
            saved[f"{name}/timestamp"] = torch.tensor([camera.timestamp], dtype=torch.float64)
            for label in ("encoded", "query"):
                if (tensor := getattr(camera, label)) is not None:
                    saved[f"{name}/{label}"] = tensor.clone()
        return saved

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from a :meth:`state` of the same network, sensors and options.

        Raises:
            InputError: the state is of another rig.
        """
        if {key.rpartition("/")[0] for key in saved} != set(self.sensors):
            raise InputError("The saved state belongs to another rig.", f"This one has: {', '.join(self.sensors)}.")
        device = next(self.model.parameters()).device
        for name in self.sensors:
            part = {key.rpartition("/")[2]: value for key, value in saved.items() if key.rpartition("/")[0] == name}
            stored, working, long, fragment, images = (int(value) for value in part["numbers"])
            tensors = {
                label: part[label].to(device) for label in ("keys", "values", "attention", "count", "image", "cell")
            }
            memory = TokenMemory(self.options.memory, **tensors, stored=stored, working=working, long=long)
            camera = _Camera(memory, timestamp=float(part["timestamp"]), fragment=fragment, images=images)
            camera.encoded, camera.query = (
                part[label].to(device) if label in part else None for label in ("encoded", "query")
            )
            self._cameras[name] = camera
