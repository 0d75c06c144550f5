"""Loading and writing of the weights of flow networks: `load_flow_network("raft_small", CHECKPOINT)`."""

from typing import Any

import numpy as np

from vidjax.models.families.raft import Raft
from vidjax.models.flow_networks import abstract_flow_network, get_flow_network
from vidjax.weights.standalone import Checkpoint, loaded, state_dict_of
from vidjax.weights.tables.raft import SOURCES
from vidjax.weights.write import with_counters


def load_flow_network(name: str, checkpoint: Checkpoint, *, dtype: Any = None) -> Raft:
    """Create a named flow network with a checkpoint's weights, in evaluation mode.

    Args:
      name: name of a flow network, a key of `vidjax.models.flow_networks.FLOW_NETWORKS`.
      checkpoint: a file, or a mapping of arrays by the source's keys, see `read_state_dict`.
      dtype: dtype of the convolutions; parameters are float32.

    Raises:
      UserError: if no flow network has that name.
      CheckpointError: if the checkpoint cannot be read, is of no known source, or does not fit; the message names the
        first differences, the error's `problems` all of them.
    """
    get_flow_network(name)
    return loaded(name, checkpoint, SOURCES, lambda state, source: abstract_flow_network(name, dtype=dtype))


def flow_network_state_dict(network: Raft, name: str, to: str = "torchvision") -> dict[str, np.ndarray]:
    """Convert a flow network's weights to another framework's state dict.

    Args:
      network: the flow network.
      name: its name.
      to: name of the source, "torchvision" or "princeton".

    Returns:
      `{key: array}` as in its files, but for the prefix "module." of the original repository's.

    Raises:
      CheckpointError: if there is no such source.
    """
    state, source = state_dict_of(network, to, [source for source in SOURCES if source.serves(name)], f"a {name}")
    return with_counters(state, source)
