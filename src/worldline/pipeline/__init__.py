"""From images to a Scene, in one pass or pairwise; the only room that knows inputs, models, weights and scene."""

from worldline.pipeline.single_pass import (
    DEFAULT_MODEL,
    ReconstructOptions,
    Reconstructor,
    choose_device,
    load,
    reconstruct,
)

__all__ = ["DEFAULT_MODEL", "ReconstructOptions", "Reconstructor", "choose_device", "load", "reconstruct"]
