"""Late fusion: figures of a published pair of streams, and videos matched by path."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from flax import nnx

from tests.peers import needs
from vidjax.errors import UserError
from vidjax.evaluation.fusion import VideoScores, align, fuse, read_scores
from vidjax.models.streams import FusionOptions, ScoreFusion


def stream(paths="abc", seed=0, num_classes=4):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(num_classes), len(paths))
    names = tuple(f"class {k}" for k in range(num_classes))
    return VideoScores(np.array(list(paths)), names, scores, np.arange(len(paths)) % num_classes)


def test_two_published_streams(shared):
    """mmaction2's skeleton streams: their evaluation gives these figures for 1 : 1."""
    needs("torch")
    streams = []
    for name in ("joint", "bone"):
        with open(shared / "data" / "metrics" / f"{name}.pkl", "rb") as file:
            rows = pickle.load(file)
        scores = np.stack([row["pred_score"].numpy() for row in rows])
        targets = np.array([int(row["gt_label"]) for row in rows])
        names = tuple(map(str, range(scores.shape[1])))
        streams.append(VideoScores(np.arange(len(rows)).astype(str), names, scores, targets))
    fused = fuse(streams)
    assert {name: round(value, 4) for name, value in fused.accuracy().items()} == {"top1": 0.9333, "top5": 0.9833}
    assert [round(s.accuracy()["top1"], 4) for s in streams] == [0.9167, 0.9333]


def test_weights_are_shares():
    one, two = stream(seed=0), stream(seed=1)
    np.testing.assert_allclose(fuse([one, two]).scores, (one.scores + two.scores) / 2)
    np.testing.assert_allclose(fuse([one, two], [3, 1]).scores, (3 * one.scores + two.scores) / 4)
    np.testing.assert_allclose(fuse([one, two], [0, 2]).scores, two.scores)


def test_logits_are_added_or_averaged():
    one, two = stream(seed=0), stream(seed=1)
    product = one.scores * two.scores**1.5
    fused = fuse([one, two], [1, 1.5], "logits").scores
    np.testing.assert_allclose(fused, product / product.sum(axis=1, keepdims=True))
    mean = np.sqrt(one.scores * two.scores)
    np.testing.assert_allclose(fuse([one, two], rule="logits").scores, mean / mean.sum(axis=1, keepdims=True))
    targets = np.eye(4)[:3]  # several labels: every class by itself
    odds = [replace(each, targets=targets) for each in (one, two)]
    product = np.prod([each.scores / (1 - each.scores) for each in (one, two)], axis=0)
    np.testing.assert_allclose(fuse(odds, [1, 1], "logits").scores, product / (1 + product))


def test_a_class_that_no_network_believes_in():
    sure = replace(stream(), scores=np.eye(4)[[0, 1, 2]])
    np.testing.assert_allclose(fuse([sure, sure]).scores, sure.scores, atol=1e-300)
    assert np.isfinite(fuse([sure, stream(seed=1)], rule="logits").scores).all()


@pytest.mark.parametrize("rule", ["probabilities", "logits"])
def test_a_two_stream_network_fuses_by_the_same_rule(rule):
    """Scores of two runs together are those of one network with both streams."""
    logits = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    runs = [replace(stream(), scores=scores) for scores in probabilities]
    heads = {name: nnx.Linear(1, 4, rngs=nnx.Rngs(0)) for name in ("rgb", "flow")}
    head = ScoreFusion(heads, 4, FusionOptions("weighted", rule, (1, 1.5)))
    found = np.exp(np.asarray(head.fused(list(logits)), np.float64))
    fused = fuse(runs, [1, 1.5], rule).scores
    np.testing.assert_allclose(found / found.sum(axis=-1, keepdims=True), fused, rtol=1e-5)


def test_videos_are_matched_by_path_and_those_that_one_lacks_are_left_out():
    one, two = stream("abcd", 0), stream("abcd", 1)
    order = [3, 0, 2]
    shuffled = replace(two, paths=two.paths[order], scores=two.scores[order], targets=two.targets[order])
    fused = fuse([one, shuffled])
    assert fused.paths.tolist() == ["a", "c", "d"]
    np.testing.assert_allclose(fused.scores, ((one.scores + two.scores) / 2)[[0, 2, 3]])
    np.testing.assert_array_equal(fused.targets, [0, 2, 3])


def test_parts_of_one_video_are_matched_in_order():
    one, two = stream("aba", 0), stream("aab", 1)
    two = replace(two, targets=np.array([0, 2, 1]))
    np.testing.assert_allclose(fuse([one, two]).scores, (one.scores + two.scores[[0, 2, 1]]) / 2)


def test_several_labels():
    targets = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]], np.float32)
    one, two = (replace(stream(seed=seed), targets=targets) for seed in (0, 1))
    accuracy = fuse([one, two]).accuracy()
    assert accuracy.keys() == {"mAP"} and 0 < accuracy["mAP"] <= 1  # the class without a positive counts for nothing


@pytest.mark.parametrize(
    ("others", "weights", "message"),
    [
        ([], None, "two or more networks"),
        ([stream(seed=1)], [1, 2, 3], "one for each of the 2 networks"),
        ([stream(seed=1)], [1, -1], "none negative"),
        ([stream(seed=1)], [0, 0], "not all 0"),
        ([stream("xyz")], None, "no video was scored by all"),
        ([stream(num_classes=5)], None, "network 2 differ from those of the first: class 4 are not in both"),
        ([replace(stream(), class_names=("class 1", "class 0", "class 2", "class 3"))], None, "their order differs"),
        ([stream(), replace(stream(), targets=np.array([0, 1, 3]))], None, "network 3 .* another label of c"),
    ],
)
def test_what_does_not_fit_is_named(others, weights, message):
    with pytest.raises(UserError, match=message):
        fuse([stream(), *others], weights)


def test_reading_what_is_no_evaluation(tmp_path):
    with pytest.raises(UserError, match=r"scores\.npz holds no scores of an evaluation \(No such file"):
        read_scores(tmp_path)
    np.savez(tmp_path / "scores.npz", scores=np.zeros(3))
    with pytest.raises(UserError, match="paths"):
        read_scores(tmp_path / "scores.npz")
    (tmp_path / "scores.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="holds no scores"):
        read_scores(tmp_path)


def test_aligned_streams_are_the_same_videos():
    short = VideoScores(np.array(["d", "b"]), stream().class_names, np.eye(4)[[3, 1]], np.array([3, 1]))
    one, two = align([stream("abcd"), short])
    assert one.paths.tolist() == two.paths.tolist() == ["b", "d"]
    np.testing.assert_array_equal(two.scores, np.eye(4)[[1, 3]])


def test_few_classes_have_no_top_5():
    assert set(stream().accuracy()) == {"top1"} and set(stream(num_classes=6).accuracy()) == {"top1", "top5"}
