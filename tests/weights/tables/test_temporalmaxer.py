"""TemporalMaxer's table: every key has its place, and the outputs are the reference's."""

import numpy as np
import pytest

from tests.weights.listing import golden_keys
from tests.weights.segments import assert_complete, compare_with_golden
from vidjax.weights.tables.temporalmaxer import LISTED


def test_every_key_and_shape_has_its_place():
    state = golden_keys("temporalmaxer_thumos_i3d")
    assert assert_complete("temporalmaxer_thumos_i3d", state, 20).name == "temporalmaxer"


def test_a_norm_listed_for_each_level_is_one_layer():
    value = np.arange(3.0)[None, :, None]
    np.testing.assert_array_equal(LISTED.forward(*[value] * 6), np.arange(3.0))
    assert [array.shape for array in LISTED.inverse(np.arange(3.0))] == [(1, 3, 1)] * 6
    with pytest.raises(ValueError, match="equal"):
        LISTED.forward(*[value] * 5, value + 1)


@pytest.mark.slow
def test_outputs_are_the_references(shared):
    fields = {"classes": "cls", "offsets": "offset"}
    compare_with_golden("temporalmaxer_thumos_i3d", [128, 70], fields, shared)
