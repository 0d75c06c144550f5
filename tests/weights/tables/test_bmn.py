"""BMN's table: every key has its place, the matrix of samples is the reference's, and so are the outputs."""

import zlib

import numpy as np
import pytest

from tests import localisation
from tests.golden import relative_error
from tests.weights.listing import golden_keys
from tests.weights.segments import outputs_of
from vidjax.nn.boundary_matching import cells_of, sampling_matrix
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise


def test_every_key_and_shape_has_its_place():
    from tests.weights.listing import shapes

    state, wanted = golden_keys("bmn_400x100"), shapes("bmn", 1)
    table = recognise(state, "bmn")
    assert convert(state, table, wanted).keys() == wanted.keys()
    assert len(table.rules) == len(state) - 2 == len(wanted)


@pytest.mark.slow
def test_the_matrix_of_samples_is_computed_and_compared(shared):
    matrix, entry = sampling_matrix(100), localisation.INDEX["bmn_400x100"]["sample_mask"]
    assert matrix.shape == tuple(entry["shape"])
    np.testing.assert_allclose(matrix.sum(dtype=np.float64), entry["sum"], rtol=1e-9)
    assert zlib.crc32(matrix.tobytes()) == entry["crc32_of_float32"]
    state, expected = localisation.state_of("bmn_400x100"), localisation.of_shared("bmn_400x100", shared)
    inputs = localisation.features(400, 100, [100])
    found, wide = outputs_of("bmn", inputs, state | {"sample_mask": matrix.reshape(100, -1)})
    cells = tuple(cells_of(100).T)
    for name, ours in (("start", found.start), ("end", found.end)):
        assert relative_error(ours, expected[name]) < 1e-5
    for channel, ours in enumerate((found.overlap, found.match)):
        assert relative_error(ours[0][cells], expected["confidence"][0, channel]) < 1e-5
    with pytest.raises(CheckpointError, match="sample_mask is not that of 100 places"):
        outputs_of("bmn", inputs, state | {"sample_mask": np.zeros((100, 320000), np.float32)})
    for name, ours in (("start", wide.start), ("end", wide.end)):
        assert relative_error(ours, expected[f"{name}64"]) < 1e-11
    for channel, ours in enumerate((wide.overlap, wide.match)):  # stored in float32
        assert relative_error(ours[0][cells], expected["confidence64"][0, channel]) < 1e-6
