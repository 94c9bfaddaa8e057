"""From pointmaps to a Scene: the record itself, its file format, cameras and alignment."""

from worldline.scene.scene import Scene, SceneView
from worldline.scene.storage.writer import SceneWriter

__all__ = ["Scene", "SceneView", "SceneWriter"]
