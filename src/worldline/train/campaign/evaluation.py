"""New against shipped weights on the test split: units in several processes, each result in a file of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.errors import WorldlineError
from worldline.eval.report import write_text
from worldline.files import make_folder, write_json
from worldline.train.campaign.check import cores, missing_packages
from worldline.train.campaign.journal import DONE, FAILED, OPEN, Deadline, Paused
from worldline.train.campaign.options import Scale
from worldline.train.campaign.processes import end, end_with_parent
from worldline.train.campaign.suites import NEW, SHIPPED, WITHOUT_PYCOLMAP, Unit, measure, page

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

log = logging.getLogger(__name__)

EVALUATION = "evaluation"
_SAY_SECONDS = 15.0
_POLL_SECONDS = 0.25
_RESERVE = 5.0  # seconds at the end of a slice for what follows
_NO_PYCOLMAP = (
    "pycolmap is missing on this machine; where it is installed, --take-back DIR makes the run from a copy of its "
    "results (--results-to), and the next call there measures it."
)


class Evaluation:
    """Where units, their results and their errors lie.

    Args:
        folder: of the campaign.
        weights: folders of the models by label.
        scale: how much is measured; results of another scale or of other weights do not count.
    """

    def __init__(self, folder: Path, weights: Mapping[str, Path], device: str, scale: Scale) -> None:
        from worldline.weights.folder import read_info

        self.folder, self.weights, self.device, self.scale = folder / EVALUATION, dict(weights), device, scale
        digests = {label: read_info(path, digests=True).sha256 for label, path in weights.items()}
        parts = {key: value for key, value in json.loads(json.dumps(asdict(scale))).items() if key != "scenes"}
        self.made_with = {"weights": digests, "scale": parts}

    def path(self, unit: Unit) -> Path:
        """Of the result of a unit."""
        return self.folder / unit.suite / f"{unit.key}.json"

    def error_path(self, unit: Unit) -> Path:
        """Of what went wrong with a unit."""
        return self.path(unit).with_suffix(".error.json")

    def result(self, unit: Unit) -> dict[str, Any] | None:
        """What was found, None where nothing was, or with other weights."""
        found = _read(self.path(unit))
        return found if found is not None and found.get("made with") == self.made_with else None

    def error(self, unit: Unit) -> str | None:
        """What went wrong the last time."""
        found = _read(self.error_path(unit))
        return None if found is None else str(found["error"])

    def run(self, unit: Unit, models: Mapping[str, Reconstructor]) -> None:
        """Measure a unit and write what was found, or why not; errors of a unit do not go further."""
        try:
            found = measure(unit, models, self.scale, self.folder / "cache")
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other units must not be lost
            said = f"{type(error).__name__}: {str(error)[:500]}"
            write_json(self.error_path(unit), {"error": said, "traceback": traceback.format_exc().splitlines()})
            return
        write_json(self.path(unit), found | {"made with": self.made_with})
        self.error_path(unit).unlink(missing_ok=True)

    def load(self) -> dict[str, Reconstructor]:
        """The models, the shipped one first."""
        from worldline.pipeline import load

        return {label: load(self.weights[label], self.device) for label in (SHIPPED, NEW)}


def evaluate(
    evaluation: Evaluation, units: Sequence[Unit], workers: int | None, deadline: Deadline, result: dict[str, Any]
) -> None:
    """Measure what was not measured yet; a failed unit is tried once per call.

    Args:
        result: gets the state of every suite.

    Raises:
        Paused: the slice is over before everything is measured.
        WorldlineError: at least one unit failed; everything else was measured.
    """
    for unit in units:
        evaluation.error_path(unit).unlink(missing_ok=True)
    waiting = [unit for unit in units if evaluation.result(unit) is None]
    log.info("evaluate: %d of %d units are done", len(units) - len(waiting), len(units))
    waiting = _possible(evaluation, waiting)
    if waiting and deadline.over(_RESERVE):
        result["suites"] = states(evaluation, units)
        raise Paused
    count = min(max(1, cores() - 1) if workers is None else workers, len(waiting))
    try:
        if count > 1:
            _in_processes(evaluation, waiting, count, deadline)
        elif waiting:
            _here(evaluation, waiting, deadline)
    finally:
        result["suites"] = states(evaluation, units)
        result["seeds"] = "the first of worldline.worlds.TEST_SEEDS"
        _write_pages(evaluation, units)
    failed: dict[str, list[str]] = {}
    for name, state in result["suites"].items():
        if state["state"] == FAILED:
            failed.setdefault(state["error"], []).append(name)
    if any(state["state"] == OPEN for state in result["suites"].values()):
        raise Paused
    if failed:
        said = "; ".join(f"{', '.join(names)}: {error}" for error, names in failed.items())
        raise WorldlineError(f"Not everything was measured: {said}", "Call again to try these once more.")


def _possible(evaluation: Evaluation, units: Sequence[Unit]) -> list[Unit]:
    """Units that can be measured here; the others fail at once, before any process is started for them."""
    if "pycolmap" not in missing_packages():
        return list(units)
    for unit in units:
        if unit.suite not in WITHOUT_PYCOLMAP:
            write_json(evaluation.error_path(unit), {"error": _NO_PYCOLMAP})
    return [unit for unit in units if unit.suite in WITHOUT_PYCOLMAP]


def states(evaluation: Evaluation, units: Sequence[Unit]) -> dict[str, dict[str, Any]]:
    """Of every suite: done, open or failed, and how many of its units are there."""
    found: dict[str, dict[str, Any]] = {}
    for suite in dict.fromkeys(unit.suite for unit in units):
        mine = [unit for unit in units if unit.suite == suite]
        done = sum(evaluation.result(unit) is not None for unit in mine)
        errors = [error for unit in mine if (error := evaluation.error(unit)) is not None]
        state = DONE if done == len(mine) else FAILED if done + len(errors) == len(mine) else OPEN
        found[suite] = {"state": state, "units": len(mine), "done": done} | ({"error": errors[0]} if errors else {})
    return found


def _here(evaluation: Evaluation, units: Sequence[Unit], deadline: Deadline) -> None:
    """One after the other in this process."""
    models = evaluation.load()
    longest, said = 0.0, time.monotonic()
    for number, unit in enumerate(units):
        if deadline.over(_RESERVE + longest):
            return
        started = time.monotonic()
        evaluation.run(unit, models)
        longest = max(longest, time.monotonic() - started)
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            log.info("evaluate: %d of %d units, now %s", number + 1, len(units), unit.suite)


def _in_processes(evaluation: Evaluation, units: Sequence[Unit], count: int, deadline: Deadline) -> None:
    """In several processes, each of which takes the next unit that nobody has taken.

    What a process was measuring when the slice ended is lost; so is what it held when it died, which is an error.
    """
    claims = evaluation.folder / "claims" / uuid.uuid4().hex[:8]
    job = claims / "job.json"
    write_json(job, {
        "folder": str(evaluation.folder.parent), "device": evaluation.device, "scale": asdict(evaluation.scale),
        "weights": {label: str(path) for label, path in evaluation.weights.items()},
        "units": [asdict(unit) for unit in units],
    })  # fmt: skip
    make_folder(evaluation.folder / "logs")
    command = [sys.executable, "-m", "worldline.train.campaign.evaluation", str(job)]
    logs = [evaluation.folder / "logs" / f"worker-{number}.log" for number in range(count)]
    processes, said = [], time.monotonic()
    for path in logs:
        with path.open("wb") as file:
            processes.append(subprocess.Popen(
                command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"}
            ))  # fmt: skip
    try:
        while any(process.poll() is None for process in processes) and not deadline.over(_RESERVE):
            time.sleep(_POLL_SECONDS)
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                done = sum(evaluation.path(unit).exists() for unit in units)
                log.info("evaluate: %d of %d units in %d processes", done, len(units), count)
        ended = not deadline.over(_RESERVE)
    finally:
        end(processes)
    for unit in units if ended else ():
        if evaluation.result(unit) is None and evaluation.error(unit) is None:
            words = [line for path in logs for line in path.read_text("utf-8", errors="replace").splitlines() if line]
            said_last = words[-1] if words else "it said nothing"
            write_json(evaluation.error_path(unit), {"error": f"its process ended: {said_last}"})


def _write_pages(evaluation: Evaluation, units: Sequence[Unit]) -> None:
    """The tables of every suite, of what is there."""
    for suite in dict.fromkeys(unit.suite for unit in units):
        found = [result for unit in units if unit.suite == suite and (result := evaluation.result(unit)) is not None]
        try:
            text = page(suite, found)
        except (KeyError, ValueError, IndexError, TypeError) as error:  # a table is worth less than what follows
            text = f"The tables could not be made: {type(error).__name__}: {error}\n"
        write_text(evaluation.folder / f"{suite}.md", f"# {suite}: {NEW} against {SHIPPED} weights\n\n{text}")


def work(job: Path) -> None:
    """One process of an evaluation: claim units until none is left."""
    import signal

    import torch

    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    torch.set_num_threads(1)
    asked = json.loads(job.read_text(encoding="utf-8"))
    scale = Scale.of(asked["scale"])
    weights = {label: Path(path) for label, path in asked["weights"].items()}
    evaluation = Evaluation(Path(asked["folder"]), weights, asked["device"], scale)
    models = evaluation.load()
    for number, values in enumerate(asked["units"]):
        try:
            (job.parent / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        evaluation.run(Unit(**values), models)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work(Path(sys.argv[1]))
