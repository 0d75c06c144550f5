"""VGGish's table: every key has its place, and the embeddings are torchvggish's."""

import numpy as np
import pytest

from tests.golden import golden, read_keys, relative_error
from tests.models.abstract import abstract
from tests.weights.answers import compiled
from tests.weights.listing import assert_complete, golden_keys, shapes
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import conversion
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict


def test_every_published_key_and_shape_has_its_place():
    state = golden_keys("torchvggish")
    assert assert_complete("vggish", state, 0).name == "torchvggish"
    whole = state | {"pproc.pca_eigen_vectors": np.zeros((128, 128)), "pproc.pca_means": np.zeros((128, 1))}
    made = conversion(whole, recognise(whole, "vggish"), shapes("vggish", 7))
    assert set(made.fresh) == {"head.kernel", "head.bias"} and len(made.dropped) == 2


def test_it_is_written_back_under_every_key():
    graphdef, params, _ = split(abstract("vggish", 0))
    model = merge(graphdef, {path: np.broadcast_to(np.float32(0), a.shape) for path, a in params.items()}, {})
    written = to_state_dict(model, "vggish", "torchvggish")
    assert {key: array.shape for key, array in written.items()} == {k: s for k, s, _ in read_keys("torchvggish")}


@pytest.mark.slow
def test_embeddings_are_the_references():
    expected = golden("torchvggish_vggish_96x64")
    found = compiled(load_pretrained("vggish", expected.state))(expected.others["examples"])
    for ours, theirs in zip(np.asarray(found), expected.of_both("logits64"), strict=True):
        assert relative_error(ours, theirs) < 1e-4
