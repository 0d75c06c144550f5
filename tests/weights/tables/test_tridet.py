"""TriDet's table: every key has its place, and the outputs are the reference's."""

import numpy as np
import pytest

from tests import localisation
from tests.golden import relative_error
from tests.weights.listing import golden_keys
from tests.weights.segments import assert_complete, outputs_of


def test_every_key_and_shape_has_its_place():
    assert assert_complete("tridet_thumos_i3d", golden_keys("tridet_thumos_i3d"), 20).name == "tridet"


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
def test_outputs_are_the_references(shared, wide):
    expected = localisation.of_shared("tridet_thumos_i3d", shared)
    found = outputs_of("tridet_thumos_i3d", localisation.features(2048, 128, [128, 93]), wide)
    np.testing.assert_array_equal(found.mask, expected["mask"])
    bits = "64" if wide else ""
    for ours, theirs in (("classes", "cls"), ("offsets", "offset"), ("start", "start"), ("end", "end")):
        assert relative_error(getattr(found, ours), expected[theirs + bits]) < (1e-11 if wide else 1e-5)
