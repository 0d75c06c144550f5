"""Starting from a network for frames: a vidjax one is inflated, what has nothing to inflate says so."""

import logging

import numpy as np
import pytest

from vidjax.config import Config, ConfigError, ModelConfig
from vidjax.models import create_model, get_spec
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, save_model
from vidjax.training.initial import start_from
from vidjax.weights.read import CheckpointError

SMALL = {"depths": (1, 1, 1, 1), "width": 4}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """The folder of a small network for frames, and its parameters."""
    folder = tmp_path_factory.mktemp("initial") / "frames"
    model = create_model("c2d_r50_nopool", num_classes=2, seed=1, **SMALL)
    config = Config(model=ModelConfig(name="c2d_r50_nopool", kwargs=SMALL))
    save_model(folder, model, Meta(config, get_spec("c2d_r50_nopool"), ("left", "right")))
    return str(folder), split(model)[1]


def slow(**kwargs):
    return create_model("slow_r50", num_classes=3, **SMALL, **kwargs)


@pytest.mark.parametrize(("inflation", "seen"), [("", (1, 1, 1)), ("average", (1, 1, 1)), ("central", (0, 3, 0))])
def test_a_network_for_frames_is_inflated(frames, inflation, seen, caplog):
    folder, arrays = frames
    model = slow(nonlocal_blocks=((), (0,), (), ()))
    with caplog.at_level(logging.INFO, "vidjax"):
        start_from(model, folder, "slow_r50", inflation)
    kernel, flat = np.asarray(model.stages[3][0].conv1.kernel[...]), np.asarray(arrays["stages.3.0.conv1.kernel"])[0]
    np.testing.assert_allclose(kernel, np.stack([n / 3 * flat for n in seen]), rtol=1e-6)
    np.testing.assert_array_equal(model.stem.conv.kernel[...], arrays["stem.conv.kernel"])
    assert "2 kernels are inflated" in caplog.text and "newly initialised: nonlocals.1.0.g.bias" in caplog.text
    assert "has 2 classes, not 3: the head is newly initialised" in caplog.text


def test_what_cannot_be_inflated_is_listed(frames):
    model = create_model("slow_r50", num_classes=2, depths=(1, 1, 1, 2), width=8)
    with pytest.raises(CheckpointError, match=r"stages\.3\.0\.conv1\.kernel: \(1, 1, 1, 64, 32\) cannot become"):
        start_from(model, frames[0], "slow_r50")


def test_inflation_where_there_is_nothing_to_inflate(frames):
    flat = create_model("c2d_r50_nopool", num_classes=2, **SMALL)
    with pytest.raises(ConfigError, match=r"config\.model\.inflation = 'central'.*holds nothing that c2d_r50_nopool"):
        start_from(flat, frames[0], "c2d_r50_nopool", "central")
