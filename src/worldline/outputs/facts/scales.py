"""What is known of the size of a scene, in words."""

from __future__ import annotations

from worldline.scene import Scene

_WORDS = {
    "arbitrary": "arbitrary: lengths have no unit",
    "model": "as the network predicts it: lengths are no metres",
    "known-poses": "from given poses, in metres if they are",
    "known-baseline": "from the known places of the cameras on their rig, in metres",
    "depth": "from measured depth, in metres",
}


def scale_words(scene: Scene) -> str:
    """Where the scale of a scene comes from, and whether its lengths are metres."""
    return _WORDS[scene.scale]
