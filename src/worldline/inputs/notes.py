"""What a user should know about the photos that were read, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from worldline.types import View

_WORTH_SAYING = 0.005  # share of unused pixels below which nothing is said


def describe_views(views: Sequence[View]) -> tuple[str, ...]:
    """Sentences about what the fit to the model does to these views."""
    return tuple(note for note in (_unused(views), _mixed(views), _enlarged(views)) if note)


def unused_share(views: Sequence[View]) -> float:
    """Share of all original pixels that no network sees, in [0, 1]."""
    pixels = [view.transform.original_size[0] * view.transform.original_size[1] for view in views]
    used = sum(count * view.transform.used_share for count, view in zip(pixels, views, strict=True))
    return 1 - used / sum(pixels) if pixels else 0.0


def _unused(views: Sequence[View]) -> str | None:
    share = unused_share(views)
    if share < _WORTH_SAYING:
        return None
    square = all(view.transform.model_size[0] == view.transform.model_size[1] for view in views)
    crop = "square crop" if square else "crop"
    percent = f"{100 * share:.0f}" if share >= 0.01 else f"{100 * share:.1f}"
    return f"{percent} % of the pixels lie outside the {crop} and are not used; --fit pad keeps them."


def _mixed(views: Sequence[View]) -> str | None:
    sizes = sorted({view.transform.original_size for view in views})
    if len(sizes) < 2:
        return None
    shown = ", ".join(f"{width}x{height}" for height, width in sizes[:4]) + (", ..." if len(sizes) > 4 else "")
    shapes = {view.transform.model_size for view in views}
    end = (
        "."
        if len(shapes) == 1
        else f", and become {len(shapes)} different model sizes, which only pairwise models take."
    )
    return f"The images have {len(sizes)} different sizes ({shown}){end}"


def _enlarged(views: Sequence[View]) -> str | None:
    small = sum(max(view.transform.resized_size) > max(view.transform.original_size) for view in views)
    if not small:
        return None
    return f"{small} of {len(views)} images are smaller than the model's input and were enlarged."
