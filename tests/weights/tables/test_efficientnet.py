"""Tables of EfficientNets: every key of each source, the references' logits, and conventions that shapes hide."""

import logging
import re

import chex
import numpy as np
import pytest

from tests.golden import golden, relative_error
from tests.models.abstract import shapes_of
from tests.peers import torchvision
from tests.weights.answers import compiled, errors
from tests.weights.listings import keys_here, zeros
from vidjax.models.registry import get_spec, list_models
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.tables.efficientnet import PYTORCH, SOURCES, TENSORFLOW
from vidjax.weights.write import to_state_dict

HALF = {"encoder_options": PYTORCH}
# Listing, model, source.
NETWORKS = (
    ("efficientnet_lite0", "frame_pool_effnet_lite0", "efficientnet"),
    ("efficientnet_b0", "frame_pool_effnet_b0", "efficientnet"),
    ("timm_efficientnet_lite0", "frame_pool_effnet_lite0", "timm"),
    ("timm_efficientnet_b0", "frame_pool_effnet_b0", "timm"),
    ("timm_efficientnet_b0", "frame_pool_effnet_b0", "timm_tf"),
)


def test_every_model_of_these_tables_names_its_sources():
    for table in SOURCES:
        served = [name for name in list_models() if table.serves(name)]
        assert served and all(table.name in get_spec(name).sources for name in served)


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(("listing", "name", "source"), NETWORKS)
def test_every_key_has_its_place_and_is_written(listing, name, source):
    keys = keys_here(listing)
    state = zeros(keys)
    shapes = shapes_of(name, num_classes=1000)
    assert convert(state, recognise(state, name, source), shapes).keys() == shapes.keys()
    options = HALF if source == "timm" else {}
    written = to_state_dict(load_pretrained(name, state, source=source), name, source, **options)
    assert {key: array.shape for key, array in written.items()} == keys


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(
    "name",
    ["tsm_effnet_lite0", "single_frame_effnet_lite0", "i3d_effnet_lite0", "early_fusion_effnet_lite0",
     "late_fusion_effnet_lite0", "cnn_lstm_effnet_lite0", "cnn_gru_effnet_lite0"],
)  # fmt: skip
def test_the_image_network_is_the_body_of_others(name):
    state = zeros(keys_here("efficientnet_lite0"))
    shapes = shapes_of(name, num_classes=1000)
    new = shapes.keys() - convert(state, recognise(state, name), shapes).keys()
    own = {"late_fusion_effnet_lite0", "cnn_lstm_effnet_lite0", "cnn_gru_effnet_lite0"}
    assert {path.split(".")[0] for path in new} == ({"pooling", "head"} if name in own else set())


def test_conventions_are_kept(caplog):
    expected = golden("timm_efficientnet_lite0_224")
    name = "frame_pool_effnet_lite0"
    with pytest.raises(CheckpointError, match=r"several sources of .*: timm_tf, timm\. Choose one by source="):
        load_pretrained(name, expected.state)
    model = load_pretrained(name, expected.state, source="timm")
    assert dict(model.conventions) == PYTORCH
    with pytest.raises(CheckpointError, match="is not the network that timm_tf has"):
        to_state_dict(model, name, "timm_tf", **HALF)
    with pytest.raises(CheckpointError, match="with the same shapes; there\n  padding = 'same'"):
        to_state_dict(model, name, "timm_tf")
    # A run's network is there first, and decides.
    other = load_pretrained(name, expected.state, source="timm_tf")
    assert dict(other.conventions) == TENSORFLOW
    for built, source in ((other, "timm_tf"), (model, "timm")):
        with caplog.at_level(logging.WARNING, "vidjax"):
            report = load_into(built, expected.state, name=name)
        assert report.source == source and f"taken as {source}, as the network is built with" in caplog.text
    wrong = """--config.model.kwargs.encoder_options="{'padding': 'half', 'epsilon': 1e-05}\""""
    with pytest.raises(CheckpointError, match=re.escape(wrong)):
        load_into(other, expected.state, name=name, source="timm")
    with pytest.raises(CheckpointError, match=r"have padding = 'same', epsilon = 0\.001"):
        load_into(model, golden("efficientnet_lite0_224").state, name=name)


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["efficientnet_lite0_224", "efficientnet_b0_224"])
def test_logits_are_the_references(reference):
    name = f"frame_pool_effnet_{reference.split('_')[1]}"
    assert max(errors(reference, name)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("size", ["lite0", "b0"])
def test_logits_are_timms(size):
    expected = golden(f"timm_efficientnet_{size}_224")
    model = load_pretrained(f"frame_pool_effnet_{size}", expected.state, source="timm")
    given = compiled(model)(expected.both)
    for one, answer in zip(given, expected.of_both("logits"), strict=True):
        assert relative_error(one, answer) < 1e-4


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("size", ["b0", "b5"])
def test_torchvision_reads_and_is_read(size):
    import torch

    theirs = getattr(torchvision().models, f"efficientnet_{size}")(num_classes=7).eval()
    name = f"frame_pool_effnet_{size}"
    state = {key: array.numpy() for key, array in theirs.state_dict().items()}
    model = load_pretrained(name, state)
    picture = np.random.default_rng(0).standard_normal((1, 1, 64, 64, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(picture[:, 0]).permute(0, 3, 1, 2)).numpy()
    chex.assert_trees_all_close(compiled(model)(picture), expected, rtol=1e-4, atol=1e-5)
    options = {"encoder_options": dict(model.conventions)}
    written = to_state_dict(model, name, "torchvision2d", **options)
    chex.assert_trees_all_equal(written, {key: np.asarray(array) for key, array in state.items()})
