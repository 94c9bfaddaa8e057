"""Published key names and constructor options -> our networks.

The structure is read from the tensors: sizes, depth, kind of head, fused references, Gaussian heads. The options
add what tensors do not tell: head counts, output mappings, storage of portrait images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from worldline.errors import WeightsError
from worldline.models.config import Driv3rConfig, Dust3rConfig, MVDust3rConfig
from worldline.models.d4rt import D4rt
from worldline.models.driv3r import Driv3r
from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r
from worldline.weights.official_d4rt import container_of, is_open_d4rt, listing, open_d4rt
from worldline.weights.official_memory import flat_options, has_memory, memory_options

PUBLISHED_HEAD_DIM = 64  # channels per attention head of all released models; shapes do not tell
_MOST_BLOCKS = 1000  # per stack; a block with a larger number is reported as unexpected, not built up to
MULTI_VIEW_OPTIONS = ("GS", "GS_skip", "m_ref_flag", "n_ref", "pts_head_config", "sh_degree")

# Entries that no output depends on. The first is left over from pre-training, the last unit starts the DPT chain.
_UNUSED = re.compile(r"mask_token|.*\.num_batches_tracked|.*\.dpt\.scratch\.refinenet4\.resConfUnit1\..*")

_PREFIXES = (
    (r"patch_embed\.proj\.", "encoder.patch_embed.projection."),
    (r"enc_blocks\.", "encoder.blocks."),
    (r"enc_norm\.", "encoder.norm."),
    (r"decoder_embed\.", "decoder.embed."),
    (r"dec_blocks\.", "decoder.reference_blocks."),
    (r"dec_blocks2\.", "decoder.source_blocks."),
    (r"dec_same_view_blocks\.", "decoder.fusion_blocks."),
    (r"dec_norm\.", "decoder.norm."),
    (r"downstream_head1\.", "reference_head."),
    (r"downstream_head2\.", "source_head."),
    (r"downstream_GS_head\.0\.", "reference_gaussians."),
    (r"downstream_GS_head\.1\.", "source_gaussians."),
)
_MEMORY_PREFIXES = (  # of Spann3R and Driv3R, whose backbone is called `dust3r.` there
    (r"attn_head_1\.", "key_head."),
    (r"attn_head_2\.", "query_head."),
    (r"pos_patch_embed\.proj\.", "value_encoder.patch_embed.projection."),
    (r"value_encoder\.(?=\d)", "value_encoder.blocks."),
    (r"value_norm\.", "value_encoder.norm."),
    (r"value_out\.", "value_encoder.output."),
    (r"norm_q\.", "reader.query_norm."),
    (r"norm_k\.", "reader.key_norm."),
    (r"norm_v\.", "reader.value_norm."),
)
_ATTENTION_PARTS = (
    (r"\.cross_attn\.projq\.", ".cross_attention.query."),
    (r"\.cross_attn\.projk\.", ".cross_attention.key."),
    (r"\.cross_attn\.projv\.", ".cross_attention.value."),
    (r"\.cross_attn\.proj\.", ".cross_attention.output."),
    (r"\.attn\.qkv\.", ".self_attention.qkv."),
    (r"\.attn\.proj\.", ".self_attention.output."),
    (r"\.mlp\.fc1\.", ".mlp.hidden."),
    (r"\.mlp\.fc2\.", ".mlp.output."),
    (r"\.norm1\.", ".self_norm."),
    (r"\.norm_y\.", ".memory_norm."),
    (r"\.norm3\.", ".mlp_norm."),
)
_HEAD_PARTS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"_head\.proj\.", "_head.projection."),
    (r"\.skip_proj\.", ".skip.layers."),
    (r"\.mlp_rgb\.", ".color."),
    (r"\.mlp_opacity\.", ".opacity."),
    (r"\.mlp_scale2\.", ".scale."),
    (r"\.mlp_rotation\.", ".rotation."),
    (r"\.dpt\.act_postprocess\.", ".resample."),
    (r"\.dpt\.scratch\.layer_rn\.", ".project."),
    (r"\.dpt\.scratch\.layer(\d)_rn\.", lambda found: f".project.{int(found[1]) - 1}."),
    (r"\.dpt\.scratch\.refinenet(\d)\.", lambda found: f".stages.{int(found[1]) - 1}."),
    (r"\.resConfUnit1\.", ".level_unit."),
    (r"\.resConfUnit2\.", ".unit."),
    (r"\.out_conv\.", ".output."),
    (r"\.dpt\.head\.(\d)\.", lambda found: f".output.{int(found[1]) // 2}."),
)


def from_official(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any] | None = None, *, compat: bool = False
) -> Dust3r | MVDust3r | Driv3r | D4rt:
    """Build a network from a published state dict.

    Args:
        state_dict: tensors under the published key names, any float type; a leading ``module.`` is tolerated. The
            model takes over float32 tensors without copying them.
        config: constructor options of the published model, or a whole ``config.json`` with an entry "config".
            None, or missing options: sizes come from the shapes, head counts from 64 channels per head. For Spann3R
            and Driv3R also the sizes of the memory (``long_mem_size`` …), beside the options or as ``memory``. For
            Open-D4RT the content of its ``model.yaml``.
        compat: Open-D4RT only: keep behaviour that we correct, see :func:`.official_d4rt.open_d4rt`.

    Returns:
        :class:`MVDust3r` if the tensors or options are of a multi-view model, :class:`Driv3r` (with the published
        memory) if they are of Spann3R or Driv3R, :class:`D4rt` if they are of Open-D4RT, else :class:`Dust3r`; in
        eval mode.

    Raises:
        WeightsError: missing or unexpected entries, shapes that contradict the options, unsupported options.
    """
    document = dict(config or {})
    tensors = _clean_state(state_dict)
    if is_open_d4rt(tensors):
        return _open_d4rt(tensors, document, compat)
    options = flat_options(document)
    streams = has_memory(tensors)
    multi_view = not streams and _is_multi_view(tensors, options, str(document.get("model", "")))
    try:
        model_config = _infer_config(tensors, options, multi_view, streams)
        with torch.device("meta"):
            model = _build(model_config, options)
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(
            f"The state dict or its options are not those of a DUSt3R, MV-DUSt3R, Spann3R or Driv3R model ({error!r}).",
            "Pass the `model` entry of a published checkpoint and its constructor options.",
        ) from error
    _load(model, tensors)
    return model.eval()


def _open_d4rt(tensors: Mapping[str, Tensor], document: Mapping[str, Any], compat: bool) -> D4rt:
    try:
        return open_d4rt(tensors, document, compat=compat)
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise WeightsError(
            f"The state dict or its options are not those of Open-D4RT ({error!r}).",
            "Pass the `model` entry of a published checkpoint and the content of its model.yaml.",
        ) from error


def _build(config: Dust3rConfig | MVDust3rConfig, options: Mapping[str, Any]) -> Dust3r | MVDust3r | Driv3r:
    if isinstance(config, MVDust3rConfig):
        return MVDust3r(config)
    return Driv3r(config, memory_options(options)) if isinstance(config, Driv3rConfig) else Dust3r(config)


def our_name(official_name: str) -> str:
    """Our parameter name for a published key, or the key itself when it is not a known one."""
    official_name = official_name.removeprefix("dust3r.")
    for pattern, replacement in (*_PREFIXES, *_MEMORY_PREFIXES):
        name, count = re.subn(f"^{pattern}", replacement, official_name)
        if count:
            break
    else:
        return official_name
    for part, ours in (*_ATTENTION_PARTS, *_HEAD_PARTS):
        name = re.sub(part, ours, name)
    second_norm = ".mlp_norm." if name.startswith(("encoder.", "value_encoder.")) else ".cross_norm."
    return name.replace(".norm2.", second_norm)


def published_name(name: str) -> str:
    """The published key of one of our parameters, for messages; our own name where the tables have no way back."""
    found = _with_prefix(name, _MEMORY_PREFIXES)
    for part, ours in (*_ATTENTION_PARTS, *_HEAD_PARTS):
        if isinstance(ours, str):
            found = found.replace(ours, part.replace("\\", ""))
    found = _with_prefix(found, _PREFIXES)
    second_norm = ".norm3." if name.startswith(("encoder.", "value_encoder.")) else ".cross_norm."
    found = found.replace(second_norm, ".norm2.")
    return found if our_name(found) == name else name


def _with_prefix(name: str, prefixes: tuple[tuple[str, str], ...]) -> str:
    """A name of ours that starts as published."""
    for pattern, ours in prefixes:
        if name.startswith(ours):
            return re.sub(r"\(.*\)|\\", "", pattern) + name.removeprefix(ours)
    return name


def _clean_state(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Published names without wrapper prefixes and unused entries; the second decoder filled in if absent."""
    entries = container_of(state_dict)
    prefix = "module." if entries and all(name.startswith("module.") for name in entries) else ""
    plain = {name[len(prefix) :].removeprefix("dust3r."): value for name, value in entries.items()}
    used = {name: value for name, value in plain.items() if not _UNUSED.fullmatch(name)}
    tensors = {name: _as_plain_tensor(name, value) for name, value in used.items()}
    if not any(name.startswith("dec_blocks2") for name in tensors):
        # a backbone pre-trained with one decoder: both roles start from it
        first = {name: value for name, value in tensors.items() if name.startswith("dec_blocks.")}
        tensors.update({"dec_blocks2." + name.removeprefix("dec_blocks."): v.clone() for name, v in first.items()})
    return tensors


def _as_plain_tensor(name: str, value: Any) -> Tensor:
    """Real numbers in the usual layout; anything else has no place in a checkpoint of these models."""
    try:
        tensor = torch.as_tensor(value)
        plain = tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_quantized
    except (TypeError, ValueError, RuntimeError):
        plain = False
    if not plain:
        raise WeightsError(
            f"The entry {name} is no plain tensor of real numbers.",
            "Pass the `model` entry of a published checkpoint, in floating point.",
        )
    return tensor


def _is_multi_view(tensors: Mapping[str, Tensor], options: Mapping[str, Any], model_name: str) -> bool:
    if model_name.upper().startswith("MV") or any(name in options for name in MULTI_VIEW_OPTIONS):
        return True
    marks = ("dec_same_view_blocks.", "downstream_GS_head.", "downstream_head1.skip_proj.")
    return any(name.startswith(marks) for name in tensors)


def _infer_config(
    tensors: Mapping[str, Tensor], options: Mapping[str, Any], multi_view: bool, streams: bool = False
) -> Dust3rConfig | MVDust3rConfig:
    common = _trunk_options(tensors, options)
    skip = tensors.get("downstream_head1.skip_proj.0.conv.weight")
    head_options = options.get("pts_head_config") or {}
    if not isinstance(head_options, Mapping):
        raise TypeError(f"pts_head_config = {head_options!r}")
    wants_skip = bool(head_options.get("skip", skip is not None))
    common["image_skip"] = wants_skip
    if skip is not None:
        common["skip_dim"] = skip.shape[0]
    if multi_view:
        return MVDust3rConfig(**common, **_multi_view_options(tensors, options))
    pairwise = common | _pairwise_options(tensors, options)
    if streams:
        stored = {"many_aspect": False, "landscape_only": False}  # the published loaders replace the patch embedding
        heads = _head_count(tensors["value_out.weight"].shape[0], options.get("value_num_heads"), "value_num_heads")
        return Driv3rConfig(**(pairwise | stored), value_depth=_depth(tensors, "value_encoder"), value_heads=heads)
    return Dust3rConfig(**pairwise)


def _trunk_options(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    embed = tensors["patch_embed.proj.weight"]
    encoder_dim, decoder_dim = embed.shape[0], tensors["decoder_embed.weight"].shape[0]
    sizes = {
        "patch_size": (embed.shape[-1], "patch_size"),
        "encoder_dim": (encoder_dim, "enc_embed_dim"),
        "encoder_depth": (_depth(tensors, "enc_blocks"), "enc_depth"),
        "decoder_dim": (decoder_dim, "dec_embed_dim"),
        "decoder_depth": (_depth(tensors, "dec_blocks"), "dec_depth"),
    }
    for found, option in sizes.values():
        if option in options and int(options[option]) != found:
            raise WeightsError(
                f"The options say {option} = {options[option]}, the tensors say {found}.",
                "Use the options that belong to this checkpoint.",
            )
    heads = {
        "encoder_heads": _head_count(encoder_dim, options.get("enc_num_heads"), "enc_num_heads"),
        "decoder_heads": _head_count(decoder_dim, options.get("dec_num_heads"), "dec_num_heads"),
    }
    hidden = tensors["enc_blocks.0.mlp.fc1.weight"].shape[0]
    return {
        **{name: found for name, (found, _) in sizes.items()},
        **heads,
        "mlp_ratio": hidden / encoder_dim,
        "rope_base": _rope_base(str(options.get("pos_embed", "RoPE100"))),
        "depth_mode": _depth_mode(options.get("depth_mode") or ("exp", "-inf", "inf")),
        **_confidence_mode(options.get("conf_mode")),
    }


def _multi_view_options(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("GS_skip"):
        raise WeightsError("The option GS_skip is not supported.", "No released model uses it; retrain without it.")
    if options.get("head_type", "linear") != "linear":
        raise WeightsError("Multi-view models have a linear head.", "Set head_type to 'linear'.")
    has_fusion = any(name.startswith("dec_same_view_blocks.") for name in tensors)
    gaussian = tensors.get("downstream_GS_head.0.mlp_rgb.0.weight")
    chosen: dict[str, Any] = {
        "fused_references": bool(options.get("m_ref_flag", has_fusion)),
        "gaussians": bool(options.get("GS", gaussian is not None)),
    }
    if gaussian is not None:
        patch_area = tensors["patch_embed.proj.weight"].shape[-1] ** 2
        colors = tensors["downstream_GS_head.0.mlp_rgb.2.weight"].shape[0] // (3 * patch_area)
        chosen |= {"gaussian_dim": gaussian.shape[0], "sh_degree": math.isqrt(colors) - 1}
    return chosen


def _pairwise_options(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "many_aspect": "manyar" in str(options.get("patch_embed_cls", "")).lower(),
        "landscape_only": bool(options.get("landscape_only", False)),
        "head": "linear",
    }
    dpt = "downstream_head1.dpt."
    if any(name.startswith(dpt) for name in tensors):
        chosen |= {
            "head": "dpt",
            "dpt_dim": tensors[dpt + "head.0.weight"].shape[1],
            "dpt_last_dim": tensors[dpt + "head.2.weight"].shape[0],
            "dpt_layer_dims": tuple(tensors[f"{dpt}act_postprocess.{i}.0.weight"].shape[0] for i in range(4)),
        }
    if options.get("head_type", chosen["head"]) != chosen["head"]:
        raise WeightsError(
            f"The options say head_type = {options['head_type']}, the tensors are of another head.",
            "Use the options that belong to this checkpoint.",
        )
    return chosen


def _depth(tensors: Mapping[str, Tensor], stack: str) -> int:
    found = {int(name.split(".")[1]) for name in tensors if name.startswith(stack + ".")}
    found = {number for number in found if number < _MOST_BLOCKS}
    if not found:
        raise KeyError(f"{stack}.0")
    return max(found) + 1


def _head_count(dim: int, given: Any, option: str) -> int:
    if given is None and dim % PUBLISHED_HEAD_DIM:
        raise WeightsError(
            f"{dim} channels are no multiple of {PUBLISHED_HEAD_DIM}, so the number of attention heads is unknown.",
            f"State {option} in the options; shapes do not tell it.",
        )
    heads = dim // PUBLISHED_HEAD_DIM if given is None else int(given)
    if heads < 1 or dim % heads or (dim // heads) % 4:
        raise WeightsError(
            f"{dim} channels cannot be divided among {heads} attention heads with rotary positions.",
            f"State {option}, so that {dim} / {option} is a multiple of 4.",
        )
    return heads


def _rope_base(position_embedding: str) -> float:
    found = re.fullmatch(r"RoPE(\d+(?:\.\d+)?)", position_embedding)
    if not found or float(found[1]) <= 0:
        raise WeightsError(
            f"The position embedding {position_embedding} is not supported.", "Use a model with RoPE, e.g. RoPE100."
        )
    return float(found[1])


def _confidence_mode(option: Any) -> dict[str, Any]:
    if not option:
        return {}  # the published mode of the family
    mode, lowest, highest = option
    lowest, highest = float(lowest), float(highest)
    bounded = math.isfinite(lowest) and lowest < highest and (mode == "exp" or math.isfinite(highest))
    if mode not in ("exp", "sigmoid") or not bounded:
        raise WeightsError(
            f"The confidence mode {option} is not supported.",
            "Use exp or sigmoid with a lowest and a highest value; only the highest of exp may be inf.",
        )
    return {"confidence_mode": str(mode), "confidence_min": lowest, "confidence_max": highest}


def _depth_mode(option: Any) -> str:
    mode, lowest, highest = option
    if mode not in ("exp", "square", "linear") or float(lowest) != -math.inf or float(highest) != math.inf:
        raise WeightsError(
            f"The depth mode {option} is not supported.", "Use exp, square or linear with bounds -inf and inf."
        )
    return str(mode)


def _load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Strict: every parameter has its tensor and the other way round."""
    origin = {our_name(name): name for name in tensors}
    renamed = {our_name(name): value.float() for name, value in tensors.items()}
    expected = {name: value for name, value in model.state_dict().items() if not _UNUSED.fullmatch(name)}
    missing = sorted(published_name(name) for name in set(expected) - set(renamed))
    unexpected = sorted(origin[name] for name in set(renamed) - set(expected))
    if missing or unexpected:
        raise WeightsError(
            f"The state dict does not fit: {listing('missing', missing)}; {listing('unexpected', unexpected)}.",
            "Check that the options belong to this checkpoint and that the file is complete.",
        )
    wrong = [name for name, value in expected.items() if value.shape != renamed[name].shape]
    if wrong:
        details = [f"{origin[n]} {list(renamed[n].shape)}, expected {list(expected[n].shape)}" for n in sorted(wrong)]
        raise WeightsError(
            f"Tensors have another shape than the rest of the model implies: {listing('shapes', details)}.",
            "Check that the options belong to this checkpoint.",
        )
    for name in model.state_dict():
        if name.endswith("num_batches_tracked"):
            renamed[name] = torch.zeros((), dtype=torch.long)
    model.load_state_dict(renamed, assign=True)
