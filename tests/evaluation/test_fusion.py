"""Late fusion: figures of a published pair of streams, and videos matched by path."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.peers import needs
from vidjax.errors import UserError
from vidjax.evaluation.fusion import VideoScores, align, fuse, read_scores


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
