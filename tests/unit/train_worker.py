"""Run under torchrun by test_train_distributed: a tiny training in which something happens to one process."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from worldline.train.catalog import tiny
from worldline.train.loop import Run


def main(what: str, folder: Path, strategy: str) -> None:
    run = Run(replace(tiny(folder), steps=5, strategy=strategy))
    prepare, step = run._prepare, run.train_step

    def poisoned(request):
        batches = prepare(request)
        if what == "poison" and request.step == 2 and run.fabric.global_rank == 1:
            batches = [replace(batch, images=batch.images * torch.nan) for batch in batches]
        return batches

    def step_and_stop(batches, stage):
        result = step(batches, stage)
        if what == "stop" and run.progress.step == 3 and run.fabric.global_rank == 1:
            run.stop()  # the signal reaches one process only
        return result

    run._prepare, run.train_step = poisoned, step_and_stop
    run.loop()
    run.finish()
    torch.save(dict(run.network.state_dict()), folder / f"rank{run.fabric.global_rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
