"""The trunk of plain Vision Transformers, with blocks that can be worked out by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import draw
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.vision_transformer import (
    BASE,
    GIANT,
    HUGE,
    LARGE,
    SMALL,
    TINY,
    ClipSize,
    VisionTransformer,
    grid_tokens,
)


class Shift(nnx.Module):
    """Adds its place in the stack, and the number of frames of the grid."""

    def __init__(self, index):
        self.index = index

    def __call__(self, x, grid, rngs=None):
        return x + self.index + 100 * grid[0]


class Trunk(VisionTransformer):
    def __init__(self, tubelet=(2, 4, 4), clip=None, **kwargs):
        super().__init__(6, tubelet, Execution(), clip=clip, rngs=nnx.Rngs(0), **kwargs)
        self.blocks = stack(lambda index, rate: Shift(index), 3, 0.0)


class EveryOther(Trunk):
    """A class token, positions, and every second frame alone."""

    def sample(self, video):
        return video[:, ::2]

    def placed(self, x, grid):
        x = x + jnp.arange(x.shape[1], dtype=x.dtype)[None, :, None]
        return jnp.concatenate([jnp.zeros_like(x[:, :1]), x], axis=1)


def test_tokens_are_embedded_and_go_through_the_blocks_with_their_grid():
    trunk, video = Trunk(), draw((2, 4, 8, 12, 3))
    x, grid = trunk.encoded(video)
    assert grid == (2, 2, 3) and trunk.base_grid is None
    np.testing.assert_allclose(x, trunk.patch_embed(video) + 0 + 1 + 2 + 3 * 100 * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="4×8×10 does not divide into tubelets of 2×4×4"):
        trunk.encoded(video[:, :, :, :10])


def test_a_family_says_what_is_sampled_and_how_tokens_are_placed():
    trunk, video = EveryOther(clip=ClipSize(8, 8)), draw((2, 8, 8, 8, 3))
    assert trunk.base_grid == (2, 2, 2)
    x, grid = trunk.encoded(video)
    assert grid == (2, 2, 2) and x.shape == (2, 1 + 8, 6)
    np.testing.assert_allclose(x[:, 0], 603)
    expected = trunk.patch_embed(video[:, ::2]) + np.arange(8)[None, :, None] + 603
    np.testing.assert_allclose(x[:, 1:], expected, rtol=1e-6)
    places = trunk.patch_map(x, grid)
    assert list(places) == [4]
    np.testing.assert_array_equal(places[4].reshape(2, 8, 6), x[:, 1:])


def test_tokens_of_the_grid_are_the_last_ones():
    x = draw((2, 3 + 24, 5))
    out = grid_tokens(x, (2, 3, 4))
    np.testing.assert_array_equal(out[:, 1, 2, 3], x[:, -1])
    np.testing.assert_array_equal(out[:, 0, 1, 0], x[:, 3 + 4])
    assert grid_tokens(x[:, 3:], (2, 3, 4)).shape == (2, 2, 3, 4, 5)


def test_a_clip_that_tables_are_made_for_must_divide_into_tubelets():
    with pytest.raises(ValueError, match="4×10×10 does not divide into tubelets of 2×4×4"):
        Trunk(clip=ClipSize(4, 10))


def test_clips_may_have_any_number_of_channels():
    trunk = Trunk(in_channels=5, clip=ClipSize(2, 8))
    assert trunk.patch_embed.kernel.shape == (2, 4, 4, 5, 6)
    assert trunk.encoded(draw((1, 2, 4, 4, 5)))[0].shape == (1, 1, 6)


def test_published_sizes_have_heads_of_64_or_80_features():
    assert {s.dim // s.heads for s in (SMALL, BASE, LARGE, GIANT)} == {64} and HUGE.dim // HUGE.heads == 80
    for size in (TINY, SMALL, BASE, LARGE, HUGE, GIANT):
        assert size.dim % size.heads == 0
    assert [size.depth for size in (SMALL, BASE, LARGE, HUGE, GIANT)] == [12, 12, 24, 32, 40]
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.dim = 1
