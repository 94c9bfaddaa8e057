"""Published checkpoint -> a folder in our format: once, safely, in full precision."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from worldline.errors import OutputError, WeightsError
from worldline.models.config import D4rtConfig
from worldline.weights.files import sha256_of
from worldline.weights.folder import is_model_folder
from worldline.weights.model_info import ModelInfo, Source
from worldline.weights.published import PublishedCheckpoint, read_published
from worldline.weights.registry import MODELS, known
from worldline.weights.storage import save_model

UNKNOWN_TERMS = "unknown (published weights of DUSt3R, MV-DUSt3R, Spann3R and Driv3R are for non-commercial use)"
UNKNOWN_TERMS_D4RT = "unknown (see `worldline models info opend4rt-48` for what is known of the published files)"

_VERSION = re.compile(r"[_-]v\d+(\.\d+)*$")  # versions of a file that are downloaded by hand


def convert(
    path: str | Path,
    output_dir: str | Path,
    *,
    overwrite: bool = False,
    ignore_options: bool = False,
    model_id: str | None = None,
    origin: dict[str, Any] | None = None,
    compat: bool = False,
    check_reported: bool = True,
) -> Path:
    """Convert a published ``.pth``, ``.ckpt`` or ``.safetensors`` file into a folder of ours (float32).

    Args:
        path: the checkpoint, or a folder with the hub's ``model.safetensors`` and ``config.json``. The ``model.yaml``
            of Open-D4RT is read if it lies beside its checkpoint.
        output_dir: where to write; an earlier model there is kept unless ``overwrite``.
        overwrite: replace an earlier model of ours in ``output_dir``.
        ignore_options: take all sizes from the tensor shapes, 64 channels per attention head.
        model_id: the known model that this is, for its licence and domain; None recognises published file names.
        origin: further entries about the source for the card, e.g. repository and revision.
        compat: Open-D4RT only: keep behaviour that we correct, see :func:`.official_d4rt.open_d4rt`.
        check_reported: with a ``model_id`` whose file has a known digest, refuse another file.

    Raises:
        WeightsError: the file is no checkpoint (it says what it is), is refused, or is of another family.
        OutputError: the output folder exists or cannot be written.
    """
    from worldline.weights.official import from_official

    path, output_dir = Path(path), Path(output_dir)
    if output_dir.exists() and not overwrite and (not output_dir.is_dir() or any(output_dir.iterdir())):
        remedy = "Choose another folder, or say --force." if is_model_folder(output_dir) else "Choose another folder."
        raise OutputError(f"{output_dir} already exists.", remedy)
    entry = known(model_id) if model_id else None
    if entry is not None and entry.source is not None and check_reported and path.is_file():
        check_original(entry.id, entry.source, path)
    checkpoint = read_published(path, ignore_options=ignore_options)
    options = {**checkpoint.official, "config": inference_options(checkpoint.options)}
    model = from_official(checkpoint.tensors, options, compat=compat)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    if entry is not None and entry.parameters != parameters:
        raise WeightsError(
            f"{path} is not the model '{entry.id}': it has {parameters:,} parameters instead of {entry.parameters:,}.",
            "Give the file that belongs to this name; see: worldline models info " + entry.id,
        )
    entry = entry or _recognise(path, parameters)
    card = _card(path, entry, checkpoint, origin or {})
    if isinstance(model.config, D4rtConfig) and entry is None:
        card |= {"license": UNKNOWN_TERMS_D4RT, "image_size": max(model.config.image_size)}
    return save_model(model, output_dir, card=card, dtype=torch.float32, overwrite=overwrite)


def check_original(name: str, source: Source, path: Path) -> None:
    """Compare a downloaded file with the size, which costs nothing, and the sha256 that are known of it.

    Raises:
        WeightsError: it is another file.
    """
    if not source.sha256:
        return
    remedy = (
        "Download it again. If the authors published it anew and you trust it: worldline models get "
        f"{name} --repin, or convert the file without --id."
    )
    size = path.stat().st_size
    if source.bytes and size != source.bytes:
        raise WeightsError(
            f"{path} is refused as '{name}': it has {size:,} bytes, "
            f"the published file {source.bytes:,} (reported by {source.reported_by}).",
            remedy,
        )
    digest = sha256_of(path)
    if digest != source.sha256:
        raise WeightsError(
            f"{path} is refused as '{name}': its sha256 is {digest[:12]}…, "
            f"that of the published file {source.sha256[:12]}… (reported by {source.reported_by}).",
            remedy,
        )


def inference_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options without the storage of portrait images as landscape, which only serves training."""
    return {key: value for key, value in options.items() if key not in ("patch_embed_cls", "landscape_only")}


def _recognise(path: Path, parameters: int) -> ModelInfo | None:
    """A published model by its digest, or else by file name and size; names alone, or sizes alone, prove nothing."""
    for model in MODELS.values():
        if model.source is None or model.parameters != parameters:
            continue
        if model.source.sha256:
            if path.is_file() and sha256_of(path) == model.source.sha256:
                return model
            continue
        names = (Path(model.source.filename).stem, model.source.repo.rpartition("/")[2])
        stem = _VERSION.sub("", path.stem) if model.source.page else path.stem
        if stem in names and stem != "model":
            return model
    return None


def _card(
    path: Path, entry: ModelInfo | None, checkpoint: PublishedCheckpoint, origin: dict[str, Any]
) -> dict[str, Any]:
    from worldline import __version__

    file = path / "model.safetensors" if path.is_dir() else path
    return {
        "name": entry.id if entry else path.stem,
        "title": entry.title if entry else "converted from a local file",
        "license": entry.license if entry else UNKNOWN_TERMS,
        "domain": entry.domain if entry else "",
        "image_size": entry.image_size if entry else _trained_size(checkpoint.options.get("img_size")),
        "citation": entry.citation if entry else "",
        "source": {"file": file.name, "sha256": sha256_of(file), "bytes": file.stat().st_size, **origin},
        "converted": {"by": f"worldline {__version__}", "date": datetime.now(UTC).isoformat(timespec="seconds")},
    }


def _trained_size(option: Any) -> int:
    """Long side in pixels of the constructor's img_size, which is a number or (height, width)."""
    sides = [side for side in (option if isinstance(option, tuple | list) else [option]) if isinstance(side, int)]
    return max(sides, default=224)
