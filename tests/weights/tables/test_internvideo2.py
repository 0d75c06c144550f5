"""Tables of InternVideo2: every key of the reference, its answers, and both ways."""

import jax
import numpy as np
import pytest

from tests.golden import channels_last, coarse_noise, fill_state, language_golden, language_keys, relative_error
from vidjax.models.registry import abstract_model
from vidjax.models.state import merge, split
from vidjax.models.text_video import unit
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict


def shapes_of(name):
    return {path: array.shape for path, array in split(abstract_model(name, num_classes=5))[1].items()}


def test_every_key_has_a_place_in_the_named_network(shared):
    """Keys and shapes as the repository's class has them, and the temperature, which files may hold."""
    keys = [*language_keys(shared, "internvideo2_clip_s14_8x224"), ("temp", (), "float32")]
    state = {key: np.zeros(shape, np.float32) for key, shape, _ in keys} | {"temp": np.float32(0.01)}
    made = convert(state, recognise(state, "internvideo2_clip_s14"), shapes_of("internvideo2_clip_s14"))
    assert made.keys() == shapes_of("internvideo2_clip_s14").keys()
    np.testing.assert_allclose(np.exp(made["logit_scale"]), 100, rtol=1e-6)


def test_a_classifier_has_the_encoders_keys(shared):
    start = "vision_encoder."
    keys = [row for row in language_keys(shared, "internvideo2_clip_s14_8x224") if row[0].startswith(start)]
    state = fill_state([(key.removeprefix(start), shape, dtype) for key, shape, dtype in keys if "blocks.1" not in key])
    state |= {f"blocks.{i}.{key.partition('.0.')[2]}": array for i in (1, 10, 11) for key, array in state.items()
              if key.startswith("blocks.0.")}  # fmt: skip
    head = {"fc_norm.weight": (768,), "fc_norm.bias": (768,), "head.weight": (5, 768), "head.bias": (5,)}
    state |= {key: np.zeros(shape, np.float32) for key, shape in head.items()}
    made = convert(state, recognise(state, "internvideo2_s14"), shapes_of("internvideo2_s14"))
    assert made.keys() == shapes_of("internvideo2_s14").keys()


@pytest.mark.slow
def test_the_full_network_answers_as_the_reference(shared):
    state, golden = language_golden(shared, "internvideo2_clip_s14_8x224")
    model = load_pretrained("internvideo2_clip_s14", state)
    written = to_state_dict(model, "internvideo2_clip_s14", "internvideo2")
    assert written.keys() == state.keys() | {"temp"} and all(np.array_equal(written[key], state[key]) for key in state)
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, video, numbers):
        own = merge(graphdef, *arrays)
        videos, texts = own.video_vectors(video), own.text_vectors(numbers)
        return videos, texts, own.scaled(unit(videos) @ unit(texts).T)

    given = run(arrays, channels_last(coarse_noise((2, 3, 8, 224, 224))), golden["input_ids"])
    for array, name in zip(given, ("coarse_video_embeds", "text_embeds", "coarse_logits"), strict=True):
        assert relative_error(array, golden[name]) < 1e-4
