"""The scene folder: scene.json (readable), array files (exact) and thumbnails/ (to look at); see docs/formats.md.

``saving`` writes a scene whole or not at all, ``writer`` a stream as it comes, ``loading`` reads both. Whenever the
program dies, scene.json names only files that are complete. Files that are not ours stay.
"""

from worldline.scene.storage.document import VERSION
from worldline.scene.storage.folder import check_replaceable
from worldline.scene.storage.loading import load_scene
from worldline.scene.storage.saving import save_scene
from worldline.scene.storage.writer import SceneWriter

__all__ = ["VERSION", "SceneWriter", "check_replaceable", "load_scene", "save_scene"]
