"""One process that renders into a pool at a set pace: ``python -m worldline.train.campaign.producer POOL …``.

As ``python -m worldline.train.data``, and besides: it may rest between scenes, so that the device it renders on stays
free for the training, and it ends when the process that started it does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence

_NICE = 10  # the training and what feeds it go first


def paced(seeds: Iterable[int], share: float, parent: int) -> Iterator[int]:
    """The seeds, with rests between them so that work takes that share of the time; none once the parent is gone."""
    started = time.monotonic()
    for seed in seeds:
        if os.getppid() != parent:
            return
        yield seed
        time.sleep((time.monotonic() - started) * (1 / share - 1))
        started = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    """Render until the pool is full or somebody ends the process."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    from worldline.train.produce import options_of_a_producer, produce_as_told

    parser = options_of_a_producer("Render procedural scenes into a training pool at a set pace.")
    parser.add_argument("--share", type=float, default=1.0, help="of the time that is spent rendering, above 0")
    options = parser.parse_args(arguments)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    produce_as_told(options, lambda seeds: paced(seeds, options.share, parent))


if __name__ == "__main__":
    main()
