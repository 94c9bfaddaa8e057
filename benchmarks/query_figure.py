"""The picture of docs/models/d4rt.md: one query of a procedural clip with its exact answer.

python benchmarks/query_figure.py docs/images/d4rt_query.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from worldline import worlds
from worldline.worlds.truth import query

SEED, FRAMES, HEIGHT, WIDTH = worlds.TEST_SEEDS[21], 16, 270, 360
SOURCE, TARGET, CAMERA = 5, 10, 14
COLORS = {"src": "#ffd400", "tgt": "#ff3b7f", "cam": "#19d3ff"}


def _moving_pixel(sample: worlds.WorldSample) -> tuple[int, int]:
    """The pixel of the source frame in the middle of the largest thing that moves."""
    body = np.where(sample.dynamic[SOURCE].numpy(), sample.body[SOURCE].numpy(), 0)
    largest = np.bincount(body[body > 0]).argmax()
    rows, columns = np.nonzero(body == largest)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[middle]), int(columns[middle])


def main(path: Path) -> None:
    (sample,) = worlds.sample_batch(
        "dynamic", [SEED], views=FRAMES, height=HEIGHT, width=WIDTH, shooting="video", rate=8.0
    )
    row, column = _moving_pixel(sample)
    u, v = (column + 0.5) / WIDTH, (row + 0.5) / HEIGHT
    times = np.arange(FRAMES)
    path_seen = query(sample.world, u, v, SOURCE, times, times, height=HEIGHT, width=WIDTH)
    asked = query(sample.world, u, v, SOURCE, TARGET, CAMERA, height=HEIGHT, width=WIDTH)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), constrained_layout=True)
    panels = (
        (SOURCE, f"t_src = {SOURCE}: which point?\n(u, v) = ({u:.2f}, {v:.2f})"),
        (TARGET, f"t_tgt = {TARGET}: at which moment?\nuv and visibility are about this view"),
        (CAMERA, f"t_cam = {CAMERA}: in whose camera?\nx right, y down, z forward"),
    )
    for axis, (frame, title) in zip(axes, panels, strict=True):
        axis.imshow(sample.images[frame].numpy())
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    axes[0].plot(column, row, "o", ms=11, mfc="none", mec=COLORS["src"], mew=2.5)
    trail = path_seen.uv[SOURCE : TARGET + 1] * (WIDTH, HEIGHT) - 0.5
    axes[1].plot(*trail.T, "-", color=COLORS["src"], lw=1.5, alpha=0.8)
    axes[1].plot(*trail[-1], "o", ms=11, mfc="none", mec=COLORS["tgt"], mew=2.5)
    camera = sample.intrinsics[CAMERA].numpy()
    pixel = (camera @ (asked.position / asked.position[2]))[:2]
    origin = np.array([28.0, HEIGHT - 44.0])
    for vector, name in (((34, 0), "x"), ((0, 22), "y")):
        axes[2].annotate("", origin + vector, origin, arrowprops={"arrowstyle": "->", "color": COLORS["cam"], "lw": 2})
        axes[2].text(
            *(origin + np.array(vector) * 1.25), name, color=COLORS["cam"], fontsize=9, ha="center", va="center"
        )
    axes[2].plot(*pixel, "x", ms=9, color=COLORS["tgt"], mew=2.5)
    answer = "P = ({:+.2f}, {:+.2f}, {:.2f}) m".format(*asked.position)
    axes[2].text(
        0.03, 0.95, answer, transform=axes[2].transAxes, color="white", fontsize=10, va="top",
        bbox={"facecolor": "black", "alpha": 0.65, "pad": 3, "edgecolor": "none"},
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
