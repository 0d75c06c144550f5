"""Any network of clips beside a text Transformer."""

import chex
import jax.numpy as jnp
import pytest

from tests.models.abstract import filled, params_of
from tests.models.small import draw
from vidjax.errors import UserError
from vidjax.models import create_model, get_spec
from vidjax.models.registry import abstract_model
from vidjax.models.text_video import unit

NUMBERS = jnp.asarray([[254, 5, 255, 0]], jnp.int32)


@pytest.mark.slow
def test_the_parts_are_the_two_networks_and_a_projection():
    model = filled(abstract_model("dual_encoder_tiny", video="conv3d_tiny"))
    video = draw((2, 4, 16, 16, 3))
    chex.assert_trees_all_close(model.encode_video(video), unit(model.proj(model.video.features(video))), rtol=1e-4)
    assert model.similarity(video, NUMBERS).shape == (2, 1)
    parts = {path.partition(".")[0] for path in params_of("dual_encoder_tiny")}
    assert parts == {"video", "proj", "text", "logit_scale"}


def test_sizes_are_those_of_the_video_network():
    spec = get_spec("dual_encoder", {"video": "slow_r50", "text_length": 40})
    assert spec.video == get_spec("slow_r50").video and spec.inputs["text"].length == 40
    with pytest.raises(UserError, match="video = 'ast_base': takes audio; give a network of clips alone"):
        get_spec("dual_encoder", {"video": "ast_base"})


def test_a_bias_is_for_losses_of_pairs():
    model = create_model("dual_encoder_tiny", video="conv3d_tiny", biased=True)
    cosine = model.encode_video(draw((1, 4, 16, 16, 3))) @ model.encode_text(NUMBERS).T
    chex.assert_trees_all_close(model.scaled(cosine), 10 * cosine - 10, rtol=1e-5)
