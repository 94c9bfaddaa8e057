"""Photos and videos to :class:`worldline.types.Views`, logs of rigs, and the order in which a network is fed."""

from worldline.inputs.exif import focal_from_exif
from worldline.inputs.known_cameras import KnownCamera, attach_cameras, read_known_cameras
from worldline.inputs.logs import Log, open_log
from worldline.inputs.ordering import inverse_order, reference_order
from worldline.inputs.originals import read_original
from worldline.inputs.video import choose_frames_published
from worldline.inputs.views import load_views, require_views, stack

__all__ = [
    "KnownCamera",
    "Log",
    "attach_cameras",
    "choose_frames_published",
    "focal_from_exif",
    "inverse_order",
    "load_views",
    "open_log",
    "read_known_cameras",
    "read_original",
    "reference_order",
    "require_views",
    "stack",
]
