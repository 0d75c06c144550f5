"""Masks of spectrograms: their sizes and places, and what stays."""

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.config import SoundConfig
from vidjax.nn.spec_augment import SpecAugment, masked

MBT = SpecAugment(time_masks=4, time_mask=48, frequency_masks=1, frequency_mask=48)


def test_nothing_is_masked_by_default():
    assert SpecAugment.of(SoundConfig()) is None
    asked = SpecAugment.of(SoundConfig(time_masks=4, time_mask=48, frequency_masks=1, frequency_mask=48))
    assert asked == MBT


def test_masks_fit_and_are_as_large_as_asked_for():
    masks = MBT.draw(jax.random.key(0), 500, 100, 64)
    for name, count, most, room in (("time", 4, 48, 100), ("frequency", 1, 48, 64)):
        first, last = np.moveaxis(np.asarray(masks[name]), -1, 0)
        assert first.shape == (500, count) and (first >= 0).all() and (last <= room).all()
        sizes = last - first
        assert sizes.min() == 0 and sizes.max() == most and abs(sizes.mean() - most / 2) < 3
        assert last.max() == room and first.min() == 0


def test_a_mask_longer_than_the_sound_covers_it_at_most():
    masks = SpecAugment(1, 192, 0, 0).draw(jax.random.key(1), 200, 50, 8)["time"]
    assert (masks[..., 1] <= 50).all() and ((masks[..., 1] - masks[..., 0]) == 50).mean() > 0.5


def test_what_is_masked_is_the_mean_and_the_rest_stays():
    values = jnp.arange(1.0, 1 + 2 * 6 * 4).reshape(2, 6, 4)
    masks = {"time": jnp.array([[[1, 3], [2, 4]], [[0, 0], [5, 6]]]), "frequency": jnp.array([[[0, 0]], [[1, 2]]])}
    expected = np.array(values)
    expected[0, 1:4] = 0
    expected[1, 5:6] = 0
    expected[1, :, 1] = 0
    np.testing.assert_array_equal(masked(values, masks), expected)
    nothing = {"time": jnp.zeros((2, 0, 2), int), "frequency": jnp.zeros((2, 0, 2), int)}
    np.testing.assert_array_equal(masked(values, nothing), values)
