"""Video Swin in the names of torchvision, of its own repository and of mmaction2, which has all but one of the latter.

The relative position index is a buffer: the model computes it from the window.
"""

import numpy as np

from vidjax.nn.windows import relative_index
from vidjax.weights.rules import conv, dense, layer_norm
from vidjax.weights.source import Rule, Source
from vidjax.weights.transform import COPY, LINEAR


def _blocks(blocks: str, fc1: str, fc2: str, stage: int) -> tuple[Rule, ...]:
    """Rules of a stage's blocks, given what a source calls them and the layers of an MLP."""
    path = f"stages.{stage}.blocks.{{b}}"
    return (
        *layer_norm(f"{blocks}.{{b}}.norm1", f"{path}.norm1"),
        Rule(f"{blocks}.{{b}}.attn.relative_position_bias_table", f"{path}.attn.relative_bias", COPY),
        *dense(f"{blocks}.{{b}}.attn.qkv", f"{path}.attn.qkv"),
        *dense(f"{blocks}.{{b}}.attn.proj", f"{path}.attn.proj"),
        *layer_norm(f"{blocks}.{{b}}.norm2", f"{path}.norm2"),
        *dense(f"{blocks}.{{b}}.mlp.{fc1}", f"{path}.mlp.fc1"),
        *dense(f"{blocks}.{{b}}.mlp.{fc2}", f"{path}.mlp.fc2"),
    )


def _merging(merging: str, stage: int) -> tuple[Rule, ...]:
    """Rules of the patch merging with which a stage begins."""
    path = f"stages.{stage}.merge"
    return (
        *layer_norm(f"{merging}.norm", f"{path}.norm"),
        Rule(f"{merging}.reduction.weight", f"{path}.reduction.kernel", LINEAR),
    )


def _indices(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The index of each block's bias table: all windows are 8 frames by 7×7, wherever the clip is cut to."""
    tables = [key.removesuffix("bias_table") for key in state if key.endswith(".relative_position_bias_table")]
    return {f"{table}index": np.asarray(relative_index((8, 7, 7)), np.int64) for table in tables}


_STEM = (*conv("patch_embed.proj", "patch_embed"), *layer_norm("patch_embed.norm", "patch_norm"))

TORCHVISION = Source(
    name="torchvision",
    models=("swin3d_[tsb]",),
    signature=("patch_embed.proj.weight", "features.0.0.attn.qkv.weight", "head.weight"),
    rules=(
        *_STEM,
        *(rule for s in range(4) for rule in _blocks(f"features.{2 * s}", "0", "3", s)),
        *(rule for s in range(1, 4) for rule in _merging(f"features.{2 * s - 1}", s)),
        *layer_norm("norm", "norm"),
        *dense("head", "head"),
    ),
    ignore=("*.relative_position_index",),
    buffers=_indices,
)


def _openmmlab(name: str, norm: str) -> Source:
    """The names that mmaction2 took over, given what is called the last layer norm."""
    return Source(
        name=name,
        models=("swin3d_*",),
        signature=(
            "patch_embed.proj.weight",
            "layers.0.blocks.0.attn.qkv.weight",
            f"{norm}.weight",
            "cls_head.fc_cls.weight",
        ),
        rules=(
            *_STEM,
            *(rule for s in range(4) for rule in _blocks(f"layers.{s}.blocks", "fc1", "fc2", s)),
            *(rule for s in range(1, 4) for rule in _merging(f"layers.{s - 1}.downsample", s)),
            *layer_norm(norm, "norm"),
            *dense("cls_head.fc_cls", "head"),
        ),
        ignore=("*.relative_position_index",),
        buffers=_indices,
        prefixes=("backbone.",),
    )


VIDEO_SWIN = _openmmlab("video_swin", "norm")  # SwinTransformer/Video-Swin-Transformer
MMACTION2 = _openmmlab("mmaction2", "norm3")

SOURCES = (TORCHVISION, VIDEO_SWIN, MMACTION2)
