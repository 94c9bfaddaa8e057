"""What a campaign leaves behind: RUN/results, and a copy of it in few small files for machines that let little out."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worldline.errors import InputError, MissingExtraError
from worldline.files import make_folder, readable, replacing_file, reporting, write_json
from worldline.train.campaign.journal import CAMPAIGN
from worldline.train.export import EXPORT
from worldline.train.records import LOG

log = logging.getLogger(__name__)

RESULTS = "results"
MOST_FILES, MOST_BYTES, MOST_TOGETHER = 8, 16 * 2**20, 64 * 2**20  # of the copy
_CURVES = ("loss", "error", "point_error", "abs_rel")  # that are drawn, where a log has them
_PACKED = (".json", ".md", ".png", ".log", ".jsonl")


def curve(folder: Path) -> dict[str, Any]:
    """The log of a training as curves: for steps and validations, every figure over the samples seen."""
    path, curves = folder / LOG, dict[str, dict[str, list[Any]]]()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a process that was killed
            continue
        kind = curves.setdefault(record.pop("kind"), {})
        length = len(kind.get("samples", ()))
        for name, value in record.items():
            if isinstance(value, int | float) or value is None:
                column = kind.setdefault(name, [None] * length)
                column += [None] * (length - len(column))
                column.append(value)
    return curves


def draw_curve(curves: dict[str, Any], path: Path) -> bool:
    """A picture of the curves; False where matplotlib is missing."""
    try:
        from worldline.eval.plots import new_figure, require_matplotlib
    except ImportError:
        return False
    try:
        require_matplotlib()
    except MissingExtraError:
        return False
    names = [name for name in _CURVES if any(name in kind for kind in curves.values())]
    if not names:
        return False
    figure, axes = new_figure(1, len(names))
    for axis, name in zip(axes.flat, names, strict=True):
        for kind, columns in curves.items():
            points = [
                (x, y) for x, y in zip(columns["samples"], columns.get(name, ()), strict=False) if y is not None
            ]  # fmt: skip
            if points:
                axis.plot(
                    *zip(*points, strict=True), label=kind, marker="o" if len(points) < 30 else None, markersize=3
                )
        axis.set(xlabel="samples seen", title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    with reporting(path), replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")
    return True


def gather(run: Path) -> Path:
    """Bring ``RUN/results`` up to date with everything that is there by now; returns it."""
    results = run / RESULTS
    make_folder(results)
    curves = curve(run)
    write_json(results / "curve.json", curves)
    try:
        draw_curve(curves, results / "curve.png")
    except Exception as error:  # noqa: BLE001 -- no picture is worth the results
        log.warning("results: the curve could not be drawn: %s: %s", type(error).__name__, error)
    names = (CAMPAIGN, "recipe.json", "profile.json", "profile.md", "verdict.json", "verdict.md")
    for path in [run / name for name in names] + sorted((run / "evaluation").glob("*.md")):
        if path.exists():
            copy_file(path, results / path.name)
    if (run / EXPORT).is_dir():
        with _replaced(results / "model") as folder:
            for path in (run / EXPORT).iterdir():
                copy_file(path, folder / path.name)
    return results


def hand_out(run: Path, folder: Path) -> list[Path]:
    """Copy the results into a folder, flat: the shards of the weights, the curve, and one archive of everything small.

    Never more than :data:`MOST_FILES` files, of :data:`MOST_BYTES` each, :data:`MOST_TOGETHER` together. What does not
    fit is left out, and the archive's ``left_out.txt`` says so.
    """
    results = run / RESULTS
    make_folder(folder)
    shards = sorted((results / "model").glob("*.safetensors"))
    written, left_out, together = list[Path](), list[str](), 0
    for path in [*shards, results / "curve.png"]:
        if not path.exists():
            continue
        size = path.stat().st_size
        if len(written) + 1 >= MOST_FILES or size > MOST_BYTES or together + size > MOST_TOGETHER - MOST_BYTES:
            left_out.append(f"{path.name}: {size} bytes")
            continue
        written.append(copy_file(path, folder / path.name))
        together += size
    small = [path for path in sorted(results.rglob("*")) if path.is_file() and path not in shards]
    small += sorted((run / "evaluation").glob("*/*.json"))
    small += [path for path in (run / LOG, *sorted((run / "producers").glob("*.log"))) if path.exists()]
    small += sorted((run / "evaluation" / "logs").glob("*.log"))
    archive = folder / f"{_plain(run.name)}-results.zip"
    with reporting(archive), replacing_file(archive) as temporary:
        _pack(run, small, left_out, temporary)
    return [*written, archive]


def take_back(folder: Path, run: Path) -> None:
    """Make a campaign's folder from what :func:`hand_out` let out of another machine, to go on after its training.

    Raises:
        InputError: there is nothing to take, it is damaged, or ``run`` holds a campaign already.
    """
    archives, shards = sorted(folder.glob("*-results.zip")), sorted(folder.glob("*.safetensors"))
    if len(archives) != 1:
        raise InputError(f"{folder} holds {len(archives)} archives of results.", "Name a folder of --results-to.")
    if (run / CAMPAIGN).exists():
        raise InputError(f"{run} holds a campaign already.", "Choose another folder with -o.")
    make_folder(run / EXPORT)
    try:
        with zipfile.ZipFile(archives[0]) as archive:
            archive.extractall(run)  # checks the sums; names that would lead out of the folder are made harmless
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{archives[0]} cannot be read ({error}).", "Copy it once more.") from error
    for path in (run / RESULTS).iterdir():
        if path.is_file():
            copy_file(path, run / path.name)
    for path in [*(run / RESULTS / "model").glob("*.json"), *shards]:
        copy_file(path, run / EXPORT / path.name)


def _pack(run: Path, paths: Iterable[Path], left_out: list[str], target: Path) -> None:
    """One archive with the smallest files first, up to the size that may leave."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(dict.fromkeys(paths), key=lambda path: path.stat().st_size):
            packed = sum(entry.compress_size + 200 for entry in archive.infolist())
            if path.suffix not in _PACKED or packed + path.stat().st_size > MOST_BYTES * 0.9:
                left_out.append(f"{path.relative_to(run)}: {path.stat().st_size} bytes")
            else:
                archive.write(path, path.relative_to(run).as_posix())
        archive.writestr("left_out.txt", "\n".join(left_out) + "\n")


def copy_file(path: Path, target: Path) -> Path:
    """Copy whole or not at all; returns the copy."""
    with reporting(target), replacing_file(target) as temporary:
        shutil.copyfile(path, temporary)
    readable(target)
    return target


def _replaced(folder: Path) -> Any:
    from worldline.weights.files import replacing_folder

    return replacing_folder(folder)


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name) or "campaign"
