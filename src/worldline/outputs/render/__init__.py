"""Pictures of scenes: Gaussians (differentiable, pure torch), points, camera paths and films."""

from worldline.outputs.render.splatting import Rendering, rasterize

__all__ = ["Rendering", "rasterize"]
