"""The evaluator of a classifier with early exits: each exit, and the end, is evaluated as if it were alone."""

import json

import numpy as np
import pytest

from tests.tasks.classify.test_evaluator import IN_BATCHES, LOGITS, VIEWS, made
from vidjax.config import Config, ModelConfig
from vidjax.evaluation.calibration import ViewScores, tempered
from vidjax.evaluation.evaluator import Rows
from vidjax.models.build import build_model
from vidjax.models.exits import all_logits, stage_gmacs
from vidjax.models.registry import get_spec
from vidjax.nn.enter import enter
from vidjax.tasks import make_task
from vidjax.tasks.classify.exits import ExitsEvaluator

SEVERAL = np.stack([LOGITS[::-1], 2 * LOGITS, LOGITS], axis=2)  # (N, V, E + 1, K)


def given(parts):
    evaluator = ExitsEvaluator(made()._videos, made, ("stem", "stages.0"), (1.0, 2.0, 4.0))
    for index, view in parts:
        index = np.array([i for i in index if view < VIEWS[i]], np.int64)
        evaluator.add(Rows(index, view, VIEWS[index]), SEVERAL[index, view])
    return evaluator


def test_each_exit_has_its_figures_and_what_it_costs(tmp_path):
    found, end = given(IN_BATCHES), made(parts=IN_BATCHES)
    summary = found.summary()
    assert list(summary) == ["clip", "video", "clip@stem", "video@stem", "clip@stages.0", "video@stages.0"]
    for level, figures in end.summary().items():
        assert {**figures, "gmacs": summary[level]["gmacs"]} == summary[level] == summary[level] | figures
    assert [summary[f"clip{at}"]["gmacs"] for at in ("@stem", "@stages.0", "")] == [1, 3, 7]
    assert summary["video"]["gmacs"] == pytest.approx(7 * VIEWS.mean())
    # Twice the logits, but the same answers of clips.
    assert summary["clip@stages.0"]["top1"] == summary["clip"]["top1"] != summary["clip@stem"]["top1"]
    assert found.details() == end.details()
    first, second = given(IN_BATCHES[:2]), given(IN_BATCHES[2:])
    first.merge(second)
    assert first.summary() == summary
    files = found.write(tmp_path, "")
    assert files == ["video_scores.csv", "scores.npz", "confusion.png"]
    (tmp_path / "eval.json").write_text(json.dumps({"step": 0}))
    views = ViewScores(tmp_path)
    assert views.exits == ("stem", "stages.0")
    stem, stages = views.at_exits(1.0)
    np.testing.assert_allclose(stages.scores, views.at(0.5), rtol=1e-5)
    np.testing.assert_allclose(stem.scores[0], tempered(np.exp(LOGITS[5, :2]), 1.0).mean(axis=0), rtol=1e-5)


def test_a_network_with_exits_is_evaluated_so():
    config = Config(model=ModelConfig(name="conv3d_tiny", exits=("convs.0", "convs.1")))
    spec, videos = get_spec("conv3d_tiny").with_video(num_frames=2, size=16), made()._videos
    evaluator = make_task(config, spec, videos.labels).evaluators["classes"](videos)
    network = build_model(config, 4, dtype=None)
    video = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3)).astype(np.uint8)
    outputs = np.asarray(evaluator.forward(network, {"video": video}, np.zeros(2, np.int32)))
    expected = all_logits(network, enter({"video": video}, spec.inputs))
    np.testing.assert_array_equal(outputs, np.stack(expected, axis=1))
    evaluator.add(Rows(np.array([0, 3]), 0, np.array([1, 1])), outputs)
    gmacs = [evaluator.summary()[f"video{at}"]["gmacs"] for at in ("@convs.0", "@convs.1", "")]
    np.testing.assert_allclose(gmacs, np.cumsum(stage_gmacs(network, spec)))
