"""Figures and pictures of reconstructions: they merge, and hide the same tubes whatever the batch."""

import chex
import jax
import numpy as np
import pytest

from vidjax.evaluation.evaluator import Rows
from vidjax.models.state import merge, split
from vidjax.tasks.reconstruct.evaluator import PictureEvaluator, PixelEvaluator, picture

from .small import SPEC, make_batch, network


def rows(*index, view=0):
    return Rows(np.array(index, np.int64), view, np.full(len(index), 2))


def test_explained_is_the_share_of_the_variance():
    evaluator = PixelEvaluator(SPEC)
    evaluator.add(rows(0, 1), (np.float32([0.1, 0.3]), np.float32([1.0, 1.0])))
    other = PixelEvaluator(SPEC)
    other.add(rows(2), (np.float32([0.5]), np.float32([0.5])))
    other.add(rows(2, view=1), (np.float32([0.1]), np.float32([1.5])))
    evaluator.merge(other)
    assert evaluator.summary()["reconstruction"] == pytest.approx({"loss": 0.25, "explained": 0.75})
    assert np.isnan(list(PixelEvaluator(SPEC).summary()["reconstruction"].values())).all()


@pytest.mark.slow
def test_a_clip_is_masked_by_its_number_alone():
    model = network()
    graphdef, params, stats = split(model)
    video, number = make_batch()["inputs"]["video"][:, 0], np.arange(8, dtype=np.int32) * 1000
    for evaluator in (PixelEvaluator(SPEC), PictureEvaluator(SPEC, 8)):

        @jax.jit
        def forward(video, number, evaluator=evaluator):
            return evaluator.forward(merge(graphdef, params, stats), {"video": video}, number)

        whole = forward(video, number)
        turned = forward(video[::-1], number[::-1])
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[::-1], turned), whole, atol=1e-5)
        other = forward(video, number + 1)
        assert not np.allclose(jax.tree.leaves(other)[0], jax.tree.leaves(whole)[0], atol=1e-3)


def test_a_few_videos_are_shown_and_each_once_whoever_saw_it(tmp_path):
    clips = np.random.default_rng(0).random((20, 3, 2, 16, 16, 3)).astype(np.float32)
    one, other, whole = (PictureEvaluator(SPEC, 20) for _ in range(3))
    # Evenly spread: 0, 6, 12 and 19.
    assert one.wants(np.array([5, 6]), 0) and not one.wants(np.array([5, 6]), 1)
    assert not one.wants(np.array([1, 2, -1]), 0)
    for first, evaluators in ((0, (one, whole)), (8, (other, whole)), (16, (one, whole))):
        index = range(first, min(first + 8, 20))
        for evaluator in evaluators:
            evaluator.add(rows(*index), clips[index])
    one.merge(other)
    for name, evaluator in (("one", one), ("whole", whole)):
        (tmp_path / name).mkdir()
        assert evaluator.write(tmp_path / name, "") == ["reconstructions.png"]
    pictures = [(tmp_path / name / "reconstructions.png").read_bytes() for name in ("one", "whole")]
    assert pictures[0] == pictures[1]
    assert PictureEvaluator(SPEC, 20).write(tmp_path, "") == []


def test_the_picture_has_three_rows_for_each_clip():
    clips = np.zeros((2, 3, 4, 16, 16, 3), np.uint8)
    clips[1, 2, 3] = 200
    sheet = picture(clips)
    tall = 3 * (64 + 2)
    assert sheet.shape == (2 * tall + 8, 4 * 66 - 2, 3)
    assert (sheet[-74:-10, -64:] == 200).all() or (sheet == 200).sum() == 64 * 64 * 3
