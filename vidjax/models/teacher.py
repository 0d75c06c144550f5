"""A trained network that another one learns from."""

from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import VideoNetwork


class Teacher(nnx.Module):
    """Trained network with the spec of its inputs.

    Args:
      network: the network, in evaluation mode.
      spec: spec of its inputs, as it was trained.
    """

    def __init__(self, network: VideoNetwork, spec: Spec):
        self.network = network
        self.spec = spec
