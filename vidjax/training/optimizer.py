"""The optimiser and learning-rate schedule that a config describes."""

import optax

from vidjax.config import ConfigError, OptimizerConfig
from vidjax.models.state import Arrays


def make_schedule(config: OptimizerConfig, *, steps: int, steps_per_epoch: float, batch_size: int) -> optax.Schedule:
    """Step → learning rate: linear warm-up from `warmup_factor` × peak, then a half cosine to `final_factor` × peak,
    constant, or falling by `step_factor` after each of `step_epochs`.

    Args:
      config: peak, warm-up and shape. With `base_batch` > 0 the peak is `learning_rate · batch_size / base_batch`
        (Goyal et al. 2017, arXiv:1706.02677).
      steps: updates of the whole run.
      steps_per_epoch: updates per pass over the data, for the warm-up.
      batch_size: clips per update over all devices.

    Raises:
      ConfigError: if the warm-up would take the whole run.
    """
    peak = config.learning_rate * (batch_size / config.base_batch if config.base_batch else 1)
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if warmup and warmup >= steps:
        raise ConfigError(
            f"config.optimizer.warmup_epochs = {config.warmup_epochs}: "
            f"{warmup} warm-up steps, but the whole run has {steps}"
        )
    if config.schedule == "constant":
        main = optax.constant_schedule(peak)
    elif config.schedule == "steps":
        # Counted from the end of the warm-up on; a fall before it has happened by then.
        falls = [round(epoch * steps_per_epoch) - warmup for epoch in config.step_epochs]
        peak_after = peak * config.step_factor ** sum(fall <= 0 for fall in falls)
        main = optax.piecewise_constant_schedule(peak_after, {fall: config.step_factor for fall in falls if fall > 0})
    else:
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup), alpha=config.final_factor)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(config.warmup_factor * peak, peak, warmup), main], [warmup])


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD with momentum or AdamW, with clipping and with weight decay on kernels only.

    SGD adds the L2 term to the gradient before the momentum (as PyTorch does); AdamW decouples it.
    """
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adamw":
        parts.append(optax.adamw(schedule, config.b1, config.b2, weight_decay=config.weight_decay, mask=decayed))
    else:
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
        parts.append(optax.sgd(schedule, config.momentum or None, config.nesterov))
    return optax.chain(*parts)


def decayed(params: Arrays) -> dict[str, bool]:
    """Which parameters weight decay applies to: kernels; not norms, biases, tokens or positions."""
    return {path: path.rsplit(".", 1)[-1] == "kernel" for path in params}
