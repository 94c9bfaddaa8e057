"""Videos and the network that answers queries about them (D4RT)."""

from worldline.pipeline.video.encoded import EncodedVideo, EncodeOptions, encode_video
from worldline.pipeline.video.frames import Footage, open_footage, squashed_views
from worldline.pipeline.video.long import open_long
from worldline.pipeline.video.windows import LongVideo

__all__ = [
    "EncodeOptions",
    "EncodedVideo",
    "Footage",
    "LongVideo",
    "encode_video",
    "open_footage",
    "open_long",
    "squashed_views",
]
