"""VGGish: its size, examples of a longer sound, and the published bytes of its embeddings."""

import numpy as np
import pytest

import vidjax
from tests.models.abstract import abstract
from tests.models.tiny import clips, tiny
from vidjax.errors import UserError
from vidjax.models.families.vggish import VGGish, to_bytes
from vidjax.models.state import split

pytestmark = pytest.mark.usefixtures("plain_convolutions")


def test_it_has_no_classifier_unless_asked_for_one():
    assert vidjax.get_spec("vggish").num_classes == 0
    model = abstract("vggish", 0)
    assert model.head is None and model.widths.pooled == 128
    sizes = {path: array.shape for path, array in split(model)[1].items()}
    assert sizes["dense.0.kernel"] == (6 * 4 * 512, 4096) and sum(map(np.prod, sizes.values())) == 72_141_184
    (input,) = vidjax.get_spec("vggish").inputs.values()
    assert input.shape == (96, 64)


def test_examples_of_a_longer_sound_are_embedded_one_by_one():
    model, audio = tiny("vggish_tiny"), clips("vggish_tiny")  # 24 frames, three examples of 8
    whole = model.encode(audio)
    assert whole.windows.shape == (2, 3, 32)
    for index in range(3):
        part = model.encode(audio[:, 8 * index : 8 * index + 8])
        np.testing.assert_allclose(part.pooled, whole.windows[:, index], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model(audio[:, :23]), model(audio[:, :16]))
    with pytest.raises(UserError, match="a sound of 7 frames is shorter than an example of 8"):
        model(audio[:, :7])
    with pytest.raises(ValueError, match="frames = 8, mels = 64: 4 pools need 16 of both"):
        VGGish(3, frames=8, rngs=None)


def test_embeddings_become_bytes():
    rng = np.random.default_rng(0)
    vectors, means = rng.standard_normal((4, 4)), rng.standard_normal(4)
    whitened = np.array([[-3, -2, 0, 2], [2.5, 1, -1, 0.5]])
    embeddings = np.linalg.solve(vectors, whitened.T).T + means
    for form in (means, means[:, None]):
        found = to_bytes(embeddings, vectors, form)
        assert found.dtype == np.uint8
        # Halves go to the even neighbour: 127.5 to 128.
        assert found.tolist() == [[0, 0, 128, 255], [255, 191, 64, 159]]
    with pytest.raises(UserError, match=r"embeddings of 4 values are whitened by vectors \(4, 4\)"):
        to_bytes(embeddings, vectors[:3], means)
