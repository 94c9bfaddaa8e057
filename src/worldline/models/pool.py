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
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r
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

    @torch.inference_mode()
    def step(
        self, images: Mapping[str, Float[Tensor, "3 height width"]], timestamp: float, preview: bool = True
    ) -> dict[str, CameraStep]:
        """Process the images of one moment, of all cameras or of some.

        A camera that gives no image waits: its next one is paired with the last that it gave.

        Args:
            images: in [-1, 1], all of one size.
            timestamp: seconds.
            preview: also give the target head's maps of these images; without it a step is cheaper by one head.

        Raises:
            InputError: unknown sensors, or images of several sizes.
        """
        names = [name for name in self.sensors if name in images]
        self._check(images, names)
        if not names:
            return {}
        batch = torch.stack([images[name] for name in names]).to(next(self.model.parameters()).device)
        encoded = self.model.encode(batch)
        old = [name for name in names if self._cameras[name].encoded is not None]
        for name in old:
            self._restart_if_due(self._cameras[name])
        active = names if preview else old
        result: dict[str, CameraStep] = {name: CameraStep(None, None, None) for name in names}
        if active:
            rows = torch.tensor([names.index(name) for name in active], device=batch.device)
            result |= self._advance(active, batch[rows], encoded[rows], timestamp, preview)
        for row, name in enumerate(names):
            camera = self._cameras[name]
            camera.encoded, camera.timestamp = encoded[row], timestamp
            camera.images += 1
        return result

    def _advance(
        self, names: list[str], images: Tensor, encoded: Tensor, timestamp: float, preview: bool
    ) -> dict[str, CameraStep]:
        """Decode all pairs as one batch. A camera without a past looks at its first image twice."""
        model, cameras = self.model, [self._cameras[name] for name in names]
        own = torch.stack([new if camera.encoded is None else camera.encoded for camera, new in zip(cameras, encoded)])  # noqa: B905
        pair = model.decode(self._recall(names, own), own, encoded, (images.shape[-2], images.shape[-1]))
        old = torch.tensor([row for row, camera in enumerate(cameras) if camera.encoded is not None], dtype=torch.long)
        ahead = model.read_out(model.source_head, pair.target_tokens, images) if preview else None
        steps = {name: CameraStep(None, None, None) for name in names}
        if len(old):
            final = model.read_out(model.reference_head, [layer[old] for layer in pair.reference_tokens], images[old])
            values = model.remember(final.points, pair.key[old])
        for place, row in enumerate(old.tolist()):
            camera = cameras[row]
            first = camera.images == 1
            maps = Pointmaps(final.points[place], final.confidence[place])
            report = camera.memory.write(pair.key[row : row + 1].float(), values[place : place + 1].float())
            done = CameraMaps(camera.timestamp, camera.fragment, first, maps)
            steps[names[row]] = CameraStep(None, done, report)
        for row, (name, camera) in enumerate(zip(names, cameras, strict=True)):
            camera.query = pair.query[row] if camera.encoded is not None else None
            if ahead is not None:
                maps = Pointmaps(ahead.points[row], ahead.confidence[row])
                seen = CameraMaps(timestamp, camera.fragment, camera.encoded is None, maps)
                steps[name] = replace(steps[name], preview=seen)
        return steps

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
        reader = self.model.reader
        numbers, descriptors, row = image_descriptors(reader.key_norm(memory.keys[0]), memory.image[0])
        if len(numbers) <= count:
            return everything
        if self.options.selection == "recent":
            score = numbers.to(query.dtype)
        else:
            score = normalize(descriptors, dim=-1) @ normalize(reader.query_norm(query.float()).mean(0), dim=0)
        if keep_first and int(numbers[0]) == 0:
            score = score.index_fill(0, row.new_zeros(1), torch.inf)
        kept = torch.zeros(len(numbers), dtype=torch.bool, device=query.device)
        kept[score.topk(count).indices] = True
        return everything[kept[row]]

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
        if self.options.restart is not None and camera.images >= self.options.restart:
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

    def _check(self, images: Mapping[str, Tensor], names: list[str]) -> None:
        unknown = sorted(set(images) - set(self.sensors))
        if unknown:
            raise InputError(f"The rig has no sensor {unknown[0]!r}.", f"It has: {', '.join(self.sensors)}.")
        sizes = {tuple(images[name].shape) for name in names}
        if len(sizes) > 1:
            raise InputError(f"The images of a step have the sizes {sorted(sizes)}.", "Bring them to one size.")

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
