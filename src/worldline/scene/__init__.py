"""From pointmaps to a Scene: the record itself, its file format, cameras and alignment."""

from worldline.scene.scene import Scene, SceneView

__all__ = ["Scene", "SceneView"]
