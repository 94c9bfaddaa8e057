"""Photos in a zip file, read member by member in memory: nothing is unpacked, so no name can lead out of a folder."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from worldline.errors import InputError
from worldline.inputs.decode import BadImageError

MAX_MEMBERS = 20_000
MAX_MEMBER_BYTES = 1 << 30  # of one unpacked photo
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ZipMember:
    """One file in a zip."""

    archive: Path
    name: str  # as the zip calls it
    encrypted: bool = False

    @property
    def safe_name(self) -> PurePosixPath:
        """The name if it stays inside the zip, else only its last part."""
        path = PurePosixPath(self.name)
        return PurePosixPath(path.name) if leads_out(self.name) else path

    def open(self) -> BinaryIO:
        """The unpacked bytes.

        Raises:
            BadImageError: encrypted, damaged, larger than allowed, or with a name that leads out of the zip.
        """
        if leads_out(self.name):
            raise BadImageError("has a path that leads out of the zip, which a sound zip never has")
        if self.encrypted:
            raise BadImageError("is encrypted (unpack the zip with its password first)")
        try:
            with zipfile.ZipFile(self.archive) as archive, archive.open(self.name) as stream:
                data = stream.read(MAX_MEMBER_BYTES + 1)  # the size that the zip declares may be a lie
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise BadImageError(f"is damaged inside the zip ({error})") from error
        if len(data) > MAX_MEMBER_BYTES:
            raise BadImageError(f"unpacks to more than the limit of {MAX_MEMBER_BYTES >> 20} MB")
        return io.BytesIO(data)


def list_zip(path: Path) -> list[ZipMember]:
    """The files of a zip, unsorted.

    Raises:
        InputError: not a zip, damaged, or with too many files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is not a zip file that can be read ({error}).", "Copy or zip it again.") from error
    if len(infos) > MAX_MEMBERS:
        raise InputError(
            f"{path} holds {len(infos)} files, more than the limit of {MAX_MEMBERS}.", "Unpack it and give a folder."
        )
    return [ZipMember(path, info.filename, bool(info.flag_bits & _ENCRYPTED)) for info in infos]


def leads_out(name: str) -> bool:
    """Whether a name, used as a path below some folder, could point outside of it."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]
