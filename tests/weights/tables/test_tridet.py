"""TriDet's table: every key has its place, and the outputs are the reference's."""

import pytest

from tests.weights.listing import golden_keys
from tests.weights.segments import assert_complete, compare_with_golden


def test_every_key_and_shape_has_its_place():
    assert assert_complete("tridet_thumos_i3d", golden_keys("tridet_thumos_i3d"), 20).name == "tridet"


@pytest.mark.slow
def test_outputs_are_the_references(shared):
    fields = {"classes": "cls", "offsets": "offset", "start": "start", "end": "end"}
    compare_with_golden("tridet_thumos_i3d", [128, 93], fields, shared)
