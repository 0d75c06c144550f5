"""Rematerialisation policies: activations kept for the backward pass, and those computed a second time.

Training memory is mostly activations kept for the backward pass. A policy names those to keep:

    ""           everything; nothing is computed twice
    "dots"       results of dense layers, convolutions and attention; norms, activation functions, sums and attention's
                 scores are computed again: little work
    "attention"  queries, keys, values and results of attention; the MLP's first layer and the projection are computed
                 again too, 5 of a block's 12·D² multiply-adds per token. For Transformers only
    "full"       the block's input; everything before the last layer is computed again, about a third more work in all

A Transformer's block of width D keeps D numbers per token with "full", 5·D with "attention", 10·D with "dots". Without
a policy it keeps some 30·D, and unless attention is one fused kernel the scores as well, N for each head. A
convolutional block keeps one map per convolution with "dots", and several without a policy.

Scanned blocks (`nn/blocks.py`) without a policy keep results of products, convolutions and kernels: 10·D, and the
scores where no kernel computes them. In a straight program XLA itself computes the rest again where that saves a pass
over memory; but values passed from one loop to another are stacked as they are, float32 copies included.

All this is for accelerators: XLA's CPU compiler merges repeated computations and so keeps their results after all,
unless the blocks are scanned (`nn/blocks.py`).

Layers mark results by name with `layer_result` and `attention_part`; policies choose among the names, however a layer
computes its result.
"""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from vidjax.config.choices import REMAT

LAYER, ATTENTION = "layer", "attention"

# Kept in scanned blocks without a policy, besides the names.
_PRODUCTS = ("dot_general", "conv_general_dilated", "pallas_call")

_KEPT = {"": (LAYER, ATTENTION), "dots": (LAYER, ATTENTION), "attention": (ATTENTION,), "full": ()}
# cuDNN's fused attention: its gradient needs the primitive's own results; a name would be a copy.
_FUSED = "dot_product_attention_fwd"


# JAX's own kind of context: its cache keeps traces inside and outside apart.
_straight = jax.make_user_context(default_value=False)


@contextlib.contextmanager
def straight() -> Generator[None, None, None]:
    """Context that traces networks without `remat` and `scan_blocks`: values are the same, but every
    module runs as itself, not as a copy inside a transformation."""
    with _straight(True):
        yield


def runs_straight() -> bool:
    """Whether `straight` is active."""
    return _straight.value


def layer_result(x: jax.Array) -> jax.Array:
    """Mark `x` as the result of a dense layer or a convolution."""
    return checkpoint_name(x, LAYER)


def attention_part(x: jax.Array) -> jax.Array:
    """Mark `x` as an input or the result of attention."""
    return checkpoint_name(x, ATTENTION)


def check_remat(policy: str, *, attention: bool) -> str:
    """Check a rematerialisation policy and return it.

    Args:
      policy: policy to check.
      attention: whether the network's blocks have attention.

    Raises:
      ValueError: for an unknown policy, or "attention" where it would equal "full".
    """
    known = [name for name in REMAT if attention or name != "attention"]
    if policy not in known:
        why = "" if attention or policy != "attention" else " for a network without attention"
        raise ValueError(f"remat = {policy!r}: must be one of {', '.join(map(repr, known))}{why}")
    return policy


@dataclass(frozen=True)
class ConvExecution:
    """Execution options of a convolutional network, which change results only by rounding.

    Attributes:
      dtype: dtype of activations; None: float32.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention".

    Raises:
      ValueError: for an unknown `remat`.
    """

    dtype: Any = None
    remat: str = ""

    def __post_init__(self) -> None:
        check_remat(self.remat, attention=False)


def keeping(policy: str, run: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Wrap `run` so that it keeps for its backward pass only the activations that `policy` names.

    Args:
      policy: rematerialisation policy, one of `REMAT`.
      run: function of a module and arrays; None: a call of the module with the arrays.
    """
    run = _call if run is None else run
    return nnx.remat(run, policy=saved(policy)) if policy and not runs_straight() else run


def saved(policy: str) -> Callable[..., bool]:
    """`policy` in the form of `jax.checkpoint`; the empty one is for scanned blocks."""
    names = _KEPT[policy]

    def keep(primitive: Any, *_: Any, **params: Any) -> bool:
        if primitive.name == "name":
            return params["name"] in names
        if not policy and primitive.name in _PRODUCTS:
            return True
        return ATTENTION in names and primitive.name.startswith(_FUSED)

    return keep


def _call(module: nnx.Module, *args: Any) -> Any:
    return module(*args)
