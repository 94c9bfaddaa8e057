"""Reading published checkpoints: the only place that touches pickles, and it never runs what they contain.

PyTorch's restricted unpickler admits tensors, plain containers and ``argparse.Namespace`` (the arguments of the
training run) and nothing else; a file that asks for anything more is refused by name.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldline.errors import WeightsError
from worldline.weights.files import read_json
from worldline.weights.folder import is_model_folder
from worldline.weights.literal import KNOWN_CLASSES, parse_constructor, plain_options
from worldline.weights.official_d4rt import MARKERS, OPTIONS_FILE, container_of, is_open_d4rt
from worldline.weights.sniff import SAFETENSORS, ZIP, checkpoint_kind, describe

# one entry of each part that every model of the families has
_MARKERS = (
    "patch_embed.proj.weight",
    "enc_blocks.0.attn.qkv.weight",
    "enc_norm.weight",
    "decoder_embed.weight",
    "dec_blocks.0.cross_attn.projq.weight",
    "dec_norm.weight",
)
_HEAD_MARKER = re.compile(r"downstream_head1\.(proj\.weight|dpt\..*)")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """The content of a published file."""

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)  # of the constructor or model.yaml; empty: infer from shapes
    class_name: str = ""  # of the constructor; empty where the file does not say

    @property
    def official(self) -> dict[str, Any]:
        """What :func:`worldline.weights.from_official` takes as its configuration."""
        return {"model": "MV-DUSt3R" if KNOWN_CLASSES.get(self.class_name) else "", "config": self.options}


def read_published(path: str | Path, *, ignore_options: bool = False) -> PublishedCheckpoint:
    """Read a ``.pth``, ``.ckpt`` or ``.safetensors`` file, or a folder with ``model.safetensors`` and ``config.json``.

    Of a checkpoint with the state of its training only the tensors of the model are read from the disk.

    Args:
        path: the file or folder.
        ignore_options: do not look at the constructor text, config.json or model.yaml; sizes then come from the shapes.

    Raises:
        WeightsError: not a checkpoint (the sentence says what it is), a forbidden pickle, a refused constructor text,
            or a state dict of another kind of model.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path} does not exist.", "Check the path of the checkpoint.")
    if path.suffix == ".safetensors" and is_model_folder(path.parent):
        raise WeightsError(f"{path} is already in our own format.", f"Use the folder {path.parent} as it is.")
    try:
        kind = checkpoint_kind(path)
        if kind is None:
            raise WeightsError(*describe(path))
        read = _read_safetensors if kind == SAFETENSORS else _read_torch
        checkpoint = read(path, ignore_options)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.", "Check the file and its permissions.") from error
    _require_family(checkpoint.tensors, path)
    return checkpoint


def _read_safetensors(path: Path, ignore_options: bool) -> PublishedCheckpoint:
    from safetensors.torch import load_file

    tensors, config = load_file(path), path.with_name("config.json")
    if is_open_d4rt(tensors):
        return PublishedCheckpoint(tensors, {} if ignore_options else _model_yaml(path))
    options = {} if ignore_options or not config.is_file() else plain_options(read_json(config))
    return PublishedCheckpoint(tensors, options)


def _model_yaml(path: Path) -> dict[str, Any]:
    """The model.yaml beside a checkpoint of Open-D4RT, or nothing."""
    import yaml

    file = path.with_name(OPTIONS_FILE)
    if not file.is_file():
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(
            f"{file} is not YAML ({str(error).splitlines()[0]}).",
            f"Download the {OPTIONS_FILE} of the checkpoint again, or convert with --ignore-options.",
        ) from error
    if not isinstance(document, dict):
        raise WeightsError(f"{file} holds no options.", f"Download the {OPTIONS_FILE} of the checkpoint again.")
    return document


def _read_torch(path: Path, ignore_options: bool) -> PublishedCheckpoint:
    content = _unpickle(path)
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds {_kind(content)}, not a state dict.", "Give the checkpoint that training wrote."
        )
    tensors = container_of(content)
    if tensors is content and "model" in content:
        kind = _kind(content["model"])
        raise WeightsError(f"{path} holds {kind} as its model, not a state dict.", "Give another checkpoint.")
    tensors = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:5])) or "none"
        raise WeightsError(f"{path} holds no tensors (its entries: {keys}).", "Give the checkpoint of a model.")
    if is_open_d4rt(tensors):
        stored = content.get("model_config")  # D4rt-Lab keeps the options in the file
        if ignore_options:
            return PublishedCheckpoint(tensors)
        return PublishedCheckpoint(tensors, dict(stored) if isinstance(stored, Mapping) else _model_yaml(path))
    text = getattr(content.get("args"), "model", None)
    if ignore_options or text is None:
        return PublishedCheckpoint(tensors)
    class_name, options = parse_constructor(text)
    return PublishedCheckpoint(tensors, options, class_name)


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # old pickle protocols: what cannot be read raises below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=checkpoint_kind(path) == ZIP)
    except pickle.UnpicklingError as error:
        raise _unpickling_error(path, str(error)) from error
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError) as error:
        first = str(error).strip().split("\n")[0][:120]
        raise WeightsError(
            f"{path} is not a PyTorch checkpoint, or it is cut short or damaged ({first or type(error).__name__}).",
            "Download the checkpoint again and compare its size with the size that the site states.",
        ) from error


def _unpickling_error(path: Path, message: str) -> WeightsError:
    if wanted := re.search(r"GLOBAL (\S+)", message):
        return WeightsError(
            f"{path} is refused: its pickle wants to call {wanted[1]}, which no tensor needs. Nothing was run.",
            "Get the checkpoint from its authors, preferably as safetensors.",
        )
    return WeightsError(
        f"{path} is a pickle, but no PyTorch checkpoint that can be read safely. Nothing of it was run.",
        "Get the checkpoint from its authors, preferably as safetensors.",
    )


def _require_family(tensors: Mapping[str, Tensor], path: Path) -> None:
    names = [key.removeprefix("module.").removeprefix("dust3r.") for key in tensors]
    present = set(names)
    videos = is_open_d4rt(present)
    missing = [marker for marker in (MARKERS if videos else _MARKERS) if marker not in present]
    if not videos and not any(map(_HEAD_MARKER.fullmatch, names)):
        missing.append("downstream_head1.*")
    if not missing:
        return
    ours = {marker.split(".")[0] for marker in _MARKERS} | {"dec_blocks2", "mask_token"}
    groups = Counter(name.split(".")[0] for name in names).most_common()
    telling = sorted(groups, key=lambda group: group[0] in ours)  # the unexpected ones first
    found = ", ".join(f"{group} ({count})" for group, count in telling[:6])
    more = " …" if len(groups) > 6 else ""
    raise WeightsError(
        f"{path} is a state dict of another kind of model: it has {found}{more}, but no {missing[0]}.",
        "Checkpoints of DUSt3R, MV-DUSt3R, Spann3R, Driv3R and Open-D4RT can be converted; "
        "`worldline models list` names the published ones.",
    )


def _kind(value: Any) -> str:
    return "one tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
