"""``worldline models list|get|info|verify|convert``: weights, their terms and their origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from worldline.weights import ModelInfo

_Conf = tyro.conf.subcommand


@dataclass(frozen=True)
class ListModels:
    """Known models, their sizes and licences, and which are on this machine."""


@dataclass(frozen=True)
class GetModels:
    """Fetch published weights once, convert them and write down what was fetched; needs a network."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """Ids from the list, or hub ids (owner/name)."""
    repin: bool = False
    """Fetch again and trust what comes now, although it differs from what was fetched first."""


@dataclass(frozen=True)
class ShowModel:
    """Everything known about one model."""

    model: tyro.conf.Positional[str]
    """Id from the list, model folder, checkpoint file or hub id."""


@dataclass(frozen=True)
class VerifyModels:
    """Check weights on this machine completely: digests, tensor names, shapes, finite values."""

    models: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids or folders; without any, all models on this machine."""


@dataclass(frozen=True)
class ConvertModel:
    """Read a published checkpoint safely and write it as safetensors + JSON."""

    checkpoint: tyro.conf.Positional[Path]
    """A .pth, .ckpt or .safetensors file, or a folder with the hub's model.safetensors and config.json. The model.yaml
    of Open-D4RT is read if it lies beside the checkpoint."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write."""
    force: bool = False
    """Replace an earlier model in that folder."""
    id: str | None = None
    """The known model that this is, for its licence and domain; the authors' file names are recognised."""
    ignore_options: bool = False
    """Do not read the constructor text in the checkpoint; all sizes then come from the tensor shapes."""
    compat: bool = False
    """Open-D4RT only: keep what we correct (pool tokens above the budget, drop an odd last frame, clamp times)."""


Command = (
    Annotated[ListModels, _Conf("list")]
    | Annotated[GetModels, _Conf("get")]
    | Annotated[ShowModel, _Conf("info")]
    | Annotated[VerifyModels, _Conf("verify")]
    | Annotated[ConvertModel, _Conf("convert")]
)


def run(argv: list[str]) -> int:
    """Parse the arguments and run the subcommand."""
    from worldline.cli.common import console

    command = tyro.cli(
        Command,
        args=argv,
        prog="worldline models",
        description="Weights: what exists, whose terms they have, where they come from.",
    )  # type: ignore[call-overload]
    out = console()
    match command:
        case ListModels():
            _list(out)
        case GetModels():
            _get(out, command)
        case ShowModel():
            _show(out, command.model)
        case VerifyModels():
            return _verify(out, command)
        case ConvertModel():
            _convert(out, command)
    return 0


def _list(out: Console) -> None:
    from rich.table import Column, Table

    from worldline import weights

    headers = ("parameters", "size", "domain", "licence of the weights", "here")
    table = Table(Column("id", no_wrap=True), *headers, box=None, pad_edge=False)
    for name in weights.MODELS:
        model = weights.info(name)
        short = model.license.split(",")[0]
        here = "yes" if weights.is_available(name) else "no"
        count, size = f"{model.parameters / 1e6:.1f} M", f"{model.image_size} px"
        table.add_row(model.id, count, size, model.domain, short, here)
    out.print(table)
    out.print("\nAll terms: worldline models info ID.  Fetch published weights, or learn how: worldline models get ID.")


def _get(out: Console, command: GetModels) -> None:
    from worldline import weights
    from worldline.errors import InputError

    if not command.models:
        raise InputError("No model was named.", "Give ids or hub ids: see worldline models list")
    for name in command.models:
        entry = weights.MODELS.get(name)
        size = entry.source.bytes if entry and entry.source else 0
        with out.status(f"fetching and converting {name}" + (f" ({size / 1e9:.1f} GB)" if size else "")):
            folder = weights.resolve(name, repin=command.repin)
        out.print(f"{name}: {folder}", markup=False)
        out.print(weights.info(name).notice, markup=False)


def _show(out: Console, name: str) -> None:
    from worldline import weights

    model = weights.info(name)
    for label, text in _facts(model, weights.is_available(name)):
        if text:
            out.print(f"{label:<12} {text}", markup=False)


def _facts(model: ModelInfo, available: bool) -> list[tuple[str, str]]:
    source, pin = model.source, model.card.get("source") or {}
    published = f" ({model.published_parameters:,} in the published file)" if model.published_parameters else ""
    place = str(model.directory or "") if available else "not on this machine"
    return [
        ("id", model.id),
        ("what", model.title),
        ("family", model.family),
        ("parameters", f"{model.parameters:,}{published}"),
        ("image size", f"{model.image_size} pixels"),
        ("domain", model.domain),
        ("licence", model.license or "not known"),
        ("cite", model.citation),
        ("published as", f"{source.repo or source.page}: {source.filename}" if source else str(pin.get("file") or "")),
        ("its digest", source.reported if source else ""),
        ("revision", str(pin.get("revision") or "")),
        ("sha256", f"{pin['sha256']} (of the published file)" if pin.get("sha256") else ""),
        ("folder", place),
    ]


def _verify(out: Console, command: VerifyModels) -> int:
    from worldline import weights
    from worldline.errors import WorldlineError

    names = command.models or tuple(name for name in weights.MODELS if weights.is_available(name))
    if not names:
        out.print("No weights are on this machine. See: worldline models list")
    failed = 0
    for name in names:
        try:
            model = weights.verify(name)
        except WorldlineError as error:
            failed += 1
            out.print(f"{name}: FAILED. {error}", markup=False)
        else:
            out.print(f"{name}: ok, {model.parameters:,} parameters, sha256 {model.sha256}", markup=False)
            if note := _origin_note(weights.MODELS.get(name), model):
                out.print(f"  {note}", markup=False)
    return 2 if failed else 0


def _origin_note(entry: ModelInfo | None, model: ModelInfo) -> str:
    """What is known about the published file that the weights were converted from."""
    original = (model.card.get("source") or {}).get("sha256")
    if entry is None or entry.source is None or not entry.source.sha256 or not original:
        return ""
    same = "is the one" if original == entry.source.sha256 else "IS NOT THE ONE"
    return f"converted from a file whose sha256 {same} reported by {entry.source.reported_by}"


def _convert(out: Console, command: ConvertModel) -> None:
    from worldline import weights

    folder = weights.convert(
        command.checkpoint,
        command.out,
        overwrite=command.force,
        ignore_options=command.ignore_options,
        model_id=command.id,
        compat=command.compat,
    )
    model = weights.read_info(folder)
    out.print(f"{model.id}: {model.family}, {model.parameters:,} parameters, written to {folder}", markup=False)
    out.print(model.notice, markup=False)
