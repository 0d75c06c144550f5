"""Weights of BMN, as named by mmaction2.

Its files also hold the matrix that samples the segments (`sample_mask`, 128 MB) and the map of those within the video
(`bm_mask`). Both are computed here: a file with others is refused.
"""

from collections.abc import Mapping

import numpy as np

from vidjax.nn.boundary_matching import sampling_matrix
from vidjax.weights.layer_rules import conv
from vidjax.weights.layouts import CONV2D, Transform
from vidjax.weights.table import Source
from vidjax.weights.tables.actionformer import time_conv

STEPS = 100
MATCHING = Transform(
    "O·I·N·1·1 → N·I·O",
    lambda x: np.transpose(np.squeeze(x, (3, 4)), (2, 1, 0)),
    lambda x: (np.transpose(x, (2, 1, 0))[..., None, None],),
)


def _buffers(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    del state
    within = np.arange(STEPS)[:, None] + np.arange(STEPS)[None] < STEPS
    return {"sample_mask": sampling_matrix(STEPS).reshape(STEPS, -1), "bm_mask": within.astype(np.float32)}


def _problem(state: Mapping[str, np.ndarray]) -> str:
    for key, wanted in _buffers(state).items():
        if key in state and (state[key].shape != wanted.shape or not np.allclose(state[key], wanted, atol=1e-6)):
            return f"{key} is not that of {STEPS} places and 32 samples of 3 positions, half a length beyond both ends"
    return ""


SOURCES = (
    Source(
        name="mmaction2",
        models=("bmn", "bmn_slowonly"),
        signature=("x_1d_b.0.weight", "x_3d_p.0.weight", "x_2d_p.6.weight"),
        rules=(
            *time_conv("x_1d_b.0", "base.0"),
            *time_conv("x_1d_b.2", "base.1"),
            *time_conv("x_1d_s.0", "head.start.0"),
            *time_conv("x_1d_s.2", "head.start.1"),
            *time_conv("x_1d_e.0", "head.end.0"),
            *time_conv("x_1d_e.2", "head.end.1"),
            *time_conv("x_1d_p.0", "head.segments"),
            *conv("x_3d_p.0", "head.matching", MATCHING),
            *conv("x_2d_p.0", "head.maps.0", CONV2D),
            *conv("x_2d_p.2", "head.maps.1", CONV2D),
            *conv("x_2d_p.4", "head.maps.2", CONV2D),
            *conv("x_2d_p.6", "head.maps.3", CONV2D),
        ),
        ignore=("sample_mask", "bm_mask"),
        head="",
        buffers=_buffers,
        problem=_problem,
    ),
)
