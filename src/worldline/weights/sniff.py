"""What a file is, by its first bytes: the sentence for people who downloaded something else than they thought."""

from __future__ import annotations

import zipfile
from pathlib import Path

_MAGIC = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"glTF", "a GLB model"),
    (b"\x7fELF", "a program"),
)
ZIP, PICKLE, SAFETENSORS = "zip", "pickle", "safetensors"


def checkpoint_kind(path: Path) -> str | None:
    """``"zip"`` (torch.save), ``"pickle"`` (torch.save before 2020), ``"safetensors"``, or None: no checkpoint."""
    head = _head(path)
    if head.startswith(b"PK\x03\x04"):
        return ZIP if _torch_members(path) else None
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return PICKLE
    return SAFETENSORS if _header_length(head) is not None and _is_complete_safetensors(path, head) else None


def describe(path: Path) -> tuple[str, str]:
    """Cause and remedy for a file that is no checkpoint."""
    head = _head(path)
    again = "Download the checkpoint again and compare its size with the size that the site states."
    if not head:
        return f"{path} is empty.", again
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text:
        return f"{path} is an HTML page, not a checkpoint: the site answered with a web page.", (
            "Open the link in a browser, use its direct download link, or let `worldline models get` fetch it."
        )
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a git-lfs pointer, not the checkpoint itself.", "Run `git lfs pull` in that repository."
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(path, again)
    if _header_length(head) is not None:
        return f"{path} is a safetensors file that is cut short or damaged.", again
    if text.startswith((b"{", b"[")):
        return f"{path} is JSON text, not a checkpoint.", "Give the .pth or .safetensors file itself."
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return f"{path} is a WebP image, not a checkpoint.", "Give the .pth or .safetensors file itself."
    if head[257:262] == b"ustar":
        return f"{path} is a tar archive, not a checkpoint.", "Unpack it and give the file inside."
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return f"{path} is {name}, not a checkpoint.", "Give the .pth or .safetensors file itself."
    if _is_text(head):
        return f"{path} is a text file, not a checkpoint.", "Give the .pth or .safetensors file itself."
    return f"{path} is not a checkpoint: its content is of no known kind.", again


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def _torch_members(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(Path(name).name == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _describe_zip(path: Path, again: str) -> tuple[str, str]:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return f"{path} is a checkpoint or zip archive that is cut short or damaged ({size:,} bytes).", again
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return (
        f"{path} is a zip archive without tensors (it holds {shown or 'nothing'}).",
        "Unpack it and give the checkpoint inside.",
    )


def _header_length(head: bytes) -> int | None:
    """Length of the JSON header if the file starts like safetensors."""
    length = int.from_bytes(head[:8], "little")
    return length if head[8:9] == b"{" and 0 < length < 10**8 else None


def _is_complete_safetensors(path: Path, head: bytes) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _is_text(head: bytes) -> bool:
    try:
        text = head[:1000].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head[:1000]) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t" for character in text)
