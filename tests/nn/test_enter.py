"""What enters a network beside pixels."""

import jax.numpy as jnp
import numpy as np

from tests.sounds import chirp
from vidjax.inputs import UNHEARD, AudioInput, BankInput, BoxInput
from vidjax.nn.enter import enter
from vidjax.sound_features import features


def test_boxes_stay_exact_and_banks_take_the_type_of_the_network():
    boxes, bank = np.full((1, 2, 4), 201.3, np.float32), np.ones((1, 4, 3), np.float16)
    inputs = {"boxes": BoxInput(2), "bank": BankInput(4, 3, seconds=2)}
    entered = enter({"boxes": boxes, "bank": bank}, inputs, jnp.bfloat16)
    assert entered["boxes"].dtype == jnp.float32 and entered["bank"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(entered["boxes"], boxes)


def test_sound_becomes_a_spectrogram_and_whether_it_is_heard():
    samples = np.full((3, 16_000), UNHEARD, np.int16)
    samples[0] = np.rint(chirp() * 32768)
    samples[1, :8000] = samples[0, :8000]
    sound = AudioInput("ast", 1.0, frames=112)
    entered = enter({"audio": samples}, {"audio": sound})
    assert entered["heard"].tolist() == [True, True, False]
    assert entered["audio"].shape == (3, *sound.shape) and entered["audio"].dtype == jnp.float32
    wave = np.where(samples == UNHEARD, 0, samples / np.float32(32768)).astype(np.float32)
    np.testing.assert_allclose(entered["audio"], features(wave, sound.spectrogram, 112), atol=2e-3)


def test_normalisation_of_another_data_set():
    samples = np.rint(chirp() * 32768).astype(np.int16)[None]
    published, own = AudioInput("ast", 1.0), AudioInput("ast", 1.0, mean=-6.6268077, std=2 * 5.358466)
    a, b = (enter({"audio": samples}, {"audio": each})["audio"] for each in (published, own))
    nats = a * (2 * 4.5689974) - 4.2677393
    np.testing.assert_allclose(b, (nats + 6.6268077) / (2 * 5.358466), atol=1e-5)
