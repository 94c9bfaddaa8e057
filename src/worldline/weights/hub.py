"""One file from the Hugging Face hub, with a sentence for everything that can go wrong on the way."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from worldline.errors import OutputError, WeightsError

_CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_SEE_LIST = "See: worldline models list"


def looks_like_hub_id(name: str) -> bool:
    """Whether a text has the form owner/name."""
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w][\w.-]*", name)) and not name.endswith((".pth", ".safetensors"))


def revision_of(file: Path) -> str:
    """Commit that a file of the hub's cache belongs to (…/snapshots/<commit>/…), or an empty text."""
    parts = file.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def download(repo: str, filename: str, revision: str | None, get_command: str) -> Path:
    """Path of one file of a hub repository, from the hub's own cache if it is there.

    Args:
        repo, filename: where it is published.
        revision: commit; None is the newest.
        get_command: what to run once there is a network, for the remedy.

    Raises:
        WeightsError: offline, no such repository or file, a login is needed, or the hub does not answer.
        OutputError: the cache cannot be written.
    """
    from huggingface_hub import errors, hf_hub_download

    from worldline import __version__

    try:
        path = hf_hub_download(
            repo,
            filename,
            revision=revision,
            local_files_only=not _hub_has_address(),
            library_name="worldline",
            library_version=__version__,
        )
    except errors.LocalEntryNotFoundError as error:
        raise _offline(repo, filename, get_command) from error
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"The hub repository {repo} wants a login and consent to its terms.",
            f"Accept them at https://huggingface.co/{repo}, then: hf auth login",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(f"There is no public hub repository '{repo}'.", _SEE_LIST) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"The hub repository {repo} no longer has the revision {revision} that was used first.",
            f"If you trust the present one, run: {get_command} --repin",
        ) from error
    except errors.EntryNotFoundError as error:
        raise WeightsError(
            f"The hub repository {repo} has no file {filename}.",
            "Only DUSt3R, MV-DUSt3R, Open-D4RT and our own models can be loaded. " + _SEE_LIST,
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise _offline(repo, filename, get_command) from error
    except Exception as error:
        cause = str(error).strip().split("\n")[0] or type(error).__name__
        if getattr(error, "errno", None) in _CANNOT_WRITE:
            raise OutputError(
                f"The hub's cache cannot be written ({cause}).", "Free some space, or set HF_HOME to another folder."
            ) from error
        raise WeightsError(
            f"{filename} could not be fetched from the hub repository {repo} ({cause}).",
            "Try again later, or download the file by hand and give its path.",
        ) from error
    return Path(path)


def _hub_has_address() -> bool:
    """Whether the hub's name can be looked up: the cheap way not to wait for retries on a machine without a network.

    Behind a proxy the lookup is the proxy's business, so nothing is concluded there.
    """
    from huggingface_hub.constants import ENDPOINT

    parts = urlsplit(ENDPOINT)
    if getproxies().get(parts.scheme):
        return True
    try:
        socket.getaddrinfo(parts.hostname, parts.port or parts.scheme)
    except OSError:
        return False
    return True


def _offline(repo: str, filename: str, get_command: str) -> WeightsError:
    switched_off = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "ON", "YES")
    why = "HF_HUB_OFFLINE is set" if switched_off else "the hub cannot be reached"
    return WeightsError(
        f"{filename} of the hub repository {repo} is not on this machine, and {why}.",
        f"Connect once and run `{get_command}`; mvdust3r-plus-mini needs no network.",
    )
