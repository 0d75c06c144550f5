"""Early exits: linear classifiers of inner layers beside a network's own, computed in one pass.

A network with exits is the same network: its arrays keep their paths, those of the exits begin with "exits.", and a
call gives the answer of its end. Families need nothing for it, as calls of modules are intercepted.

Papers: Teerapittayanon et al., BranchyNet (1709.01686); Huang et al., Multi-Scale Dense Networks (1703.09844).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.models.base import Head, VideoNetwork
from vidjax.models.calls import noted
from vidjax.models.cost import shapes_of, traced_macs
from vidjax.models.cut import between, from_there, one_module
from vidjax.models.layer_vectors import mean_of_places
from vidjax.models.state import without_part
from vidjax.nn.init import normal_001

PREFIX = "exits."  # of the paths of their parameters


class Exits(nnx.Module):
    """Linear classifiers of the means of inner layers' outputs over their places, in float32.

    Args:
      widths: width of the mean by path of the layer, in the order in which the layers run.
      num_classes: K, number of classes.
      rngs: random streams; `params` draws the initial weights.

    Attributes:
      layers: paths of the layers, in this order.
      heads: the classifiers by the layers' paths, with "_" for dots.
    """

    def __init__(self, widths: dict[str, int], num_classes: int, *, rngs: nnx.Rngs):
        self.layers = tuple(widths)
        heads = {
            _key(path): nnx.Linear(width, num_classes, kernel_init=normal_001, rngs=rngs)
            for path, width in widths.items()
        }
        self.heads = nnx.Dict(heads)

    def __call__(self, layer: str, output: Any, inputs: Any) -> jax.Array:
        """Logits of an exit, float32 `(B, K)`.

        Args:
          layer: path of the layer.
          output: its output.
          inputs: B clips, from which it was computed.
        """
        return self.heads[_key(layer)](mean_of_places(output, inputs, layer)).astype(jnp.float32)


def _key(path: str) -> str:
    return path.replace(".", "_")


def add_exits(
    model: VideoNetwork, layers: Sequence[str], num_classes: int, spec: Spec, *, seed: int = 0, abstract: bool = False
) -> None:
    """Give a network early exits with new weights, in place.

    Args:
      model: the network, a classifier of clips.
      layers: paths of inner modules, see `VideoNetwork.intermediates`, in the order in which they run.
      num_classes: K, number of classes.
      spec: spec of the network, with the shapes of its inputs.
      seed: seed of the weights.
      abstract: whether the network's arrays are shapes only.

    Raises:
      UserError: if there is no such layer, it has not one output of clips, the order is another, or the network
        classifies no clips.
    """
    if model.head is None or (isinstance(model.head, Head) and model.head.reads):
        raise UserError(f"{spec.name} does not classify whole clips, so that it has no early exits")
    paths = [one_module(model, layer) for layer in layers]
    inputs = {name: jax.ShapeDtypeStruct((1, *shape), jnp.float32) for name, shape in shapes_of(spec).items()}

    graphdef, state = nnx.split(model)

    def means(state: nnx.State, inputs: Any) -> list[jax.Array]:
        network = nnx.merge(graphdef, state)
        with noted(network, paths, once=True) as found:
            network.encode(inputs)
        ran.extend(found)
        return [mean_of_places(output, inputs, path) for path, output in found.items()]

    ran: list[str] = []
    found = jax.eval_shape(means, state, inputs)
    if silent := [path for path in paths if path not in ran]:
        raise UserError(f"{spec.name}: {silent[0]} does not run while clips are encoded")
    if paths != ran:
        raise UserError(f"give each layer once, in the order in which they run: {', '.join(ran)}")
    widths = {path: vector.shape[1] for path, vector in zip(ran, found, strict=True)}
    make = nnx.eval_shape if abstract else lambda build: build()
    model.exits = make(lambda: Exits(widths, num_classes, rngs=nnx.Rngs(seed)))


def all_logits(network: nnx.Module, inputs: Any, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, ...]:
    """Logits of the exits, in their order, and of the end, float32 `(B, K)` each; the end's alone without exits.

    Args:
      network: the network.
      inputs: B clips as they enter the network, see `VideoNetwork.encode`.
      rngs: random streams; `dropout` is used in training mode.
    """
    if not isinstance(network, VideoNetwork) or network.exits is None:
        return (network(inputs, rngs=rngs),)  # type: ignore[operator]
    exits = network.exits
    with noted(network, exits.layers, once=True) as found:
        end = network(inputs, rngs=rngs)
    return (*(exits(layer, found[layer], inputs) for layer in exits.layers), end)


def stage(
    network: VideoNetwork, inputs: Any, number: int, output: Sequence[jax.Array]
) -> tuple[jax.Array, list[jax.Array]]:
    """One stage of a network with exits, which ends at an exit; the last one ends at the end.

    Args:
      network: network in evaluation mode.
      inputs: B clips as they enter the network.
      number: number of the stage, from 0.
      output: arrays that the stage before has left; empty for the first.

    Returns:
      Logits, float32 `(B, K)`, and the arrays from which the next stage goes on.
    """
    layers = network.exits.layers
    before = layers[number - 1] if number else ""
    if number == len(layers):
        return from_there(network, inputs, before, output).astype(jnp.float32), []
    found = between(network, inputs, before, output, layers[number])
    return network.exits(layers[number], found, inputs), found


def stage_gmacs(network: VideoNetwork, spec: Spec) -> tuple[float, ...]:
    """Multiply-adds of each stage for a clip, 10⁹; what an earlier stage has left is not computed again.

    Args:
      network: network with exits, real or abstract, in evaluation mode.
      spec: spec of the network, with the shapes of its inputs.
    """
    inputs = {name: jax.ShapeDtypeStruct((1, *shape), jnp.float32) for name, shape in shapes_of(spec).items()}
    output, found = [], []
    for number in range(len(network.exits.layers) + 1):

        def run(network: Any, inputs: Any, output: Any, number: int = number) -> Any:
            return stage(network, inputs, number, output)

        macs, (_, output) = traced_macs(network, run, inputs, output)
        found.append(macs / 1e9)
    return tuple(found)


def without_exits(model: nnx.Module) -> AbstractContextManager[None]:
    """Context in which a network lacks its exits, see `without_part`."""
    return without_part(model, "exits")
