"""``python -m worldline.train.campaign MODEL --minutes M -o RUN``: the command of a campaign."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from worldline.errors import WorldlineError
from worldline.train.campaign.campaign import Campaign, default_output, listening
from worldline.train.campaign.embed import embed
from worldline.train.campaign.journal import PHASES
from worldline.train.campaign.options import MODELS, Options, Scale
from worldline.train.campaign.results import take_back

log = logging.getLogger("worldline.train.campaign")

FAILED, USAGE = 1, 2  # exit status
_SIGNALS = 128  # added to the number of the signal that ended the call


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one call; the exit status is 0 when it came to its end, finished or not."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    output = options.output or default_output(options.model)
    try:
        if options.take_back is not None:
            take_back(options.take_back, output)
            log.info("taken back: %s; call again to go on", output)
            return 0
        if options.embed:
            log.info("embedded: %s", embed(options.model, output, options.embedded_folder))
            return 0
        return _run(_options(options, output))
    except WorldlineError as error:
        log.error("%s %s", error.cause, error.remedy)
        return USAGE


def _run(options: Options) -> int:
    """Returns the exit status, and says in one line how it ended."""
    campaign = Campaign(options)
    with listening(campaign.deadline):
        try:
            finished = campaign.run()
        except WorldlineError as error:
            cause = "" if error.__cause__ is None else f" ({error.__cause__})"
            log.error("failed: %s %s%s", error.cause, error.remedy, cause)
            return FAILED
        except Exception:
            log.exception("failed: see %s", campaign.journal.path)
            return FAILED
    if campaign.errors:
        log.error("failed in part, call again to try these once more: %s", "; ".join(campaign.errors))
        return FAILED
    if finished:
        log.info("finished: %s", campaign.journal.result("verdict")["says"])
        return 0
    log.info("call again to go on: %s", options.output)
    return _SIGNALS + campaign.deadline.signal if campaign.deadline.signal is not None else 0


def _options(options: argparse.Namespace, output: Path) -> Options:
    return Options(
        options.model, output, options.minutes, options.steps, options.recipe, options.init, options.seed,
        options.device, options.slice, options.producers, options.fill_seconds, options.tune_seconds,
        options.profile_steps, options.against, Scale(scenes=options.eval_scenes), options.real, options.workers,
        options.results_to, options.until,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options of the command. Plain argparse: the borrowed machine may have nothing else."""
    found = argparse.ArgumentParser(
        prog="python -m worldline.train.campaign", description="Make one embedded model anew; docs/train_mini.md."
    )
    add = found.add_argument
    add("model", choices=MODELS)
    add("-o", "--output", type=Path, help="folder of the run; default: runs/MODEL")
    add("--minutes", type=float, help="of training, over all calls; default: what the recipe says")
    add("--steps", type=int, help="length of the training in steps, instead of minutes")
    add("--slice", type=float, metavar="MINUTES", help="end this call after so many minutes; the next one goes on")
    add("--device", default="auto", help="cuda, cpu or auto")
    add("--recipe", help="name of a recipe; default: that of the model for the device")
    add("--init", help='weights to start from; "none": nothing')
    add("--seed", type=int, help="of the start and of the order of the scenes")
    add("--producers", type=int, help="processes that render on cores; 0: none; default: as many as cores allow")
    add("--fill-seconds", type=float, default=90.0, help="to wait for more scenes once there are enough to start")
    add("--tune-seconds", type=float, help="for the search of batch sizes; default: 60 on CUDA, 0 on a processor")
    add("--profile-steps", type=int, help="0: none; default: 50 on CUDA, 8 on a processor")
    add("--against", help="weights to compare with; default: the embedded ones")
    add("--eval-scenes", type=int, help="at most so many test scenes per suite")
    add("--real", type=Path, help="folder of photo sequences with measured truth")
    add("--workers", type=int, help="processes that evaluate; default: all cores but one")
    add("--results-to", type=Path, help="folder for a copy of the results: few, small files")
    add("--take-back", type=Path, metavar="DIR", help="only this: make the run's folder from a copy of its results")
    add("--until", choices=PHASES[:-1], help="end this call after that phase")
    add("--embed", action="store_true", help="only this: put the weights of a finished campaign into the package")
    add("--embedded-folder", type=Path, help=argparse.SUPPRESS)
    return found


if __name__ == "__main__":
    sys.exit(main())
