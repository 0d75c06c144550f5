"""Generated pairs: the true flow leads from a pixel to one of the same colour, wherever it is known."""

import cv2
import numpy as np

from vidjax.data.flow_shapes import flow_batch, flow_pair


def test_true_flow_finds_the_colours_again():
    errors, shares = [], []
    for seed in range(6):
        first, second, flow, known = flow_pair(np.random.default_rng(seed), size=96)
        y, x = np.mgrid[:96, :96].astype(np.float32)
        found = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        margin = np.zeros_like(known)
        margin[8:-8, 8:-8] = True
        edges = cv2.dilate(np.abs(cv2.Laplacian(flow[..., 0], cv2.CV_32F)), np.ones((5, 5))) > 1e-3
        right = np.abs(found.astype(int) - first).max(axis=-1)
        errors.append(np.mean(right[known & margin & ~edges]))
        shares.append(known.mean())
        assert np.abs(flow).max() <= 6 and len(np.unique(flow[..., 0])) >= 3
        wrong = np.abs(first.astype(int) - second).max(axis=-1)[known & margin & ~edges]
        assert np.mean(wrong) > 3 * errors[-1]
    assert max(errors) < 4 and 0.8 < np.mean(shares) < 1


def test_batches_of_a_seed():
    one, same, other = flow_batch(1, 2, size=32), flow_batch(1, 2, size=32), flow_batch(2, 2, size=32)
    assert [part.shape for part in one] == [(2, 32, 32, 3)] * 2 + [(2, 32, 32, 2), (2, 32, 32)]
    for part, equal, differs in zip(one[:3], same, other, strict=False):
        np.testing.assert_array_equal(part, equal)
        assert not np.array_equal(part, differs)
