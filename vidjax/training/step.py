"""The training step: a pure function of state and batch, compiled once.

State and metrics stay on the devices; the loop reads the metrics when it logs. The step also records the update whose
loss or gradient was not finite, so that a diverged run is stopped with the exact step but without a host sync per
update, or it skips such an update.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from flax import nnx

from vidjax.config import ConfigError
from vidjax.models.low_rank import summed
from vidjax.models.state import Arrays, frozen_paths, in_float32, merge, split
from vidjax.nn.norm import normalising
from vidjax.nn.target_backend import backend
from vidjax.tasks.task import Examples, Objective
from vidjax.training.quantised import quantising
from vidjax.training.stochastic_rounding import round_stochastically

# Folded into an update's key for draws of the whole update; its parts are numbered from 0.
_PREPARING = 2**32 - 1
_ROUNDING = 2**32 - 3  # 2**32 - 2 is for masks, in `tasks.reconstruct`
# int32 metrics: updates skipped in the whole run, and in a row up to now.
_COUNTS = ("skipped", "skipped_in_row")


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that training changes, as one pytree of arrays for checkpointing and placement."""

    step: jax.Array  # int32, updates done
    params: Arrays
    stats: Arrays  # batch statistics
    opt_state: Any
    ema: dict[str, Arrays]  # {"params", "stats"}: their moving average; empty without EMA
    metrics: dict[str, jax.Array]  # sums since the last log line, and counts of skipped updates


def init_metrics(sums: Iterable[str] = ()) -> dict[str, jax.Array]:
    """Initial metrics: sums over updates, all zero, and no bad step.

    Args:
      sums: names of the objective's sums beside the loss.
    """
    # Each has a buffer of its own, since the step's input is donated.
    names = ("loss", *sums, "weight", "grad_norm", "updates")
    counts = {name: jnp.zeros((), jnp.int32) for name in _COUNTS}
    zeros = {name: jnp.zeros((), jnp.float32) for name in names}
    return zeros | counts | {"bad_step": jnp.full((), -1, jnp.int32)}


def next_metrics(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics after a log line: all reset except those that count over the whole run."""
    return {
        name: value if name in _COUNTS else jnp.full_like(value, -1) if name == "bad_step" else jnp.zeros_like(value)
        for name, value in metrics.items()
    }


def init_state(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    ema: bool,
    param_dtype: Any = jnp.float32,
    sums: Iterable[str] = (),
) -> TrainState:
    """Build the training state before the first update.

    Args:
      model: model with float32 parameters.
      optimizer: optimiser from `make_optimizer`; its state is float32 and covers only trained parameters.
      ema: whether to keep a moving average, which is float32.
      param_dtype: type in which the parameters are kept.
      sums: names of the objective's sums beside the loss.
    """
    _, params, stats = split(model)
    # The moving average must not share buffers with the weights: the step's input is donated.
    average = jax.tree.map(jnp.copy, {"params": params, "stats": stats}) if ema else {}
    return TrainState(
        step=jnp.int32(0),
        params=jax.tree.map(lambda x: x.astype(param_dtype), params),
        stats=stats,
        opt_state=optimizer.init(_without(params, frozen_paths(model))),
        ema=average,
        metrics=init_metrics(sums),
    )


def _only(arrays: Arrays, paths: set[str]) -> Arrays:
    return {path: array for path, array in arrays.items() if path in paths}


def _without(arrays: Arrays, paths: set[str]) -> Arrays:
    return {path: array for path, array in arrays.items() if path not in paths}


def _kept(params: Arrays, old: Arrays, key: jax.Array) -> Arrays:
    """The updated `params`, float32, in the dtype of the `old` ones."""
    if all(old[path].dtype == x.dtype for path, x in params.items()):
        return params
    words = jax.random.bits(key, (len(params),), jnp.uint32)
    return {path: round_stochastically(x, words[i]) for i, (path, x) in enumerate(sorted(params.items()))}


@dataclass(frozen=True)
class StepOptions:
    """Options of an update.

    Attributes:
      seed: seed of all random draws, which depend only on it and the step.
      ema_decay: decay of the moving average; 0: no average.
      accumulate: number of parts in which a batch is processed, adding their gradients. Batch statistics are those of
        the parts, one after the other.
      skip_bad_steps: number of updates in a row that may be skipped because their loss or gradient is not finite; a
        skipped update changes only the step and the counts, and one more sets `bad_step`. 0: the first sets it.
      norm_groups: number of parts of a batch that batch normalisation treats separately, see `nn.norm`.
      quantize: type that operands of products are rounded to, see `training.quantised`; "": none.
    """

    seed: int
    ema_decay: float = 0.0
    accumulate: int = 1
    skip_bad_steps: int = 0
    norm_groups: int = 1
    quantize: str = ""


def clips_of(batch: dict[str, Any]) -> Examples:
    """Flatten a batch so that its views are clips of their own: `(B, V, …)` → `(B · V, …)`."""
    groups = {group: batch[group] for group in ("inputs", "targets")}
    for array in jax.tree.leaves(groups):
        chex.assert_axis_dimension(array, 1, jax.tree.leaves(groups)[0].shape[1])
    return jax.tree.map(lambda x: rearrange(x, "b v ... -> (b v) ..."), groups)


def make_train_step(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    options: StepOptions,
    teacher: nnx.Module | None = None,
) -> Callable[[TrainState, dict[str, Any]], TrainState]:
    """Build the function `(state, {"inputs", "targets"}) → state` of one update.

    Args:
      model: model whose structure is used; its arrays are not. Parameters in `frozen_paths` get no gradient and stay.
      optimizer: optimiser that `init_state` was called with.
      objective: loss to minimise.
      options: options of the update.
      teacher: trained network that the objective compares with, in evaluation mode; its structure is used, and its
        arrays come with each batch, as "teacher": {"params", "stats"}. None: the objective needs none.

    Returns:
      A pure function; compile it with `jax.jit(…, donate_argnums=0)`. Arrays of the batch are `(B, V, …)`; the V views
      of a training video count as clips of their own.

    Raises:
      ConfigError: if the options accumulate parts for an objective that needs the whole batch, or have no moving
        average for one that needs it.
    """
    if objective.whole_batch and options.accumulate > 1:
        raise ConfigError(
            f"config.train.accumulate = {options.accumulate}: this task compares the clips of a batch with each other; "
            "leave it at 1"
        )
    if objective.teacher and not options.ema_decay:
        raise ConfigError("config.train.ema_decay = 0: this task learns from the moving average; give 0.99 or more")
    with normalising(model, groups=options.norm_groups), quantising(model, options.quantize):
        model.train()
        graphdef, _, _ = split(model)
        model.eval()
    resting, _, _ = split(model if teacher is None else teacher)
    frozen, add_up = frozen_paths(model), summed(model)
    accumulate, ema_decay, skip_bad_steps = options.accumulate, options.ema_decay, options.skip_bad_steps
    # Convolutions inside XLA:CPU loops are slow, so there the loop is unrolled.
    unroll = accumulate if backend() == "cpu" else 1

    def loss_fn(
        trained: Arrays,
        params: Arrays,
        stats: Arrays,
        examples: Examples,
        total: jax.Array,
        key: jax.Array,
        other: dict[str, Arrays] | None,
    ):
        network = merge(graphdef, add_up(params | trained), stats)
        loss, sums = objective(network, examples, key, None if other is None else merge(resting, **other))
        return loss / total, (split(network)[2], sums)

    def step(state: TrainState, batch: dict[str, Any]) -> TrainState:
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        examples = objective.prepare(clips_of(batch), jax.random.fold_in(key, _PREPARING))
        total = objective.weight(examples)
        other = None if teacher is None else batch["teacher"]
        if objective.teacher:
            other = state.ema | {"params": add_up(state.ema["params"])}

        whole = in_float32(state.params)
        trained = _without(whole, frozen)

        def part(carry, inputs):
            grads, loss, sums, stats = carry
            i, examples = inputs
            (part_loss, (stats, part_sums)), g = jax.value_and_grad(loss_fn, has_aux=True)(
                trained, whole, stats, examples, total, jax.random.fold_in(key, i), other
            )
            grads, sums = (jax.tree.map(jnp.add, a, b) for a, b in ((grads, g), (sums, part_sums)))
            return (grads, loss + part_loss, sums, stats), None

        if accumulate == 1:
            (loss, (stats, sums)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
                trained, whole, state.stats, examples, total, jax.random.fold_in(key, 0), other
            )
        else:
            # Each part takes every accumulate-th clip, so that it is spread over all devices as the batch is.
            parts = jax.tree.map(lambda x: rearrange(x, "(b a) ... -> a b ...", a=accumulate), examples)
            zeros = jax.tree.map(jnp.zeros_like, trained)
            init = (zeros, jnp.float32(0), {name: jnp.float32(0) for name in objective.sums}, state.stats)
            (grads, loss, sums, stats), _ = jax.lax.scan(part, init, (jnp.arange(accumulate), parts), unroll=unroll)

        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        trained = cast(Arrays, optax.apply_updates(trained, updates))
        ema = state.ema
        if ema_decay:
            now = {"params": whole | trained, "stats": stats}
            average = cast(dict[str, Arrays], optax.incremental_update(now, ema, 1 - ema_decay))
            # The average of constant values would differ from them in the last bit.
            ema = {kind: average[kind] | _only(ema[kind], frozen) for kind in ema}
        params = state.params | _kept(trained, state.params, jax.random.fold_in(key, _ROUNDING))
        seen, grad_norm = state.metrics, optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        in_row = jnp.where(finite, 0, seen["skipped_in_row"] + 1)
        bad = ~finite
        if skip_bad_steps:
            bad = in_row > skip_bad_steps
            old = (state.params, state.stats, state.opt_state, state.ema)
            params, stats, opt_state, ema = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old), (params, stats, opt_state, ema), old
            )
            loss, sums, grad_norm = jax.tree.map(lambda x: jnp.where(finite, x, 0), (loss, sums, grad_norm))
        counted = finite if skip_bad_steps else jnp.bool_(True)
        metrics = {
            "loss": seen["loss"] + loss,
            **{name: seen[name] + sums[name] for name in objective.sums},
            "weight": seen["weight"] + counted * total,
            "grad_norm": seen["grad_norm"] + grad_norm,
            "updates": seen["updates"] + counted.astype(jnp.float32),
            "skipped": seen["skipped"] + (~counted).astype(jnp.int32),
            "skipped_in_row": in_row,
            "bad_step": jnp.where((seen["bad_step"] < 0) & bad, state.step, seen["bad_step"]),
        }
        return TrainState(
            step=state.step + 1, params=params, stats=stats, opt_state=opt_state, ema=ema, metrics=metrics
        )

    return step
