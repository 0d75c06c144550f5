"""X-CLIP: sizes of the named networks, messages between frames, and texts that look at the video."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.abstract import params_of
from tests.models.small import draw
from tests.text_video import network, spec
from vidjax.models.state import merge, split
from vidjax.models.text_video import unit
from vidjax.zero_shot import encode_texts, name_classes

SMALL = {"num_frames": 4, "integration_heads": 2, "prompt_heads": 2, "prompt_depth": 1}


def small():
    return merge(*split(network("xclip_tiny", **SMALL)))


def tokens(model, video):
    graphdef, *arrays = split(model)
    return np.asarray(jax.jit(lambda arrays, video: merge(graphdef, *arrays).encode(video).tokens)(arrays, video))


OTHERS = (("xclip_b16_16f", 194933249), ("xclip_l14", 575673601))


# Counted by transformers.
@pytest.mark.parametrize(
    ("name", "count"), [("xclip_b32", 196585729), *(pytest.param(*row, marks=pytest.mark.exhaustive) for row in OTHERS)]
)
def test_named_networks_are_as_large_as_the_references(name, count):
    assert sum(int(np.prod(shape)) for shape in params_of(name).values()) == count


@pytest.mark.slow
def test_the_mean_of_a_classs_texts_is_taken_beside_each_video():
    model, video, templates = small(), draw((2, 4, 16, 16, 3)), ("{}", "a video of {}")
    name_classes(model, spec("xclip_tiny"), ("jumping", "running"), templates)
    texts = encode_texts(model, spec("xclip_tiny"), ["jumping", "a video of jumping", "running", "a video of running"])
    features = model.encode(video)
    beside = model.texts_beside(features, jnp.asarray(texts)).reshape(2, 2, 2, 8).mean(axis=2)
    wanted = jnp.exp(model.logit_scale[...]) * jnp.einsum("be,bke->bk", features.pooled, unit(beside))
    chex.assert_trees_all_close(model.apply_head(features), wanted, rtol=1e-4)
    # Vectors of texts that have seen no video keep their length.
    assert np.abs(np.linalg.norm(texts, axis=1) - 1).min() > 1e-3


@pytest.mark.slow
def test_frames_know_of_each_other_and_their_number_is_fixed():
    model, video = merge(*split(network("xclip_tiny", **SMALL | {"depth": 2}))), draw((1, 4, 16, 16, 3))
    before, after = (tokens(model, clip).reshape(4, 4, 16) for clip in (video, video.at[:, 3].set(0)))
    assert np.abs(after[0] - before[0]).max() > 1e-3
    with pytest.raises(ValueError, match="for 4 frames, not 3: build the network with num_frames=3"):
        model.encode(video[:, :3])
