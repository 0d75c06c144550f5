"""Evaluation of segments in whole videos: figures, files, parts of long videos, and padding."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from vidjax.config import Config, Spec
from vidjax.config.choices import TIOUS
from vidjax.data.reading.features import SequenceReader
from vidjax.data.records import LabelSpace, Record, Segments, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.segments import SegmentArrays, segment_ap
from vidjax.inputs import SequenceInput
from vidjax.models import create_model, get_spec
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise.evaluator import SegmentEvaluator

LABELS = LabelSpace(("a", "b"))
SPANS = (((5.0, 12.0, 0), (12.0, 20.0, 1)), ((3.0, 9.0, 1),), ())


def config_of(**localise):
    config = Config()
    config.data.features.stride = config.data.features.window = config.data.features.fps = 4.0
    for name, value in localise.items():
        setattr(config.task.localise, name, value)
    return config


def spec_of(steps, width=3, name="toy"):
    return Spec(name, {"features": SequenceInput(steps, width)}, task="localise")


def evaluated(videos, spec, config, network):
    """The evaluator after all views of all videos."""
    evaluator = SegmentEvaluator(videos, spec, config)
    reader = SequenceReader(spec.inputs["features"], config.data)
    run = jax.jit(lambda inputs: evaluator.forward(network, inputs, None))
    steps = spec.inputs["features"].steps
    for index, record in enumerate(videos.records):
        vectors, views = reader.evaluate(record, 1, 1)
        padded = np.full((len(vectors), steps, vectors.shape[2]), np.nan, np.float32)
        padded[:, : vectors.shape[1]] = vectors
        for view in range(len(views)):
            outputs = jax.tree.map(np.asarray, run({"features": padded[view, None]}))
            evaluator.add(Rows(np.array([index]), view, np.array([len(views)])), outputs)
    return evaluator


@pytest.fixture
def videos(tmp_path):
    """Files whose vectors are the logits of the right classes: two and nothing."""
    records = []
    for i, spans in enumerate(SPANS):
        logits = np.zeros((30, 3), np.float32)
        logits[:, 2] = 9
        for start, end, label in spans:
            centres = np.arange(30) + 0.5
            logits[(centres > start) & (centres < end)] = 9 * np.eye(3)[label]
        np.save(tmp_path / f"{i}.npy", logits)
        records.append(Record(str(tmp_path / f"{i}.npy"), Segments(spans)))
    return VideoSet(tuple(records), LABELS)


def reading_logits(entered):
    return StepOutputs(entered["features"], entered["mask"])


@pytest.mark.parametrize("steps", [32, 14])
def test_right_answers_have_full_marks_also_in_parts(videos, steps):
    evaluator = evaluated(videos, spec_of(steps), config_of(also=("activitynet",)), reading_logits)
    summary = evaluator.summary()
    assert list(summary) == ["thumos", "activitynet"]
    assert list(summary["thumos"]) == ["mAP", "0.3", "0.4", "0.5", "0.6", "0.7"]
    assert list(summary["activitynet"]) == ["mAP", "0.5", "0.75", "0.95"]
    assert summary["thumos"]["mAP"] == pytest.approx(1.0)
    found, duration = evaluator.detections(0)
    assert duration == 30
    np.testing.assert_allclose(found.segments[:2][np.argsort(found.labels[:2])], [[5, 12], [12, 20]], atol=0.05)


def test_figures_are_those_of_the_scorer(videos, tmp_path):
    evaluator = evaluated(videos, spec_of(32), config_of(), reading_logits)
    files = evaluator.write(tmp_path, "a run")
    results = json.loads((tmp_path / files[0]).read_text())["results"]
    truth = json.loads((tmp_path / files[1]).read_text())["database"]
    assert set(results) == set(truth) == {"0", "1", "2"}
    rows = [
        (int(v), *e["segment"], LABELS.names.index(e["label"]), e["score"]) for v, es in results.items() for e in es
    ]
    true = [(int(v), *a["segment"], LABELS.names.index(a["label"])) for v, e in truth.items() for a in e["annotations"]]
    ap = segment_ap(
        SegmentArrays(*(np.array(c) for c in zip(*true, strict=True))),
        SegmentArrays(*(np.array(c) for c in zip(*rows, strict=True))),
        TIOUS["thumos"],
    )
    assert evaluator.summary()["thumos"]["mAP"] == pytest.approx(ap.mAP, abs=1e-6)
    details = evaluator.details()
    assert details["protocol"] == "official" and details["num_detections"] == len(rows)
    assert details["per_class"]["b"]["num_segments"] == 2


def test_nothing_found_is_nothing(videos):
    def silent(entered):
        return StepOutputs((entered["features"] * 0).at[..., 2].set(20.0), entered["mask"])

    evaluator = evaluated(videos, spec_of(32), config_of(), silent)
    assert evaluator.summary()["thumos"]["mAP"] == 0 and evaluator.details()["num_detections"] == 0


def long_features(folder, count, width):
    path = folder / f"{count}.npy"
    np.save(path, np.random.default_rng(count).normal(size=(count, width)).astype(np.float32))
    return VideoSet((Record(str(path), Segments(())),), LABELS)


def candidates(videos, steps, model, network):
    """Candidates of the video, in seconds, in the order of their places, classes and ends."""
    spec = dataclasses.replace(get_spec(model), inputs={"features": SequenceInput(steps, 16)})
    evaluator = evaluated(videos, spec, config_of(min_score=0.0, min_length=-1.0), network)
    parts = [found for _, found in sorted(evaluator._found.items())]
    columns = [np.concatenate([getattr(p, n) for p in parts]) for n in ("places", "labels", "scores")]
    segments = np.concatenate([p.segments for p in parts])
    order = np.lexsort((segments[:, 1].round(3), segments[:, 0].round(3), columns[1], columns[0]))
    return [segments[order], *(column[order] for column in columns)]


@pytest.fixture(scope="module")
def network():
    return create_model("actionformer_tiny", num_classes=2, seed=3)


@pytest.mark.slow
def test_two_halves_joined_are_the_whole_away_from_the_cut(network, tmp_path):
    videos = long_features(tmp_path, 400, 16)
    whole = candidates(videos, 400, "actionformer_tiny", network)
    joined = candidates(videos, 240, "actionformer_tiny", network)  # parts from 0 and 176, cut at 208
    for low, high in ((-1, 150), (270, 400)):
        one, other = ([x[(found[1] > low) & (found[1] < high)] for x in found] for found in (whole, joined))
        assert len(one[0]) == len(other[0]) > 100
        np.testing.assert_allclose(one[1], other[1])
        np.testing.assert_allclose(one[3], other[3], atol=1e-5)
        np.testing.assert_allclose(one[0], other[0], atol=1e-3)


@pytest.mark.slow
def test_detections_do_not_depend_on_padding(network, tmp_path):
    videos = long_features(tmp_path, 90, 16)
    short, long = (candidates(videos, steps, "actionformer_tiny", network) for steps in (96, 160))
    assert len(short[0]) == len(long[0]) > 100
    for one, other in zip(short, long, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
