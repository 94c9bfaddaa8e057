"""Videos and the network that answers queries about them (D4RT)."""

from worldline.pipeline.video.encoded import EncodedVideo, EncodeOptions, encode_video
from worldline.pipeline.video.frames import Footage, open_footage, squashed_views

__all__ = ["EncodeOptions", "EncodedVideo", "Footage", "encode_video", "open_footage", "squashed_views"]
