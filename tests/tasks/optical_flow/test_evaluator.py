"""Errors of flow over held-out pairs, and files of true flow that cannot be read."""

import math

import numpy as np
import pytest

from vidjax.data.records import LabelSpace, Record, TrueFlow, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.models.registry import get_spec
from vidjax.tasks.optical_flow.evaluator import FlowEvaluator
from vidjax.video.flow_files import write_flow


def test_errors_of_the_middle_and_files_that_cannot_be_read(tmp_path):
    true, known = np.zeros((72, 80, 2), np.float32), np.ones((72, 80), bool)
    true[..., 0], known[:, 40:] = 4, False
    true[:4], true[:, :8] = 99, 99  # outside of the middle
    for name, where in (("a", None), ("b", known)):
        write_flow(tmp_path / f"{name}.flo", true, where)
    (tmp_path / "c.flo").write_bytes(b"no flow")
    records = tuple(Record(f"{n}_1.ppm", TrueFlow(f"{n}_2.ppm", str(tmp_path / f"{n}.flo"))) for n in "abc")
    evaluator = FlowEvaluator(VideoSet(records, LabelSpace(())), get_spec("raft_tiny"))
    assert all(math.isnan(value) for value in evaluator.summary()["flow"].values()) and not evaluator.details()
    outputs = np.zeros((3, 64, 64, 2), np.float32)
    outputs[0, ..., 0], outputs[1, ..., 0] = 2, 4.5
    evaluator.add(Rows(np.arange(3), 0, np.ones(3, int)), outputs)
    figures = evaluator.summary()["flow"]
    assert figures["epe"] == pytest.approx((2 * 64 * 64 + 0.5 * 32 * 64) / (64 * 96), rel=1e-5)
    assert figures["epe_per_pair"] == pytest.approx(1.25) and figures["epe_still"] == pytest.approx(4)
    assert figures["1px"] == pytest.approx(1 / 3) and figures["3px"] == 1 and figures["outliers"] == 0
    (unread,) = evaluator.details()["unreadable_flow"]
    assert unread["path"].endswith("c.flo") and "no .flo file" in unread["reason"]
