"""PANNs: their published sizes, what their pools leave, and where they drop."""

import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract, drawn
from tests.models.tiny import clips, tiny
from tests.weights.listing import num_params
from vidjax.errors import UserError
from vidjax.models.families.panns import PANN

pytestmark = pytest.mark.usefixtures("plain_convolutions")


# Table 5 of the paper counts 80,753,615 parameters of CNN14, 5,219,279 of CNN10 and 4,837,455 of CNN6.
@pytest.mark.parametrize(
    ("name", "count"),
    [("panns_cnn14", 80_753_615), ("panns_cnn10", 5_219_279), ("panns_cnn6", 4_837_455)],
)  # fmt: skip
def test_parameters_as_published(name, count):
    assert num_params(name, 527) == count


def test_the_last_map_of_ten_seconds():
    (input,) = vidjax.get_spec("panns_cnn14").inputs.values()
    assert input.shape == (1001, 64)
    audio = jax.ShapeDtypeStruct((1, *input.shape), np.float32)
    found = jax.eval_shape(abstract("panns_cnn14", 527).encode, audio)
    assert found.grid == (31, 1, 2) and found.pooled.shape == (1, 2048)
    assert {stride: x.shape[1::2] for stride, x in found.maps.items()}[16] == (62, 4)


def test_the_embedding_reads_mean_and_maximum_over_time():
    model, audio = tiny("panns_tiny"), clips("panns_tiny")
    found = model.encode(audio)
    times = np.asarray(found.maps[8])[:, :, 0].mean(axis=2)
    layer = times.max(axis=1) + times.mean(axis=1)
    expected = np.maximum(layer @ np.asarray(model.fc.kernel) + np.asarray(model.fc.bias), 0)
    np.testing.assert_allclose(found.pooled, expected, rtol=1e-4, atol=1e-4)


def test_every_band_is_normalised_by_itself():
    """In evaluation a change of a band's scale and statistics together changes nothing."""
    model, audio = tiny("panns_tiny"), clips("panns_tiny")
    scaled = nnx.clone(model)
    factor = np.linspace(1, 3, 16).astype(np.float32)
    scaled.norm.mean.set_value(scaled.norm.mean[...] * factor)
    scaled.norm.var.set_value(scaled.norm.var[...] * factor**2 + 1e-5 * (factor**2 - 1))
    np.testing.assert_allclose(scaled(audio * factor), model(audio), rtol=1e-3, atol=1e-4)


def test_dropout_is_where_the_reference_has_it():
    def differs(**rates):
        none = {"block_dropout": 0.0, "pooled_dropout": 0.0, "dropout": 0.0}
        model = drawn(lambda rngs: PANN(3, mels=16, widths=(4, 8), pools=2, depth=1, **{**none, **rates}, rngs=rngs))
        for layer in (model.block_dropout, model.pooled_dropout, model.dropout):
            layer.deterministic = False
        audio = clips("panns_tiny")

        def run(method, seed):
            return np.asarray(getattr(model, method)(audio, rngs=nnx.Rngs(dropout=seed)))

        return [bool((run(m, 0) != run(m, 1)).any()) for m in ("tokens", "features", "__call__")]

    assert differs() == [False, False, False]
    assert differs(block_dropout=0.5) == [True, True, True]
    assert differs(pooled_dropout=0.5) == [False, True, True]
    assert differs(dropout=0.5) == [False, False, True]


def test_a_sound_too_short_for_the_pools_is_refused():
    with pytest.raises(UserError, match="a sound of 7 frames is too short for 3 pools: give 8 frames or more"):
        tiny("panns_tiny")(clips("panns_tiny")[:, :7])
