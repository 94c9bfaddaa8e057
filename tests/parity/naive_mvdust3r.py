"""DUSt3R and MV-DUSt3R(+) written again as slowly and plainly as possible, in float64.

A second opinion on `worldline.models`: it shares no code with the package, keeps weights in a plain dictionary under
the published names, loops over views, heads and reference paths one at a time, and writes softmax, layer norm, rotary
embedding and bilinear upsampling out by hand. Slow and obvious is the point; nothing here is batched or cached.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]
ROPE_BASE = 100.0


# ---------------------------------------------------------------------------------------------- small pieces


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    out = x @ weights[f"{name}.weight"].T
    return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out


def layer_norm(weights: Weights, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = linear(weights, f"{name}.fc1", x)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2.0)))
    return linear(weights, f"{name}.fc2", hidden)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotate [B, N, d] of one head: first half of the features by the row, second half by the column."""
    quarter = x.shape[-1] // 4
    frequencies = torch.tensor([ROPE_BASE ** (-k / quarter) for k in range(quarter)], dtype=x.dtype)
    rotated = []
    for axis in range(2):
        u, v = x[..., 2 * axis * quarter :][..., : 2 * quarter].split(quarter, dim=-1)
        angle = positions[:, :, axis, None].to(x.dtype) * frequencies
        rotated += [u * torch.cos(angle) - v * torch.sin(angle), v * torch.cos(angle) + u * torch.sin(angle)]
    return torch.cat(rotated, dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, positions_q: Tensor, positions_k: Tensor) -> Tensor:
    size = q.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = rotate(q[..., part], positions_q) @ rotate(k[..., part], positions_k).transpose(1, 2)
        scores = torch.exp(scores / math.sqrt(size) - (scores / math.sqrt(size)).amax(dim=-1, keepdim=True))
        outputs.append((scores / scores.sum(dim=-1, keepdim=True)) @ v[..., part])
    return torch.cat(outputs, dim=-1)


def self_attention(weights: Weights, name: str, x: Tensor, heads: int, positions: Tensor) -> Tensor:
    q, k, v = linear(weights, f"{name}.qkv", x).split(x.shape[-1], dim=-1)
    return linear(weights, f"{name}.proj", attend(q, k, v, heads, positions, positions))


def decoder_block(
    weights: Weights,
    name: str,
    heads: int,
    own: tuple[Tensor, Tensor],
    others: list[tuple[Tensor, Tensor]],
) -> Tensor:
    """One block on (tokens, positions) of a view; the others are the senders, as they are."""
    x, positions = own
    x = x + self_attention(weights, f"{name}.attn", layer_norm(weights, f"{name}.norm1", x), heads, positions)
    memory = torch.cat([layer_norm(weights, f"{name}.norm_y", tokens) for tokens, _ in others], dim=1)
    memory_positions = torch.cat([place for _, place in others], dim=1)
    cross = f"{name}.cross_attn"
    attended = attend(
        linear(weights, f"{cross}.projq", layer_norm(weights, f"{name}.norm2", x)),
        linear(weights, f"{cross}.projk", memory),
        linear(weights, f"{cross}.projv", memory),
        heads,
        positions,
        memory_positions,
    )
    x = x + linear(weights, f"{cross}.proj", attended)
    return x + mlp(weights, f"{name}.mlp", layer_norm(weights, f"{name}.norm3", x))


def encode(weights: Weights, config: dict, image: Tensor) -> tuple[Tensor, Tensor]:
    """[B, 3, H, W] to tokens [B, N, D] after the last norm and positions [B, N, 2]."""
    patch = config["patch_size"]
    rows, columns = image.shape[2] // patch, image.shape[3] // patch
    kernel = weights["patch_embed.proj.weight"]
    tokens, positions = [], []
    for row in range(rows):
        for column in range(columns):
            cut = image[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append(torch.einsum("bcij,dcij->bd", cut, kernel) + weights["patch_embed.proj.bias"])
            positions.append((row, column))
    x = torch.stack(tokens, dim=1)
    place = torch.tensor(positions).expand(x.shape[0], -1, -1)
    heads = config["enc_num_heads"]
    for layer in range(config["enc_depth"]):
        name = f"enc_blocks.{layer}"
        x = x + self_attention(weights, f"{name}.attn", layer_norm(weights, f"{name}.norm1", x), heads, place)
        x = x + mlp(weights, f"{name}.mlp", layer_norm(weights, f"{name}.norm2", x))
    return layer_norm(weights, "enc_norm", x), place


# ---------------------------------------------------------------------------------------------- heads


def depth_to_space(tokens: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """[B, N, c * p * p] to [B, c, rows * p, columns * p]."""
    channels = tokens.shape[-1] // patch**2
    out = tokens.new_zeros(tokens.shape[0], channels, rows * patch, columns * patch)
    for row in range(rows):
        for column in range(columns):
            tile = tokens[:, row * columns + column].reshape(-1, channels, patch, patch)
            out[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = tile
    return out


def number(value: object) -> float:
    return float(value)  # accepts 1, 1.0, inf and the texts "inf" and "-inf"


def points_and_confidence(raw: Tensor, config: dict) -> dict[str, Tensor]:
    """Raw [B, 4, H, W] to points [B, H, W, 3] and confidence [B, H, W]."""
    xyz = raw[:, :3].permute(0, 2, 3, 1)
    norm = (xyz**2).sum(dim=-1, keepdim=True).sqrt()
    direction = xyz / norm.clamp(min=1e-8)
    mode = config["depth_mode"][0]
    points = {"exp": direction * (torch.exp(norm) - 1), "linear": xyz, "square": direction * norm**2}[mode]
    mode, low, high = config["conf_mode"]
    low, high = number(low), number(high)
    if mode == "exp":
        confidence = low + torch.exp(raw[:, 3]).clamp(max=high - low)
    else:
        confidence = low + (high - low) / (1 + torch.exp(-raw[:, 3]))
    return {"points": points, "confidence": confidence}


def conv(weights: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def skip_branch(weights: Weights, name: str, image: Tensor, xyz: Tensor) -> Tensor:
    x = torch.cat([image, xyz], dim=1)
    for step in range(4):
        kernel = weights[f"{name}.{step}.conv.weight"]
        x = conv(weights, f"{name}.{step}.conv", x, padding=kernel.shape[-1] // 2)
        norm = {key: weights[f"{name}.{step}.norm.{key}"][:, None, None] for key in _BATCH_NORM}
        x = (x - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        if step < 3:
            x = 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (torch.exp(x.clamp(max=0)) - 1))
    return xyz + 1e-4 * x


_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def upsample(x: Tensor) -> Tensor:
    """Twice the size, bilinear, corners kept in place."""
    for axis in (2, 3):
        size = x.shape[axis]
        mix = x.new_zeros(2 * size, size)
        for i in range(2 * size):
            at = i * (size - 1) / (2 * size - 1)
            low = min(int(at), size - 1)
            high = min(low + 1, size - 1)
            mix[i, low] += 1 - (at - low)
            mix[i, high] += at - low
        x = torch.einsum("ij,bcjw->bciw" if axis == 2 else "ij,bchj->bchi", mix, x)
    return x


def residual_unit(weights: Weights, name: str, x: Tensor) -> Tensor:
    inner = conv(weights, f"{name}.conv1", x.clamp(min=0), padding=1)
    return x + conv(weights, f"{name}.conv2", inner.clamp(min=0), padding=1)


def fuse_level(weights: Weights, name: str, a: Tensor, b: Tensor | None = None) -> Tensor:
    out = a if b is None else a + residual_unit(weights, f"{name}.resConfUnit1", b)
    out = residual_unit(weights, f"{name}.resConfUnit2", out)
    return conv(weights, f"{name}.out_conv", upsample(out))


def dpt(weights: Weights, name: str, layers: list[Tensor], rows: int, columns: int) -> Tensor:
    depth = len(layers) - 1
    picked = [layers[i] for i in (0, 2 * depth // 4, 3 * depth // 4, depth)]
    maps = []
    for level, tokens in enumerate(picked):
        x = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, rows, columns)
        after = f"{name}.act_postprocess.{level}"
        x = conv(weights, f"{after}.0", x)
        if level < 2:
            stride = 4 if level == 0 else 2
            x = functional.conv_transpose2d(x, weights[f"{after}.1.weight"], weights[f"{after}.1.bias"], stride=stride)
        elif level == 3:
            x = conv(weights, f"{after}.1", x, stride=2, padding=1)
        maps.append(conv(weights, f"{name}.scratch.layer{level + 1}_rn", x, padding=1))
    refine = f"{name}.scratch.refinenet"
    path = fuse_level(weights, f"{refine}4", maps[3])[:, :, : maps[2].shape[2], : maps[2].shape[3]]
    for level in (3, 2, 1):
        path = fuse_level(weights, f"{refine}{level}", path, maps[level - 1])
    x = upsample(conv(weights, f"{name}.head.0", path, padding=1))
    return conv(weights, f"{name}.head.4", conv(weights, f"{name}.head.2", x, padding=1).clamp(min=0))


def gaussian_head(weights: Weights, name: str, tokens: Tensor, grid: tuple[int, int], patch: int) -> dict[str, Tensor]:
    x = layer_norm(weights, f"{name}.norm", tokens, eps=1e-5)

    def branch(key: str) -> Tensor:
        hidden = linear(weights, f"{name}.{key}.0", x).clamp(min=0)
        return depth_to_space(linear(weights, f"{name}.{key}.2", hidden), *grid, patch).permute(0, 2, 3, 1)

    rotation = branch("mlp_rotation")
    return {
        "colors": branch("mlp_rgb"),
        "opacities": 1 / (1 + torch.exp(-branch("mlp_opacity"))),
        "scales": 0.1 * branch("mlp_scale2"),
        "rotations": rotation / (rotation**2).sum(dim=-1, keepdim=True).sqrt().clamp(min=1e-5),
    }


# ---------------------------------------------------------------------------------------------- two images


def dust3r(
    weights: Weights,
    config: dict,
    images: tuple[Tensor, Tensor],
    true_shapes: tuple[Tensor, Tensor] | None = None,
) -> list[dict[str, Tensor]]:
    """Both views' outputs for images [B, 3, H, W], sample by sample."""
    weights = {key: value.double() for key, value in weights.items()}
    samples = []
    for index in range(images[0].shape[0]):
        sample = []
        for side in range(2):
            image = images[side][index : index + 1].double()
            portrait = False
            if true_shapes is not None:
                height, width = true_shapes[side][index].tolist()
                portrait = height > width
            sample.append(image.transpose(2, 3) if portrait and image.shape[3] > image.shape[2] else image)
        outputs = _pair(weights, config, sample)
        if config.get("landscape_only"):
            for output, image in zip(outputs, sample, strict=True):
                if image.shape[2] > image.shape[3]:
                    output.update({key: value.transpose(1, 2) for key, value in output.items()})
        samples.append(outputs)
    return [{key: torch.cat([s[side][key] for s in samples]) for key in samples[0][side]} for side in range(2)]


def _pair(weights: Weights, config: dict, images: list[Tensor]) -> list[dict[str, Tensor]]:
    encoded = [encode(weights, config, image) for image in images]
    places = [place for _, place in encoded]
    layers = [[tokens] for tokens, _ in encoded]
    state = [linear(weights, "decoder_embed", tokens) for tokens, _ in encoded]
    heads = config["dec_num_heads"]
    for layer in range(config["dec_depth"]):
        first = decoder_block(weights, f"dec_blocks.{layer}", heads, (state[0], places[0]), [(state[1], places[1])])
        second = decoder_block(weights, f"dec_blocks2.{layer}", heads, (state[1], places[1]), [(state[0], places[0])])
        state = [first, second]
        for side in range(2):
            layers[side].append(state[side])
    outputs = []
    for side in range(2):
        layers[side][-1] = layer_norm(weights, "dec_norm", layers[side][-1])
        patch, name = config["patch_size"], f"downstream_head{side + 1}"
        rows, columns = images[side].shape[2] // patch, images[side].shape[3] // patch
        if config["head_type"] == "dpt":
            raw = dpt(weights, f"{name}.dpt", layers[side], rows, columns)
        else:
            raw = depth_to_space(linear(weights, f"{name}.proj", layers[side][-1]), rows, columns, patch)
        outputs.append(points_and_confidence(raw, config))
    return outputs


# ---------------------------------------------------------------------------------------------- many images


def mvdust3r(weights: Weights, config: dict, images: Tensor, references: int) -> list[list[dict[str, Tensor]]]:
    """Outputs [path][view] for images [B, V, 3, H, W]; path r has view r as its reference; views in input order."""
    weights = {key: value.double() for key, value in weights.items()}
    images = images.double()
    views = images.shape[1]
    heads = config["dec_num_heads"]
    encoded = [encode(weights, config, images[:, view]) for view in range(views)]
    places = [place for _, place in encoded]
    start = [linear(weights, "decoder_embed", tokens) for tokens, _ in encoded]
    state = [list(start) for _ in range(references)]
    for layer in range(config["dec_depth"]):
        stepped = []
        for path in range(references):
            after = []
            for view in range(views):
                block = f"dec_blocks.{layer}" if view == path else f"dec_blocks2.{layer}"
                others = [(state[path][o], places[o]) for o in range(views) if o != view]
                after.append(decoder_block(weights, block, heads, (state[path][view], places[view]), others))
            stepped.append(after)
        if config.get("m_ref_flag"):
            block = f"dec_same_view_blocks.{layer}"
            state = [
                [
                    decoder_block(
                        weights,
                        block,
                        heads,
                        (stepped[path][view], places[view]),
                        [(stepped[o][view], places[view]) for o in range(references) if o != path],
                    )
                    for view in range(views)
                ]
                for path in range(references)
            ]
        else:
            state = stepped
    return [
        [_slot(weights, config, 0 if view == path else 1, state[path][view], images[:, view]) for view in range(views)]
        for path in range(references)
    ]


def _slot(weights: Weights, config: dict, which: int, tokens: Tensor, image: Tensor) -> dict[str, Tensor]:
    patch = config["patch_size"]
    grid = (image.shape[2] // patch, image.shape[3] // patch)
    tokens = layer_norm(weights, "dec_norm", tokens)
    name = f"downstream_head{which + 1}"
    raw = depth_to_space(linear(weights, f"{name}.proj", tokens), *grid, patch)
    if (config.get("pts_head_config") or {}).get("skip"):
        raw = torch.cat([skip_branch(weights, f"{name}.skip_proj", image, raw[:, :3]), raw[:, 3:]], dim=1)
    output = points_and_confidence(raw, config)
    if config.get("GS"):
        output.update(gaussian_head(weights, f"downstream_GS_head.{which}", tokens, grid, patch))
    return output
