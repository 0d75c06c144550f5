"""Rules for one score from those of several networks, the same for arrays of NumPy and of JAX.

Papers: Simonyan & Zisserman, Two-Stream Convolutional Networks (1406.2199), and Wang et al., Temporal Segment Networks
(1608.00859), average probabilities; Carreira & Zisserman, Quo Vadis, Action Recognition? (1705.07750), add logits.
"""

import math
from collections.abc import Sequence
from typing import Any

from vidjax.errors import UserError

RULES = ("probabilities", "logits")


def checked_weights(weights: Sequence[float] | None, count: int, rule: str) -> tuple[float, ...]:
    """Return the weight of each network: those given or, without any, those of a mean.

    Args:
      weights: one weight per network, none negative and not all 0; None or empty: equal weights.
      count: number of networks.
      rule: rule of fusion, one of `RULES`. Weights of probabilities are shares, scaled to a sum of 1; those of logits
        are factors, so that 1 and 1 add the logits of two networks.

    Raises:
      UserError: for an unknown rule, and if the weights do not fit.
    """
    if rule not in RULES:
        raise UserError(f"scores = {rule!r}: fusion averages {' or '.join(RULES)}")
    given = [float(weight) for weight in weights or [1 / count] * count]
    if len(given) != count or not all(0 <= weight < math.inf for weight in given) or not sum(given) > 0:
        raise UserError(f"weights = {given}: give one for each of the {count} networks, none negative, not all 0")
    total = sum(given) if rule == "probabilities" else 1.0
    return tuple(weight / total for weight in given)


def fused_logs(logs: Sequence[Any], weights: Sequence[Any], rule: str, xp: Any) -> Any:
    """Fuse log-probabilities, or logits, of several networks.

    Args:
      logs: an array per network, all of one shape: for "probabilities" their logarithms, for "logits" any number whose
        softmax gives the probabilities, such as again their logarithms.
      weights: weight of each network, numbers or scalar arrays, from `checked_weights` or a softmax.
      rule: "probabilities": logarithm of the weighted mean of the probabilities; "logits": weighted sum.
      xp: the arrays' module, `numpy` or `jax.numpy`.

    Returns:
      Array of that shape.
    """
    pairs = [(w, log) for w, log in zip(weights, logs, strict=True) if not (isinstance(w, float) and w == 0)]
    if rule == "logits":
        return sum(w * log for w, log in pairs)
    return _log_of_sum([log + xp.log(w) for w, log in pairs], xp)


def _log_of_sum(logs: Sequence[Any], xp: Any) -> Any:
    """Logarithm of the sum of exponentials, without overflow."""
    largest = logs[0]
    for log in logs[1:]:
        largest = xp.maximum(largest, log)
    return largest + xp.log(sum(xp.exp(log - largest) for log in logs))
