"""SlowFast: which frames Slow takes, what the pathways hand over, and that it learns, on shrunken networks.

Their kernels and widths are compared with the references' in tests/weights/test_slowfast.py.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from tests.models.small import draw, overfit
from tests.peers import needs
from vidjax.models import get_spec
from vidjax.models.families.slowfast import VARIANTS, ClipLengthError, SlowFast, slow_frames
from vidjax.nn.conv import conv_formulation

TINY = {"depths": (1,), "width": 16, "beta": 4, "alpha": 4, "slow_kernels": ((1,), (3,)), "fast_kernels": ((3,), (3,))}


@pytest.fixture(autouse=True)
def quick_to_compile():
    """Which formulation a convolution takes is tested elsewhere; XLA's own compiles ten times as fast."""
    with conv_formulation("native"):
        yield


def tiny(**kwargs):
    return SlowFast(3, rngs=nnx.Rngs(0), **{**TINY, "dropout": 0.0, "zero_init": False, **kwargs})


def evaluated(**kwargs):
    model = tiny(**kwargs)
    model.eval()
    return model


def test_slow_frames_of_the_published_clips():
    assert slow_frames(32, 4).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frames(32, 8).tolist() == [0, 10, 20, 31]
    assert slow_frames(32, 4, "every").tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert slow_frames(8, 8).tolist() == slow_frames(8, 8, "every").tolist() == [0]


@given(st.integers(1, 32), st.sampled_from([2, 4, 8]))
def test_slow_frames_are_those_of_torch_linspace(count, alpha):
    """Up to 128 frames; beyond, torch's float32 steps fall short of a whole number here and there."""
    torch = needs("torch")
    count = min(count, 128 // alpha)
    frames = slow_frames(count * alpha, alpha)
    assert frames.tolist() == torch.linspace(0, count * alpha - 1, count).long().tolist()
    every = slow_frames(count * alpha, alpha, "every")
    assert len(every) == count and set(np.diff(every)) <= {alpha} and every[0] == 0


def test_clips_that_the_pathways_cannot_share():
    with pytest.raises(ClipLengthError, match=r"30 frames.*multiple of 4.*data\.clip\.num_frames"):
        slow_frames(30, 4)
    with pytest.raises(ClipLengthError, match="0 frames"):
        slow_frames(0, 4)
    with pytest.raises(ClipLengthError, match="6 frames"):
        jax.eval_shape(tiny(), jnp.zeros((1, 6, 32, 32, 3)))
    with pytest.raises(ValueError, match="'third': must be one of spread, every"):
        tiny(slow_frames="third")
    with pytest.raises(ValueError, match="'third': must be one of spread, every"):
        slow_frames(4, 4, "third")


def test_published_protocols():
    published = VARIANTS.keys() - {"slowfast_tiny"}
    assert {(get_spec(name).video.num_frames, get_spec(name).video.stride) for name in published} == {(32, 2), (64, 2)}
    assert get_spec("slowfast_r101_16x8").video.num_frames == 64
    assert get_spec("slowfast_r50_8x8").video.mean == (0.45,) * 3
    assert get_spec("slowfast_r50_8x8_mm").video.mean == (0.485, 0.456, 0.406)
    for name, variant in VARIANTS.items():
        assert get_spec(name).name == name
        assert variant.kwargs["alpha"] == (8 if "4x16" in name else 4)


@pytest.mark.slow
def test_it_overfits_three_clips_without_norms_between_the_pathways():
    model = tiny(dropout=0.1, lateral_norm=False, slow_frames="every", window=0)
    losses = overfit(model, draw((3, 4, 16, 16, 3)), steps=20, rate=0.2)
    assert losses[-1] < 0.3 * losses[0]


def test_fast_keeps_every_frame_and_slow_one_in_alpha():
    model = evaluated(depths=(1, 1), fast_depths=(1, 2))
    video = jnp.zeros((1, 8, 32, 32, 3))
    assert len(model.fast.stages[1]) == 2 and len(model.slow.stages[1]) == 1

    def maps(video):
        fast = model.fast.stage(0, model.fast.stem(video))
        return model.fast.stage(1, fast), model.laterals[1](fast), model.slow.stem(video[:, ::4])

    fast, handed, slow = jax.eval_shape(maps, video)
    assert fast.shape == (1, 8, 4, 4, 32)
    assert handed.shape == (1, 2, 8, 8, 2 * 16) and slow.shape == (1, 2, 8, 8, 16)


@pytest.mark.parametrize(("rule", "changed", "unchanged"), [("spread", 7, 4), ("every", 4, 7)])
def test_slow_sees_its_own_frames_and_what_fast_hands_over(rule, changed, unchanged):
    model = evaluated(slow_frames=rule)
    video = draw((1, 8, 32, 32, 3))
    variants = jnp.concatenate([video, *(video.at[:, frame].add(1.0) for frame in (changed, unchanged))])
    features = nnx.jit(lambda model, video: model.features(video))

    def moved():
        """Whether the change of either frame moved Slow's features, and Fast's."""
        base, *others = features(model, variants)
        chex.assert_shape(base, (64 + 16,))
        return [(np.abs((x - base)[:64]).max() > 1e-6, np.abs((x - base)[64:]).max() > 1e-6) for x in others]

    assert moved() == [(True, True), (True, True)]
    model.laterals[0].norm.scale[...] = jnp.zeros_like(model.laterals[0].norm.scale[...])
    assert moved() == [(True, True), (False, True)]
