"""Weights of TemporalMaxer, as named by TuanTNG/TemporalMaxer.

Its `.pth.tar` files hold the weights twice, and the reader takes the moving average, `state_dict_ema`. A norm with
parameters is one layer that its files list once for each of the six levels.
"""

import numpy as np

from vidjax.weights.layouts import CHANNELS, Transform
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.actionformer import CLASSIFIER, EMBEDDING, HEAD, KEPT

LEVELS = 6


def _forward(*arrays: np.ndarray) -> np.ndarray:
    if any(not np.array_equal(array, arrays[0]) for array in arrays):
        raise ValueError("they must be equal, as one layer's")
    return CHANNELS.forward(arrays[0])


# One layer's values, listed for each level.
LISTED = Transform(f"{LEVELS} equal 1·C·1 → C", _forward, lambda x: CHANNELS.inverse(x) * LEVELS)


def _norm(leaf: str, path: str) -> Rule:
    return Rule(tuple(f"neck.fpn_norms.{level}.{leaf}" for level in range(LEVELS)), path, LISTED)


SOURCES = (
    Source(
        name="temporalmaxer",
        models=("temporalmaxer_*",),
        signature=("backbone.embd.0.conv.weight", "cls_head.cls_head.conv.weight"),
        absent=("backbone.stem.0.ln.weight", "backbone.stem.0.ln1.weight"),
        rules=(*EMBEDDING, _norm("weight", "norm.scale"), _norm("bias", "norm.bias"), *HEAD),
        head=CLASSIFIER,
        kept=KEPT,
    ),
)
