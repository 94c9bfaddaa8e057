"""From a model and a video of any length to :class:`~worldline.pipeline.video.windows.LongVideo`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worldline.errors import InputError
from worldline.pipeline.finish import provenance
from worldline.pipeline.video.encoded import EncodedVideo, EncodeOptions, encode_video
from worldline.pipeline.video.frames import Footage, open_footage
from worldline.pipeline.video.windows import LongVideo
from worldline.scene.video.windows import Window, WindowOptions

if TYPE_CHECKING:
    from worldline.pipeline.single_pass import Reconstructor


def open_long(
    model: Reconstructor, source: Any, options: EncodeOptions | None = None, windows: WindowOptions | None = None, *,
    encoded: Callable[[Window], None] | None = None,
) -> LongVideo:  # fmt: skip
    """A video of any length, ready to be asked; nothing is encoded before the first question.

    Args:
        source: video file, folder or list of photos, array ``[T, H, W, 3]``, or :class:`Footage`.
        windows: how it is cut and joined; by default windows as long as the network takes, half of them shared.
        encoded: called after each window that was encoded.

    Raises:
        InputError: no video, the model answers no queries, or windows longer than it takes.
    """
    from worldline.models.d4rt import D4rt

    network, options = model.network, options or EncodeOptions()
    if not isinstance(network, D4rt):
        raise InputError(f"{model.name} answers no queries.", "Load d4rt-mini, or a D4RT checkpoint.")
    windows = windows or WindowOptions()
    longest = network.config.clip_frames
    if windows.window is not None and windows.window > longest:
        raise InputError(
            f"A window of {windows.window} frames is too long for {model.name}.", f"It takes {longest} at once."
        )
    footage = open_footage(source, fps=options.fps, max_frames=options.max_frames, spread=options.spread)
    record = provenance(model, options, {})

    def open_window(window: Window) -> EncodedVideo:
        video = encode_video(network, part_of(footage, window), options, provenance=record)
        if encoded is not None:
            encoded(window)
        return video

    return LongVideo(open_window, len(footage), footage.size, longest, windows)


def part_of(footage: Footage, window: Window) -> Footage:
    """Some frames of a video, still unread."""
    part, clip = slice(window.start, window.stop), footage.clip
    return replace(
        footage,
        names=footage.names[part],
        seconds=None if footage.seconds is None else footage.seconds[part],
        clip=None if clip is None else replace(clip, numbers=clip.numbers[part], seconds=clip.seconds[part]),
        array=None if footage.array is None else footage.array[part],
    )
