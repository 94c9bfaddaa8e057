"""How Rerun is to show a scene: the cloud from a good viewpoint, the photos beside it, what made it in a tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.outputs.export.rrd_motion import RecordingTimeline
from worldline.outputs.facts.viewpoint import home, up_direction
from worldline.scene import Scene

if TYPE_CHECKING:
    import rerun.blueprint as rrb

_MOST_PICTURES = 6
_TRAIL_SHARE = 1 / 3  # of the scene's duration
_SAMPLE = 2000  # points per view that the viewpoint is chosen by


def blueprint(scene: Scene, names: list[str], timeline: RecordingTimeline) -> rrb.Blueprint:
    """The layout of the viewer for a scene whose views are the entities ``names`` below ``world/cameras``."""
    import rerun as rr
    import rerun.blueprint as rrb

    cameras = list(dict.fromkeys(names))
    path = {name: str(rr.new_entity_path(["world", "cameras", name])) for name in cameras}
    flat = [f"- {path[name]}/{kind}" for name in cameras for kind in ("depth", "confidence", "dynamic")]
    cloud = ["- /world/points/**", "- /world/moving/**"] if scene.gaussians is not None else []
    space = rrb.Spatial3DView(
        origin="/world",
        name="scene",
        contents=["$origin/**", *flat, *cloud],
        background=[255, 255, 255],
        overrides=_lasting(cameras, timeline),
        **_eye(scene),
    )
    shown = [
        cameras[k] for k in np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), _MOST_PICTURES)).astype(int))
    ]
    kinds = {"photos": ["image", "dynamic"], "depth": ["depth"], "confidence": ["confidence"]}
    tabs = [
        rrb.Grid(
            *(
                rrb.Spatial2DView(origin=path[name], name=name, contents=[f"$origin/{part}" for part in parts])
                for name in shown
            ),
            name=label,
        )
        for label, parts in kinds.items()
        if shown
    ]
    beside = rrb.Tabs(*tabs, rrb.TextDocumentView(origin="/about", name="about"))
    return rrb.Blueprint(rrb.Horizontal(space, beside, column_shares=[3, 2]), collapse_panels=True)


def _lasting(cameras: list[str], timeline: RecordingTimeline) -> Any:
    """What stands still stays once it was seen; trails last a while."""
    import rerun as rr
    import rerun.blueprint as rrb

    times = timeline.moments.times
    if not times:
        return {}

    def since(start: Any) -> list[Any]:
        until = rrb.TimeRangeBoundary.cursor_relative()
        return [rrb.VisibleTimeRanges([rrb.VisibleTimeRange(timeline.name, start=start, end=until)])]

    still = {
        str(rr.new_entity_path(["world", "points", name])): since(rrb.TimeRangeBoundary.infinite()) for name in cameras
    }
    past = -_TRAIL_SHARE * (times[-1] - times[0])
    trail = {"seconds": past} if timeline.moments.seconds else {"seq": round(past)}
    return {**still, "/world/trails": since(rrb.TimeRangeBoundary.cursor_relative(**trail))}


def _eye(scene: Scene) -> dict[str, Any]:
    """The viewpoint to start from, where the SDK can say it."""
    import rerun.blueprint as rrb

    posed = [view for view in scene.views if view.pose_status != "failed"]
    if not posed or not hasattr(rrb, "EyeControls3D"):
        return {}
    parts = [view.points[view.mask][:: max(1, int(view.mask.sum()) // _SAMPLE)] for view in scene.views]
    up = up_direction([view.camera.world_from_cam for view in posed])
    place = home(posed[0].camera, np.concatenate(parts), up)
    return {"eye_controls": rrb.EyeControls3D(position=place.position, look_target=place.look_at, eye_up=place.up)}
