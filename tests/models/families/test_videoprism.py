"""VideoPrism: sizes of the named networks, what a text sees, and positions of other clips."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.abstract import drawn, params_of
from vidjax.models.registry import abstract_model, get_spec
from vidjax.models.text_transformer import ClassTokenTexts, TextSize
from vidjax.nn.blocks import Execution
from vidjax.nn.positions import MODES

SIZE = TextSize(vocabulary=20, text_length=6, text_dim=8, text_depth=1, text_heads=2)


# Counted by transformers, which has no temperature.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("videoprism_lvt_base", 247623424),
        pytest.param("videoprism_lvt_large", 579877120, marks=pytest.mark.exhaustive),
    ],
)
def test_named_networks_are_as_large_as_the_references(name, count):
    assert sum(int(np.prod(shape)) for shape in params_of(name).values()) == count + 1


def test_padding_behind_a_text_is_not_seen():
    texts = drawn(lambda rngs: ClassTokenTexts(SIZE, execution=Execution(), rngs=rngs))
    numbers = jnp.asarray([[3, 7, 0], [4, 0, 0]], jnp.int32)
    run = jax.jit(lambda numbers: texts(numbers))
    short, longer = run(numbers), run(jnp.pad(numbers, ((0, 0), (0, 3))))
    chex.assert_trees_all_close(longer, short, rtol=1e-5)
    assert np.abs(run(numbers.at[0, 0].set(4)) - short)[0].max() > 1e-3
    with pytest.raises(ValueError, match="texts of 7 tokens, but the network takes 6"):
        texts(jnp.zeros((1, 7), jnp.int32))


@pytest.mark.parametrize(("old", "new"), [(16, 8), (16, 12), (4, 9), (5, 5)])
def test_positions_are_resized_as_by_jax(old, new):
    table = np.random.default_rng(0).standard_normal((old, 3))
    wanted = jax.image.resize(jnp.asarray(table, jnp.float32), (new, 3), "bilinear")
    np.testing.assert_allclose(MODES["antialiased"](old, new) @ table, wanted, rtol=1e-4, atol=1e-5)


def test_inputs_and_errors():
    spec = get_spec("videoprism_lvt_large")
    assert (spec.video.num_frames, spec.video.size, spec.video.mean, spec.video.std) == (8, 288, (0.0,) * 3, (1.0,) * 3)
    assert (spec.inputs["text"].length, spec.inputs["text"].vocabulary, spec.inputs["text"].rules) == (
        64, 32000, "videoprism"
    )  # fmt: skip
    with pytest.raises(ValueError, match="text_dim = 32: must be dim = 48"):
        abstract_model("videoprism_lvt_tiny", text_dim=32)
