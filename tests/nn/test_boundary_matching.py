"""Samples of segments against the reference's loops written out."""

import math

import numpy as np

from tests.models.abstract import drawn
from vidjax.nn.boundary_matching import BoundaryMatching, cells_of, sampling_matrix


def by_loops(steps, samples, parts):
    matrix = np.zeros((steps, samples, steps, steps))
    for duration, start in cells_of(steps):
        margin = 0.5 * (duration + 1)
        first, last = start - margin, start + duration + margin
        for number in range(samples * parts):
            at = first + (last - first) / (samples * parts - 1) * number
            if -1 < at < 0:
                matrix[0, number // parts, duration, start] += 1 / parts
            for place, share in ((math.floor(at), 1 - (at - math.floor(at))), (math.ceil(at), at - math.floor(at))):
                if at >= 0 and place < steps:
                    matrix[place, number // parts, duration, start] += share / parts
    return matrix


def test_the_matrix_and_the_layer_that_does_without_it():
    steps, samples = 7, 4
    matrix = sampling_matrix(steps, samples)
    np.testing.assert_allclose(matrix, by_loops(steps, samples, 3), atol=1e-6)
    layer = drawn(lambda rngs: BoundaryMatching(3, 2, samples, rngs=rngs))
    x = np.random.default_rng(0).standard_normal((2, steps, 3)).astype(np.float32)
    expected = np.einsum("btc,tnds,nco->bdso", x, matrix, layer.kernel[...]) + np.asarray(layer.bias[...])
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
