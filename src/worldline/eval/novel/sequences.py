"""Held-out frames of measured sequences: real photos with cameras and depth, in any format of the readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from worldline.errors import InputError
from worldline.eval.novel.scenes import Case, HeldOutScene, seen_by
from worldline.eval.readers import HELP, find_sequences, read_sequence
from worldline.eval.sequences import Sequence
from worldline.inputs import load_views

MOST = 6  # choices of frames per sequence and number of shown photos


def sequence_cases(
    folder: Path, counts: tuple[int, ...], held_out: int, size: int, spacing: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Case]:  # fmt: skip
    """Cases of all sequences at or below a folder that have depth.

    Of 2 n - 1 evenly spaced frames the first, third, … are shown; of those between them the ones that the shown frames
    see most of are held out. Choices differ by their first frame.

    Args:
        counts: numbers of shown frames n.
        size: pixels of the square photos: the middle of each frame.
        spacing: frames from one to the next, shown or not; None spreads them over the whole sequence.

    Raises:
        InputError: no such sequence, or none with enough frames.
    """
    found = 0
    for place in find_sequences(folder):
        sequence = read_sequence(place)
        for count in sorted(counts):
            subsets = _spread(sequence.subsets(2 * count - 1, spacing))
            if not subsets:
                say(f"left out {sequence.name} with {count} views: it has {len(sequence)} frames")
            for frames in subsets:
                scene = read_scene(sequence, frames, held_out, size)
                if scene is None:
                    say(f"left out {sequence.name}, frames {frames}: nothing is known of their depth")
                    break
                found += 1
                yield scene.shown(count)
    if found == 0:
        raise InputError(f"No sequence with depth and enough frames was found at or below {folder}.", HELP)


def _spread(subsets: list[list[int]]) -> list[list[int]]:
    """At most :data:`MOST` of them, evenly spread."""
    if len(subsets) <= MOST:
        return subsets
    return [subsets[round(place)] for place in np.linspace(0, len(subsets) - 1, MOST)]


def read_scene(sequence: Sequence, frames: list[int], held_out: int, size: int) -> HeldOutScene | None:
    """Every second frame shown, some of those between held out; None where no depth is known."""
    views = load_views([sequence.images[frame] for frame in frames], size=size, fit="square")
    truth = sequence.truth(frames, views)
    truth = replace(
        truth, cameras=tuple(c.to_model(view.transform) for c, view in zip(truth.cameras, views, strict=True))
    )
    if not truth.valid.any():
        return None
    shown, between = list(range(0, len(frames), 2)), list(range(1, len(frames), 2))
    shares = [seen_by(truth, view, shown).mean() for view in between]
    best = np.sort(np.argsort(-np.array(shares), kind="stable")[:held_out])
    rows = [*shown, *(between[place] for place in best)]
    name = f"{sequence.name} {' '.join(str(frames[row]) for row in rows)}"
    return HeldOutScene(name, np.stack([views[row].image for row in rows]), truth.choose(rows), len(best))
