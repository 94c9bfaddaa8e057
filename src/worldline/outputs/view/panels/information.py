"""What is known of a scene, as text for the panel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worldline.outputs.facts.scales import scale_words

if TYPE_CHECKING:
    from worldline.outputs.view.stage import Stage


def plain(text: object) -> str:
    """Text that Markdown shows as it is: names of files and models must neither format nor load anything."""
    return re.sub(r"([^\w\s])", lambda found: f"&#{ord(found.group())};", str(text))


def number(value: int) -> str:
    """1234567 -> "1 234 567" with narrow spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f")


def count_text(drawn: int, total: int) -> str:
    """How many points are drawn of those that pass the sliders."""
    return f"{number(drawn)} of {number(total)} points" if drawn < total else f"{number(drawn)} points, all of them"


def gaussians_text(stages: Sequence[Stage]) -> str:
    """How many Gaussians are drawn: all there are."""
    total = sum(len(stage.scene.gaussians.means) for stage in stages if stage.scene.gaussians is not None)
    return f"{number(total)} Gaussians, all of them; the sliders are for points"


def describe(stage: Stage) -> str:
    """Model, licence, scale, counts and warnings of a scene, as Markdown."""
    scene, provenance = stage.scene, stage.scene.provenance
    rows = [("Model", provenance.model), ("Licence", provenance.license or "unknown")]
    rows.append(("Scale", scale_words(scene)))
    rows.append(("Views", number(len(scene))))
    if len(scene.sensors) > 1:
        rows.append(("Sensors", ", ".join(scene.sensors)))
    if len(scene.times) > 1:
        rows.append(("Moments", f"{number(len(scene.times))} in {scene.times[-1] - scene.times[0]:.1f} s"))
    if scene.gaussians is not None:
        rows.append(("Gaussians", number(len(scene.gaussians.means))))
    if scene.tracks is not None:
        rows.append(("Tracks", number(len(scene.tracks.points))))
    if scene.objects:
        rows.append(("Moving objects", number(len(scene.objects))))
    if provenance.created:
        rows.append(("Made", provenance.created[:16].replace("T", " ")))
    lines = [f"**{label}** {plain(value)}" for label, value in rows]
    lines += [f"&#9888; {plain(warning)}" for warning in scene.warnings]
    return "\n\n".join(lines)
