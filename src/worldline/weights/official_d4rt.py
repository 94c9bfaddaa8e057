"""Open-D4RT, the public re-implementation of D4RT: its key names and its ``model.yaml`` -> our network, and back.

Sizes are read from the tensors and compared with the options; the options add what tensors do not tell: the number of
attention heads, whether layers alternate, the size of the images and the token budget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from worldline.errors import WeightsError
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt

CONTAINERS = ("state_dict", "model", "module", "network", "net")  # entries that may hold the tensors, in this order
OPTIONS_FILE = "model.yaml"  # lies beside a published checkpoint
MARKERS = (
    "encoder.patch_embed.weight",
    "encoder.blocks.0.attn.in_proj_weight",
    "query_embedder.uv_proj.weight",
    "decoder.blocks.0.cross_attn.in_proj_weight",
    "heads.xyz_head.weight",
)
TIME_TABLES = tuple(f"query_embedder.t_{time}_embed.weight" for time in ("src", "tgt", "cam"))

_ALTERNATING = (  # names of one pattern: even layers look inside a slice, odd ones at the whole clip
    "interleaved_local_framewise_and_global",
    "interleaved_local_framewise_global",
    "interleaved_local_and_global",
    "interleaved_local_global",
    "interleaved_spatial_and_global",  # D4rt-Lab
)
_ALL_GLOBAL = "global"
_WIDTHS = {"vit-b": 768, "vit-l": 1024, "vit-g": 1408}
_HEADS = {768: 12, 1024: 16, 1408: 16, 512: 8}  # of the encoder, where the options do not say it
_MOST_BLOCKS = 1000
_UNSTATED_BUDGET, _PUBLISHED_BUDGET = 4096, 6144  # tokens: where model.yaml is silent, and where there is none

_PREFIXES = (
    ("encoder.final_norm.", "encoder.norm."),
    ("aspect_ratio_proj.", "encoder.aspect."),
    ("memory_proj.", "memory_projection."),
    ("query_embedder.uv_proj.", "queries.uv."),
    ("query_embedder.t_src_embed.", "queries.times.0."),
    ("query_embedder.t_tgt_embed.", "queries.times.1."),
    ("query_embedder.t_cam_embed.", "queries.times.2."),
    ("query_embedder.patch_proj.", "queries.colors."),
    ("query_embedder.out_norm.", "queries.norm."),
    ("decoder.out_norm.", "decoder.norm."),
)
_MLP = ((".norm_ff.", ".mlp_norm."), (".ff.0.", ".mlp.hidden."), (".ff.3.", ".mlp.output."))
_BLOCK_PARTS = {  # the first that occurs in a name counts: ".mlp.output." before ".output."
    "encoder.blocks.": (
        *_MLP,
        (".norm_attn.", ".self_norm."),
        (".attn.in_proj_", ".self_attention.qkv."),
        (".attn.out_proj.", ".self_attention.output."),
    ),
    "decoder.blocks.": (
        *_MLP,
        (".norm_q.", ".query_norm."),
        (".norm_kv.", ".memory_norm."),
        (".cross_attn.out_proj.", ".output."),
    ),
}
_JOINED = re.compile(r"(decoder\.blocks\.\d+\.)cross_attn\.in_proj_(weight|bias)")  # rows of query, key, value
_HEAD_ORDER = ("xyz", "uv", "visibility", "displacement", "normal", "confidence")


def is_open_d4rt(names: Iterable[str]) -> bool:
    """Whether names belong to a state dict of Open-D4RT."""
    return any(name.removeprefix("module.").startswith("query_embedder.") for name in names)


def container_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict inside a checkpoint: the first usual entry that is a dictionary, or the content itself."""
    return next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), content)


def open_d4rt(tensors: Mapping[str, Tensor], document: Mapping[str, Any], *, compat: bool = False) -> D4rt:
    """Build the network from published tensors.

    Args:
        tensors: under the published names, without a wrapper's prefix. Those of float32 are taken over, not copied.
        document: ``model.yaml`` as nested dictionaries, or its part ``model``; empty: sizes from the tensors, and the
            published rules for the rest.
        compat: behave as published: too many tokens are pooled, frames that fill no patch are left out, times beyond
            the tables are those of their last row. Otherwise the first and the last are errors, and the last frame is
            repeated.

    Raises:
        WeightsError: missing or unexpected entries, tensors that contradict each other or the options, an attention
            pattern that nobody has defined.
    """
    config = open_config(tensors, document, compat=compat)
    with torch.device("meta"):
        model = D4rt(config)
    _check_entries(to_open_d4rt(model.state_dict()), tensors)
    model.load_state_dict(_from_open_d4rt(tensors), assign=True)
    return model.eval()


def open_config(tensors: Mapping[str, Tensor], document: Mapping[str, Any], *, compat: bool = False) -> D4rtConfig:
    """Sizes and switches; see :func:`open_d4rt`."""
    options = _model_part(document)
    embed, uv = tensors["encoder.patch_embed.weight"], tensors["query_embedder.uv_proj.weight"]
    patch = tensors.get("query_embedder.patch_proj.0.weight")
    encoder_dim, decoder_dim = embed.shape[0], uv.shape[0]
    sizes: dict[str, Any] = {
        "clip_frames": tensors[TIME_TABLES[0]].shape[0],
        "patch": tuple(embed.shape[2:]),
        "encoder_dim": encoder_dim,
        "encoder_depth": _depth(tensors, "encoder"),
        "encoder_mlp_dim": tensors["encoder.blocks.0.ff.0.weight"].shape[0],
        "decoder_dim": decoder_dim,
        "decoder_depth": _depth(tensors, "decoder"),
        "decoder_mlp_dim": tensors["decoder.blocks.0.ff.0.weight"].shape[0],
        "aspect_token": "aspect_ratio_proj.0.weight" in tensors,
        "fourier_bands": (uv.shape[1] - 2) // 4,
        "color_patch": 0 if patch is None else math.isqrt(patch.shape[1] // 3),
    }
    _compare(sizes, options)
    encoder, decoder = options.get("encoder") or {}, options.get("decoder") or {}
    heads = encoder.get("num_heads", _HEADS.get(encoder_dim))
    return D4rtConfig(
        **sizes,
        image_size=tuple((options.get("input") or {}).get("image_size", (256, 256))),
        encoder_heads=_heads(encoder_dim, heads, "encoder"),
        decoder_heads=_heads(decoder_dim, decoder.get("num_heads", min(16, max(1, decoder_dim // 64))), "decoder"),
        local_layers=_alternates(encoder.get("attention_pattern", _ALTERNATING[0])),
        aspect_hidden=True,
        position="flat",
        query_mlp=False,
        corners=True,
        norm_eps=1e-5,
        max_tokens=int(encoder.get("max_tokens", _UNSTATED_BUDGET if options else _PUBLISHED_BUDGET)),
        pool_tokens=compat,
        drop_odd_frame=compat,
        clamp_times=compat,
    )


def to_open_d4rt(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one of our networks under the published names; the inverse of loading."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("head."):
            kind, rows = name.removeprefix("head."), (3, 2, 1, 3, 3, 1)
            parts = zip(_HEAD_ORDER, value.split(rows), strict=True)
            tensors |= {f"heads.{head}_head.{kind}": part for head, part in parts}
        elif found := re.fullmatch(r"(decoder\.blocks\.\d+\.)(query|key|value)\.(weight|bias)", name):
            if found[2] == "query":
                joined = torch.cat([state[f"{found[1]}{part}.{found[3]}"] for part in ("query", "key", "value")])
                tensors[f"{found[1]}cross_attn.in_proj_{found[3]}"] = joined
        else:
            tensors[_renamed(name, back=True)] = value
    return tensors


def resize_time_tables(tensors: Mapping[str, Tensor], frames: int, mode: str = "linear") -> dict[str, Tensor]:
    """The same published tensors with time tables of another length, to start training on longer clips.

    Args:
        frames: wanted rows.
        mode: "linear" keeps the first and the last row where they are; "nearest"; "repeat_last" adds copies of the
            last row, or cuts.
    """
    tables = {name: resize_time_table(tensors[name], frames, mode) for name in TIME_TABLES}
    return {**tensors, **tables}


def resize_time_table(table: Tensor, frames: int, mode: str = "linear") -> Tensor:
    """One table [rows, channels] with ``frames`` rows; see :func:`resize_time_tables`."""
    rows = len(table)
    if mode == "repeat_last":
        return table[torch.arange(frames).clamp(max=rows - 1)]
    if mode == "nearest":
        return table[torch.arange(frames) * rows // frames]
    if mode != "linear":
        raise WeightsError(f"Time tables cannot be resized by {mode!r}.", "Use linear, nearest or repeat_last.")
    return interpolate(table.T[None], size=frames, mode="linear", align_corners=True)[0].T.contiguous()


def _model_part(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a document that describes the network; wrappers add levels around it."""
    for name in ("config", "model_config", "model"):
        part = document.get(name)
        if isinstance(part, Mapping):
            document = part
    return document


def _compare(sizes: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise WeightsError where the options say something else than the tensors."""
    stated = dict(_stated_sizes(options))
    wrong = [f"{name} = {stated[name]} instead of {sizes[name]}" for name in stated if stated[name] != sizes[name]]
    if wrong:
        raise WeightsError(
            f"The options are not those of the tensors: they say {', '.join(wrong)}.",
            f"Use the {OPTIONS_FILE} that was published with this checkpoint.",
        )


def _stated_sizes(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Pairs (name in our configuration, value that the options state)."""
    encoder, decoder = options.get("encoder") or {}, options.get("decoder") or {}
    images, asked = options.get("input") or {}, options.get("query_embedding") or {}
    if "clip_frames" in images:
        yield "clip_frames", int(images["clip_frames"])
    if "patch_size_t_h_w" in encoder:
        yield "patch", tuple(encoder["patch_size_t_h_w"])
    width = encoder.get("hidden_dim", _WIDTHS.get(str(encoder.get("variant"))))
    for side, part, dim in (("encoder", encoder, width), ("decoder", decoder, decoder.get("hidden_dim"))):
        if dim is not None:
            yield f"{side}_dim", int(dim)
            if "mlp_ratio" in part:
                yield f"{side}_mlp_dim", math.ceil(int(dim) * float(part["mlp_ratio"]))
        if "num_layers" in part:
            yield f"{side}_depth", int(part["num_layers"])
    places = (images.get("use_aspect_ratio_token"), options.get("aspect_ratio_token"), images.get("aspect_ratio_token"))
    for flag in places:
        if flag is not None:
            yield "aspect_token", bool(flag.get("enabled", True) if isinstance(flag, Mapping) else flag)
    if "uv_num_bands" in asked:
        yield "fourier_bands", int(asked["uv_num_bands"])
    colors = asked.get("local_rgb_patch") or {}
    if "enabled" in colors:
        yield "color_patch", int(colors.get("patch_size", 9)) if colors["enabled"] else 0


def _depth(tensors: Mapping[str, Tensor], side: str) -> int:
    found = {int(name.split(".")[2]) for name in tensors if re.match(rf"{side}\.blocks\.\d+\.", name)}
    found = {number for number in found if number < _MOST_BLOCKS}  # a larger one is reported, not built up to
    if not found:
        raise KeyError(f"{side}.blocks.0")
    return max(found) + 1


def _heads(dim: int, given: Any, side: str) -> int:
    if given is None:
        raise WeightsError(
            f"The {side} has {dim} channels; how many attention heads share them cannot be read from the tensors.",
            f"Put the {OPTIONS_FILE} of the checkpoint beside it, or state {side}.num_heads.",
        )
    if int(given) < 1 or dim % int(given):
        raise WeightsError(
            f"{dim} channels of the {side} cannot be divided among {given} attention heads.",
            f"Use the {OPTIONS_FILE} that was published with this checkpoint.",
        )
    return int(given)


def _alternates(pattern: Any) -> bool:
    if pattern not in (*_ALTERNATING, _ALL_GLOBAL):
        raise WeightsError(
            f"The attention pattern {pattern!r} is not known, so nothing says which layers look at the whole clip.",
            f"Use {_ALTERNATING[0]!r}, or {_ALL_GLOBAL!r} where all of them do.",
        )
    return bool(pattern != _ALL_GLOBAL)


def _renamed(name: str, *, back: bool = False) -> str:
    """Our name of a published entry, or the other way round."""
    given, wanted = (1, 0) if back else (0, 1)
    for pair in _PREFIXES:
        if name.startswith(pair[given]):
            return pair[wanted] + name.removeprefix(pair[given])
    for stack, parts in _BLOCK_PARTS.items():
        if name.startswith(stack):
            pair = next((pair for pair in parts if pair[given] in name), ("", ""))
            return name.replace(pair[given], pair[wanted]) if pair[given] else name
    return name


def _from_open_d4rt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names; the joined projections of the decoder taken apart, the six heads put together."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith("heads."):
            continue
        if found := _JOINED.fullmatch(name):
            parts = zip(("query", "key", "value"), value.float().chunk(3), strict=True)
            state |= {f"{found[1]}{part}.{found[2]}": rows.clone() for part, rows in parts}
        else:
            state[_renamed(name)] = value.float()
    for kind in ("weight", "bias"):
        state[f"head.{kind}"] = torch.cat([tensors[f"heads.{head}_head.{kind}"].float() for head in _HEAD_ORDER])
    return state


def _check_entries(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Strict: every entry and every shape, in the published names."""
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or unexpected:
        raise WeightsError(
            f"The state dict does not fit: {listing('missing', missing)}; {listing('unexpected', unexpected)}.",
            "Check that the options belong to this checkpoint and that the file is complete.",
        )
    wrong = [
        f"{name} {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in sorted(expected.items())
        if value.shape != tensors[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"Tensors have another shape than the rest of the model implies: {listing('shapes', wrong)}.",
            "Check that the options belong to this checkpoint.",
        )


def listing(kind: str, names: list[str], shown: int = 6) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{kind}: {', '.join(names[:shown]) or 'none'}{more}"
