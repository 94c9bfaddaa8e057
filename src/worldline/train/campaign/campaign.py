"""The phases of a campaign, one after the other, in as many calls as it takes."""

from __future__ import annotations

import logging
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from worldline.errors import WorldlineError
from worldline.files import make_folder
from worldline.train.campaign.check import check, wheels
from worldline.train.campaign.evaluation import Evaluation, evaluate
from worldline.train.campaign.fill import Producers, fill, gigabytes_for, start_producers
from worldline.train.campaign.journal import CAMPAIGN, PHASES, Deadline, Journal, Paused, now
from worldline.train.campaign.options import Options, entry_of, recipe_of, scale_of, settle
from worldline.train.campaign.profile import measure, measure_apart, write_profile
from worldline.train.campaign.results import RESULTS, copy_file, gather, hand_out
from worldline.train.campaign.suites import NEW, SHIPPED, plan_units
from worldline.train.campaign.training import reserve_of, train_part
from worldline.train.campaign.verdict import judge, sentence, write_verdict
from worldline.train.export import EXPORT

log = logging.getLogger(__name__)

_SAME_SIGNAL_SECONDS = 2.0  # make and timeout both pass a signal on: one wish, heard twice
_TUNE_SECONDS, _PROFILE_STEPS = 60.0, {"cuda": 50, "cpu": 8}


class Campaign:
    """One call of a campaign.

    Args:
        deadline: when the call has to end; None: by ``options.slice_minutes``.

    Raises:
        InputError: an earlier call was asked for another training, or the device does not exist.
    """

    def __init__(self, options: Options, deadline: Deadline | None = None) -> None:
        from worldline.pipeline import choose_device

        self.slice_seconds = None if options.slice_minutes is None else options.slice_minutes * 60
        self.options, self.deadline = options, deadline or Deadline(self.slice_seconds)
        self.device = choose_device(options.device)
        make_folder(options.output)
        self.journal = Journal(options.output)
        settle(options, self.journal, self.device)
        self.errors: list[str] = []

    def run(self) -> bool:
        """Go on where the last call stopped.

        Returns:
            Whether everything is done.

        Raises:
            WorldlineError: a phase failed without which nothing else makes sense.
        """
        call = {"start": now(), "device": self.device, "slice_minutes": self.options.slice_minutes}
        self.journal.values["calls"].append(call)
        try:
            self._prepare_and_train()
            self._phase("evaluate", self._evaluate, needed=False, again=True)  # more may be asked for than before
            self._phase("verdict", self._verdict, again=True)
            finished = not self.errors
        except Paused:
            finished = False
        finally:
            call |= {"end": now(), "seconds": round(self.deadline.spent, 1)}
            self._results()
        return finished

    def _prepare_and_train(self) -> None:
        journal, entry = self.journal, entry_of(self.journal)
        if journal.done("train"):  # perhaps elsewhere: what is known about that machine stays
            return
        self._phase("check", self._check, again=True)
        untuned = recipe_of(self.options, journal, self.device, tuned=False)
        with Producers(untuned, gigabytes_for(untuned, entry)) as producers:
            if journal.done("fill"):
                start_producers(producers, self.options, journal.result("fill"))
            self._phase("fill", lambda found: fill(producers, entry, self.options, self.deadline, found))
            self._phase("profile", self._profile, needed=False)
            self._phase("train", self._train)

    def _phase(
        self, name: str, turn: Callable[[dict[str, Any]], None], *, needed: bool = True, again: bool = False
    ) -> None:
        """One turn at a phase that is not done yet, or in every call (``again``)."""
        if self.journal.done(name) and not again:
            return
        self.deadline.check()
        if self.options.until is not None and PHASES.index(name) > PHASES.index(self.options.until):
            raise Paused
        log.info("phase %d of %d: %s", PHASES.index(name) + 1, len(PHASES), name)
        try:
            with self.journal.recording(name) as found:
                turn(found)
        except Paused:
            raise
        except Exception as error:
            if needed:
                raise
            cause = "" if error.__cause__ is None else f" ({error.__cause__})"
            log.warning("%s failed, the rest goes on: %s%s", name, error, cause)
            if again:  # it is tried once more by the next call; a training that has begun needs no profile
                self.errors.append(f"{name}: {error}")

    def _check(self, found: dict[str, Any]) -> None:
        recipe = recipe_of(self.options, self.journal, self.device)
        found |= check(recipe, self.journal.values["settings"]["against"])
        device, host = found["device"], found["host"]
        log.info(
            "check: %s, %s GiB; %d cores, %s GiB, %s GiB of disk free; matrix product %.4g TFLOP/s; attention: %s",
            device["name"], device.get("memory_gib", host["memory_gib"]), host["cores"], host["memory_gib"],
            host["free_disk_gib"], found["peak_tflops"],
            ", ".join(name for name, said in found["attention"].items() if said == "works"),
        )  # fmt: skip
        for name, use in found["missing"].items():
            log.warning("check: %s needs %s, which is missing. %s", use, name, wheels([name]))

    def _profile(self, found: dict[str, Any]) -> None:
        options, cuda = self.options, self.device.startswith("cuda")
        if "views_per_step" in found:  # a training that has begun goes on with the batches that it began with
            return
        seconds = options.tune_seconds if options.tune_seconds is not None else _TUNE_SECONDS if cuda else 0.0
        steps = _PROFILE_STEPS["cuda" if cuda else "cpu"] if options.profile_steps is None else options.profile_steps
        if not seconds and not steps:
            return
        peak = self.journal.result("check")["peak_tflops"] * 1e12
        if cuda:
            measured = measure_apart(options, self.device, seconds, steps, peak, self.deadline)
        else:
            recipe = recipe_of(options, self.journal, self.device, tuned=False)
            measured = measure(recipe, seconds, steps, peak, self.deadline.check)
        if measured["tuning"] is not None:
            found["views_per_step"] = measured["tuning"]["views_per_step"]
        found["stages"] = measured["stages"]
        write_profile(options.output, measured)
        if "error" in measured:
            log.warning("profile: %s", measured["error"])
            found["error"] = measured["error"]

    def _train(self, found: dict[str, Any]) -> None:
        recipe = recipe_of(self.options, self.journal, self.device)
        self.journal.result("profile").setdefault("views_per_step", [stage.views_per_step for stage in recipe.stages])
        self.journal.save()
        if self.options.slice_minutes is not None:
            log.info(
                "train: this call has %.1f of %s minutes left", self.deadline.left / 60, self.options.slice_minutes
            )
        train_part(recipe, self.deadline, reserve_of(self.slice_seconds), found)

    def _evaluation(self) -> Evaluation:
        from worldline.weights import resolve

        weights = {SHIPPED: resolve(self.journal.values["settings"]["against"]), NEW: self.options.output / EXPORT}
        return Evaluation(self.options.output, weights, self.device, scale_of(self.journal))

    def _evaluate(self, found: dict[str, Any]) -> None:
        settings = self.journal.values["settings"]
        units = plan_units(self.options.model, scale_of(self.journal), settings["real"])
        evaluate(self._evaluation(), units, self.options.workers, self.deadline, found)

    def _verdict(self, found: dict[str, Any]) -> None:
        evaluation, settings = self._evaluation(), self.journal.values["settings"]
        units = plan_units(self.options.model, evaluation.scale, settings["real"])
        trials: dict[str, list[Any] | None] = {}
        for suite in dict.fromkeys(unit.suite for unit in units):
            results = [evaluation.result(unit) for unit in units if unit.suite == suite]
            whole = [result for result in results if result is not None]
            trials[suite] = [t for r in whole for t in r["trials"]] if len(whole) == len(results) else None
        verdict = judge(trials)
        about = {
            f"{NEW} weights": evaluation.made_with["weights"][NEW],
            f"{SHIPPED} weights": evaluation.made_with["weights"][SHIPPED],
            "compared with": settings["against"],
            "recipe": settings["recipe"],
            "torch": f"{torch.__version__}, Python {platform.python_version()}",
        }
        pages = [(evaluation.folder / f"{suite}.md").read_text(encoding="utf-8") for suite in trials]
        write_verdict(self.options.output, verdict, about, pages)
        found |= {"better": verdict["better"], "says": sentence(verdict)}
        log.info("verdict: %s", found["says"])

    def _results(self) -> None:
        """Never stands in the way of an error that is on its way up."""
        folder, journal = self.options.output, self.journal
        try:
            with journal.recording("results") as found:
                found["folder"] = str(gather(folder))
            copy_file(journal.path, folder / RESULTS / CAMPAIGN)  # with the record of what was just done
            if self.options.results_to is not None:
                written = hand_out(folder, self.options.results_to)
                log.info("results: %s", ", ".join(str(path) for path in written))
        except (OSError, WorldlineError) as error:
            log.exception("results could not be written")
            self.errors.append(f"results: {error}")


@contextmanager
def listening(deadline: Deadline) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the call cleanly, a second one at once. Only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with suppress(ImportError):
        import pycolmap  # noqa: F401 -- installs a SIGTERM handler when it is first imported; ours comes after
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    first = math.inf

    def hear(number: int, _: Any) -> None:
        nonlocal first
        if time.monotonic() - first > _SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        if deadline.signal is None:
            first = time.monotonic()
            deadline.stop(number)

    for number in numbers:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def default_output(model: str) -> Path:
    """Folder of a campaign that names none."""
    return Path("runs") / model
