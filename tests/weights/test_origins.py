"""Where checkpoints come from: each source has an address and a licence for each model that it serves."""

import re

import pytest

from vidjax.models import get_spec, list_models
from vidjax.weights.origins import EVERY, ORIGINS, origin_of
from vidjax.weights.table import sources

USES = {(source, name) for name in list_models() for source in get_spec(name).sources}


def test_every_source_of_every_model_has_an_origin():
    lacking = set()
    for source, model in USES:
        try:
            origin_of(source, model)
        except LookupError:
            lacking.add((source, model))
    assert lacking == set(), "vidjax/weights/origins.py lacks them"
    assert {source.name for source in sources()} == {source for source, _ in USES}, "no source without models"


def test_every_origin_is_some_models():
    assert {origin_of(*use) for use in USES} == set(ORIGINS)


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda o: f"{o.source} {' '.join(o.models)}")
def test_an_origin_has_an_address_and_a_licence(origin):
    assert re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", origin.address)
    assert origin.licence and "|" not in origin.licence, "it is a cell of a table"


def test_weights_from_others_keep_their_licence():
    """VideoMAE's are non-commercial wherever they are read from, though the software around them is not."""
    for model in ("videomae_base", "adatad_videomae_base"):
        names = set(get_spec(model).sources) & {"videomae", "transformers", "mmaction2", "opentad"}
        assert len(names) == 3 and all("CC-BY-NC-4.0" in origin_of(name, model).licence for name in names)
    assert origin_of("mmaction2", "slow_r50_mm").licence == "software: Apache-2.0"
    assert origin_of("mmaction2", "slow_r50_mm").models == EVERY


def test_a_source_without_an_origin_is_refused():
    with pytest.raises(LookupError, match=r"no origin of foo's checkpoints of r3d_18: add it to vidjax\.weights\.orig"):
        origin_of("foo", "r3d_18")
    with pytest.raises(LookupError, match="videomae's checkpoints of r3d_18"):
        origin_of("videomae", "r3d_18")
