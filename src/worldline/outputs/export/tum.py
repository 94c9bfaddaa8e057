"""Camera trajectory in the text format of the TUM RGB-D benchmark, as evo and others read it."""

from __future__ import annotations

from pathlib import Path

from worldline.outputs.export.folder import OutputFolder
from worldline.scene import Scene


def write_tum(scene: Scene, folder: OutputFolder) -> Path:
    """trajectory.txt: "timestamp tx ty tz qx qy qz qw" per view, the pose being world_from_cam (OpenCV axes).

    The timestamp is in seconds, or the index of the view where not every view has one. Views without a pose are left
    out.
    """
    from scipy.spatial.transform import Rotation

    timed = all(view.timestamp is not None for view in scene.views)
    lines = [f"# timestamp tx ty tz qx qy qz qw; {'seconds' if timed else 'timestamp = index of the view'}"]
    for index, view in enumerate(scene.views):
        if view.pose_status == "failed":
            continue
        pose = view.camera.world_from_cam
        numbers = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        time = f"{view.timestamp:.9f}" if timed else str(index)
        lines.append(" ".join([time, *(f"{number:.12g}" for number in numbers)]))
    with folder.file("trajectory.txt") as path:
        path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return folder.root / "trajectory.txt"
