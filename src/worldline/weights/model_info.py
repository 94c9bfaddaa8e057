"""What is known about a set of weights, whether or not it is on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldline.models.config import NetworkConfig

PERMISSIVE = ("Apache-2.0", "MIT", "BSD", "CC0", "CC BY 4.0")


@dataclass(frozen=True)
class Source:
    """Where the original file of a model is published."""

    repo: str  # owner/name on the Hugging Face hub; empty where people must download by hand
    filename: str  # path in that repository, or how the authors call the file
    with_config: bool = False  # a config.json with the constructor options lies beside it
    page: str = ""  # the authors' web page, for files that people must download by hand
    options: str = ""  # path in that repository of a model.yaml with the sizes
    bytes: int = 0  # of the original file; 0: not known in advance
    sha256: str = ""  # of the original file; empty: trusted on first use
    reported_by: str = ""  # who says so

    @property
    def reported(self) -> str:
        """What is said about the original file, and by whom; empty where nothing is."""
        return f"{self.bytes:,} bytes, sha256 {self.sha256}, as reported by {self.reported_by}" if self.sha256 else ""


@dataclass(frozen=True)
class ModelInfo:
    """One set of weights: what it is, whose terms it has, where it comes from.

    From the registry (:func:`worldline.weights.info`) ``sha256`` and ``directory`` are empty until the weights are
    on this machine; :func:`worldline.weights.load_model` returns them filled.
    """

    id: str  # registry id, or the name in the card, or the folder's name
    family: str  # "dust3r", "mvdust3r", "driv3r" or "d4rt"
    config: NetworkConfig
    parameters: int  # of our network; entries that influence no output are not kept
    license: str = ""  # of the weights, not of the code
    domain: str = ""  # what the weights were trained on
    image_size: int = 224  # pixels, long side, as trained
    title: str = ""
    citation: str = ""
    published_parameters: int | None = None  # of the published file, with its unused entries
    source: Source | None = None  # None: embedded or local
    embedded: bool = False  # ships with the package
    memory: dict[str, Any] = field(default_factory=dict)  # driv3r: stored MemoryOptions; empty: the defaults
    sha256: str = ""  # of the weights file(s) that were loaded
    directory: Path | None = None
    card: dict[str, Any] = field(default_factory=dict)  # everything else that the card says

    @property
    def name(self) -> str:
        """The id, under the name that scenes record."""
        return self.id

    @property
    def is_permissive(self) -> bool:
        """Whether the terms of the weights allow commercial use."""
        return self.license.startswith(PERMISSIVE)

    @property
    def notice(self) -> str:
        """One sentence about the terms of the weights, to be shown when they are loaded."""
        if self.is_permissive:
            return f"Weights '{self.id}' are under {self.license}."
        if not self.license:
            return f"The licence of the weights '{self.id}' is not known; ask whoever gave them to you."
        return f"Weights '{self.id}' have their own terms, which also cover results made with them: {self.license}."
