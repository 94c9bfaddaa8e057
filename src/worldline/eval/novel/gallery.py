"""Pictures of what the figures mean: the best, the middle and the worst scene, every method beside the photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from worldline.eval.novel.image_metrics import capped_psnr
from worldline.eval.novel.methods import MEAN_COLOR, methods_of
from worldline.eval.novel.scenes import Case
from worldline.files import replacing_file, reporting

if TYPE_CHECKING:
    from worldline.eval.novel.report import NovelReport
    from worldline.pipeline import Reconstructor

_LABEL, _GAP = 15, 4  # pixels
_SHARES = {"best": 0.0, "middle": 0.5, "worst": 1.0}
_DIM = 0.45  # brightness of what no shown photo sees


def pick_scenes(report: NovelReport) -> dict[str, str]:
    """Names of the best, the middle and the worst scene by the first method's PSNR of what is seen, at the fewest
    shown photos; each scene once.
    """
    rows = report.of(report.methods[0], report.counts[0])
    ranked = sorted(rows, key=lambda scene: -rows[scene]["psnr_seen"])
    chosen: dict[str, str] = {}
    for title, share in _SHARES.items():
        chosen.setdefault(ranked[round(share * (len(ranked) - 1))], title)
    return {title: scene for scene, title in chosen.items()}


def write_gallery(
    bands: Mapping[str, Case], models: Mapping[str, Reconstructor], path: Path, *, tile: int = 168
) -> Path:
    """Draw some scenes, each with its title: shown photos, then each held-out photo beside what the methods show.

    In the second picture of a row what no shown photo sees is dimmed. Above each picture is its PSNR, whole and over
    what is seen.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [_band(title, case, models, tile) for title, case in bands.items()]
    picture = Image.fromarray(np.concatenate(rows, 0))
    with reporting(path), replacing_file(path) as temporary:
        picture.save(temporary, format="jpeg", quality=88, optimize=True)
    return path


def _band(
    title: str, case: Case, models: Mapping[str, Reconstructor], tile: int
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    """One scene: a row of pictures per held-out photo."""
    shows = {name: show for name, show in methods_of(case, models).items() if name != MEAN_COLOR}
    pictures = {name: show(case.held_out).color for name, show in shows.items()}
    lines = []
    for place, view in enumerate(case.held_out):
        photo, seen = (case.scene.photos[view] / 255).astype(np.float32), case.seen(view)
        dimmed = photo * np.where(seen, 1.0, _DIM)[..., None].astype(np.float32)
        tiles = [_tile(_contact(case), "shown photos", tile), _tile(dimmed, "truth (dim: not seen)", tile)]
        for name, found in pictures.items():
            scores = [capped_psnr(*map(torch.from_numpy, pair))
                      for pair in ((found[place], photo), (found[place][seen], photo[seen]))]  # fmt: skip
            tiles.append(_tile(found[place], f"{_short(name, models)} {scores[0]:.1f}/{scores[1]:.1f}", tile))
        lines.append(np.concatenate(tiles, 1))
    heading = Image.new("RGB", (lines[0].shape[1], _LABEL + _GAP), "white")
    text = f"{title}: scene {case.scene.name}; {', '.join(models) or 'baselines'}; PSNR in dB, whole/seen"
    ImageDraw.Draw(heading).text((2, _GAP), text, fill="black")
    return np.concatenate([np.asarray(heading), *lines], 0)


def _short(name: str, models: Mapping[str, Reconstructor]) -> str:
    """Without the model's label where there is one model only."""
    label = next(iter(models), "")
    if len(models) != 1 or not name.startswith(label):
        return name
    return name.removeprefix(label).removeprefix(", ") or "Gaussians"


def _contact(case: Case) -> Float32[np.ndarray, "height width 3"]:
    """The shown photos on one picture."""
    side = int(np.ceil(np.sqrt(case.count)))
    height, width = case.scene.photos.shape[1:3]
    sheet = np.ones((side * height, side * width, 3), np.float32)
    for number in range(case.count):
        top, left = number // side * height, number % side * width
        sheet[top : top + height, left : left + width] = case.scene.photos[number] / 255
    return sheet


def _tile(picture: Float32[np.ndarray, "h w 3"], text: str, size: int) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with a line of text above and a margin."""
    canvas = Image.new("RGB", (size + _GAP, size + _LABEL + _GAP), "white")
    image = Image.fromarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8))
    canvas.paste(image.resize((size, size), Image.Resampling.LANCZOS), (0, _LABEL))
    pen = ImageDraw.Draw(canvas)
    while text and pen.textlength(text) > size:  # the number at the end stays
        words = text.rsplit(" ", 1)
        text = f"{words[0][:-2]}… {words[1]}" if len(words) == 2 and len(words[0]) > 2 else text[:-1]
    pen.text((1, 2), text, fill="black")
    return np.asarray(canvas)
