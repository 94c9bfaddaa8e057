"""Is a video data set read correctly, and how fast? Draws windows from a folder, times them, and shows one.

python benchmarks/clip_readers.py vkitti /data/vkitti2 --sheet vkitti.png

The sheet has a column per frame: the image with points that are followed from the first one, depth, and normals as the
camera of the frame sees them. Points that stay on their things say that cameras, depth and motion are read as they are
meant; smooth normals that face the camera, that depth and intrinsics are.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from worldline.train.clips.clips import Clip
from worldline.train.clips.queries import QueryOptions, answer, draw_sources
from worldline.train.clips.readers import open_clips

_COLUMNS = 6


@dataclass(frozen=True)
class Options:
    """What to read, and how much of it."""

    kind: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="KIND")]
    """A name of worldline.train.clips.readers.READERS."""
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Where the data set was unpacked."""
    clips: int = 8
    """Windows to read."""
    frames: int = 16
    """Frames of a window."""
    longest: int | None = 256
    """Pixels that the longer side may not fall below when images are reduced."""
    seed: int = 0
    """Of the choice of the windows."""
    sheet: Path | None = None
    """Where to write a picture of the last window."""


def main(options: Options) -> None:
    """Open, read, report."""
    start = time.perf_counter()
    source = open_clips(options.kind, options.folder, frames=options.frames)
    facts = source.facts()
    print(f"{facts['videos']} videos of {facts['frames']} frames, listed in {time.perf_counter() - start:.2f} s")
    rng, seconds = np.random.default_rng(options.seed), []
    for _ in range(options.clips):
        start = time.process_time()
        clip = source.draw(rng, options.longest)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    height, width = clip.size
    each = f"{1000 * np.median(seconds) / options.frames:.1f} ms of processor time a frame"
    print(f"{width} x {height}: {each}, peak {peak:.0f} MiB")
    asked = "tracks" if clip.tracks is not None else "bodies" if clip.body is not None else "a still world"
    known = {"depth": np.asarray(clip.depth) > 0, "normals": np.asarray(clip.normals).any(-1)}
    print(f"asked about {asked}; known: " + ", ".join(f"{name} {share.mean():.0%}" for name, share in known.items()))
    if options.sheet is not None:
        sheet_of(clip, np.random.default_rng(options.seed)).save(options.sheet)


def sheet_of(clip: Clip, rng: np.random.Generator) -> Image.Image:
    """A column per frame, see above."""
    frames = np.unique(np.linspace(0, len(clip) - 1, _COLUMNS).astype(int)).tolist()
    clip = clip.choose(frames)
    rows = [np.concatenate(list(part), 1) for part in (followed(clip, rng), depths(clip), normals(clip))]
    return Image.fromarray(np.concatenate(rows))


def followed(clip: Clip, rng: np.random.Generator) -> UInt8[np.ndarray, "frame height width 3"]:
    """Images with points of the first frame wherever they are seen."""
    sources = draw_sources(clip, QueryOptions(count=2000, edges=0.0), rng)
    images = [Image.fromarray(image) for image in clip.images]
    if sources is None:
        return clip.images
    first = np.flatnonzero(sources.frame == 0)[:80]
    chosen = type(sources)(*(part[first] for part in sources))
    height, width = clip.size
    hues = [tuple(int(c) for c in rng.integers(60, 256, 3)) for _ in first]
    for frame, image in enumerate(images):
        asked = answer(clip, chosen, np.full(len(first), frame), np.full(len(first), frame))
        draw = ImageDraw.Draw(image)
        for (u, v), hue, seen in zip(asked.uv, hues, asked.visible & asked.has_uv, strict=True):
            x, y, r = u * width - 0.5, v * height - 0.5, max(1.5, width / 150)
            if seen:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=hue, outline=(0, 0, 0))
    return np.stack([np.asarray(image) for image in images])


def depths(clip: Clip) -> UInt8[np.ndarray, "frame height width 3"]:
    """Near is bright; black is unknown."""
    depth = np.asarray(clip.depth, np.float32)
    near = np.percentile(depth[depth > 0], 2) if (depth > 0).any() else 1.0
    shade = np.where(depth > 0, 40 + 215 * np.clip(near / np.maximum(depth, 1e-6), 0, 1), 0)
    return np.repeat(shade[..., None], 3, -1).astype(np.uint8)


def normals(clip: Clip) -> UInt8[np.ndarray, "frame height width 3"]:
    """Red to the right, green up, blue towards the camera; black is unknown."""
    world: Float[np.ndarray, "frame height width 3"] = np.asarray(clip.normals) / 127
    local = np.einsum("tji,thwj->thwi", clip.world_from_cam[:, :3, :3], world) * [1, -1, -1]
    known = np.asarray(clip.normals).any(-1, keepdims=True)
    return np.where(known, 127.5 + 127.5 * local, 0).astype(np.uint8)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
