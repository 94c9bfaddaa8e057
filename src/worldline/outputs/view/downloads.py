"""Files that a tab asks for: a picture of what it shows, and the exports of docs/formats.md."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from worldline.errors import WorldlineError
from worldline.outputs.export import FORMATS, export_scene
from worldline.outputs.export.folder import MANIFEST

if TYPE_CHECKING:
    import viser

    from worldline.scene import Scene

_log = logging.getLogger(__name__)
_LEAST_WIDTH = 1600  # pixels; a small window or a coarse screen must not make a coarse picture
_RENDER_SECONDS = 60.0  # a tab in the background may never answer


def file_name(text: str) -> str:
    """``text`` with only characters that every file system takes."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "scene"


def screenshot(client: viser.ClientHandle, background: tuple[int, int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """What the tab of ``client`` shows, without the controls, in the resolution of the screen or a finer one.

    Raises:
        TimeoutError: the tab does not answer, for example because it is in the background.
    """
    width = max(client.camera.image_width, _LEAST_WIDTH)
    height = round(width / client.camera.aspect)
    rendered = client.get_render(height, width, transport_format="png", timeout=_RENDER_SECONDS)
    share = rendered[..., 3:].astype(np.float32) / 255
    return np.rint(share * rendered[..., :3] + (1 - share) * np.array(background)).astype(np.uint8)


def send_screenshot(client: viser.ClientHandle, background: tuple[int, int, int], name: str) -> None:
    """Let the browser of ``client`` save a PNG of what it shows; says so in the tab where that fails."""
    try:
        picture = screenshot(client, background)
    except (TimeoutError, RuntimeError) as error:
        client.add_notification("No picture", str(error), color="red", auto_close_seconds=8)
        return
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    client.send_file_download(f"{file_name(name)}.png", buffer.getvalue(), save_immediately=True)


def export_file(scene: Scene, name: str, format_name: str) -> tuple[str, bytes]:
    """An export as one file: its name, and its bytes; folders as a zip.

    Raises:
        WorldlineError: the scene has nothing for this format, or it needs an extra that is missing.
    """
    with tempfile.TemporaryDirectory(prefix="worldline-") as folder:
        written = export_scene(scene, Path(folder), [format_name])[format_name]
        files = sorted(Path(folder).rglob("*"))
        together = [path for path in files if path.is_file() and path.name != MANIFEST]
        if written.is_file() and together == [written]:
            return f"{file_name(name)}{written.suffix}", written.read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in together:
                archive.write(path, path.relative_to(folder).as_posix())
        return f"{file_name(name)}_{format_name}.zip", buffer.getvalue()


def send_export(client: viser.ClientHandle, scene: Scene, name: str, format_name: str) -> None:
    """Export and let the browser of ``client`` save the file; the tab says what goes on and what went wrong."""
    note = client.add_notification(
        f"Exporting {format_name}", FORMATS[format_name].description, loading=True, with_close_button=False
    )
    try:
        file, content = export_file(scene, name, format_name)
    except WorldlineError as error:
        client.add_notification(f"No {format_name}", str(error), color="red", auto_close_seconds=12)
    except Exception as error:  # noqa: BLE001  a bug of a writer must not look like waiting
        _log.exception("export of %s failed", format_name)
        client.add_notification(f"No {format_name}", f"{type(error).__name__}: {error}", color="red")
    else:
        client.send_file_download(file, content, save_immediately=True)
        size = f"{len(content) / 1e6:.1f} MB"
        client.add_notification(f"Exported {format_name}", f"{file}, {size}", color="green", auto_close_seconds=6)
    finally:
        note.remove()
