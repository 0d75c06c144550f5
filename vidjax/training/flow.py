"""Training of a flow network on generated pairs with true flow.

It stands beside the loop of `vidjax.training.loop`, whose tasks take clips with annotations: pairs are drawn anew for
every update, there are no files, no resuming and no log.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vidjax.data.flow_shapes import flow_batch
from vidjax.evaluation.flow import FlowScores
from vidjax.models.families.raft import Raft, scaled
from vidjax.models.flow_networks import create_flow_network
from vidjax.models.state import assign, merge, split

GAMMA = 0.8  # weight of an update's loss, relative to the next one's
MOST = 400.0  # pixels; faster motion does not count
_HELD_OUT = 2**31  # seed of the pairs for `flow_figures`


def sequence_loss(flows: jax.Array, true: jax.Array, known: jax.Array, gamma: float = GAMMA) -> jax.Array:
    """Distance (L1) between the flow after every update and the true one, later updates weighing more.

    Args:
      flows: flow after each of K updates, `(K, B, H, W, 2)`.
      true: true flow, `(B, H, W, 2)`.
      known: where it counts, bool `(B, H, W)`.
      gamma: weight of an update's loss, relative to the next one's.

    Returns:
      Sum over updates of the mean over all pixels and both directions; pixels that do not count have a loss of 0.

    Source: Teed & Deng, RAFT (2003.12039), equation 7, and princeton-vl/RAFT `train.py`.
    """
    counts = known & (jnp.linalg.norm(true, axis=-1) < MOST)
    weights = gamma ** jnp.arange(len(flows) - 1, -1, -1, dtype=jnp.float32)
    errors = jnp.abs(flows - true[None]) * counts[None, ..., None]
    return (weights * errors.mean((1, 2, 3, 4))).sum()


def train_flow(
    name: str = "raft_tiny",
    *,
    steps: int = 300,
    batch_size: int = 8,
    size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    told: Callable[[int, float], Any] = lambda step, loss: None,
) -> Raft:
    """Train a flow network from random weights, as RAFT was: AdamW, gradients clipped at 1, a linear one-cycle rate.

    Args:
      name: name of a flow network, a key of `vidjax.models.flow_networks.FLOW_NETWORKS`.
      steps: number of updates.
      batch_size: pairs per update.
      size: height and width of the pictures, pixels; a multiple of 8 that the network takes.
      learning_rate: highest rate, after a twentieth of the updates.
      seed: seed of weights and pairs.
      told: function called with every update's number and loss.

    Returns:
      The network, in evaluation mode.

    Raises:
      UserError: if no flow network has that name.
      ValueError: if the network does not take pictures of that size.
    """
    network = create_flow_network(name, seed=seed)
    network.train()
    graph, params, stats = split(network)
    rate = optax.linear_onecycle_schedule(steps, learning_rate, pct_start=0.05, pct_final=1.0)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-4))

    def loss_of(params, stats, batch):
        model: Any = merge(graph, params, stats)
        first, second, true, known = batch
        loss = sequence_loss(model.all_flows(scaled(first), scaled(second)), true, known)
        return loss, split(model)[2]

    @jax.jit
    def step(params, stats, state, batch):
        (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params, stats, batch)
        changes, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, changes), stats, state, loss

    state = optimizer.init(params)
    for number in range(steps):
        batch = flow_batch(seed * steps + number, batch_size, size=size)
        params, stats, state, loss = step(params, stats, state, batch)
        told(number + 1, float(loss))
    assign(network, {**params, **stats})
    network.eval()
    return network


def flow_figures(network: Raft, *, count: int = 32, size: int = 64) -> dict[str, float]:
    """Errors of a network on generated pairs that training never sees, see `vidjax.evaluation.flow.FlowScores`."""
    graph, params, stats = split(network)

    @jax.jit
    def run(params, stats, first, second):
        return merge(graph, params, stats)(scaled(first), scaled(second))

    first, second, true, known = flow_batch(_HELD_OUT, count, size=size)
    scores = FlowScores()
    for pair in zip(jax.device_get(run(params, stats, first, second)), true, known, strict=True):
        scores.add(*pair)
    return scores.summary()
