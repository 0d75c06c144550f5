"""The training step: a pure function of state and batch, to be compiled once.

State and metrics stay on the devices; the loop reads the metrics when it logs. The step also notes the update whose
loss or gradient was not finite, so that a diverged run can be stopped with the exact step and without a host sync per
update, or leaves such an update out.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from einops import rearrange, repeat
from flax import nnx

from vidjax.config import Spec
from vidjax.models.state import Arrays, frozen_paths, in_float32, merge, split
from vidjax.nn.norm import normalising
from vidjax.nn.target_backend import backend
from vidjax.tasks.classify.mix import MixRule, draw_mix
from vidjax.tasks.classify.objective import Clips, make_objective
from vidjax.training.stochastic_rounding import round_stochastically

# Marks the draws of mixing among those of an update; dropout has the numbers from 0 on.
_MIXING = 2**32 - 1
_ROUNDING = 2**32 - 3  # 2**32 - 2 marks those of masks, in `objectives`
# int32 metrics: updates left out in the whole run, and in a row up to now.
_COUNTS = ("skipped", "skipped_in_row")


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that training changes. A pytree of arrays, so it is checkpointed and placed as one."""

    step: jax.Array  # int32, updates done
    params: Arrays
    stats: Arrays  # batch statistics
    opt_state: Any
    ema: dict[str, Arrays]  # {"params", "stats"}: their moving average; empty without EMA
    metrics: dict[str, jax.Array]  # sums since the last log line, and counts of updates left out


def init_metrics() -> dict[str, jax.Array]:
    """Sums over updates: all zero, and no bad step."""
    # Each has a buffer of its own, since the step's input is donated.
    sums = {name: jnp.zeros((), jnp.float32) for name in ("loss", "correct", "clips", "grad_norm", "updates")}
    counts = {name: jnp.zeros((), jnp.int32) for name in _COUNTS}
    return sums | counts | {"bad_step": jnp.full((), -1, jnp.int32)}


def next_metrics(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """`init_metrics` for after a log line: what counts over the whole run goes on."""
    return init_metrics() | {name: metrics[name] for name in _COUNTS}


def init_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, ema: bool, param_dtype: Any = jnp.float32
) -> TrainState:
    """The state before the first update of `model`'s parameters.

    Args:
      model: whose parameters are float32.
      optimizer: from `make_optimizer`; its state is made for those alone that are trained, as float32.
      ema: whether there is a moving average, which is float32.
      param_dtype: what the parameters themselves are kept in.
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
        metrics=init_metrics(),
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


def make_train_step(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    spec: Spec,
    *,
    seed: int,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    accumulate: int = 1,
    mix: MixRule | None = None,
    skip_bad_steps: int = 0,
    norm_groups: int = 1,
    dtype: Any = None,
) -> Callable[[TrainState, dict[str, jax.Array]], TrainState]:
    """The function `(state, {"video", "label"}) → state` that makes one update.

    Args:
      model: gives the structure; its arrays are not used. What `frozen_paths` names of it gets no gradient and stays.
      optimizer: what `init_state` was called with.
      spec: the objective, normalisation, and what enters the network.
      seed: of dropout, mixing and masks; the draws depend on it and the step alone.
      label_smoothing, ema_decay: see the config.
      accumulate: the batch is worked through in so many parts, whose gradients are averaged. Batch statistics are
        those of the parts, one after the other.
      mix: mixup and CutMix, within the whole batch; None: neither.
      skip_bad_steps: > 0: an update whose loss or gradient is not finite changes nothing but the step and its counts;
        more than so many in a row set `bad_step`, as does the first with 0.
      norm_groups: batch normalisation takes its statistics from so many parts of the batch apart, see `nn.norm`.
      dtype: of the normalised video.

    Returns:
      A pure function; compile it with `jax.jit(…, donate_argnums=0)`. `video` is uint8 `(B, V, T, H, W, C)`; the V
      views of a training video count as clips of their own.
    """
    with normalising(model, groups=norm_groups):
        model.train()
        graphdef, _, _ = split(model)
        model.eval()
    frozen = frozen_paths(model)
    # Convolutions inside XLA:CPU loops are slow, so there the loop is unrolled.
    unroll = accumulate if backend() == "cpu" else 1

    objective = make_objective(spec, label_smoothing=label_smoothing, dtype=dtype)

    def loss_fn(trained: Arrays, params: Arrays, stats: Arrays, clips: Clips, key: jax.Array):
        network = merge(graphdef, params | trained, stats)
        loss, correct = objective(network, clips, key)
        return loss, (split(network)[2], correct)

    def step(state: TrainState, batch: dict[str, jax.Array]) -> TrainState:
        chex.assert_rank(batch["video"], 6)
        views = batch["video"].shape[1]
        video = rearrange(batch["video"], "b v ... -> (b v) ...")
        labels = repeat(batch["label"], "b ... -> (b v) ...", v=views)
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        clips = Clips(video=video, labels=labels, partner_video=None, partner_labels=None, mix=None)
        if mix is not None:
            draws = draw_mix(mix, jax.random.fold_in(key, _MIXING), video.shape[0], *video.shape[2:4])
            clips = Clips(video=video, labels=labels, partner_video=video[::-1], partner_labels=labels[::-1], mix=draws)

        whole = in_float32(state.params)
        trained = _without(whole, frozen)

        def part(carry, inputs):
            grads, loss, correct, stats = carry
            i, clips = inputs
            (part_loss, (stats, part_correct)), g = jax.value_and_grad(loss_fn, has_aux=True)(
                trained, whole, stats, clips, jax.random.fold_in(key, i)
            )
            return (jax.tree.map(jnp.add, grads, g), loss + part_loss, correct + part_correct, stats), None

        if accumulate == 1:
            (loss, (stats, correct)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
                trained, whole, state.stats, clips, jax.random.fold_in(key, 0)
            )
        else:
            # Each part takes every accumulate-th clip, so that it is spread over all devices as the batch is.
            parts = jax.tree.map(lambda x: rearrange(x, "(b a) ... -> a b ...", a=accumulate), clips)
            zeros = jax.tree.map(jnp.zeros_like, trained)
            init = (zeros, jnp.float32(0), jnp.float32(0), state.stats)
            (grads, loss, correct, stats), _ = jax.lax.scan(part, init, (jnp.arange(accumulate), parts), unroll=unroll)
            grads = jax.tree.map(lambda g: g / accumulate, grads)
            loss = loss / accumulate

        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        trained = optax.apply_updates(trained, updates)
        ema = state.ema
        if ema_decay:
            average = optax.incremental_update({"params": whole | trained, "stats": stats}, ema, 1 - ema_decay)
            # The average of what stays the same would differ from it in the last bit.
            ema = {kind: average[kind] | _only(ema[kind], frozen) for kind in ema}
        params = state.params | _kept(trained, state.params, jax.random.fold_in(key, _ROUNDING))
        sums, grad_norm = state.metrics, optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        in_row = jnp.where(finite, 0, sums["skipped_in_row"] + 1)
        bad = ~finite
        if skip_bad_steps:
            bad = in_row > skip_bad_steps
            old = (state.params, state.stats, state.opt_state, state.ema)
            params, stats, opt_state, ema = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old), (params, stats, opt_state, ema), old
            )
            loss, correct, grad_norm = (jnp.where(finite, x, 0) for x in (loss, correct, grad_norm))
        counted = finite if skip_bad_steps else jnp.bool_(True)
        metrics = {
            "loss": sums["loss"] + loss,
            "correct": sums["correct"] + correct,
            "clips": sums["clips"] + counted * jnp.float32(video.shape[0]),
            "grad_norm": sums["grad_norm"] + grad_norm,
            "updates": sums["updates"] + counted.astype(jnp.float32),
            "skipped": sums["skipped"] + (~counted).astype(jnp.int32),
            "skipped_in_row": in_row,
            "bad_step": jnp.where((sums["bad_step"] < 0) & bad, state.step, sums["bad_step"]),
        }
        return TrainState(
            step=state.step + 1, params=params, stats=stats, opt_state=opt_state, ema=ema, metrics=metrics
        )

    return step
