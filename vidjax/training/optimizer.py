"""Optimiser and learning-rate schedule of a config."""

import re
from collections.abc import Iterable
from typing import cast

import jax.numpy as jnp
import optax

from vidjax.config import ConfigError, OptimizerConfig
from vidjax.models.state import Arrays


def make_schedule(config: OptimizerConfig, *, steps: int, steps_per_epoch: float, batch_size: int) -> optax.Schedule:
    """Build the schedule, step → learning rate: linear warm-up from `warmup_factor` × peak, then a half cosine or
    a line to `final_factor` × peak, a constant, or falls by `step_factor` after each of `step_epochs`.

    Args:
      config: peak, warm-up and shape of the schedule. With `base_batch` > 0 the peak is
        `learning_rate · batch_size / base_batch` (Goyal et al. 2017, arXiv:1706.02677).
      steps: updates of the whole run.
      steps_per_epoch: updates per pass over the data, for the warm-up.
      batch_size: clips per update over all devices.
    """
    peak = config.learning_rate * (batch_size / config.base_batch if config.base_batch else 1)
    warmup = warmup_steps(config, steps=steps, steps_per_epoch=steps_per_epoch)
    if config.schedule == "constant":
        main = optax.constant_schedule(peak)
    elif config.schedule == "steps":
        # Counted from the end of the warm-up; earlier falls have happened by then.
        falls = [round(epoch * steps_per_epoch) - warmup for epoch in config.step_epochs]
        peak_after = peak * config.step_factor ** sum(fall <= 0 for fall in falls)
        main = optax.piecewise_constant_schedule(peak_after, {fall: config.step_factor for fall in falls if fall > 0})
    elif config.schedule == "linear":
        main = optax.linear_schedule(peak, config.final_factor * peak, max(1, steps - warmup))
    else:
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup), alpha=config.final_factor)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(config.warmup_factor * peak, peak, warmup), main], [warmup])


def warmup_steps(config: OptimizerConfig, *, steps: int, steps_per_epoch: float) -> int:
    """Number of warm-up updates: `warmup_epochs`, or half of a run that is no longer than these."""
    warmup = round(config.warmup_epochs * steps_per_epoch)
    return warmup if warmup < steps else steps // 2


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Build SGD with momentum or AdamW, with clipping, weight decay on kernels only, and learning rates by layer.

    SGD adds the L2 term to the gradient before the momentum (as PyTorch does); AdamW decouples it. The state has the
    dtype of its parameters, float32, except for the momentum, which has `config.state_dtype`.
    """
    momentum = jnp.dtype(config.state_dtype)
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adamw":
        rule = optax.adamw(
            schedule, config.b1, config.b2, mu_dtype=momentum, weight_decay=config.weight_decay, mask=decayed
        )
        parts.append(rule)
    else:
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
        parts.append(optax.sgd(schedule, config.momentum or None, config.nesterov, momentum))
    if config.backbone_factor < 1:
        parts.append(optax.stateless(lambda updates, _: _scaled_backbone(updates, config)))
    if config.layer_decay < 1:
        parts.append(optax.stateless(lambda updates, _: _scaled_by_layer(updates, config.layer_decay)))
    return optax.chain(*parts)


def _scaled_backbone(updates: optax.Updates, config: OptimizerConfig) -> Arrays:
    arrays, factor = cast(Arrays, updates), config.backbone_factor
    parts = {path.partition(".")[0] for path in arrays}
    if config.full_rate != OptimizerConfig().full_rate and (unknown := set(config.full_rate) - parts):
        raise ConfigError(
            f"config.optimizer.full_rate: no trained parameter is of {', '.join(sorted(unknown))}; the network's parts "
            f"are {', '.join(sorted(parts))}"
        )
    return {
        path: x * (1 if path.partition(".")[0] in (*config.full_rate, "exits") else factor)
        for path, x in arrays.items()
    }


def _scaled_by_layer(updates: optax.Updates, decay: float) -> Arrays:
    arrays = cast(Arrays, updates)
    layers = layer_numbers(arrays)
    last = max(layers.values())
    return {path: update * decay ** (last - layers[path]) for path, update in arrays.items()}


# Paths of blocks, numbered in execution order: the temporal blocks of a factorised encoder come after the others.
_BLOCK = re.compile(r"(?:(stages)\.(\d+)\.)?(?:(temporal_)?blocks\.(\d+)\.|(?<=\.)merge\.)")
_EMBEDDING = re.compile(r"(patch|pos|time|class|cls|mask|spatial|temporal)_(?!norm|blocks)|patch_norm")


def layer_numbers(params: Iterable[str]) -> dict[str, int]:
    """Layer number of each parameter of a Transformer: 0 for the embedding; 1, 2, … for the blocks; one more for the
    last norm and the head.

    Paths decide: patch embedding, tokens and positions have number 0; a block is `blocks.i`, `stages.s.blocks.b`
    (patch merging at the start of a stage counts with its first block) or `temporal_blocks.i`, which follow `blocks`.
    The numbering is that of BEiT and MAE (`util/lr_decay.py` in facebookresearch/mae), extended to several stages.

    Args:
      params: dotted paths of a model's parameters.

    Raises:
      ConfigError: if the paths name no blocks of a Transformer.
    """
    blocks = {path: _block(found) for path in params if (found := _BLOCK.match(path))}
    if not blocks:
        raise ConfigError(
            "config.optimizer.layer_decay is for Transformers (timesformer, vivit, swin3d, mvit, videomae, …); this "
            "model has no blocks to count: set it to 1"
        )
    order = {block: number for number, block in enumerate(sorted(set(blocks.values())), start=1)}
    last = len(order) + 1
    return {path: order[blocks[path]] if path in blocks else 0 if _EMBEDDING.match(path) else last for path in params}


def _block(found: re.Match) -> tuple[bool, int, int]:
    _, stage, temporal, place = found.groups()
    return bool(temporal), int(stage or 0), int(place or 0)


def decayed(params: Arrays) -> dict[str, bool]:
    """Whether weight decay applies, by parameter: to kernels; not to norms, biases, tokens and positions."""
    return {path: path.rsplit(".", 1)[-1] == "kernel" for path in params}
