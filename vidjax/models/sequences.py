"""Networks that classify every step of a sequence of feature vectors by itself or with its neighbours."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.models.base import named
from vidjax.nn.clips import ClipError


@functools.partial(jax.tree_util.register_dataclass, data_fields=["classes", "mask"], meta_fields=[])
@dataclass(frozen=True)
class StepOutputs:
    """Classes of every step of a sequence.

    Attributes:
      classes: logits `(B, T, K + 1)` float32, the last for no action.
      mask: bool `(B, T)`, False after the end of a sequence.
    """

    classes: jax.Array
    mask: jax.Array


def sequence_of(inputs: Any, width: int, network: str) -> Mapping[str, jax.Array]:
    """Select the vectors of a sequence and their mask from the argument of a call, and check them.

    Args:
      inputs: vectors `(B, T, D)`, or a mapping with them as "features" and, if sequences are padded, a mask, bool
        `(B, T)`, as "mask".
      width: D, width of a vector.
      network: name of the network, for messages.

    Returns:
      "features" and "mask".

    Raises:
      ClipError: for other shapes, and for integers.
    """
    vectors = named(inputs, "features", network)
    shape = jnp.shape(vectors)
    if len(shape) != 3 or shape[-1] != width or not jnp.issubdtype(vectors.dtype, jnp.floating):
        raise ClipError(f"features {vectors.dtype} {shape}: expected floating-point (B, T, {width})")
    mask = inputs.get("mask") if isinstance(inputs, Mapping) else None
    mask = jnp.ones(shape[:2], bool) if mask is None else mask
    if jnp.shape(mask) != shape[:2]:
        raise ClipError(f"mask {jnp.shape(mask)}: expected {shape[:2]}, a value for each of the features {shape}")
    return {"features": vectors, "mask": mask.astype(bool)}
