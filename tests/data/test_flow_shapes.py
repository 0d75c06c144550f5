"""Generated pairs: the true flow leads from a pixel to one of the same colour, wherever it is known."""

import cv2
import numpy as np
import pytest

from vidjax.data.flow_shapes import flow_pair, write_flow_pairs
from vidjax.data.listing.flow_pairs import flow_pairs
from vidjax.errors import UserError
from vidjax.video.flow_files import read_flow


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


def test_files(tmp_path):
    write_flow_pairs(tmp_path / "s", num_train=2, num_eval=1, size=32)
    (pair,) = flow_pairs(tmp_path / "s" / "val", "chairs")
    first, second, flow, known = flow_pair(np.random.default_rng((0, 1, 0)), size=32, fastest=12)
    for path, picture in ((pair.first, first), (pair.second, second)):
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    read, there = read_flow(pair.true)
    np.testing.assert_array_equal(there, known)
    np.testing.assert_array_equal(read[known], flow[known])
    before = (tmp_path / "s" / "train" / "00002_flow.flo").read_bytes()
    for path in (tmp_path / "s" / "complete.txt", *(tmp_path / "s" / "train").glob("00002*")):
        path.unlink()
    write_flow_pairs(tmp_path / "s", num_train=2, num_eval=1, size=32)
    assert (tmp_path / "s" / "train" / "00002_flow.flo").read_bytes() == before
    with pytest.raises(UserError, match="made with"):
        write_flow_pairs(tmp_path / "s", num_train=3, num_eval=1, size=32)
