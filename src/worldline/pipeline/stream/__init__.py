"""Streams of camera rigs: push images, get 4D geometry."""

from worldline.pipeline.stream.options import StreamOptions
from worldline.pipeline.stream.results import FrameResult, SensorResult
from worldline.pipeline.stream.session import StreamSession

__all__ = ["FrameResult", "SensorResult", "StreamOptions", "StreamSession"]
