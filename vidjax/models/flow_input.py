"""Networks whose clips' optical flow another network estimates on the device."""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import VideoNetwork
from vidjax.models.families.raft import Raft, padded_flow, scaled
from vidjax.models.flow_networks import abstract_flow_network, create_flow_network
from vidjax.models.state import without_part

PREFIX = "flow_network."  # of the paths of its parameters


class ClipFlow(nnx.Module):
    """Estimator of the flow between pictures of any size.

    Args:
      network: the flow network.
    """

    def __init__(self, network: Raft):
        self.network = network

    def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """Map pictures in 0…255, `(N, H, W, 3)` each, to flow, float32 `(N, H, W, 2)` in pixels."""
        first, second = (scaled(x.astype(jnp.float32)) for x in (first, second))
        return padded_flow(self.network, first, second)


def estimate_flow(model: VideoNetwork, method: str, *, dtype: Any = None, abstract: bool = False) -> None:
    """Give a network another one that estimates its clips' flow, frozen, with new weights.

    Args:
      model: the network.
      method: name of the flow network, one of `vidjax.inputs.DEVICE_FLOWS`.
      dtype: dtype of the flow network's convolutions; None: float32.
      abstract: whether its arrays are shapes only.
    """
    make = abstract_flow_network if abstract else create_flow_network
    model.flow_network = ClipFlow(make(method, dtype=dtype))
    model.frozen = (*model.frozen, PREFIX)


def without_flow_network(model: nnx.Module) -> AbstractContextManager[None]:
    """Context in which a network lacks its flow network, see `without_part`."""
    return without_part(model, "flow_network")
