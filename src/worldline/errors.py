"""Errors that a user can cause or meet. Each carries one sentence of cause and one of remedy."""

from __future__ import annotations


class WorldlineError(Exception):
    """Base class: the command line prints these without a traceback and exits with code 2.

    Args:
        cause: one sentence that says what is wrong, naming the file or argument.
        remedy: one sentence that says what the user can do about it.
    """

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{cause} {remedy}".strip())


class InputError(WorldlineError):
    """The images, video, log or arguments given cannot be used as they are."""


class NoPlaceError(InputError):
    """A seed whose world has no place for what was asked of it; another seed may have. No mistake of the user's."""


class WeightsError(WorldlineError):
    """A checkpoint is unknown, unreadable, altered or of another kind than expected."""


class OutputError(WorldlineError):
    """A result cannot be written: permissions, full disk, an existing file of the user's."""


class MemoryPlanError(WorldlineError):
    """The run would need more memory than this machine has, whatever the chunking."""


class MissingExtraError(WorldlineError):
    """An optional dependency is not installed; the remedy is the pip command that adds it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional dependency.", f"Install it with: pip install 'worldline[{extra}]'"
        )
