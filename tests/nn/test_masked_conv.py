"""Convolutions along time against their definition, and levels that are convolved side by side."""

import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from vidjax.nn.masked_conv import MaskedTower, NormRule, TimeConv, halved_max, joined_levels, split_levels


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_a_sum_over_places(stride):
    layer, x = drawn(lambda rngs: TimeConv(4, 3, 3, stride, rngs=rngs)), draw(2, 7, 4)
    kernel, bias = np.asarray(layer.conv.kernel[...])[:, 0, 0], np.asarray(layer.conv.bias[...])
    wide = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    expected = sum(wide[:, tap : tap + 7] @ kernel[tap] for tap in range(3))[:, ::stride] + bias
    mask = np.arange(expected.shape[1])[None] < np.array([[3], [2]])
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    np.testing.assert_allclose(layer(x, mask), expected * mask[..., None], atol=1e-5)
    with pytest.raises(ValueError, match="must be odd"):
        drawn(lambda rngs: TimeConv(4, 3, 2, rngs=rngs))


def test_maxima_do_not_count_padding():
    np.testing.assert_array_equal(halved_max(-np.arange(1.0, 6.0)[None, :, None])[0, :, 0], [-1, -2, -4])


def test_levels_side_by_side_do_not_see_each_other():
    tower = nnx.jit(drawn(lambda rngs: MaskedTower(4, 5, 3, kernel_size=5, rngs=rngs)))
    levels, masks = [draw(2, n, 4, seed=n) for n in (8, 4, 2)], [np.ones((2, n), bool) for n in (8, 4, 2)]
    masks[0][1, 5:] = False
    together = tower(levels, masks)
    for level, mask, found in zip(levels, masks, together, strict=True):
        np.testing.assert_allclose(found, tower([level], [mask])[0], atol=1e-6)
    joined = joined_levels(levels, 2)
    assert joined.shape == (2, 8 + 2 + 4 + 2 + 2, 4)
    for part, level in zip(split_levels(joined, (8, 4, 2), 2), levels, strict=True):
        np.testing.assert_array_equal(part, level)


@pytest.mark.parametrize("hides", [True, False])
def test_padding_is_seen_unless_what_norms_make_of_it_is_hidden(hides):
    mask = np.arange(8)[None] < 5
    x = draw(1, 8, 4) * mask[..., None]
    tower = drawn(lambda rngs: MaskedTower(4, 5, 3, rule=NormRule(hides=hides), rngs=rngs))
    padded, alone = tower([x], [mask])[0][:, :5], tower([x[:, :5]], [mask[:, :5]])[0]
    assert (np.abs(padded - alone).max() < 1e-5) == hides
