"""Words that are compared with an index."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.embeddings.test_search import index_of
from vidjax.embeddings.network import Queries
from vidjax.errors import UserError


def test_words_whose_vectors_vary_are_refused_with_a_way_out(monkeypatch):
    queries = Queries(index_of([np.eye(3)]))
    network = SimpleNamespace(network=SimpleNamespace(texts_vary=True), spec=SimpleNamespace(name="xclip_b32"))
    monkeypatch.setattr(queries, "_loaded", lambda: network)
    with pytest.raises(UserError, match=r"xclip_b32 a text has another vector beside each video.*predict --labels"):
        queries.text("a person falls")
