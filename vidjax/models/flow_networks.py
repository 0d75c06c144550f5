"""Named networks that estimate optical flow between two pictures: `create_flow_network("raft_small")`.

They take pairs of pictures, not clips, and have no classes, so they are no models of the registry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from vidjax.models.families.raft import Raft
from vidjax.models.named import named
from vidjax.models.registry import OneKey


@dataclass(frozen=True)
class FlowNetworkSpec:
    """Flow network: how it is built and where its weights come from.

    Attributes:
      name: name of the network.
      build: `build(dtype=…, rngs=…, **kwargs)` makes it.
      paper: the paper's number on arXiv.
      origin: where its published weights are; empty: none are published.
      licence: licence of those weights.
      kwargs: arguments of `build`.
    """

    name: str
    build: Callable[..., Raft]
    paper: str
    origin: str = ""
    licence: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)


_SMALL: dict[str, Any] = {
    "widths": (32, 32, 64, 96), "features": 128, "hidden": 96, "context": 64, "radius": 3, "correlation": (96,),
    "flow": (64, 32), "motion": 82, "kernels": ((3, 3),), "head": 128, "bottleneck": True, "context_norm": "none",
    "learned": False,
}  # fmt: skip
_TINY: dict[str, Any] = {
    "widths": (8, 8, 16, 16), "features": 16, "hidden": 16, "context": 8, "radius": 2, "levels": 2, "flow": (16, 8),
    "motion": 18, "head": 16, "updates": 3,
}  # fmt: skip

FLOW_NETWORKS = {
    spec.name: spec
    for spec in (
        FlowNetworkSpec("raft_large", Raft, "2003.12039", "torchvision, princeton-vl/RAFT", "BSD-3-Clause"),
        FlowNetworkSpec("raft_small", Raft, "2003.12039", "torchvision, princeton-vl/RAFT", "BSD-3-Clause", _SMALL),
        FlowNetworkSpec("raft_tiny", Raft, "2003.12039", kwargs=_TINY | {"correlation": (16, 16)}),
        FlowNetworkSpec("raft_small_tiny", Raft, "2003.12039", kwargs=_SMALL | _TINY | {"correlation": (16,)}),
    )
}


def get_flow_network(name: str) -> FlowNetworkSpec:
    """Specification of a named flow network.

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


def _build(name: str, dtype: Any, rngs: Any) -> Raft:
    spec = get_flow_network(name)
    network = spec.build(dtype=dtype, rngs=rngs, **spec.kwargs)
    network.eval()
    return network
