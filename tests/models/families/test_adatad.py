"""VideoMAE with adapters over chunks: what they see, what is trained, and what the network starts from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import filled
from tests.weights.listing import golden_keys, shapes
from vidjax.models.families.videomae import Encoder
from vidjax.models.registry import abstract_model
from vidjax.models.state import assign, frozen_paths, split
from vidjax.nn.adapters import TemporalAdapter
from vidjax.nn.blocks import Execution
from vidjax.nn.clips import ClipError
from vidjax.nn.vision_transformer import ClipSize, TransformerSize
from vidjax.weights.mapping import conversion
from vidjax.weights.table import recognise


@functools.cache
def network():
    return filled(abstract_model("adatad_tiny", num_classes=3))


def clips(frames=16, seed=0):
    return np.random.default_rng(seed).standard_normal((1, frames, 16, 16, 3)).astype(np.float32)


@nnx.jit
def vectors(model, video):
    return model.encoder(video, video.shape[1])


@pytest.mark.slow
def test_without_adapters_chunks_are_videomaes_and_do_not_see_each_other():
    model = nnx.clone(network())
    assign(model, {path: 0 * array for path, array in split(model)[1].items() if ".adapter.fc2." in path})
    rngs = nnx.Rngs(0)
    plain = Encoder(TransformerSize(16, 2, 2), ClipSize(8, 16), (2, 8, 8), "index", 0.0, Execution(), 3, rngs=rngs)
    ours = {path.removeprefix("encoder."): a for path, a in split(model)[1].items() if path.startswith("encoder.")}
    assign(plain, {path: ours[path.replace("blocks.0.", "blocks.0.block.").replace("blocks.1.", "blocks.1.block.")]
                   for path in split(plain)[1]})  # fmt: skip
    plain.eval()
    video = clips()
    tokens = [nnx.jit(lambda model, x: model.encoded(x)[0])(plain, video[:, i : i + 8]) for i in (0, 8)]
    steps = np.concatenate([np.asarray(x).reshape(4, 4, 16).mean(axis=1) for x in tokens])
    places = (np.arange(16) + 0.5) / 2 - 0.5
    expected = np.stack([np.interp(places, np.arange(8), column) for column in steps.T], axis=1)
    np.testing.assert_allclose(vectors(model, video)[0], expected, atol=1e-5)
    changed = video.copy()
    changed[:, 8:] += 1
    np.testing.assert_array_equal(vectors(model, changed)[:, :7], vectors(model, video)[:, :7])
    # Adapters carry on what happens.
    before, after = vectors(network(), video), vectors(network(), changed)
    assert np.abs(np.asarray(before - after)[:, :7]).max() > 1e-3


def test_the_adapter_by_its_definition():
    layer = filled(nnx.eval_shape(lambda: TemporalAdapter(4, 3, rngs=nnx.Rngs(0))))
    x = np.random.default_rng(0).standard_normal((2, 2 * 3, 4)).astype(np.float32)  # two chunks of two steps, 1×3
    arrays = {path: np.asarray(array) for path, array in split(layer)[1].items()}
    hidden = jax.nn.gelu(x @ arrays["fc1.kernel"] + arrays["fc1.bias"], approximate=False)
    steps = np.pad(np.asarray(hidden).reshape(4, 3, 3), ((1, 1), (0, 0), (0, 0)))
    near = sum(steps[tap : tap + 4] * arrays["conv.kernel"][tap, 0, 0, 0] for tap in range(3)) + arrays["conv.bias"]
    mixed = (near @ arrays["mix.kernel"] + arrays["mix.bias"]).reshape(2, 6, 3)
    out = (np.asarray(hidden) + mixed) @ arrays["fc2.kernel"] + arrays["fc2.bias"]
    np.testing.assert_allclose(layer(x, (2, 1, 3), 2), x + out * arrays["scale"], atol=1e-5)


def test_only_adapters_and_detector_are_trained():
    params, frozen = split(network())[1], frozen_paths(network())
    assert all(".adapter." in path for path in params if path.startswith("encoder.") and path not in frozen)
    assert frozen and all(path.startswith("encoder.") and ".adapter." not in path for path in frozen)


@pytest.mark.slow
def test_masks_and_other_lengths():
    model = network()
    answer = jax.eval_shape(model, {"video": jnp.zeros((1, 16, 16, 16, 3)), "mask": jnp.ones((1, 16), bool)})
    assert answer.levels == (16, 8, 4, 2) and answer.classes.shape == (1, 30, 3)
    for shape, words in (((1, 12, 16, 16, 3), "a multiple of 8 frames"), ((1, 16, 16, 3), "expected")):
        with pytest.raises(ClipError, match=words):
            jax.eval_shape(model, jnp.zeros(shape))
    with pytest.raises(ClipError, match=r"mask \(1, 8\)"):
        jax.eval_shape(model, {"video": jnp.zeros((1, 16, 16, 16, 3)), "mask": jnp.ones((1, 8), bool)})


@pytest.mark.parametrize(
    ("keys", "source"),
    [("videomae_mcg_vit_base_patch16_224", "videomae"), ("mmaction2_videomae_vit_base_16x224", "mmaction2")],
)
def test_it_starts_from_videomaes_classifier(keys, source):
    state, wanted = golden_keys(keys), shapes("adatad_videomae_base", 20)
    table = recognise(state, "adatad_videomae_base")
    made = conversion(state, table, wanted)
    assert table.name == source and {key.rpartition(".")[0].rpartition(".")[2] for key in made.dropped} <= {
        "head", "fc_norm", "fc_cls",
    }  # fmt: skip
    anew = wanted.keys() - made.arrays.keys() - {"positions", "positives"}
    assert all(
        path.startswith(("embedding", "stem", "branch", "norms", "head")) or ".adapter." in path for path in anew
    )
    assert all(path in made.arrays for path in wanted if path.startswith("encoder.") and ".adapter." not in path)
