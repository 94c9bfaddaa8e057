"""Sizes and switches of the pointmap networks, and their JSON form."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from worldline.errors import WeightsError


@dataclass(frozen=True)
class PointmapConfig:
    """What DUSt3R and MV-DUSt3R have in common. The defaults are the published sizes."""

    patch_size: int = 16  # pixels per side of one token's patch
    encoder_dim: int = 1024  # channels of an encoder token (ViT-L)
    encoder_depth: int = 24  # encoder blocks
    encoder_heads: int = 16  # attention heads per encoder block
    decoder_dim: int = 768  # channels of a decoder token (Base)
    decoder_depth: int = 12  # blocks of each decoder
    decoder_heads: int = 12  # attention heads per decoder block
    mlp_ratio: float = 4.0  # width of the MLPs relative to the tokens
    rope_base: float = 100.0  # base of the rotary frequencies
    photo_position: bool = False  # also tell the encoder where in the photo a token lies (not in the published models)
    depth_mode: str = "exp"  # raw output -> points: exp, square or linear
    confidence_mode: str = "exp"  # raw output -> confidence: exp or sigmoid
    confidence_min: float = 1.0  # smallest confidence
    confidence_max: float = math.inf  # largest confidence
    image_skip: bool = False  # convolutional correction of the points from the photo
    skip_dim: int = 256  # channels of that branch

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities become the strings "inf" and "-inf"."""
        return {key: str(value) if value in (math.inf, -math.inf) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`; missing fields get their defaults. Raises WeightsError for unknown fields."""
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise WeightsError(
                f"The model configuration has unknown fields: {', '.join(unknown)}.",
                f"{cls.__name__} knows: {', '.join(known)}.",
            )
        parsed: dict[str, Any] = {}
        for key, value in values.items():
            value = float(value) if value in ("inf", "-inf") else value
            parsed[key] = tuple(value) if isinstance(value, list) else value
        return cls(**parsed)


@dataclass(frozen=True)
class Dust3rConfig(PointmapConfig):
    """The pairwise model (DUSt3R, CVPR 2024)."""

    head: str = "linear"  # linear or dpt
    dpt_dim: int = 256  # DPT: channels of the fused features
    dpt_last_dim: int = 128  # DPT: channels before the output
    dpt_layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768)  # DPT: channels of the four levels
    many_aspect: bool = False  # portrait images arrive stored as landscape and are turned back before embedding
    landscape_only: bool = False  # outputs are stored landscape, portrait samples with their pixel axes swapped

    @classmethod
    def published(cls, head: str = "linear") -> Dust3rConfig:
        """Sizes of the released 224 and 512 models, in the form used for inference."""
        return cls(head=head)


@dataclass(frozen=True)
class Driv3rConfig(Dust3rConfig):
    """A pairwise model with a memory (Spann3R, Driv3R). The defaults are the published sizes."""

    head: str = "dpt"  # linear or dpt
    value_depth: int = 6  # blocks of the value encoder
    value_heads: int = 16  # attention heads per block of the value encoder
    relative_pose: bool = False  # tokens of other cameras carry the pose of their camera (not in the published models)

    @classmethod
    def published(cls, head: str = "dpt") -> Driv3rConfig:
        """Sizes of the released Spann3R and Driv3R models."""
        return cls(head=head)

    @classmethod
    def mini(cls) -> Driv3rConfig:
        """A small Driv3R around the encoder and decoders of ``mvdust3r-plus-mini`` (about 13 M parameters)."""
        small = MVDust3rConfig.mini()
        return cls(
            encoder_dim=small.encoder_dim,
            encoder_depth=small.encoder_depth,
            encoder_heads=small.encoder_heads,
            decoder_dim=small.decoder_dim,
            decoder_depth=small.decoder_depth,
            decoder_heads=small.decoder_heads,
            photo_position=small.photo_position,
            head="linear",
            value_depth=2,
            value_heads=4,
            relative_pose=True,
        )


@dataclass(frozen=True)
class MVDust3rConfig(PointmapConfig):
    """The multi-view model, with or without fused reference paths (arXiv 2412.06974)."""

    confidence_max: float = 1e9  # largest confidence
    image_skip: bool = True  # convolutional correction of the points from the photo
    fused_references: bool = True  # several views act as reference, and their paths exchange tokens (MV-DUSt3R+)
    gaussians: bool = True  # predict one 3D Gaussian per pixel
    gaussian_dim: int = 768  # hidden channels of the Gaussian heads
    sh_degree: int = 0  # degree of the spherical harmonics of the Gaussians' colour

    @classmethod
    def published(cls, fused_references: bool = True) -> MVDust3rConfig:
        """Sizes of the released MV-DUSt3R (False) and MV-DUSt3R+ (True) models."""
        return cls(fused_references=fused_references)

    @classmethod
    def mini(cls) -> MVDust3rConfig:
        """A small MV-DUSt3R+ that trains on modest hardware and ships with the package (about 12 M parameters)."""
        return cls(
            encoder_dim=256,
            encoder_depth=6,
            encoder_heads=4,
            decoder_dim=192,
            decoder_depth=4,
            decoder_heads=3,
            photo_position=True,
            image_skip=False,
            gaussians=False,
        )
