"""What the SlowFast repository's weights were called in caffe2, written by hand from its networks' layout."""

import re
from typing import Any

import numpy as np

LEAVES = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def named(state: dict[str, Any], last_blocks: dict[int, int]) -> dict[str, Any]:
    """A state dict of the repository by caffe2's names.

    Args:
      state: by PyTorch's names; counters must not be in it.
      last_blocks: number of the last block of the stages 2, 3 and 4, after which lateral convolutions are called.
    """
    return {_named(key, last_blocks): array for key, array in state.items()}


def _named(key: str, last_blocks: dict[int, int]) -> str:
    layer, leaf = key.rsplit(".", 1)
    kernel_leaf = {"weight": "w", "bias": "b"}.get(leaf)
    if layer == "head.projection":
        return f"pred_{kernel_leaf}"
    if found := re.fullmatch(r"s(\d)_fuse\.(conv_f2s|bn)", layer):
        stage, part = int(found[1]), found[2]
        before = "t_pool1" if stage == 1 else f"t_res{stage}_{last_blocks[stage]}_branch2c_bn"
        return f"{before}_subsample_{'w' if part == 'conv_f2s' else f'bn_{LEAVES[leaf]}'}"
    if found := re.fullmatch(r"s(\d)\.pathway0_nonlocal(\d+)\.(conv_(\w+)|bn)", layer):
        stage, block, part, conv = found.groups()
        end = f"bn_{LEAVES[leaf]}" if part == "bn" else f"{conv}_{kernel_leaf}"
        return f"nonlocal_conv{stage}_{block}_{end}"
    found = re.fullmatch(r"s(\d)\.pathway([01])_(?:stem|res(\d+))\.(.*)", layer)
    stage, pathway, block, part = found.groups()
    prefix = "t_" if pathway == "1" else ""
    if stage == "1":
        return f"{prefix}res_conv1_bn_{LEAVES[leaf]}" if part == "bn" else f"{prefix}conv1_w"
    branch = part.replace("branch2.", "branch2").removesuffix("_bn")
    return f"{prefix}res{stage}_{block}_{branch}_{f'bn_{LEAVES[leaf]}' if part.endswith('_bn') else 'w'}"


def with_solver(blobs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with what the solver leaves among them."""
    momenta = {f"{name}_momentum": array for name, array in list(blobs.items())[:3]}
    return {**blobs, **momenta, "lr": np.zeros(1, np.float32), "model_iter": np.zeros(1, np.int64)}
