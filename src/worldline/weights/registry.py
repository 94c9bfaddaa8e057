"""The table of known models: what exists, how large it is, whose terms it has, where it is published."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from worldline.errors import WeightsError
from worldline.models.config import D4rtConfig, Driv3rConfig, Dust3rConfig, MVDust3rConfig
from worldline.weights.folder import is_model_folder, read_info
from worldline.weights.model_info import ModelInfo, Source

EMBEDDED = Path(__file__).parent / "embedded"

_DUST3R_TERMS = "CC BY-NC-SA 4.0 (non-commercial), plus the terms of the data sets it was trained on"
_MVDUST3R_TERMS = (
    "CC BY-NC 4.0 (non-commercial), plus the terms of DUSt3R's weights and of the data sets it was trained on"
)
_DUST3R_PAPER = "Wang et al., DUSt3R: Geometric 3D Vision Made Easy, CVPR 2024, arXiv 2312.14132"
_MVDUST3R_PAPER = (
    "Tang et al., MV-DUSt3R+: Single-Stage Scene Reconstruction from Sparse Views In 2 Seconds, "
    "CVPR 2025, arXiv 2412.06974"
)
_SPANN3R_TERMS = "CC BY-NC-SA 4.0 (non-commercial), plus the terms of DUSt3R's weights and of the training data sets"
_DRIV3R_TERMS = (
    "CC BY-NC-SA 4.0 (non-commercial), plus the terms of DUSt3R's weights and of the training data sets, among them "
    "nuScenes; the repository says MIT, but the weights are fine-tuned ones of Spann3R"
)
_SPANN3R_PAPER = "Wang and Agapito, 3D Reconstruction with Spatial Memory, 2024, arXiv 2408.16061"
_DRIV3R_PAPER = "Fei et al., Driv3R: Learning Dense 4D Reconstruction for Autonomous Driving, 2024, arXiv 2412.06777"
_D4RT_PAPER = "Zhang et al., Efficiently Reconstructing Dynamic Scenes One D4RT at a Time, 2025, arXiv 2512.08924"
_OPEN_D4RT_PAPER = f"{_D4RT_PAPER}; weights: Open-D4RT (https://github.com/Lijiaxin0111/Open-d4rt)"
_OPEN_D4RT_TERMS = (
    "stated as Apache-2.0 by its publisher (check the card), but not unconditionally commercial: the "
    "encoder started from VideoMAEv2-g, whose files are apache-2.0 in one repository of its authors and cc-by-nc-4.0 "
    "in others, and several of the training data sets are known for non-commercial or research-only terms"
)
_SPANN3R_PAGE = "https://github.com/HengyiWang/spann3r"
_DRIV3R_PAGE = "https://github.com/Barrybarry-Smith/Driv3R"
_MVDUST3R_REPO = "Zhenggang/MV-DUSt3R"


def _dust3r(name: str, size: int, head: str, parameters: int, published: int) -> ModelInfo:
    return ModelInfo(
        id=f"dust3r-{size}-{head}",
        family="dust3r",
        config=Dust3rConfig.published(head),
        parameters=parameters,
        published_parameters=published,
        license=_DUST3R_TERMS,
        domain="indoor, outdoor, objects",
        image_size=size,
        title=f"published DUSt3R, {size} pixels, {head} head; two images at a time",
        citation=_DUST3R_PAPER,
        source=Source(f"naver/{name}", "model.safetensors", with_config=True),
    )


def _mvdust3r(name: str, file: str, title: str, fused: bool, parameters: int, published: int) -> ModelInfo:
    return ModelInfo(
        id=name,
        family="mvdust3r",
        config=MVDust3rConfig.published(fused),
        parameters=parameters,
        published_parameters=published,
        license=_MVDUST3R_TERMS,
        domain="indoor",
        image_size=224,
        title=title,
        citation=_MVDUST3R_PAPER,
        source=Source(_MVDUST3R_REPO, f"checkpoints/{file}"),
    )


def _driv3r(name: str, title: str, domain: str, paper: str, terms: str, page: str) -> ModelInfo:
    return ModelInfo(
        id=name,
        family="driv3r",
        config=Driv3rConfig.published(),
        parameters=656_330_888,
        published_parameters=658_691_976,
        license=terms,
        domain=domain,
        image_size=224,
        title=title,
        citation=paper,
        source=Source("", f"{name}.pth", page=page),
    )


def _open_d4rt(frames: int, folder: str, parameters: int, size: int, sha256: str) -> ModelInfo:
    return ModelInfo(
        id=f"opend4rt-{frames}",
        family="d4rt",
        config=D4rtConfig.open(frames),
        parameters=parameters,
        license=_OPEN_D4RT_TERMS,
        domain="videos: indoor, outdoor, objects, synthetic",
        image_size=256,
        title=f"published Open-D4RT, a re-implementation of D4RT: clips of {frames} frames",
        citation=_OPEN_D4RT_PAPER,
        source=Source(
            "Lijiaxin0111/OpenD4RT",
            f"checkpoints/{folder}/opend4rt.ckpt",
            options=f"checkpoints/{folder}/model.yaml",
            bytes=size,
            sha256=sha256,
            reported_by="one independent user; no statement of the authors is known",
        ),
    )


# `parameters` counts what our networks keep; the published files also hold a mask token of 768 values and, with the
# DPT head, two residual units that no output depends on.
_PUBLISHED = (
    _mvdust3r(
        "mvdust3r-plus", "MVDp_s2.pth", "published MV-DUSt3R+, stage 2: 4 to 12 views", True, 661_428_498, 661_429_266
    ),
    _mvdust3r(
        "mvdust3r-plus-s1", "MVDp_s1.pth", "published MV-DUSt3R+, stage 1: 8 views", True, 661_428_498, 661_429_266
    ),
    _mvdust3r("mvdust3r", "MVD.pth", "published MV-DUSt3R: one reference view", False, 547_988_754, 547_989_522),
    _dust3r("DUSt3R_ViTLarge_BaseDecoder_224_linear", 224, "linear", 532_342_016, 532_342_784),
    _dust3r("DUSt3R_ViTLarge_BaseDecoder_512_linear", 512, "linear", 532_342_016, 532_342_784),
    _dust3r("DUSt3R_ViTLarge_BaseDecoder_512_dpt", 512, "dpt", 568_810_120, 571_171_208),
)
_OPEN_D4RT = (
    _open_d4rt(
        32,
        "OpenD4RT_32CLIP_9Dataset_NoAUG",
        1_162_433_293,
        13_950_006_682,
        "1f63305422fdc2000b057fbbc1d37459ac1a8063bbfcd0e3b7d473f5485943f5",
    ),
    _open_d4rt(
        48,
        "OpenD4RT_48CLIP_9Mix_NoCropAUG",
        1_162_494_733,
        13_950_737_434,
        "65936f72eb902f9a3629e25b2888e8cc2ebf87a89bee7103fe94313fb53dd179",
    ),
)
_BY_HAND = (
    _driv3r(
        "spann3r",
        "published Spann3R, version 1 or 1.01: a stream of images through a memory",
        "indoor, outdoor, objects",
        _SPANN3R_PAPER,
        _SPANN3R_TERMS,
        _SPANN3R_PAGE,
    ),
    _driv3r(
        "driv3r",
        "published Driv3R: Spann3R fine-tuned on the streams of a car's cameras",
        "driving",
        _DRIV3R_PAPER,
        _DRIV3R_TERMS,
        _DRIV3R_PAGE,
    ),
)
_MINI = ModelInfo(
    id="mvdust3r-plus-mini",
    family="mvdust3r",
    config=MVDust3rConfig.mini(),
    parameters=14_347_072,
    license="Apache-2.0",
    domain="procedural indoor rooms",
    image_size=224,
    title="MV-DUSt3R+ at small size, trained by us on procedural rooms; in the package",
    citation=_MVDUST3R_PAPER,
    embedded=True,
)
_DRIV3R_MINI = ModelInfo(
    id="driv3r-mini",
    family="driv3r",
    config=Driv3rConfig.mini(),
    parameters=12_615_616,
    license="Apache-2.0",
    domain="procedural streets",
    image_size=224,
    title="Driv3R at small size, trained by us on procedural streets; in the package",
    citation=_DRIV3R_PAPER,
    embedded=True,
)
_D4RT_MINI = ModelInfo(
    id="d4rt-mini",
    family="d4rt",
    config=D4rtConfig.mini(),
    parameters=13_194_513,
    license="Apache-2.0",
    domain="procedural clips",
    image_size=128,
    title="D4RT at small size, trained by us on procedural clips; in the package",
    citation=_D4RT_PAPER,
    embedded=True,
)
_OWN = (_MINI, _DRIV3R_MINI, _D4RT_MINI)
MODELS: dict[str, ModelInfo] = {model.id: model for model in (*_OWN, *_PUBLISHED, *_OPEN_D4RT, *_BY_HAND)}


def known(name: str) -> ModelInfo:
    """The registry entry of an id; for embedded weights that are present, as their own card tells it.

    Raises:
        WeightsError: unknown id; the sentence lists the closest ones.
    """
    entry = MODELS.get(name)
    if entry is None:
        raise unknown_model(name)
    folder = EMBEDDED / name
    if not entry.embedded or not is_model_folder(folder):
        return entry
    found = read_info(folder)
    return replace(
        entry,
        config=found.config,
        parameters=found.parameters,
        license=found.license or entry.license,
        domain=found.domain or entry.domain,
        image_size=found.image_size,
        memory=found.memory,
        directory=folder,
        card=found.card,
    )


def unknown_model(name: str) -> WeightsError:
    """The error for a name that is neither an id nor a path nor a hub id."""
    close = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return WeightsError(
        f"There is no model '{name}': it is neither a known id nor a file or folder nor a hub id (owner/name).",
        f"{hint}See: worldline models list",
    )


def published_by(repo: str) -> list[ModelInfo]:
    """Registry entries whose files come from this hub repository."""
    return [
        model
        for model in MODELS.values()
        if model.source and model.source.repo and model.source.repo.lower() == repo.lower()
    ]
