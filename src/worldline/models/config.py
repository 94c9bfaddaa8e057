"""Sizes and switches of the networks, and their JSON form."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from worldline.errors import WeightsError


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and switches of a network, and their JSON form."""

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
class PointmapConfig(NetworkConfig):
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
        """A small MV-DUSt3R+ that trains on modest hardware and ships with the package (about 14 M parameters)."""
        return cls(
            encoder_dim=256,
            encoder_depth=6,
            encoder_heads=4,
            decoder_dim=192,
            decoder_depth=4,
            decoder_heads=3,
            photo_position=True,
            image_skip=False,
            gaussian_dim=256,
        )


VIT_SIZES = {  # width, layers, heads, width of the MLPs: the sizes of table 9 of D4RT, those of VideoMAE
    "b": (768, 12, 12, 3072),
    "l": (1024, 24, 16, 4096),
    "h": (1280, 32, 16, 5120),
    "g": (1408, 40, 16, 6144),
}


@dataclass(frozen=True)
class D4rtConfig(NetworkConfig):
    """A video encoder and a decoder of queries (D4RT, arXiv 2512.08924).

    The defaults are the main model of the paper (ViT-g, 48 frames). Where the paper is silent, the comment says what
    was chosen and why; docs/models/d4rt.md has the list.
    """

    clip_frames: int = 48  # longest clip; the time tables have so many rows
    image_size: tuple[int, int] = (256, 256)  # (height, width) that every frame is resized to, whatever its shape
    patch: tuple[int, int, int] = (2, 16, 16)  # frames, rows, columns of one token
    encoder_dim: int = 1408  # channels of an encoder token
    encoder_depth: int = 40  # layers; even ones look inside a slice of patch[0] frames, odd ones at the whole clip
    encoder_heads: int = 16
    encoder_mlp_dim: int = 6144  # width of the encoder's MLPs
    local_layers: bool = True  # False: all layers are global
    decoder_dim: int = 1280  # unknown; with 8 layers and this MLP the decoder has the 144 M parameters of the paper
    decoder_depth: int = 8
    decoder_heads: int = 16  # unknown
    decoder_mlp_dim: int = 4480  # unknown, see decoder_dim
    aspect_token: bool = True  # a token of the video's true width / height takes part in the global layers
    aspect_hidden: bool = False  # two layers make the token; False: one, as figure 7 says
    aspect_in_memory: bool = True  # unknown; queries can read the token
    position: str = "axes"  # unknown: "axes" = sinusoids of (t, row, column), so other lengths and sizes keep their
    # meaning; "flat" = of the token's number (Open-D4RT); "learned" = projected waves of (t, row, column)
    rotary: bool = False  # attention of the encoder also turns with (row, column); not in the paper, for small networks
    guided: bool = False  # attention of the decoder also turns with place and times, see layers/reading.py; not in the
    # paper: a small network has not the training to find out where a query points
    fourier_bands: int = 8  # unknown; octaves of pi in u and v: 2^7 is a wave of two pixels at 256
    color_patch: int = 9  # edge in pixels of the colours around the query, 0 = none (figure 10)
    time_code: str = "table"  # learned tables (section 2.2); "waves" = projected sinusoids, for lengths never seen
    query_mlp: bool = True  # an MLP after the sum, as figure 7 suggests; False: a LayerNorm
    corners: bool = False  # unknown; True: u = x / (W - 1), False: u = (x + 0.5) / W, which resizing leaves unchanged
    points: str = "linear"  # section 2.2: a plain projection; "exp": direction times expm1(length), as in DUSt3R
    depth_offset: float = 0.0  # unknown; added to z
    uv_residual: bool = False  # unknown; True: the uv output is an offset from the query's (u, v)
    norm_eps: float = 1e-6  # of all LayerNorms
    dense: bool = False  # a linear layer reads depth and flow from every token, for training only; not in the paper
    max_tokens: int = 6144  # budget of video tokens
    pool_tokens: bool = False  # above the budget: True = pool the embedding (Open-D4RT), False = an error
    drop_odd_frame: bool = False  # frames that fill no patch: True = left out (Open-D4RT), False = the last is repeated
    clamp_times: bool = False  # t_tgt, t_cam after the tables' last row: True = that row (Open-D4RT), False = an error

    @classmethod
    def published(cls, size: str = "g") -> D4rtConfig:
        """The paper's model with encoder ViT-``size``; below "g" with 6 decoder layers, as in its ablations."""
        dim, depth, heads, mlp = VIT_SIZES[size]
        return cls(
            encoder_dim=dim, encoder_depth=depth, encoder_heads=heads, encoder_mlp_dim=mlp,
            decoder_depth=8 if size == "g" else 6,
        )  # fmt: skip

    @classmethod
    def open(cls, clip_frames: int = 48) -> D4rtConfig:
        """The network of the public re-implementation Open-D4RT, without the behaviour that we correct."""
        return cls(
            clip_frames=clip_frames, aspect_hidden=True, position="flat", query_mlp=False, corners=True, norm_eps=1e-5
        )

    @classmethod
    def mini(cls) -> D4rtConfig:
        """A small D4RT around the encoder of ``mvdust3r-plus-mini`` (about 13 M parameters).

        A token covers one frame, not two: that encoder has learned from single photos.
        """
        small = MVDust3rConfig.mini()
        return cls(
            clip_frames=16,
            image_size=(128, 128),
            patch=(1, 16, 16),
            encoder_dim=small.encoder_dim,
            encoder_depth=2 * small.encoder_depth,
            encoder_heads=small.encoder_heads,
            encoder_mlp_dim=4 * small.encoder_dim,
            decoder_dim=small.encoder_dim,
            decoder_depth=4,
            decoder_heads=small.encoder_heads,
            decoder_mlp_dim=4 * small.encoder_dim,
            aspect_in_memory=False,
            position="learned",
            rotary=True,
            guided=True,
            time_code="waves",
            points="exp",
            uv_residual=True,
            dense=True,
        )
