"""From a name to a folder of converted weights: embedded, local, or fetched once from the hub and pinned.

Trust on first use: what came first (revision and sha256 of the file, sha256 of the converted weights) is written
down in ``pins.json``; afterwards a changed file is refused until the user says otherwise.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worldline.errors import WeightsError
from worldline.files import write_json
from worldline.models.config import NetworkConfig
from worldline.weights.files import combined_sha256, home, read_json, replacing_folder, sha256_of
from worldline.weights.folder import CONFIG, FORMAT, WEIGHTS, is_model_folder, read_info, weight_files
from worldline.weights.hub import download, looks_like_hub_id, revision_of
from worldline.weights.model_info import ModelInfo, Source
from worldline.weights.registry import EMBEDDED, MODELS, known, published_by, unknown_model
from worldline.weights.sniff import checkpoint_kind, describe

PINS = "pins.json"
_CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


def resolve(model: str | Path, *, repin: bool = False) -> Path:
    """Folder in our format for a model, fetching and converting it first where needed.

    Args:
        model: registry id; folder of ours; folder or file of published weights; or hub id ``owner/name``.
        repin: fetch again and trust what comes now, whatever was fetched before.

    Raises:
        WeightsError: unknown name, no network, a file that changed since it was first used, no checkpoint.
        OutputError: the cache cannot be written.
    """
    name = str(model)
    if name in MODELS:
        return _embedded(name) if MODELS[name].embedded else _published(MODELS[name], repin)
    path = Path(model).expanduser()
    if path.exists():
        return _local(path)
    if path.suffix.lower() in _CHECKPOINT_SUFFIXES or name.startswith((".", "/", "~")):
        raise WeightsError(f"{path} does not exist.", "Check the path, or take a name from: worldline models list")
    if looks_like_hub_id(name):
        return _from_hub(name, repin)
    raise unknown_model(name)


def info(model: str | Path) -> ModelInfo:
    """What is known about a model. Registry ids need not be on this machine; files and hub ids are converted first.

    Raises:
        WeightsError: unknown name, or a file that cannot be converted.
    """
    name = str(model)
    if name not in MODELS:
        return read_info(resolve(model))
    entry = known(name)
    if entry.embedded or not is_available(name):
        return entry
    folder, pin = cache_folder(name), pin_of(name) or {}
    return replace(entry, directory=folder, sha256=str(pin.get("converted_sha256") or ""), card=read_info(folder).card)


def config_of(model: str | Path) -> NetworkConfig:
    """Sizes of a model's network, e.g. for planning memory; published ones need not be on this machine."""
    return info(model).config


def is_available(model: str | Path) -> bool:
    """Whether a model can be loaded without a network."""
    name = str(model)
    if name in MODELS:
        return is_model_folder(EMBEDDED / name if MODELS[name].embedded else cache_folder(name))
    return Path(model).expanduser().exists() or (looks_like_hub_id(name) and is_model_folder(cache_folder(name)))


def verify(model: str | Path) -> ModelInfo:
    """Check a model that is on this machine completely: digests, pin, names, shapes and finite values of all tensors.

    Raises:
        WeightsError: it is not here, was changed or is damaged; the sentence says what is wrong.
    """
    from worldline.weights.storage import load_model

    entry = MODELS.get(str(model))
    if entry and not entry.embedded and not (entry.source and entry.source.page) and not is_available(model):
        raise WeightsError(
            f"The weights of '{model}' are not on this machine.", f"Fetch them with: worldline models get {model}"
        )
    return load_model(resolve(model))[1]


def cache_folder(model: str) -> Path:
    """Where the converted weights of a published model are kept."""
    return home() / "models" / model.replace("/", "--")


def pin_of(model: str) -> dict[str, Any] | None:
    """What was recorded when the model was first fetched."""
    found = _pins().get(model)
    return found if isinstance(found, dict) else None


def _pins() -> dict[str, Any]:
    path = home() / PINS
    return read_json(path) if path.exists() else {}


def _embedded(name: str) -> Path:
    folder = EMBEDDED / name
    if not is_model_folder(folder):
        raise WeightsError(
            f"The weights '{name}' belong to the package, but this installation does not have them.",
            "Reinstall worldline, or name another model: worldline models list",
        )
    return folder


def _local(path: Path) -> Path:
    """A folder of ours as it is; published files through a conversion that is kept, by content."""
    from worldline.weights.conversion import convert

    if path.is_dir() and is_model_folder(path):
        return path
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(
            f"{path} is not a model folder: it has neither our {CONFIG} nor {WEIGHTS}.",
            "Give a folder written by `worldline models convert`, or a checkpoint file.",
        )
    if file.suffix == ".safetensors" and is_model_folder(file.parent):
        return file.parent
    if checkpoint_kind(file) is None:
        raise WeightsError(*describe(file))
    folder = home() / "models" / f"{file.stem}-{sha256_of(file)[:12]}"
    return folder if is_model_folder(folder) else convert(path, folder)


def _published(entry: ModelInfo, repin: bool) -> Path:
    if entry.source is None:
        raise unknown_model(entry.id)
    if entry.source.page:
        return _by_hand(entry, entry.source)
    return _fetched(entry.id, entry.source, entry.id, repin)


def _by_hand(entry: ModelInfo, source: Source) -> Path:
    """Weights that only people can download: the folder into which they were converted."""
    folder = cache_folder(entry.id)
    if is_model_folder(folder):
        return folder
    raise WeightsError(
        f"The weights '{entry.id}' are not on this machine, and worldline cannot download them.",
        f"Download {source.filename} by hand from {source.page} and convert it: "
        f"worldline models convert {source.filename} --id {entry.id} -o {folder}",
    )


def _from_hub(name: str, repin: bool) -> Path:
    entries = published_by(name)
    if len(entries) == 1:
        return _published(entries[0], repin)
    if entries:
        raise WeightsError(
            f"The hub repository {name} holds several models.",
            f"Name one of them: {', '.join(entry.id for entry in entries)}",
        )
    return _fetched(name, Source(name, WEIGHTS, with_config=True), None, repin)


def _fetched(name: str, source: Source, model_id: str | None, repin: bool) -> Path:
    """The converted folder of a hub file: verified if it is there, else fetched, verified, converted and pinned."""
    from worldline.weights.conversion import check_original, convert

    folder, pin = cache_folder(name), {} if repin else pin_of(name) or {}
    if is_model_folder(folder) and not repin:
        _check_pin(name, pin, "converted_sha256", _digest_of(folder))
        return folder
    wanted = [source.options] if source.options else [CONFIG] if source.with_config else []
    command = f"worldline models get {name}"
    files = [download(source.repo, file, pin.get("revision") or None, command) for file in (source.filename, *wanted)]
    if not repin and not pin:  # what was accepted once by --repin is compared with that
        check_original(name, source, files[0])
    digest = sha256_of(files[0])
    _check_pin(name, pin, "sha256", digest)
    origin = {"repo": source.repo, "file": source.filename, "revision": revision_of(files[0])}
    if source.with_config and read_json(files[1]).get("format") == FORMAT:
        _copy(files, folder)
    else:
        convert(files[0], folder, overwrite=True, model_id=model_id, origin=origin, check_reported=False)
    date = pin.get("date") or datetime.now(UTC).isoformat(timespec="seconds")
    size = files[0].stat().st_size
    facts = {**origin, "sha256": digest, "bytes": size, "converted_sha256": _digest_of(folder), "date": date}
    write_json(home() / PINS, {**_pins(), name: facts})
    return folder


def _copy(files: list[Path], folder: Path) -> None:
    """A hub repository in our own format: nothing to convert."""
    with replacing_folder(folder) as fresh:
        for file in files:
            shutil.copyfile(file, fresh / file.name)


def _digest_of(folder: Path) -> str:
    return combined_sha256({path.name: sha256_of(path) for path in weight_files(folder)})


def _check_pin(name: str, pin: dict[str, Any], key: str, digest: str) -> None:
    expected = str(pin.get(key) or digest)
    if digest == expected:
        return
    what = "file on the hub" if key == "sha256" else "converted file on this machine"
    raise WeightsError(
        f"The weights '{name}' are refused: the {what} is not the one first used on {str(pin.get('date'))[:10]} "
        f"(its sha256 is {digest[:12]}…, not {expected[:12]}…).",
        f"If you trust the present state of the hub, fetch it anew: worldline models get {name} --repin",
    )
