"""CLIP over frames: one space for videos and texts, and the sizes of the named networks."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.abstract import params_of
from tests.models.small import draw
from tests.text_video import network, spec
from vidjax.models.registry import get_spec
from vidjax.models.text_video import TextHead, unit

NUMBERS = jnp.asarray([[78, 5, 6, 79, 0, 0], [78, 9, 79, 0, 0, 0]], jnp.int32)


# Counted by transformers.
@pytest.mark.parametrize(("name", "count"), [("clip_b32", 151277313), ("clip_b16", 149620737), ("clip_l14", 427616513)])
def test_named_networks_are_as_large_as_the_references(name, count):
    assert sum(int(np.prod(shape)) for shape in params_of(name).values()) == count


@pytest.mark.slow
def test_a_videos_vector_is_the_mean_of_its_frames_of_length_1():
    model, video = network(), draw((2, 4, 16, 16, 3))
    frames = unit(model.frame_vectors(video))
    chex.assert_trees_all_close(model.encode_video(video), unit(frames.mean(axis=1)), rtol=1e-5)
    chex.assert_trees_all_close(model.features({"video": video, "text": NUMBERS}), model.encode_video(video), rtol=1e-5)
    found = model.encode(video)
    assert (found.tokens.shape, found.grid, found.maps[8].shape) == ((2, 16, 16), (4, 2, 2), (2, 4, 2, 2, 16))
    assert (model.widths.pooled, model.widths.tokens) == (8, 16)


@pytest.mark.slow
def test_what_follows_the_end_of_a_text_is_not_seen():
    model = network()
    longer = jnp.concatenate([NUMBERS, jnp.full((2, 3), 7, jnp.int32)], axis=1).at[:, 4].set(3)
    chex.assert_trees_all_close(model.encode_text(longer), model.encode_text(NUMBERS), rtol=1e-5)
    other = model.encode_text(NUMBERS.at[0, 1].set(8))
    assert not np.allclose(other[0], model.encode_text(NUMBERS)[0])


def test_similarities_are_scaled_cosines_and_a_head_of_texts_gives_them():
    model, video = network(), draw((2, 4, 16, 16, 3))
    texts = model.encode_text(NUMBERS)
    wanted = jnp.exp(model.logit_scale[...]) * model.encode_video(video) @ texts.T
    chex.assert_trees_all_close(model.similarity(video, NUMBERS), wanted, rtol=1e-5)
    model.head = TextHead(texts)
    try:
        chex.assert_trees_all_close(model(video), wanted, rtol=1e-5)
    finally:
        model.head = None


def test_texts_that_do_not_fit_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="texts of 25 tokens, but the network takes 24"):
        network().encode_text(jnp.zeros((1, 25), jnp.int32))
    with pytest.raises(ValueError, match=r"token numbers \(N, L\), not float32 \(1, 3\)"):
        network().encode_text(jnp.zeros((1, 3)))


def test_inputs_follow_the_arguments():
    assert (spec().inputs["text"].length, spec().inputs["text"].vocabulary) == (24, 80)
    text = get_spec("clip_b32").inputs["text"]
    assert (text.length, text.vocabulary, text.rules) == (77, 49408, "clip")
    assert get_spec("clip_l14_336").video.size == 336
