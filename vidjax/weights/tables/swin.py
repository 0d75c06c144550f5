"""Weights of Video Swin, as named by torchvision, its own repository and mmaction2.

mmaction2 has all names of the repository but one. The relative position index is a buffer, which the model computes
from the window. An image Swin (microsoft's names) is inflated as in the paper, section 3.3: each frame of a tubelet
gets the image's kernel, divided by the number of frames, and each distance in time the image's table of relative
positions.
"""

import numpy as np

from vidjax.nn.grids import Grid
from vidjax.nn.windows import relative_index
from vidjax.weights.fit import INFLATIONS, Fit, Shape
from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, COPY, LINEAR
from vidjax.weights.table import Rule, Source


def _over_time(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    """Repeat the table `((2h - 1)·(2w - 1), heads)` of a window in a frame for each of 2t - 1 distances in time."""
    times, rest = divmod(shape[0], table.shape[0])
    if rest or table.shape[1:] != tuple(shape[1:]):
        raise ValueError("only the temporal extent of the window may differ")
    return np.tile(table, (times, 1))


def _blocks(blocks: str, fc1: str, fc2: str, stage: int, fit: Fit | None = None) -> tuple[Rule, ...]:
    """Rules for a stage's blocks, with a source's names for the blocks and for the layers of an MLP."""
    path = f"stages.{stage}.blocks.{{b}}"
    return (
        *layer_norm(f"{blocks}.{{b}}.norm1", f"{path}.norm1"),
        Rule(f"{blocks}.{{b}}.attn.relative_position_bias_table", f"{path}.attn.relative_bias", COPY, fit),
        *dense(f"{blocks}.{{b}}.attn.qkv", f"{path}.attn.qkv"),
        *dense(f"{blocks}.{{b}}.attn.proj", f"{path}.attn.proj"),
        *layer_norm(f"{blocks}.{{b}}.norm2", f"{path}.norm2"),
        *dense(f"{blocks}.{{b}}.mlp.{fc1}", f"{path}.mlp.fc1"),
        *dense(f"{blocks}.{{b}}.mlp.{fc2}", f"{path}.mlp.fc2"),
    )


def _merging(merging: str, stage: int) -> tuple[Rule, ...]:
    """Rules for the patch merging at the beginning of a stage."""
    path = f"stages.{stage}.merge"
    return (
        *layer_norm(f"{merging}.norm", f"{path}.norm"),
        Rule(f"{merging}.reduction.weight", f"{path}.reduction.kernel", LINEAR),
    )


def _indices(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The index of each block's bias table; all windows are 8 frames by 7×7, whatever the size of the clip."""
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
    """Table of the names that mmaction2 took over; `norm` is the name of the last layer norm."""
    return Source(
        name=name,
        models=("swin3d_[tsbl]",),
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

# microsoft/Swin-Transformer, models/swin_transformer.py.
IMAGE = Source(
    name="swin_image",
    models=("swin3d_[tsbl]",),
    signature=("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight", "norm.weight"),
    rules=(
        Rule("patch_embed.proj.weight", "patch_embed.kernel", CONV2D, INFLATIONS["average"]),
        Rule("patch_embed.proj.bias", "patch_embed.bias"),
        *layer_norm("patch_embed.norm", "patch_norm"),
        *(
            rule
            for s in range(4)
            for rule in _blocks(f"layers.{s}.blocks", "fc1", "fc2", s, Fit("inflated", _over_time))
        ),
        *(rule for s in range(1, 4) for rule in _merging(f"layers.{s - 1}.downsample", s)),
        *layer_norm("norm", "norm"),
        *dense("head", "head"),
    ),
    ignore=("*.relative_position_index", "*.attn_mask"),
    absent=("backbone.patch_embed.proj.weight", "cls_head.fc_cls.weight"),
    fresh=("head.*",),
)

SOURCES = (TORCHVISION, VIDEO_SWIN, MMACTION2, IMAGE)
