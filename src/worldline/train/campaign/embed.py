"""The last step, and never by itself: the new weights take the place of the shipped ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from worldline.errors import InputError, WorldlineError
from worldline.files import readable, write_json
from worldline.train.campaign.journal import Journal
from worldline.train.campaign.options import MODELS
from worldline.train.campaign.suites import NEW, SHIPPED
from worldline.train.campaign.verdict import sentence
from worldline.train.export import EXPORT

MOST_BYTES = 32 * 10**6  # of the weights of an embedded model


def embed(model: str, run: Path, embedded: Path | None = None) -> Path:
    """Copy ``RUN/export`` to where the package keeps its weights, with a card that says what was measured.

    Args:
        embedded: folder of the embedded models; None: that of this installation.

    Returns:
        The folder of the model.

    Raises:
        InputError: there is no verdict of this model, or it is about other weights.
        WorldlineError: the verdict is against it, or the weights are too large.
    """
    from worldline.weights.files import replacing_folder
    from worldline.weights.folder import CARD, CONFIG, INDEX, read_info, weight_files
    from worldline.weights.registry import EMBEDDED

    if model not in MODELS:
        raise InputError(f"{model!r} is no embedded model.", f"Choose one of: {', '.join(MODELS)}.")
    path, export = run / "verdict.json", run / EXPORT
    if not path.exists():
        raise InputError(f"{run} holds no verdict.", "Let the campaign come to its end first.")
    verdict, journal = json.loads(path.read_text(encoding="utf-8")), Journal(run)
    if journal.values["settings"].get("model") != model:
        raise InputError(f"{run} is a campaign of another model.", "Name the model that was trained there.")
    if verdict["about"].get(f"{NEW} weights") != read_info(export, digests=True).sha256:
        raise InputError(f"The verdict in {run} is about other weights than {export}.", "Run the campaign again.")
    if not verdict["better"]:
        raise WorldlineError(f"Nothing was embedded. {sentence(verdict)}", "The shipped weights stay.")
    size = sum(file.stat().st_size for file in weight_files(export))
    if size > MOST_BYTES:
        raise WorldlineError(f"The weights have {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB.", "")
    card = json.loads((export / CARD).read_text(encoding="utf-8"))
    target = (embedded or EMBEDDED) / model
    with replacing_folder(target) as folder:
        for file in [*weight_files(export), export / CONFIG, export / INDEX]:
            if file.exists():
                shutil.copyfile(file, folder / file.name)
                readable(folder / file.name)
        write_json(folder / CARD, card | measured(journal, verdict))
    return target


def measured(journal: Journal, verdict: dict[str, Any]) -> dict[str, Any]:
    """What a card says beyond that of the export: parts, profile, figures on the test seeds."""
    settings, check = journal.values["settings"], journal.result("check")
    training = journal.result("train")
    names = ("suite", "views", "figure", "scenes", NEW, SHIPPED, "difference", "low", "high")
    return {
        "name": settings["model"],
        "recipe": settings["recipe"],
        "device": check.get("device", {}),
        "parts": [
            {key: part[key] for key in ("samples", "seconds", "from_step", "to_step", "device")}
            for part in training.get("parts", ())
        ],
        "views_per_step": journal.result("profile").get("views_per_step"),
        "figures": [{name: row.get(name) for name in names} for row in verdict["rows"]],
        "measured": {"seeds": "the first of worldline.worlds.TEST_SEEDS, never trained on", "rule": verdict["rule"],
                     f"{SHIPPED} weights": verdict["about"].get(f"{SHIPPED} weights")},
    }  # fmt: skip
