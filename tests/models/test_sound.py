"""What networks of sound take and refuse, and that time comes first in what they give."""

import re

import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract, traced
from tests.models.tiny import clips, tiny
from vidjax.errors import UserError
from vidjax.inputs import AudioInput
from vidjax.models.base import TAKE_CLIPS
from vidjax.models.cost import model_cost
from vidjax.models.heads import Attentive
from vidjax.models.sound import SoundNetwork
from vidjax.nn.clips import ClipError
from vidjax.nn.enter import enter

SOUND = [name for name in vidjax.list_models() if [*vidjax.get_spec(name).inputs] == ["audio"]]
SMALL = [name for name in SOUND if name.endswith("_tiny")]


def test_every_family_of_sound_alone_is_here():
    assert {vidjax.models.registry.family_of(name)[1] for name in SMALL} == {
        vidjax.models.registry.family_of(name)[1] for name in SOUND
    }
    assert len(SMALL) >= 4 and all(isinstance(abstract(name), SoundNetwork) for name in SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_other_inputs_are_refused_with_the_shape_that_is_taken(name):
    model = tiny(name)
    audio = clips(name)
    wanted = f"takes a floating-point spectrogram (B, frames, {model.mels})"
    for wrong in (audio[0], audio[:, None], audio[..., 1:], audio.astype(np.int16)):
        for method in TAKE_CLIPS:
            with pytest.raises(ClipError, match=re.escape(wanted)):
                getattr(model, method)(wrong)
    with pytest.raises(UserError, match="takes an input named 'audio', but got 'video'"):
        model({"video": audio})


@pytest.mark.parametrize("name", SMALL)
def test_the_first_axis_of_grids_and_maps_is_time(name):
    model, audio = tiny(name), clips(name)

    found, longer = (
        traced(model, {"audio": np.concatenate([audio] * times, axis=1), "heard": np.ones(2, bool)}, "encode")
        for times in (1, 2)
    )
    times, one, bands = found.grid
    assert one == 1 and longer.grid[0] > times and longer.grid[1:] == (1, bands)
    for stride, width in model.widths.maps.items():
        assert found.maps[stride].shape[2] == 1 and found.maps[stride].shape[-1] == width
    assert found.tokens.shape[1] - times * bands in (0, 2)
    assert found.tokens.shape[2] == model.widths.tokens and found.pooled.shape == (2, model.widths.pooled)


@pytest.mark.parametrize("name", SMALL)
def test_samples_of_its_own_input_give_logits(name):
    (input,) = vidjax.get_spec(name).inputs.values()
    assert isinstance(input, AudioInput)
    samples = jax.ShapeDtypeStruct((2, *input.field.shape), input.field.dtype)
    entered = jax.eval_shape(lambda samples: enter({"audio": samples}, {"audio": input}), samples)
    assert entered["audio"].shape == (2, *input.shape)
    assert traced(abstract(name, 5), entered).shape == (2, 5)


@pytest.mark.parametrize("name", SMALL)
def test_heads_are_replaced_and_left_out(name):
    audio = clips(name)
    features = abstract(name, 0)
    assert features.head is None
    (input,) = vidjax.get_spec(name).inputs.values()
    shape = jax.ShapeDtypeStruct((2, *input.shape), np.float32)
    assert traced(features, shape).shape == (2, features.widths.pooled)
    for kind in ("linear", "attentive"):
        probe = abstract(name, 4, probe=kind)
        assert traced(probe, {"audio": shape}).shape == (2, 4)
        assert probe.frozen == ("backbone.",)
    model = tiny(name)
    replaced = nnx.clone(model)
    replaced.head = Attentive(model.width_of("tokens"), 5, rngs=nnx.Rngs(0))
    assert traced(replaced, audio).shape == (2, 5)


@pytest.mark.slow
def test_a_layer_inside_answers_by_its_path():
    model, audio = tiny("panns_tiny"), clips("panns_tiny")
    found = model.intermediates({"audio": audio}, "blocks.*")
    assert [*found] == ["blocks.0", "blocks.1", "blocks.2"] and found["blocks.1"].shape == (2, 1, 12, 8, 8)


def test_costs_are_counted_for_the_spectrogram():
    cost = model_cost("ast_tiny")
    assert cost.input == (96, 128) and cost.macs > 96 * 128 * 48
    with pytest.raises(UserError, match="takes no video"):
        vidjax.create_model("panns_tiny", input="diff")
