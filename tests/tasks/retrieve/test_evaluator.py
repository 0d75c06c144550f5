"""Ranks of videos and captions, on made-up vectors."""

import csv
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.text_video import network, spec
from vidjax.data.records import Caption, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.errors import UserError
from vidjax.evaluation.evaluator import Rows
from vidjax.models.state import merge, split
from vidjax.nn.enter import enter
from vidjax.tasks.retrieve.evaluator import RetrievalEvaluator

TEXTS = (("a red square",), ("a blue circle", "a circle moves right"), ("a square",))
VIDEOS = VideoSet(tuple(Record(f"{i}.mp4", Caption(texts)) for i, texts in enumerate(TEXTS)), LabelSpace(()))


def rows(*index, view=0):
    return Rows(np.array(index), view, np.full(len(index), 2))


def outputs(video, text):
    return {"video": np.array(video, np.float32), "text": np.array(text, np.float32)}


def seen():
    """Videos along three axes; the second's first caption finds the first video, its second one itself."""
    evaluator = RetrievalEvaluator(VIDEOS, spec())
    axes = np.eye(3)
    texts = np.stack([axes[[0, 0]], [[0.9, 0.1, 0], axes[1]], [[0.5, 0.5, 0.4], axes[0]]])
    evaluator.add(rows(0, 1, 2), outputs(axes, texts))
    return evaluator


def test_ranks_both_ways():
    figures = seen().summary()
    # Captions: 1, 2, 1, and the third behind two others.
    assert figures["text_to_video"] == pytest.approx(
        {"R@1": 0.5, "R@5": 1.0, "R@10": 1.0, "median_rank": 1.5, "mean_rank": 7 / 4}
    )
    # The best of a video's captions counts: each video has its own first.
    assert figures["video_to_text"]["R@1"] == pytest.approx(1.0)
    assert seen().details() == {"num_captions": 4}


def test_equally_similar_ones_count_once_and_against_it():
    evaluator = RetrievalEvaluator(VIDEOS, spec())
    evaluator.add(rows(0, 1, 2), outputs(np.ones((3, 3)), np.ones((3, 2, 3))))
    assert evaluator.summary()["text_to_video"]["mean_rank"] == 3


def test_a_video_is_the_mean_of_its_views_and_unread_ones_are_left_out():
    evaluator, axes = RetrievalEvaluator(VIDEOS, spec()), np.eye(3)
    evaluator.add(rows(0, 2), outputs(axes[[1, 0]], np.stack([axes[[1, 1]], axes[[2, 2]]])))
    evaluator.add(rows(0, 2, view=1), outputs(axes[[1, 2]], np.stack([axes[[1, 1]], axes[[2, 2]]])))
    assert evaluator.details() == {"num_captions": 2}
    assert evaluator.summary()["text_to_video"]["R@1"] == 1
    assert all(math.isnan(value) for value in RetrievalEvaluator(VIDEOS, spec()).summary()["video_to_text"].values())


def test_the_file_has_a_line_for_each_caption(tmp_path):
    assert seen().write(tmp_path, "a run") == ["ranks.csv"]
    with open(tmp_path / "ranks.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[:3] == [["path", "caption", "rank"], ["0.mp4", "a red square", "1"], ["1.mp4", "a blue circle", "2"]]
    assert len(lines) == 5


@pytest.mark.slow
def test_all_captions_of_a_batchs_videos_are_encoded():
    evaluator, model = RetrievalEvaluator(VIDEOS, spec()), network()
    video = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    text = np.zeros((2, 24), np.int32)
    given = evaluator.forward(model, {"video": video, "text": text}, np.array([1000, 2000]))
    numbers = spec().inputs["text"].reader().rows([*TEXTS[1], TEXTS[2][0]], 24)
    wanted = np.asarray(model.encode_text(numbers))
    np.testing.assert_allclose(given["text"][0], wanted[:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(given["text"][1, 0], wanted[2], rtol=1e-4, atol=1e-5)
    assert given["video"].shape == (2, 8)


def test_videos_without_captions_and_texts_too_long_are_refused():
    with pytest.raises(DataError, match=r"a\.mp4: has no caption, which retrieval needs"):
        RetrievalEvaluator(VideoSet((Record("a.mp4"),), LabelSpace(())), spec())
    long = VideoSet((Record("a.mp4", Caption(("a red square " * 9,))),), LabelSpace(()))
    with pytest.raises(UserError, match="tokens, but the network takes 24"):
        RetrievalEvaluator(long, spec())
    RetrievalEvaluator(long, spec(), cut=True)


def test_clips_beside_which_texts_vary_are_compared_with_all_captions():
    """Ranks are those of the cosines, of which one is computed once more by itself."""
    size = {"num_frames": 4, "integration_heads": 2, "prompt_heads": 2, "prompt_depth": 1}
    model, own = network("xclip_tiny", **size), spec("xclip_tiny")
    evaluator = RetrievalEvaluator(VIDEOS, own)
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3)).astype(np.uint8)
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, clips, number):
        inputs = {"video": clips, "text": jnp.zeros((3, 24), jnp.int32)}
        pair = merge(graphdef, *arrays)
        clip = enter({"video": clips[:1]}, {"video": own.video}, None, network=pair)["video"]
        return evaluator.forward(pair, inputs, number), pair.compare(pair.encode(clip), pair.encode_text(numbers))

    numbers = jnp.asarray(own.inputs["text"].reader().rows([TEXTS[1][1]], 24))
    out, pair = run(arrays, clips, np.array([0, 1000, 2000], np.int32))
    assert out["cosines"].shape == (3, 3, 2)
    evaluator.add(rows(0, 1, 2), {"cosines": np.asarray(out["cosines"])})
    _, found, best = evaluator.ranks()
    cosines = np.asarray(out["cosines"])
    captions = [(video, number) for video, texts in enumerate(TEXTS) for number in range(len(texts))]
    wanted = [
        1 + sum(cosines[other, v, n] >= cosines[v, v, n] for other in range(3) if other != v) for v, n in captions
    ]
    assert found.tolist() == wanted and len(best) == 3
    assert evaluator.details() == {"num_captions": 4}
    np.testing.assert_allclose(cosines[0, 1, 1], pair[0, 0], rtol=1e-4, atol=1e-5)
