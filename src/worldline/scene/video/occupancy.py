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
from jaxtyping import Bool, Float32, Int64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries, VideoAnswers

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
class AllTracks:
    """Points followed through all frames of a video, such that every cell of every frame has one."""

    points: Float32[np.ndarray, "n t 3"]  # camera of the same moment, or of ``camera``; unit of the video
    uv: Float32[np.ndarray, "n t 2"]  # (x + 0.5) / W, (y + 0.5) / H in the frame of the same moment
    visibility: Float32[np.ndarray, "n t"]  # probability in [0, 1]
    confidence: Float32[np.ndarray, "n t"]  # > 0
    source: Float32[np.ndarray, "n 2"]  # (u, v) of the starts
    source_frame: Int64[np.ndarray, "n"]
    camera: int | None  # frame whose camera ``points`` are in; None: that of the same moment
    grid: tuple[int, int]  # rows and columns of cells
    saving: Saving

    def __len__(self) -> int:
        return len(self.source)


def all_tracks(
    video: AnswersQueries, options: AllTracksOptions | None = None, *, progress: Progress | None = None
) -> AllTracks:
    """Follow every pixel of a video: each cell of each frame is passed by a track, or starts one.

    A cell that starts a track counts as visited even if the answers call it hidden there; otherwise the algorithm
    would not end. Tracks come in the order of their starts, which does not depend on the answers' values beyond what
    they mark.

    Args:
        progress: called after every batch with the cells visited so far and all cells.

    Returns:
        N tracks; at least one per cell of a frame and at most one per cell of every frame.

    Raises:
        InputError: the camera is no frame of the video.
    """
    options = options or AllTracksOptions()
    if options.camera is not None and not 0 <= options.camera < video.frame_count:
        raise InputError(
            f"Camera {options.camera} is outside of 0..{video.frame_count - 1}.", "Name a frame of the video."
        )
    grid = cell_grid(video.original_size, options.cell)
    visited = np.zeros((video.frame_count, *grid), np.bool_)
    starts, answers = [], []
    for cells in _batches(visited, options):
        starts.append(cells)
        answers.append(_follow(video, cells, grid, options.camera))
        _mark(visited, cells, answers[-1], options)
        if progress is not None:
            progress(int(np.count_nonzero(visited)), visited.size)
    return _gathered(np.concatenate(starts), answers, visited.shape, options.camera)


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


def _mark(
    visited: Bool[np.ndarray, "t rows columns"], cells: Int64[np.ndarray, "n 3"], answers: VideoAnswers,
    options: AllTracksOptions,
) -> None:  # fmt: skip
    """Set the cells whose centres lie within ``radius`` of a visible track, and the starts themselves."""
    _, rows, columns = visited.shape
    visited[tuple(cells.T)] = True
    seen = (answers.visibility > options.visible) & np.isfinite(answers.uv).all(-1)
    track, frame = np.nonzero(seen)
    position = answers.uv[track, frame].astype(np.float64) * (columns, rows)  # cells, edges at integers
    position = np.concatenate([position, cells[:, [2, 1]] + 0.5]) + _SLACK  # around the start too
    frame = np.concatenate([frame, cells[:, 0]])
    # c + 0.5 in (p - radius, p + radius]: for 0.5 exactly c = floor(p)
    lowest = np.floor(position - options.radius - 0.5).astype(np.int64) + 1
    highest = np.floor(position + options.radius - 0.5).astype(np.int64)
    reach = int(np.ceil(2 * options.radius))
    for down, right in np.ndindex(reach, reach):
        column, row = lowest[:, 0] + right, lowest[:, 1] + down
        there = (column <= highest[:, 0]) & (row <= highest[:, 1])
        there &= (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        visited[frame[there], row[there], column[there]] = True


def _gathered(
    cells: Int64[np.ndarray, "n 3"], answers: list[VideoAnswers], shape: tuple[int, int, int], camera: int | None
) -> AllTracks:
    """One structure from all batches."""
    count, rows, columns = shape
    visibility = np.concatenate([each.visibility for each in answers])
    at_start = visibility[np.arange(len(cells)), cells[:, 0]]
    return AllTracks(
        points=np.concatenate([each.points for each in answers]),
        uv=np.concatenate([each.uv for each in answers]),
        visibility=visibility,
        confidence=np.concatenate([each.confidence for each in answers]),
        source=((cells[:, [2, 1]] + 0.5) / (columns, rows)).astype(np.float32),
        source_frame=cells[:, 0],
        camera=camera,
        grid=(rows, columns),
        saving=Saving(
            tracks=len(cells),
            queries=len(cells) * count,
            brute_force=count * rows * columns * count,
            rounds=len(answers),
            unseen=int(np.count_nonzero(at_start <= 0.5)),
        ),
    )
