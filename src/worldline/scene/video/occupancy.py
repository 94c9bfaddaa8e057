"""Tracks of every pixel of a video, without asking for every pixel (Algorithm 1 of arXiv 2512.08924, section 2.3).

A point that is followed from one frame passes through pixels of the others. Those need no track of their own, so a
track is started only where none has been seen yet. The paper leaves the order of starts, their number per round and
the rounding open; each is an option here, and docs/tracking.md has the measurements behind the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.asking import check_frame
from worldline.scene.video.tracks import VideoTracks

Order = Literal["fullest", "time", "random"]
_SLACK = 1e-4  # cells: positions that miss the border between two cells by round-off all fall to the same side
Progress = Callable[[int, int], None]  # (cells visited, cells)


@dataclass(frozen=True)
class AllTracksOptions:
    """What the paper leaves open about its Algorithm 1."""

    cell: float = 1.0  # edge of a cell in pixels of the frames as shown; 4 = a start for every 4 x 4 pixels at most
    radius: float = 0.5  # cells: half the edge of the square around a visible track that needs no track of its own.
    # 0.5 = exactly the cell that it passes through; 1.5 = also that cell's eight neighbours
    visible: float = 0.5  # visibility above which a track counts as passing through a cell
    order: Order = "fullest"  # whole frames, that with the most unvisited cells first; frames in time; cells at random
    batch: int = 4096  # tracks asked for at once; they cannot spare each other, so "random" wants small ones
    growth: float = 1.0  # each batch is this many times as large as the one before
    largest_batch: int = 65536
    camera: int | None = None  # frame whose camera the points are expressed in; None: that of the same moment
    seed: int = 0  # of the order "random"

    def __post_init__(self) -> None:
        for name, lowest in (("cell", 0.0), ("radius", 0.0)):
            if not getattr(self, name) > lowest:
                raise InputError(f"{name} is {getattr(self, name)}.", "Give a number above 0.")
        if self.batch < 1 or self.largest_batch < 1 or self.growth < 1:
            raise InputError("A batch of tracks is empty or shrinks.", "batch, largest_batch and growth are 1 or more.")
        if not 0 <= self.visible < 1:
            raise InputError(f"visible is {self.visible}.", "It is a probability: from 0 to less than 1.")
        if self.order not in get_args(Order):
            raise InputError(f"Unknown order {self.order!r}.", f"Choose one of: {', '.join(get_args(Order))}.")


@dataclass(frozen=True)
class Saving:
    """What following every pixel cost, beside asking for the track of each of them."""

    tracks: int
    queries: int  # asked: one per track and frame
    brute_force: int  # queries of a track from every cell of every frame
    rounds: int  # batches
    unseen: int  # tracks that are not visible where they start, by the answers themselves

    @property
    def factor(self) -> float:
        """Brute force over asked; at most the number of frames, reached when every track is seen in all of them."""
        return self.brute_force / self.queries if self.queries else 1.0


@dataclass(frozen=True, eq=False)
class AllTracks(VideoTracks):
    """Points followed through all frames of a video, such that every cell of every frame has one."""

    grid: tuple[int, int]  # rows and columns of cells
    saving: Saving

    @property
    def known(self) -> Bool[np.ndarray, "n t"]:
        """Where a track is followed: everywhere; tracks of a long video have gaps."""
        return np.ones(self.visibility.shape, np.bool_)


def all_tracks(
    video: AnswersQueries, options: AllTracksOptions | None = None, *,
    visited: Bool[np.ndarray, "t rows columns"] | None = None, progress: Progress | None = None,
) -> AllTracks:  # fmt: skip
    """Follow every pixel of a video: each cell of each frame is passed by a track, or starts one.

    A cell that starts a track counts as visited even if the answers call it hidden there; otherwise the algorithm
    would not end. Tracks come in the order of their starts.

    Args:
        visited: cells that need no track, e.g. because tracks of an earlier window pass through them; it is updated in
            place and all True in the end.
        progress: called after every batch with the cells visited so far and all cells.

    Returns:
        N tracks; with nothing visited before, at least one per cell of a frame and at most one per cell of every frame.

    Raises:
        InputError: the camera is no frame of the video, or ``visited`` is not of its grid.
    """
    options = options or AllTracksOptions()
    if options.camera is not None:
        check_frame(video, options.camera, "camera")
    shape = (video.frame_count, *cell_grid(video.original_size, options.cell))
    visited = np.zeros(shape, np.bool_) if visited is None else visited
    if visited.shape != shape:
        raise InputError(f"The visited cells have shape {visited.shape}, not {shape}.", "Use cell_grid for the size.")
    starts, answers = [np.zeros((0, 3), np.int64)], []
    for cells in _batches(visited, options):
        starts.append(cells)
        answers.append(_follow(video, cells, shape[1:], options.camera))
        visited[tuple(cells.T)] = True
        mark_visited(visited, answers[-1].uv, answers[-1].visibility, options)
        _mark(visited, cells[:, [2, 1]] + 0.5, cells[:, 0], options.radius)
        if progress is not None:
            progress(int(np.count_nonzero(visited)), visited.size)
    return _gathered(np.concatenate(starts), answers, video, shape, options)


def cell_grid(size: tuple[int, int], cell: float) -> tuple[int, int]:
    """Rows and columns of cells of about ``cell`` pixels that divide a frame of (height, width) evenly."""
    return max(1, round(size[0] / cell)), max(1, round(size[1] / cell))


def _batches(
    visited: Bool[np.ndarray, "t rows columns"], options: AllTracksOptions
) -> Iterator[Int64[np.ndarray, "n 3"]]:
    """Cells (t, row, column) to start from. Looks at ``visited`` anew for every batch, until nothing is left."""
    limit = float(min(options.batch, options.largest_batch))
    for candidates in _rounds(visited, options):
        left = candidates
        while len(left := left[~visited[tuple(left.T)]]):
            batch = int(limit)
            yield left[:batch]
            left = left[batch:]
            limit = min(limit * options.growth, float(options.largest_batch))


def _rounds(
    visited: Bool[np.ndarray, "t rows columns"], options: AllTracksOptions
) -> Iterator[Int64[np.ndarray, "n 3"]]:
    """Cells in the order in which they may start tracks, in groups that a batch must not reach across.

    Two cells of one frame show two points, so tracks from one frame cannot spare each other, and nothing is lost by
    asking for them together. Within ``radius`` they can: then every k-th cell comes first.
    """
    count, rows, columns = visited.shape
    if options.order == "random":
        mixed = np.random.default_rng(options.seed).permutation(visited.size)
        yield np.stack(np.unravel_index(mixed, visited.shape), -1).astype(np.int64)
        return
    step = max(1, int(np.ceil(2 * options.radius)))
    first = (step - 1) // 2  # the first lattice alone leaves no gap
    shifts = [((first + row) % step, (first + column) % step) for row in range(step) for column in range(step)]
    todo = list(range(count))
    while todo:
        if options.order == "fullest":
            left = [rows * columns - np.count_nonzero(visited[frame]) for frame in todo]
            middle = (count - 1) / 2
            frame = max(zip(left, todo, strict=True), key=lambda each: (each[0], -abs(each[1] - middle)))[1]
        else:
            frame = todo[0]
        todo.remove(frame)
        for row, column in shifts:
            lattice = np.argwhere(~visited[frame, row::step, column::step]) * step + (row, column)
            yield np.insert(lattice, 0, frame, axis=1).astype(np.int64)


def _follow(
    video: AnswersQueries, cells: Int64[np.ndarray, "n 3"], grid: tuple[int, int], camera: int | None
) -> VideoAnswers:
    """Answers [n, t] for the centres of cells at every frame."""
    uv = ((cells[:, [2, 1]] + 0.5) / (grid[1], grid[0])).astype(np.float32)
    every = np.arange(video.frame_count)
    return video.query(uv[:, :1], uv[:, 1:], cells[:, :1], every, every if camera is None else np.int64(camera))


def mark_visited(
    visited: Bool[np.ndarray, "t rows columns"], uv: Float32[np.ndarray, "n t 2"],
    visibility: Float32[np.ndarray, "n t"], options: AllTracksOptions,
) -> None:  # fmt: skip
    """Set the cells that tracks visibly pass through: those whose centres lie within ``radius``."""
    seen = (visibility > options.visible) & np.isfinite(uv).all(-1)
    track, frame = np.nonzero(seen)
    cells = uv[track, frame].astype(np.float64) * (visited.shape[2], visited.shape[1])
    _mark(visited, cells, frame, options.radius)


def _mark(
    visited: Bool[np.ndarray, "t rows columns"], position: Float64[np.ndarray, "n 2"], frame: Int64[np.ndarray, "n"],
    radius: float,
) -> None:  # fmt: skip
    """Set the cells around positions (column, row), whose unit is the cell, with edges at integers."""
    _, rows, columns = visited.shape
    # c + 0.5 in (p - radius, p + radius]: for 0.5 exactly c = floor(p)
    lowest = np.floor(position + _SLACK - radius - 0.5).astype(np.int64) + 1
    highest = np.floor(position + _SLACK + radius - 0.5).astype(np.int64)
    reach = int(np.ceil(2 * radius))
    for down, right in np.ndindex(reach, reach):
        column, row = lowest[:, 0] + right, lowest[:, 1] + down
        there = (column <= highest[:, 0]) & (row <= highest[:, 1])
        there &= (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        visited[frame[there], row[there], column[there]] = True


def _gathered(
    cells: Int64[np.ndarray, "n 3"], answers: list[VideoAnswers], video: AnswersQueries, shape: tuple[int, int, int],
    options: AllTracksOptions,
) -> AllTracks:  # fmt: skip
    """One structure from all batches."""
    count, rows, columns = shape
    height, width = video.original_size

    def joined(name: str, *tail: int) -> np.ndarray:
        return np.concatenate([np.zeros((0, count, *tail), np.float32), *(getattr(each, name) for each in answers)])

    visibility = joined("visibility")
    at_start = visibility[np.arange(len(cells)), cells[:, 0]]
    start = (cells[:, [2, 1]] + 0.5) / (columns, rows) * (width, height) - 0.5
    return AllTracks(
        points=joined("points", 3),
        pixels=joined("uv", 2) * np.array((width, height), np.float32) - np.float32(0.5),
        visibility=visibility,
        confidence=joined("confidence"),
        queries=np.column_stack([start, cells[:, 0]]),
        camera=options.camera,
        grid=(rows, columns),
        saving=Saving(
            tracks=len(cells),
            queries=len(cells) * count,
            brute_force=count * rows * columns * count,
            rounds=len(answers),
            unseen=int(np.count_nonzero(at_start <= options.visible)),
        ),
    )
