"""The viewer: scenes in the browser of this machine; see docs/viewer.md.

``stage`` is a scene with its arrays ready, ``state`` what is chosen, ``parts`` the list of layers (what is drawn) and
panels (controls), ``viewer`` ties them to a viser server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer
    from worldline.scene import Scene

__all__ = ["open_viewer"]


def open_viewer(
    scenes: Sequence[Scene],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    names: Sequence[str] | None = None,
    state: ViewState | None = None,
) -> Viewer:
    """Serve scenes to a browser and return at once.

    Args:
        scenes: one scene, or several to look at side by side.
        host: address to listen on; the default is reached from this machine only.
        port: the first port to try; the next free one is taken where it is in use.
        names: what the scenes are called in the panels; by default their models' names.
        state: what is chosen at first.

    Raises:
        InputError: no scene, a scene without views, or no port is free.
        MissingExtraError: viser is not installed.
    """
    from worldline.outputs.view.panels.compare import arrange
    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.viewer import Viewer

    if not scenes:
        raise InputError("There is no scene to show.", "Give at least one.")
    if any(not len(scene) for scene in scenes):
        raise InputError("A scene without views cannot be shown.", "Save a scene with at least one view.")
    names = list(names or (scene.provenance.model for scene in scenes))
    if len(names) != len(scenes):
        raise InputError(f"There are {len(scenes)} scenes and {len(names)} names.", "Give one name per scene.")
    stages = [
        Stage(scene, f"/{chr(ord('a') + index)}", name)
        for index, (scene, name) in enumerate(zip(scenes, names, strict=True))
    ]
    arrange(stages)
    return Viewer(stages, host=host, port=port, state=state)
