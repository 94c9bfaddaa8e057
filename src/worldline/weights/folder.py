"""A model folder seen from outside: what it says about itself and whether its files are those it was written with.

``config.json`` holds everything that the network needs (family, sizes, digests of the tensor files), ``card.json``
everything that people need (licence, domain, origin). Nothing here reads a tensor.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.errors import InputError, WeightsError
from worldline.models.config import NetworkConfig
from worldline.weights.files import combined_sha256, read_json, sha256_of
from worldline.weights.model_info import ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from worldline.models.memory import MemoryOptions

FORMAT = "worldline-model"
VERSION = 1
CONFIG, CARD, WEIGHTS, INDEX = "config.json", "card.json", "model.safetensors", "model.safetensors.index.json"
AGAIN = "Get, convert or copy the model again."


@dataclass(frozen=True)
class Family:
    """The network class of a family and the dataclass of its sizes."""

    module: str
    network: str
    config: str

    def config_class(self) -> type[NetworkConfig]:
        """The dataclass of the sizes."""
        return getattr(importlib.import_module("worldline.models.config"), self.config)

    def on_meta(self, config: NetworkConfig, memory: dict[str, Any] | None = None) -> nn.Module:
        """The network without memory for its weights: shapes only, no random start."""
        import torch

        network_class = getattr(importlib.import_module(self.module), self.network)
        options = {"memory": _memory_options(memory)} if memory else {}
        try:
            with torch.device("meta"):
                return network_class(config, **options)
        except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise WeightsError(f"No network can have the configured sizes ({error}).", AGAIN) from error


def _memory_options(values: dict[str, Any]) -> MemoryOptions:
    from worldline.models.memory import MemoryOptions

    try:
        return MemoryOptions(**values)
    except (TypeError, InputError) as error:
        raise WeightsError(f"No memory can have the stored options ({error}).", AGAIN) from error


FAMILIES = {
    "dust3r": Family("worldline.models.dust3r", "Dust3r", "Dust3rConfig"),
    "mvdust3r": Family("worldline.models.mvdust3r", "MVDust3r", "MVDust3rConfig"),
    "driv3r": Family("worldline.models.driv3r", "Driv3r", "Driv3rConfig"),
    "d4rt": Family("worldline.models.d4rt", "D4rt", "D4rtConfig"),
}


def count_parameters(family: str, config: NetworkConfig) -> int:
    """Number of learned values of a network of these sizes, without building it."""
    return sum(parameter.numel() for parameter in FAMILIES[family].on_meta(config).parameters())


def is_model_folder(directory: Path) -> bool:
    """Whether a folder is in our format."""
    try:
        return json.loads((directory / CONFIG).read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def read_info(directory: str | Path, *, digests: bool = False) -> ModelInfo:
    """What a model folder says about itself, without reading the tensors (except for their digest, if asked)."""
    directory = Path(directory)
    config = read_json(directory / CONFIG)
    if config.get("format") != FORMAT:
        raise WeightsError(
            f"{directory} is not a model folder of ours: its {CONFIG} has no format '{FORMAT}'.",
            "Convert it first: worldline models convert FILE -o DIR",
        )
    version = config.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise WeightsError(
            f"{directory} has version {version!r} of the model format; this worldline reads up to {VERSION}.",
            "Update worldline: pip install -U worldline",
        )
    family = FAMILIES.get(str(config.get("family")))
    if family is None or not isinstance(config.get("config"), dict):
        raise WeightsError(
            f"{directory} names the unknown model family {config.get('family')!r}.",
            f"Known families: {', '.join(FAMILIES)}. Perhaps a newer worldline is needed.",
        )
    sizes = _parse_sizes(family, config["config"], directory)
    card = read_json(directory / CARD) if (directory / CARD).exists() else {}
    parameters = config.get("parameters")
    memory = config.get("memory") or {}
    if not isinstance(memory, dict) or (memory and config["family"] != "driv3r"):
        raise WeightsError(f"{directory / CONFIG} has a wrong value: memory = {str(memory)[:60]}.", AGAIN)
    info = ModelInfo(
        id=str(card.get("name") or directory.resolve().name),
        family=str(config["family"]),
        config=sizes,
        parameters=parameters if isinstance(parameters, int) else count_parameters(config["family"], sizes),
        license=str(card.get("license") or ""),
        domain=str(card.get("domain") or ""),
        image_size=int(card.get("image_size") or 224),
        title=str(card.get("title") or ""),
        citation=str(card.get("citation") or ""),
        memory=memory,
        directory=directory,
        card=card,
    )
    return replace(info, sha256=check_files(directory)) if digests else info


def _parse_sizes(family: Family, values: dict[str, Any], directory: Path) -> NetworkConfig:
    try:
        return family.config_class().from_dict(values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{directory / CONFIG} has a wrong value: {error}.", AGAIN) from error


def weight_files(directory: Path) -> list[Path]:
    """The tensor files of a model folder, checked to be there."""
    if (directory / INDEX).exists():
        places = read_json(directory / INDEX).get("weight_map")
        if not isinstance(places, dict) or any(Path(str(name)).name != name for name in places.values()):
            raise WeightsError(f"{directory / INDEX} is damaged.", AGAIN)
        names = sorted(set(places.values()))
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise WeightsError(f"The model in {directory} is incomplete: {', '.join(missing)} missing.", AGAIN)
    return [directory / name for name in names]


def check_files(directory: Path) -> str:
    """Digest of the weights of a folder, after comparison with the digests in its config.json (where it has them)."""
    digests = {path.name: sha256_of(path) for path in weight_files(directory)}
    recorded = read_json(directory / CONFIG).get("files") or {}
    for name, digest in digests.items():
        expected = recorded.get(name, {}).get("sha256", digest)
        if digest != expected:
            raise WeightsError(
                f"{directory / name} is damaged or was changed: its sha256 is {digest[:12]}…, not {expected[:12]}….",
                AGAIN,
            )
    return combined_sha256(digests)
