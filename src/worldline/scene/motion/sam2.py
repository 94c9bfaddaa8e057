"""Masks of whole objects by SAM 2, for a finished clip of one sensor.

The released code of Driv3R prompts every frame with its own mask and gets it back. Here the masks of the odd frames
are prompts from which the even frames follow, and the other way round (as in MonST3R), so the network has a say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from worldline.errors import InputError, MissingExtraError

SAM2_MODEL = "facebook/sam2.1-hiera-large"  # what Driv3R names; Apache-2.0
_OBJECT = 1  # everything that moves is one object


def refine_sam2(
    images: Sequence[UInt8[np.ndarray, "height width 3"]],
    masks: Sequence[Bool[np.ndarray, "height width"]],
    *,
    model: str = SAM2_MODEL,
    device: str = "cpu",
    loader: Callable[[str, str], tuple[Any, Any]] | None = None,
) -> Bool[np.ndarray, "frame height width"]:
    """Motion masks of a clip -> masks of whole objects: the motion mask or what SAM 2 makes of its neighbours'.

    Args:
        images: RGB frames of one sensor, in order.
        masks: their motion masks.
        model: name or folder of a SAM 2 checkpoint; transformers downloads it when it is not in its cache.
        device: where to run it.
        loader: (model, device) -> (video model, processor); for checkpoints that are loaded in another way.

    Raises:
        InputError: numbers of images and masks differ.
        MissingExtraError: transformers with SAM 2 is not installed.
    """
    if len(images) != len(masks) or not len(images):
        raise InputError(f"{len(images)} images and {len(masks)} masks do not make a clip.", "Give one mask per image.")
    given = np.stack([np.asarray(mask, bool) for mask in masks])
    if not given.any():
        return given
    network, processor = (loader or _load)(model, device)
    refined = given.copy()
    for parity in (0, 1):
        for index, mask in _propagate(network, processor, images, given, parity, device):
            if index % 2 != parity:
                refined[index] |= mask
    return refined


def _propagate(
    network: Any, processor: Any, images: Sequence[np.ndarray], masks: np.ndarray, parity: int, device: str
) -> list[tuple[int, np.ndarray]]:
    """Masks of all frames from those of every second one, forwards in time and, before the first prompt, backwards."""
    prompts = [index for index in range(parity, len(masks), 2) if masks[index].any()]
    if not prompts:
        return []
    session = processor.init_video_session(video=list(images), inference_device=device)
    for index in prompts:
        processor.add_inputs_to_inference_session(
            inference_session=session, frame_idx=index, obj_ids=_OBJECT, input_masks=masks[index]
        )
        with torch.inference_mode():
            network(inference_session=session, frame_idx=index)
    size = [[masks.shape[1], masks.shape[2]]]
    found: dict[int, np.ndarray] = {}
    for reverse in (True, False):
        with torch.inference_mode():
            for output in network.propagate_in_video_iterator(session, start_frame_idx=prompts[0], reverse=reverse):
                logits = processor.post_process_masks([output.pred_masks], original_sizes=size, binarize=False)[0]
                found[output.frame_idx] = np.asarray(logits.float().cpu()).reshape(masks.shape[1:]) > 0
    return sorted(found.items())


def _load(model: str, device: str) -> tuple[Any, Any]:
    try:
        from transformers import Sam2VideoModel, Sam2VideoProcessor
    except ImportError as error:
        raise MissingExtraError("Refinement by SAM 2", "sam2") from error
    return Sam2VideoModel.from_pretrained(model).to(device).eval(), Sam2VideoProcessor.from_pretrained(model)
