"""Memory of the cache of answers: that of the arrays which generation makes, and its share of a device."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.models.registry import abstract_model, create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.plan.generation import cache_figures, cache_of, cache_row

ONE = {"data": 1, "fsdp": 1, "model": 1}


def config(batch=4, **caption):
    return cfg.Config(eval=cfg.EvalConfig(batch_size=batch), task=cfg.TaskConfig(caption=cfg.CaptionConfig(**caption)))


def cache(name, settings=None, mesh=ONE):
    return cache_figures(abstract_model(name), settings or config(), get_spec(name), mesh)["cache"]


@pytest.mark.parametrize("name", ["smolvlm2_tiny", "r2plus1d_caption_tiny"])
def test_bytes_are_those_of_the_cache_that_generation_fills(name):
    model, spec = create_model(name), get_spec(name)
    text = next(value for value in spec.inputs.values() if value.kind == "prompt")
    spec = dataclasses.replace(spec, inputs={
        key: dataclasses.replace(value, length=40) if value is text else value for key, value in spec.inputs.items()
    })  # fmt: skip
    graphdef, *arrays = split(model)
    video = np.zeros((2, *spec.video.shape), np.float32)

    @jax.jit
    def real(arrays, ids):
        network = merge(graphdef, *arrays)
        tokens = getattr(network.encode({"video": video}), network.head.sees)
        return network.head.prefill(tokens, ids, np.ones((2, 40), bool), 7)[1]

    made, shapes = real(arrays, np.ones((2, 40), np.int32)), cache_of(model, spec, 2, 7)
    assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, shapes)
    found = cache_figures(model, config(2, length=7), spec, ONE)["cache"]
    assert found["bytes"] == found["bytes_per_device"] == sum(x.nbytes for x in jax.tree.leaves(made.layers))
    assert found["tokens"] == made.seen.shape[1]


@pytest.mark.slow
def test_the_cache_of_a_language_model_by_its_sizes():
    """2 (keys and values) · layers · B · (prompt and 20 words) · groups · features of a head · 4 bytes."""
    assert cache("smolvlm2_256m")["bytes"] == 2 * 30 * 4 * (8192 + 20) * 3 * 64 * 4
    half = config()
    half.model.compute_dtype = "bfloat16"
    large = abstract_model("videollama3_7b", dtype=jax.numpy.bfloat16)
    found = cache_figures(large, half, get_spec("videollama3_7b"), ONE)["cache"]
    assert found["bytes"] == 2 * 28 * 4 * (16384 + 20) * 4 * 128 * 2


def test_devices_share_the_batch_and_heads():
    whole = cache("smolvlm2_tiny")["bytes"]
    shares = {
        (2, 1, 1): 2, (2, 2, 1): 4, (1, 1, 2): 2, (1, 2, 2): 4,
        (1, 1, 4): 1,  # its two heads of keys are not split by four
        (8, 1, 1): 4,  # nor four videos by eight
    }  # fmt: skip
    for sizes, share in shares.items():
        found = cache("smolvlm2_tiny", mesh=dict(zip(ONE, sizes, strict=True)))
        assert (found["bytes"], found["bytes_per_device"] * share) == (whole, whole), sizes
    beams = cache("smolvlm2_tiny", config(beams=3))
    assert beams["bytes"] == 3 * whole
    assert cache_row(beams)[1] == "0.00152 GiB per device for 4 videos, 3 beams, 532 tokens each"


def test_a_network_that_does_not_speak_has_none():
    assert cache_figures(abstract_model("conv3d_tiny"), config(), get_spec("conv3d_tiny"), ONE) == {}


@pytest.mark.slow
def test_a_plan_says_it(capsys):
    settings = ["--config.model.name=r2plus1d_caption_tiny", "--config.train.batch_size=8", "--num-videos=100"]
    main(["plan", *settings, "--gpu=h200:8", "--json"])
    found = json.loads(capsys.readouterr().out)["cache"]
    assert found["batch"] == 16 and found["bytes"] == 8 * found["bytes_per_device"]
    main(["plan", *settings, "--gpu=h200:8"])
    assert "cache of answers" in capsys.readouterr().out
