"""One vector per clip from any layer of a network."""

from typing import Any

import jax
import jax.numpy as jnp

from vidjax.errors import UserError
from vidjax.models.base import VideoNetwork
from vidjax.models.cut import one_module


def layer_vectors(network: VideoNetwork, inputs: Any, layer: str = "") -> jax.Array:
    """Compute a vector for each clip: the classifier's input, or the mean of an inner layer's output over its places.

    Args:
      network: network in evaluation mode.
      inputs: B clips as they enter the network, see `VideoNetwork.encode`.
      layer: path of a module, see `VideoNetwork.intermediates`; its output has the channels last. Of a module with
        several outputs, such as the pathways of SlowFast, the means are joined. Empty: the classifier's input.

    Returns:
      float32 `(B, D)`.

    Raises:
      UserError: if there is no such module, there are several, or its output is not one of clips.
    """
    if not layer:
        return network.features(inputs).astype(jnp.float32)
    path = one_module(network, layer)
    return mean_of_places(network.intermediates(inputs, path)[path], inputs, layer)


def mean_of_places(output: Any, inputs: Any, layer: str) -> jax.Array:
    """Mean of a module's output over its places, a vector for each clip, float32 `(B, D)`.

    Args:
      output: output of the module, with the channels last; of several arrays the means are joined.
      inputs: B clips, from which it was computed.
      layer: path of the module, for messages.

    Raises:
      UserError: if the output is not one of clips.
    """
    count = len(jax.tree.leaves(inputs)[0])
    return jnp.concatenate([_mean_of_places(part, count, layer) for part in jax.tree.leaves(output)], axis=-1)


def _mean_of_places(output: jax.Array, count: int, layer: str) -> jax.Array:
    """Mean of `(B…, D)` over all axes but the first and the last; networks of frames have `(B·T, …, D)`."""
    if output.ndim < 2 or output.shape[0] % count:
        raise UserError(
            f"layer = {layer!r}: its output has shape {output.shape} for {count} clips, not one or more vectors "
            "for each; choose another"
        )
    return output.astype(jnp.float32).reshape(count, -1, output.shape[-1]).mean(axis=1)
