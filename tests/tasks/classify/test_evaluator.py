"""The evaluator of classifiers: logits of views in any order become one row for each video."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.config import Spec
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.metrics import sigmoid, softmax
from vidjax.tasks.classify.evaluator import ClassEvaluator

SPEC = Spec.of_video("toy", num_frames=2, size=4, mean=(0.5,) * 3, std=(0.25,) * 3)
VIEWS = np.array([2, 1, 3, 2, 1, 3])
LOGITS = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)


def made(several=False, parts=()):
    """An evaluator that was given the views of `parts`, (which videos, which view)."""
    labels = tuple(Labels((i % 4,)) for i in range(6))
    videos = VideoSet(tuple(Record(f"{i}.mp4", label) for i, label in enumerate(labels)),
                      LabelSpace(tuple("abcd"), several))  # fmt: skip
    evaluator = ClassEvaluator(videos, SPEC)
    for index, view in parts:
        index = np.array([i for i in index if view < VIEWS[i]], np.int64)
        evaluator.add(Rows(index, view, VIEWS[index]), LOGITS[index, view])
    return evaluator


ONE_BY_ONE = [((i,), view) for i in range(6) for view in range(3)]
IN_BATCHES = [(index, view) for index in ((0, 1, 2, 3), (4, 5)) for view in range(3)]


@pytest.mark.parametrize("several", [False, True])
def test_scores_are_the_probabilities_of_the_views_that_there_are(several):
    found = made(several, IN_BATCHES).scores
    expected = (sigmoid if several else softmax)(LOGITS)
    expected[~found.is_view] = 0
    np.testing.assert_allclose(found.view_scores, expected, rtol=1e-6)
    assert found.index.tolist() == list(range(6)) and found.num_views.tolist() == VIEWS.tolist()
    np.testing.assert_array_equal(found.is_view, np.arange(3) < VIEWS[:, None])


@pytest.mark.parametrize("several", [False, True])
def test_neither_batches_nor_their_order_matter(several):
    whole = made(several, IN_BATCHES)
    for parts in (ONE_BY_ONE, ONE_BY_ONE[::-1], IN_BATCHES[::-1]):
        other = made(several, parts)
        chex.assert_trees_all_equal(vars(other.scores), vars(whole.scores))
        assert (other.summary(), other.details()) == (whole.summary(), whole.details())


def test_evaluators_that_merge_are_one_that_saw_everything(tmp_path):
    whole = made(parts=IN_BATCHES)
    parts = [IN_BATCHES[:2], IN_BATCHES[2:3], IN_BATCHES[3:]]
    for order in ((0, 1, 2), (2, 1, 0)):
        first, second, third = (made(parts=parts[i]) for i in order)
        first.merge(second)
        first.merge(third)
        assert (first.summary(), first.details()) == (whole.summary(), whole.details())
    first, second, third = (made(parts=part) for part in parts)
    second.merge(third)
    first.merge(second)
    assert first.summary() == whole.summary()
    for name, evaluator in (("one", first), ("other", whole)):
        (tmp_path / name).mkdir()
        evaluator.write(tmp_path / name, "")
    assert (tmp_path / "one" / "video_scores.csv").read_bytes() == (
        tmp_path / "other" / "video_scores.csv"
    ).read_bytes()


def test_videos_that_could_not_be_read_have_no_row():
    found = made(parts=[((1, 4), 0)])
    assert found.scores.index.tolist() == [1, 4] and found.scores.view_scores.shape == (2, 1, 4)
    assert {name: each["num_videos"] for name, each in found.details()["per_class"].items()} == {
        "a": 1, "b": 1, "c": 0, "d": 0,
    }  # fmt: skip


def test_nothing_that_could_be_read_is_no_figure():
    for several, name in ((False, "top1"), (True, "mAP")):
        summary = made(several).summary()
        assert np.isnan(summary["video"][name]) and np.isnan(summary["clip"][name])


def test_padding_alone_is_not_asked_for():
    evaluator = made()
    assert evaluator.wants(np.array([-1, 3]), 7) and not evaluator.wants(np.array([-1, -1]), 0)


def test_what_the_network_sees_is_normalised():
    seen = {}

    def network(inputs):
        seen.update(inputs)
        return inputs["video"].mean(axis=(1, 2, 3)).astype(jnp.bfloat16)

    video = jnp.full((2, 2, 4, 4, 3), 255, jnp.uint8)
    logits = made().forward(network, {"video": video}, jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(seen["video"], jnp.full(video.shape, 2.0), rtol=1e-6)
    assert logits.dtype == jnp.float32 and logits.shape == (2, 3)
