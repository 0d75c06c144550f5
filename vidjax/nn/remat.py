"""Rematerialisation policies: activations kept for the backward pass, and those computed a second time.

The memory of training is mostly activations that wait for their gradients. A policy names those worth waiting:

    ""           everything; nothing is computed twice
    "dots"       results of dense layers, convolutions and attention; norms, activation functions, sums and attention's
                 scores are computed again: little work
    "attention"  queries, keys, values and what attention makes of them; the MLP's first layer and the projection are
                 computed again too, 5 of a block's 12·D² multiply-adds per token. For Transformers alone
    "full"       the block's input; everything before the last layer is computed again, about a third more work in all

A Transformer's block of width D keeps so many numbers per token: D with "full", 5·D with "attention", 10·D with "dots".
Without a policy they are some 30·D, and unless attention is one fused kernel the scores as well, N for each head. A
convolutional block keeps one map per convolution with "dots", and several without a policy.

Scanned blocks (`nn/blocks.py`) without a policy keep what products, convolutions and kernels give: 10·D, and the scores
where no kernel makes them. In a straight program XLA itself computes the rest again where that saves a pass
over memory; but what one loop hands to another is stacked as it is, float32 copies and all.

All this is for accelerators: XLA's CPU compiler finds what is computed twice and does so once, keeping it after all,
unless the blocks are scanned (`nn/blocks.py`).

The layers mark results by name with `layer_result` and `attention_part`; the policies choose among the names, however a
layer computes what it gives.
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

# What is kept of scanned blocks without a policy, beside the names.
_PRODUCTS = ("dot_general", "conv_general_dilated", "pallas_call")

_KEPT = {"": (LAYER, ATTENTION), "dots": (LAYER, ATTENTION), "attention": (ATTENTION,), "full": ()}
# cuDNN's fused attention: its gradient takes the primitive's own results, of which a name would be a copy.
_FUSED = "dot_product_attention_fwd"


# Of JAX's own contexts: what was traced outside is not taken from the cache inside, nor the other way round.
_straight = jax.make_user_context(default_value=False)


@contextlib.contextmanager
def straight() -> Generator[None, None, None]:
    """Context in which networks are traced as with neither `remat` nor `scan_blocks`: values are the same, but every
    module runs as itself, not as a copy inside a transformation."""
    with _straight(True):
        yield


def runs_straight() -> bool:
    """Whether `straight` is in force."""
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
      ValueError: for a policy that is unknown, or that would be "full" under another name.
    """
    known = [name for name in REMAT if attention or name != "attention"]
    if policy not in known:
        why = "" if attention or policy != "attention" else " for a network without attention"
        raise ValueError(f"remat = {policy!r}: must be one of {', '.join(map(repr, known))}{why}")
    return policy


@dataclass(frozen=True)
class ConvExecution:
    """Execution options of a convolutional network; results do not depend on them, but for rounding.

    Attributes:
      dtype: dtype of activations; None: float32.
      remat: rematerialisation policy of each block, one of `REMAT` but "attention".

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
      policy: one of `REMAT`.
      run: a function of a module and arrays; None: the one that calls the module with the arrays.
    """
    run = _call if run is None else run
    return nnx.remat(run, policy=saved(policy)) if policy and not runs_straight() else run


def saved(policy: str) -> Callable[..., bool]:
    """`policy` as `jax.checkpoint` takes it; the empty one is that of scanned blocks."""
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
