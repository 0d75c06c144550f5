"""Networks that estimate optical flow between two pictures, by themselves: `create_flow_network("raft_small")`.

Training by `train.py` has the same networks from the registry; here they also serve other networks and commands.
"""

from typing import Any

from flax import nnx

from vidjax.models.families.raft import VARIANTS, Raft
from vidjax.models.named import named
from vidjax.models.registry import OneKey, Variant

FLOW_NETWORKS = dict(VARIANTS)


def get_flow_network(name: str) -> Variant:
    """Table entry of a named flow network.

    Raises:
      UserError: if no flow network has that name; the message names all of them.
    """
    return named(FLOW_NETWORKS, name, "flow network")


def create_flow_network(name: str, *, seed: int = 0, dtype: Any = None) -> Raft:
    """Create a freshly initialised flow network, in evaluation mode.

    Args:
      name: name of a flow network, a key of `FLOW_NETWORKS`.
      seed: seed of the initial weights.
      dtype: dtype of the convolutions; None: float32.

    Raises:
      UserError: if no flow network has that name.
    """
    return _build(name, dtype, nnx.Rngs(seed))


def abstract_flow_network(name: str, *, dtype: Any = None) -> Raft:
    """Create a flow network with abstract arrays (shape and dtype only), without memory or compilation.

    Raises:
      UserError: if no flow network has that name.
    """
    return nnx.eval_shape(lambda: _build(name, dtype, OneKey()))


def _build(name: str, dtype: Any, rngs: Any) -> Any:
    variant = get_flow_network(name)
    network = variant.build(num_classes=0, dtype=dtype, rngs=rngs, **variant.kwargs)
    network.eval()
    return network
