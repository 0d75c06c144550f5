"""The PyTorch networks that `models.py` measures vidjax against.

`pair(name)` gives one with vidjax's model of the same weights: torchvision's of that name, or pytorchvideo's, or, for
VideoMAE and TimeSformer, which neither has, the reference code's network in plain torch, its attention the fused
`scaled_dot_product_attention`.
"""

from collections.abc import Callable

import einops
import numpy as np
import torch
import torch.nn.functional as F

from tests.peers import torchvision
from vidjax import load_pretrained
from vidjax.models import create_model
from vidjax.models.registry import get_variant
from vidjax.models.state import assign, split
from vidjax.nn.positions import sinusoid_table

# Where a library calls it otherwise.
TORCHVISION = {"mvit_v1_b_16x4": "mvit_v1_b"}
PYTORCHVIDEO = {"slowfast_r50_8x8": "slowfast_r50"}
PLAIN = ("videomae_base", "timesformer_base_divided")


def pair(name: str, dtype: str = "float32"):
    """`(network, model)` of the same weights: a `torch.nn.Module` from (B, C, T, H, W), and vidjax's, which computes in
    `dtype`."""
    if name in PLAIN:
        return _plain(name, dtype)
    network = _library(name)
    return network, load_pretrained(name, network.state_dict(), dtype=dtype)


def network_input(name: str, clip: torch.Tensor):
    """What the network is given for a clip (B, C, T, H, W): pytorchvideo's SlowFast takes the pathways apart."""
    if not name.startswith("slowfast"):
        return clip
    frames = clip.shape[2]
    return [clip.index_select(2, torch.linspace(0, frames - 1, frames // 4).long().to(clip.device)), clip]


def _library(name: str) -> torch.nn.Module:
    if build := getattr(torchvision().models.video, TORCHVISION.get(name, name), None):
        return build()
    from pytorchvideo.models import hub

    return getattr(hub, PYTORCHVIDEO.get(name, name))(pretrained=False)


class PlainNetwork(torch.nn.Module):
    """A function `(weights, clip) → logits` as a module; weights by vidjax's names, in PyTorch's layouts."""

    def __init__(self, logits: Callable, weights: dict[str, torch.Tensor]):
        super().__init__()
        self.logits = logits
        self.weights = torch.nn.ParameterDict({name.replace(".", "/"): value for name, value in weights.items()})

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) → (B, K)."""
        return self.logits({name.replace("/", "."): value for name, value in self.weights.items()}, clip)


def _plain(name: str, dtype: str):
    model = create_model(name, dtype=dtype)
    _, params, _ = split(model)
    rng = np.random.default_rng(0)
    # What starts at 0 would hide a mistake.
    zeros = {path: value for path, value in params.items() if not np.asarray(value).any()}
    assign(model, {path: 0.02 * rng.standard_normal(value.shape, np.float32) for path, value in zeros.items()})
    model.eval()
    weights = {path: torch.from_numpy(np.array(value)) for path, value in split(model)[1].items()}
    kwargs = get_variant(name).kwargs
    if name.startswith("videomae"):
        logits = _videomae(kwargs["dim"], kwargs["depth"], kwargs["heads"])
    else:
        logits = _timesformer(dim=768, depth=12, heads=12)
    return PlainNetwork(logits, {path: _torch_layout(value) for path, value in weights.items()}), model


def _torch_layout(weight: torch.Tensor) -> torch.Tensor:
    """I·O → O·I and T·H·W·I·O → O·I·T·H·W, contiguous."""
    order = {2: (1, 0), 5: (4, 3, 0, 1, 2)}.get(weight.ndim, range(weight.ndim))
    return weight.permute(*order).contiguous()


def _dense(w: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"])


def _norm(w: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.scale"], w[f"{name}.bias"], 1e-6)


def _attend(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, 3·D) → (B, N, D)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _videomae(dim: int, depth: int, heads: int) -> Callable:
    positions = torch.from_numpy(sinusoid_table(8 * 14 * 14, dim))

    def logits(w, clip):
        kernel = w["patch_embed.kernel"]
        x = F.conv3d(clip, kernel, w["patch_embed.bias"], stride=kernel.shape[2:])
        x = x.flatten(2).transpose(1, 2) + positions.to(clip.device)
        for i in range(depth):
            block = f"blocks.{i}"
            q_bias, v_bias = w[f"{block}.attn.q_bias"], w[f"{block}.attn.v_bias"]
            bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
            qkv = F.linear(_norm(w, f"{block}.norm1", x), w[f"{block}.attn.qkv.kernel"], bias)
            x = x + _dense(w, f"{block}.attn.proj", _attend(qkv, heads))
            x = x + _dense(w, f"{block}.mlp.fc2", F.gelu(_dense(w, f"{block}.mlp.fc1", _norm(w, f"{block}.norm2", x))))
        return _dense(w, "head", _norm(w, "fc_norm", x.mean(1)))

    return logits


def _timesformer(dim: int, depth: int, heads: int) -> Callable:
    """Tokens laid out in the order h, w, t, as in the reference code."""
    rearrange = einops.rearrange

    def attention(w, name, x):
        return _dense(w, f"{name}.proj", _attend(_dense(w, f"{name}.qkv", x), heads))

    def logits(w, clip):
        batch, _, frames = clip.shape[:3]
        pixels = rearrange(clip, "b c t h w -> (b t) c h w")
        x = F.conv2d(pixels, w["patch_embed.kernel"][:, :, 0], w["patch_embed.bias"], stride=16)
        x = x.flatten(2).transpose(1, 2)
        x = rearrange(x + w["pos_embed"][:, 1:], "(b t) p d -> b p t d", t=frames) + w["time_embed"][:, None]
        first = (w["cls_token"] + w["pos_embed"][:, :1]).expand(batch, -1, -1)
        x = rearrange(x, "b p t d -> b (p t) d")
        for i in range(depth):
            block = f"blocks.{i}"
            over_time = rearrange(x, "b (p t) d -> (b p) t d", t=frames)
            step = f"{block}.earlier.0"
            change = _dense(w, f"{step}.fc", attention(w, f"{step}.attn", _norm(w, f"{step}.norm", over_time)))
            x = x + rearrange(change, "(b p) t d -> b (p t) d", b=batch)
            places = rearrange(x, "b (p t) d -> (b t) p d", t=frames)
            tokens = torch.cat([first.repeat_interleave(frames, dim=0), places], dim=1)
            change = attention(w, f"{block}.attn", _norm(w, f"{block}.norm1", tokens))
            token = change[:, :1].unflatten(0, (batch, frames)).mean(1)
            x = torch.cat([first, x], 1) + torch.cat(
                [token, rearrange(change[:, 1:], "(b t) p d -> b (p t) d", b=batch)], 1
            )
            x = x + _dense(w, f"{block}.mlp.fc2", F.gelu(_dense(w, f"{block}.mlp.fc1", _norm(w, f"{block}.norm2", x))))
            first, x = x[:, :1], x[:, 1:]
        return _dense(w, "head", _norm(w, "norm", first[:, 0]))

    return logits
