"""AVSlowFast: sound enters Slow where it belongs in time, and a clip without sound is seen as by SlowFast."""

import chex
import jax
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from vidjax.models.families.avslowfast import VARIANTS, AVSlowFast
from vidjax.models.families.slowfast import ClipLengthError, slow_frames
from vidjax.models.registry import get_spec
from vidjax.nn.conv import conv_formulation

SHAPE = {
    "depths": (1, 1), "width": 16, "beta": 4, "alpha": 2, "slow_kernels": ((1,), (1,)), "fast_kernels": ((3,), (3,)),
    "frames_of_sound": 8, "dropout": 0.0, "drop_pathway": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick_to_compile():
    with conv_formulation("native"):
        yield


def network(**kwargs):
    return drawn(lambda rngs: AVSlowFast(3, rngs=rngs, **{**SHAPE, **kwargs}))


def inputs(batch=2, frames=8, sound=32, **more):
    rng = np.random.default_rng(0)
    return {
        "video": rng.standard_normal((batch, frames, 16, 16, 3)).astype(np.float32),
        "audio": rng.standard_normal((batch, sound, 12)).astype(np.float32),
    } | more


@pytest.mark.slow
def test_a_clip_without_sound_is_seen_as_by_slowfast():
    model, given = network(), inputs(heard=np.array([True, False]))
    run = nnx.jit(lambda model, given: model.encode(given))
    found, other = run(model, given), run(model, given | {"audio": given["audio"][::-1].copy()})
    assert np.abs(found.pooled[0] - other.pooled[0]).max() > 1e-2
    np.testing.assert_array_equal(found.pooled[1], other.pooled[1])
    seen = found.pooled.shape[1] - model.audio.out_features
    _, windows = nnx.jit(lambda model, video: model.seen(video))(model, given["video"])
    np.testing.assert_allclose(found.pooled[1, :seen], windows[1, 0, 0, 0], atol=1e-5)
    np.testing.assert_array_equal(found.pooled[1, seen:], 0)
    heard = run(model, given | {"heard": np.array([True, True])})
    assert np.abs(heard.pooled[1, :seen] - found.pooled[1, :seen]).max() > 1e-2


@pytest.mark.slow
def test_sound_is_added_at_its_own_time():
    model, given = network(), inputs(1)
    late = np.array(given["audio"])
    late[:, 24:] += 3  # what the last of Slow's four frames hears
    listen = nnx.jit(lambda model, audio: model.listened(audio, 4)[0])
    before, after = listen(model, given["audio"]), listen(model, late)
    chex.assert_shape(before, (1, 4, 1, 1, None))
    for one, other in zip(before, after, strict=True):
        moved = np.abs(np.asarray(one - other)).max(axis=(0, 2, 3, 4)) > 1e-6
        assert moved[3] and not moved[:2].any()


def test_spectrograms_of_another_length():
    model = network()
    run = lambda **kwargs: jax.eval_shape(model, inputs(**kwargs))  # noqa: E731
    assert run(sound=39).shape == (2, 3)
    for sound in (31, 40):
        with pytest.raises(
            ClipLengthError, match=f"{sound} frames beside 4 frames of the Slow pathway: expected 32, 8"
        ):
            run(sound=sound)
    with pytest.raises(ClipLengthError, match="7 frames"):
        run(frames=7)


def test_frames_of_both_pathways_are_chosen_from_a_longer_clip():
    """As many raw frames as pytorchvideo's: both pathways' are spread over all of them."""
    slow, fast = network(fast_stride=2).strides
    assert slow_frames(16, slow).tolist() == [0, 5, 10, 15]
    assert slow_frames(16, fast).tolist() == [0, 2, 4, 6, 8, 10, 12, 15]


@pytest.mark.slow
def test_dropped_sound_is_no_sound():
    model, given = network(drop_pathway=0.5), inputs(64, frames=4, sound=16)
    model.drop_pathway.deterministic = False  # the rest stays in evaluation mode
    run = nnx.jit(lambda model, given, rngs: model(given, rngs=rngs))
    loud = np.asarray(network()(given))
    silent = np.asarray(network()(given | {"heard": np.zeros(64, bool)}))
    found = np.asarray(run(model, given, nnx.Rngs(dropout=0)))
    of_loud, of_silent = (np.abs(found - other).max(axis=1) < 1e-4 for other in (loud, silent))
    assert (of_loud != of_silent).all() and 20 < of_loud.sum() < 44
    with pytest.raises(ValueError, match=r"rngs=nnx\.Rngs"):
        model(given)


def test_published_protocols():
    for name, variant in VARIANTS.items():
        spec = get_spec(name)
        frames = spec.video.num_frames // variant.kwargs["alpha"] * variant.kwargs.get("frames_of_sound", 16)
        assert spec.inputs["audio"].shape == (frames, 80)
