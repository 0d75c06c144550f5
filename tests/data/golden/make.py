"""Write a golden: a reference network, filled by the rule in `tests/golden.py`, and its answers to two inputs.

    python tests/data/golden/make.py NAME …     (no name: lists them)

needs torch 2.13.0, and torchvision 0.28.0 for `torchvision*`, timm 1.0.31 for `timm_*`, efficientnet_pytorch 0.7.1 and
efficientnet_lite_pytorch 0.1.0 for `efficientnet_*`, transformers 4.57.6 for `hf_*` (from version 5 on the
keys of its state dict are not those of the published checkpoints), or pytorchvideo 0.1.5 for `pytorchvideo*` (install
it with --no-deps, beside fvcore, iopath and what they ask for). It writes NAME.npz, the table of keys and the entry in
index.json; what is written again agrees with what was there to about 1e-6.

The goldens of projects that this file does not build were made by the same rule from the constructor and the commit
that index.json names. Tables in keys/ that no entry of the index names list the keys of further published checkpoints.
"""

import importlib
import importlib.metadata
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.golden import FOLDER, GAIN, Keys, coarse_noise, fill_state, noise, read_index, relative_error, state_crc32

IMAGE, CLIP, VIDEOMAE_CLIP = (2, 3, 224, 224), (2, 3, 8, 112, 112), (2, 3, 16, 224, 224)


def declare_operators() -> None:
    """Beside a CPU-only torch, importing torchvision fails unless these exist; the networks do not use them."""
    if "torchvision" not in sys.modules:
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def torchvision_model(name: str, of_video: bool) -> tuple[torch.nn.Module, str, str]:
    """The network, the expression that builds it, and the version of what it is from."""
    declare_operators()
    import torchvision

    home = torchvision.models.video if of_video else torchvision.models
    expression = f"torchvision.models.{'video.' if of_video else ''}{name}(weights=None)"
    return getattr(home, name)(weights=None), expression, f"torchvision {torchvision.__version__}"


def timm_model(name: str) -> tuple[torch.nn.Module, str, str]:
    declare_operators()
    import timm

    return timm.create_model(name), f"timm.create_model({name!r})", f"timm {timm.__version__}"


def lukemelas_model(size: str) -> tuple[torch.nn.Module, str, str]:
    """EfficientNet of the first port to PyTorch; its mobile form is a package of its own."""
    package = "efficientnet_lite_pytorch" if size.startswith("lite") else "efficientnet_pytorch"
    network = importlib.import_module(package).EfficientNet
    model = network.from_name(f"efficientnet-{size}")
    version = f"{package} {importlib.metadata.version(package)}"
    return model, f"{package}.EfficientNet.from_name('efficientnet-{size}')", version


def pytorchvideo_model(name: str) -> tuple[torch.nn.Module, str, str]:
    declare_operators()
    from pytorchvideo.models import hub

    # This version ends in a softmax unless told otherwise, later commits do not.
    expression = f"pytorchvideo.models.hub.{name}(pretrained=False, head_activation=None)"
    version = f"pytorchvideo {importlib.metadata.version('pytorchvideo')}"
    model = getattr(hub, name)(pretrained=False, head_activation=None)
    return TwoPathways(model) if name.startswith("slowfast") else model, expression, version


class Wrapped(torch.nn.Module):
    """A network with the input (B, C, T, H, W) of the others."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def state_dict(self, **kwargs):
        return self.model.state_dict(**kwargs)

    def load_state_dict(self, state, **kwargs):
        return self.model.load_state_dict(state, **kwargs)


class TwoPathways(Wrapped):
    """pytorchvideo's SlowFast, which wants the slow pathway's frames beside the clip: one in four, spread evenly."""

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        frames = torch.linspace(0, video.shape[2] - 1, video.shape[2] // 4).long()
        return self.model([video[:, :, frames], video])


class VideoMAE(Wrapped):
    """transformers' classifier."""

    def __init__(self, **sizes: int):
        from transformers import VideoMAEConfig, VideoMAEForVideoClassification

        super().__init__(VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400, **sizes)))

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        # Attention is torch's own function, which in float64 stays there, unlike the "eager" one's softmax.
        return self.model(pixel_values=video.transpose(1, 2)).logits


def transformers_model(**sizes: int) -> tuple[torch.nn.Module, str, str]:
    import transformers

    if not transformers.__version__.startswith("4."):
        sys.exit(f"transformers {transformers.__version__} names the weights anew: pip install transformers==4.57.6")
    arguments = ", ".join(f"{key}={value}" for key, value in {"num_labels": 400, **sizes}.items())
    expression = f"VideoMAEForVideoClassification(VideoMAEConfig({arguments}))"
    return VideoMAE(**sizes), expression, f"transformers {transformers.__version__}"


def _sizes(dim: int, heads: int, depth: int) -> dict[str, int]:
    return {"hidden_size": dim, "num_attention_heads": heads, "num_hidden_layers": depth, "intermediate_size": 4 * dim}


# name → (table of keys, input shape, what builds the network)
GOLDENS = {
    **{
        f"torchvision2d_{name}_224": (f"torchvision2d_{name}", IMAGE, partial(torchvision_model, name, False))
        for name in ("resnet18", "resnet34", "resnet50", "resnet101")
    },
    **{
        f"efficientnet_{size}_224": (f"efficientnet_{size}", IMAGE, partial(lukemelas_model, size))
        for size in ("lite0", "b0")
    },
    **{
        f"timm_{name}_224": (f"timm_{name}", IMAGE, partial(timm_model, full or name))
        for name, full in (("efficientnet_lite0", ""), ("efficientnet_b0", ""), ("vit_b16", "vit_base_patch16_224"))
    },
    **{
        f"torchvision_{name}_8x112": (f"torchvision_{name}", CLIP, partial(torchvision_model, name, True))
        for name in ("r3d_18", "mc3_18", "r2plus1d_18")
    },
    **{
        f"pytorchvideo_{name}_{frames}x{size}": (
            f"pytorchvideo_{name}",
            (2, 3, frames, size, size),
            partial(pytorchvideo_model, name),
        )
        for name, frames, size in (
            ("x3d_s", 13, 160),
            ("x3d_m", 16, 224),
            ("x3d_l", 16, 312),
            ("slow_r50", 8, 224),
            ("c2d_r50", 8, 224),
            ("i3d_r50", 8, 224),
            ("r2plus1d_r50", 16, 224),
            ("slowfast_r50", 32, 224),
            ("slowfast_r101", 32, 224),
            ("slowfast_16x8_r101_50_50", 64, 224),
        )
    },
    **{
        f"hf_videomae_{size}_cls_16x224": (f"hf4_videomae_{size}_cls", VIDEOMAE_CLIP, partial(transformers_model, **kw))
        for size, kw in {
            "small": _sizes(384, 6, 12),
            "base": _sizes(768, 12, 12),
            "large": _sizes(1024, 16, 24),
        }.items()
    },
}


# Of networks that the usual gain makes deaf to their input, see `sensitivity`.
GAINS = {"efficientnet_b0_224": 2.5, "timm_efficientnet_b0_224": 2.5}


def keys_of(model: torch.nn.Module) -> Keys:
    return [(key, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in model.state_dict().items()]


@torch.inference_mode()
def answers(model: torch.nn.Module, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Logits of both inputs, in float32 and in float64 with the same weights."""
    out = {}
    for precision, suffix in ((torch.float32, ""), (torch.float64, "64")):
        model = model.to(precision)
        for prefix, x in (("", noise(shape)), ("coarse_", coarse_noise(shape))):
            out[f"{prefix}logits{suffix}"] = model(torch.from_numpy(x).to(precision)).numpy()
    return out


def make(name: str) -> None:
    table, shape, build = GOLDENS[name]
    model, constructor, version = build()
    keys = keys_of(model.eval())
    gain = GAINS.get(name, GAIN)
    state = fill_state(keys, gain=gain)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, strict=True)
    arrays = answers(model, shape)
    if (FOLDER / f"{name}.npz").is_file():
        with np.load(FOLDER / f"{name}.npz") as before:
            for array in arrays:
                print(f"{name}: {array} against the one there: {relative_error(arrays[array], before[array]):.1e}")
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    rows = ("\t".join((key, "x".join(map(str, shape)), dtype)) for key, shape, dtype in keys)
    (FOLDER / "keys" / f"{table}.tsv").write_text("\n".join(rows) + "\n")
    spread = {k: float(np.linalg.norm(v[0] - v[1]) / np.linalg.norm(v[0])) for k, v in arrays.items()}
    entry = {
        "keys": table,
        "input_shape": shape,
        "constructor": constructor,
        "reference": f"{version}, torch {torch.__version__}",
        **({"gain": gain} if gain != GAIN else {}),
        "state_crc32": state_crc32(keys, state),
        "float32_error": [round(relative_error(arrays[k], arrays[f"{k}64"]), 9) for k in ("logits", "coarse_logits")],
        "sensitivity": [round(spread["logits"], 4), round(spread["coarse_logits"], 4)],  # of noise and coarse input
    }
    entries = sorted({**read_index(), name: entry}.items())
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries)
    (FOLDER / "index.json").write_text(f"{{\n{lines}\n}}\n")
    print(f"{name}: {entry}")


if __name__ == "__main__":
    if unknown := [name for name in sys.argv[1:] if name not in GOLDENS]:
        sys.exit(f"there is no {', '.join(unknown)}; known are: {', '.join(GOLDENS)}")
    print("\n".join(GOLDENS) if len(sys.argv) == 1 else "")
    for name in sys.argv[1:]:
        make(name)
