"""Saving and loading networks in our own format: a folder of JSON and safetensors, written whole or not at all.

There is no pickle, and no default for a missing tensor: what is loaded is exactly what the configuration describes.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from worldline.errors import OutputError, WeightsError
from worldline.files import readable, write_json
from worldline.models.memory import MemoryOptions
from worldline.weights.files import replacing_folder, sha256_of
from worldline.weights.folder import (
    AGAIN,
    CARD,
    CONFIG,
    FAMILIES,
    FORMAT,
    INDEX,
    VERSION,
    WEIGHTS,
    is_model_folder,
    read_info,
    weight_files,
)
from worldline.weights.model_info import ModelInfo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from worldline.models.config import NetworkConfig

log = logging.getLogger("worldline.weights")

SHARD_BYTES = 16 * 2**20
_SAFETENSORS_ROOM = 64 * 1024  # header of a shard: names, shapes, offsets


def family_of(model: nn.Module) -> str:
    """Name of the family that a network belongs to."""
    for name, family in FAMILIES.items():
        if type(model).__name__ == family.network:
            return name
    raise WeightsError(
        f"A {type(model).__name__} is not a network of a known family.", f"Known families: {', '.join(FAMILIES)}."
    )


def save_model(
    model: nn.Module,
    directory: str | Path,
    *,
    card: dict[str, Any],
    dtype: torch.dtype = torch.float16,
    shard_bytes: int | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a network as a folder in our format, atomically.

    Args:
        model: a network of a known family with a ``config`` attribute.
        card: what people should know: ``name``, ``license``, ``domain``, ``image_size``, ``citation`` and anything else
            that JSON can hold.
        dtype: of the stored floating-point tensors; integers stay as they are.
        shard_bytes: write several files of at most this size (a single larger tensor has a file of its own); None
            writes one file. :data:`SHARD_BYTES` suits version control.
        overwrite: replace a folder that holds an earlier model; anything else is never replaced.

    Raises:
        WeightsError: a tensor is not finite, also after the conversion to ``dtype``.
        OutputError: something else is at ``directory``, no permission, full disk.
    """
    directory = Path(directory)
    _check_destination(directory, overwrite)
    family = family_of(model)
    sizes: NetworkConfig = model.config  # type: ignore[assignment]
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    config = {
        "format": FORMAT,
        "version": VERSION,
        "family": family,
        "config": sizes.to_dict(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(dtype).removeprefix("torch."),
    }
    if isinstance(memory := getattr(model, "memory", None), MemoryOptions):
        config["memory"] = asdict(memory)
    with replacing_folder(directory) as folder:
        names = _write_tensors(tensors, folder, shard_bytes)
        config["files"] = {name: _digest(folder / name) for name in names}
        write_json(folder / CARD, card)
        write_json(folder / CONFIG, config)
    return directory


def _digest(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


def _check_destination(directory: Path, overwrite: bool) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not directory.is_dir() or not is_model_folder(directory):
        raise OutputError(f"{directory} exists and is not a model folder of ours.", "Choose another folder.")
    if not overwrite:
        raise OutputError(
            f"{directory} already holds a model.", "Choose another folder, or say --force (overwrite=True)."
        )


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    stored = tensor.to(dtype) if tensor.is_floating_point() else tensor.clone()
    if not _is_finite(stored):
        raise WeightsError(
            f"The tensor {name} is not finite{'' if not _is_finite(tensor) else f' in {dtype}'}.",
            "Do not use these weights." if not _is_finite(tensor) else "Save with dtype=torch.float32.",
        )
    return stored


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=torch.float64)):
        return True
    return bool(torch.isfinite(tensor).all())


def _write_tensors(tensors: dict[str, Tensor], folder: Path, shard_bytes: int | None) -> list[str]:
    from safetensors.torch import save_file

    def save(part: dict[str, Tensor], name: str) -> None:
        save_file(part, folder / name, metadata={"format": FORMAT})
        readable(folder / name)

    if shard_bytes is None:
        save(tensors, WEIGHTS)
        return [WEIGHTS]
    shards = _split(tensors, max(1, shard_bytes - _SAFETENSORS_ROOM))
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for name, keys in zip(names, shards, strict=True):
        save({key: tensors[key] for key in keys}, name)
    places = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
    return names


def _split(tensors: dict[str, Tensor], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for key, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += tensor.nbytes
    return shards


def load_model(directory: str | Path, device: str = "cpu") -> tuple[nn.Module, ModelInfo]:
    """Read a model folder: the network in float32 and evaluation mode on ``device``, and what is known about it.

    Raises:
        WeightsError: the folder is not ours, incomplete or changed; tensors are missing, superfluous, of the wrong
            shape or not finite. The sentence names them.
    """
    directory = Path(directory)
    info = read_info(directory, digests=True)
    model = FAMILIES[info.family].on_meta(info.config, info.memory)
    tensors = _read_tensors(directory, device)
    check_tensors({key: tensor.shape for key, tensor in model.state_dict().items()}, tensors, str(directory))
    model.load_state_dict(tensors, assign=True)
    _announce(info)
    return model.eval().to(device), info  # constants that are computed and not stored are still elsewhere


def _read_tensors(directory: Path, device: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in weight_files(directory):
        try:
            part = load_file(path, device=device)
        except SafetensorError as error:
            raise WeightsError(f"{path} is damaged or cut short ({error}).", AGAIN) from error
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error}.", "Check the permissions of the file.") from error
        tensors |= {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in part.items()}
    return tensors


def check_tensors(expected: dict[str, torch.Size], tensors: dict[str, Tensor], where: str) -> None:
    """Raise WeightsError unless exactly the expected tensors are there, with their shapes and finite values."""
    if missing := [key for key in expected if key not in tensors]:
        raise WeightsError(f"{where} lacks {_some(missing)}.", AGAIN)
    if extra := [key for key in tensors if key not in expected]:
        raise WeightsError(f"{where} has tensors that this network does not know: {_some(extra)}.", AGAIN)
    wrong = [
        f"{key} is {list(tensor.shape)} instead of {list(expected[key])}"
        for key, tensor in tensors.items()
        if tensor.shape != expected[key]
    ]
    if wrong:
        raise WeightsError(f"{where} has tensors of the wrong shape: {_some(wrong)}.", AGAIN)
    if broken := [key for key, tensor in tensors.items() if not _is_finite(tensor)]:
        raise WeightsError(f"{where} has values that are not finite (NaN or infinite) in {_some(broken)}.", AGAIN)


def _some(names: list[str], limit: int = 4) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


_announced: set[str] = set()


def _announce(info: ModelInfo) -> None:
    """Log the terms of the weights once per process."""
    if info.sha256 not in _announced:
        _announced.add(info.sha256)
        log.log(logging.INFO if info.is_permissive else logging.WARNING, info.notice)
