"""Temporal shift: which channels come from where, the reference's protocol, streams, and that it trains."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.abstract import abstract
from tests.models.small import draw, network, overfit, plain_convolutions  # noqa: F401
from vidjax.models import get_spec
from vidjax.models.families.resnet import Stage, frame_conv
from vidjax.models.families.shift import TemporalShiftResNet, causal_shift, temporal_shift
from vidjax.models.state import split


def tiny(**kwargs):
    model = TemporalShiftResNet(3, **network(), **({"dropout": 0.0} | kwargs))
    model.eval()
    return model


def test_an_eighth_of_the_channels_comes_from_each_neighbour():
    x = np.asarray(draw((2, 4, 2, 2, 17)))
    shifted = np.asarray(temporal_shift(jnp.asarray(x)))
    expected = x.copy()
    expected[..., :4] = 0
    expected[:, :-1, ..., :2] = x[:, 1:, ..., :2]
    expected[:, 1:, ..., 2:4] = x[:, :-1, ..., 2:4]
    np.testing.assert_array_equal(shifted, expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(cut=st.integers(1, 4), share=st.sampled_from([2, 8]))
def test_the_causal_shift_goes_on_where_it_stopped(cut, share):
    x = draw((1, 5, 1, 1, 8))
    whole, last = causal_shift(x, share)
    first, kept = causal_shift(x[:, :cut], share)
    second, end = causal_shift(x[:, cut:], share, kept)
    chex.assert_trees_all_equal(jnp.concatenate([first, second], axis=1), whole)
    chex.assert_trees_all_equal(end, last)
    fold = 8 // share
    chex.assert_trees_all_equal(whole[:, 1:, ..., :fold], x[:, :-1, ..., :fold])
    chex.assert_trees_all_equal(whole[..., fold:], x[..., fold:])
    assert not whole[:, 0, ..., :fold].any()


def test_a_stream_gives_the_answers_to_the_clips_so_far():
    model = tiny(causal=True)
    video = draw((2, 4, 6, 6, 3))
    clip, step = nnx.jit(lambda model, video: model(video)), nnx.jit(lambda model, *args: model.step(*args))
    state = None
    for t in range(4):
        logits, state = step(model, video[:, t], state)
        if t == 3:
            chex.assert_trees_all_close(logits, clip(model, video[:, : t + 1]), atol=1e-6)
    # Where the stream was matters: without its state, the last frame is answered otherwise.
    alone, _ = step(model, video[:, 3], None)
    assert float(jnp.abs(alone - logits).max()) > 1e-4


def test_a_stream_needs_the_causal_form():
    with pytest.raises(ValueError, match="causal=True"):
        tiny().step(draw((1, 16, 16, 3)))


def test_the_order_of_frames_matters_and_only_by_the_shift():
    video = draw((1, 4, 6, 6, 3))
    answer = nnx.jit(lambda model, video: model(video))
    # Of 8 or 16 channels, none is one in 32.
    for share, moves in ((8, True), (32, False)):
        model = tiny(share=share)
        gap = float(jnp.abs(answer(model, video) - answer(model, video[:, ::-1])).max())
        assert (gap > 1e-5) == moves


def test_protocol_and_size_are_mmaction2s():
    spec, model = get_spec("tsm_r50"), abstract("tsm_r50")
    assert (spec.video.num_frames, spec.video.size, spec.video.resize) == (8, 224, (256,))
    assert sum(array.size for array in split(model)[1].values()) == 24327632
    assert (model.share, model.every, model.dropout.rate) == (8, 1, 0.5)
    deep = TemporalShiftResNet(3, **(network() | {"stages": [Stage(23, 2, (1, 1, 1), frame_conv)]}))
    assert deep.every == 2
