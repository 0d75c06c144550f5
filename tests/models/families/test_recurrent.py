"""CNN-LSTM, CNN-GRU and recurrent convolution networks: streams, order, options, and that they train."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw, network, overfit, plain_convolutions  # noqa: F401
from vidjax.models import get_spec, list_models
from vidjax.models.families.recurrent import (
    VARIANTS,
    MapRecurrence,
    RecurrentConvNet,
    RecurrentPooling,
    RecurrentResNet,
)
from vidjax.models.state import split


def cnn_rnn(pooling="mean", **kwargs):
    settings = {"cell": "lstm", "hidden": 6, "layers": 1, "bidirectional": False, "dropout": 0.0} | kwargs

    def recurrent(features, *, rngs):
        return RecurrentPooling(features, pooling=pooling, rngs=rngs, **settings)

    model = RecurrentResNet(3, **network(), temporal_pooling=recurrent, grid=2)
    model.eval()
    return model


def rcn(**kwargs):
    model = RecurrentConvNet(3, **network(), **({"hidden": (3, 4)} | kwargs))
    model.eval()
    return model


NETWORKS = {
    "lstm": cnn_rnn,
    "gru, attention, two layers": lambda: cnn_rnn("attention", cell="gru", layers=2),
    "conv gru": lambda: rcn(hidden=(4,)),
    "conv lstm": lambda: rcn(cell="lstm", hidden=(4,)),
    "stacked conv gru": lambda: rcn(stacked=True),
}


@pytest.mark.slow(after=2)
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_stream_gives_the_answers_to_the_clips_so_far(kind):
    model, video, state = NETWORKS[kind](), draw((2, 3, 6, 6, 3)), None
    step = nnx.jit(lambda model, frame, state: model.step(frame, state))
    for t in range(3):
        logits, state = step(model, video[:, t], state)
    clip = nnx.jit(lambda model, video: model(video))
    expected = clip(model, video)
    chex.assert_trees_all_close(logits, expected, atol=1e-6)
    # The state is what tells this frame from the same one at the beginning, and the order of frames matters.
    chex.assert_shape(expected, (2, 3))
    assert float(jnp.abs(step(model, video[:, 2], None)[0] - logits).max()) > 1e-5
    assert float(jnp.abs(clip(model, video[:, ::-1]) - expected).max()) > 1e-5


def test_a_stacked_cell_sees_the_states_below_it():
    """At odd sizes too; what happens to the first map reaches the second cell's states."""
    for stacked in (False, True):
        layer = MapRecurrence((2, 5), (3, 4), cell="gru", kernel_size=3, stacked=stacked, rngs=nnx.Rngs(0))
        assert layer.cells[1].input.kernel.shape == (1, 3, 3, 5 + 3 * stacked, 3 * 4)
        run = jax.jit(layer)
        low, high = draw((1, 2, 7, 5, 2)), draw((1, 2, 4, 3, 5))
        moved = jnp.abs(run([low + 1, high]) - run([low, high]))
        assert moved[:, :3].max() > 1e-4 and (moved[:, 3:].max() > 1e-4) == stacked


def test_what_cannot_stream_says_so():
    with pytest.raises(ValueError, match="bidirectional=False"):
        cnn_rnn(bidirectional=True).pooling.step(jnp.zeros((1, 64)))
    with pytest.raises(ValueError, match="pyramid"):
        cnn_rnn("pyramid").pooling.step(jnp.zeros((1, 64)))
    with pytest.raises(ValueError, match="hidden"):
        rcn(hidden=(1, 2, 3))
    with pytest.raises(ValueError, match="'rnn'"):
        rcn(cell="rnn")


def test_masked_frames_are_cut_out_in_both_directions():
    for pooling in ("mean", "last"):
        layer = cnn_rnn(pooling, bidirectional=True).pooling
        assert layer.out_features == 12
        x, mask = draw((1, 4, 64)), jnp.array([[True, True, True, False]])
        pool = jax.jit(layer)
        chex.assert_trees_all_close(pool(x, mask), pool(x[:, :3]), atol=1e-6)


def test_the_last_outputs_of_both_directions_have_seen_the_whole_clip():
    layer, x = jax.jit(cnn_rnn("last", bidirectional=True).pooling), draw((1, 4, 64))
    for t in (0, 3):
        moved = layer(x.at[:, t].add(1.0)) - layer(x)
        assert jnp.abs(moved[:, :6]).max() > 1e-4 and jnp.abs(moved[:, 6:]).max() > 1e-4


@pytest.mark.slow
def test_a_convolutional_recurrence_overfits_four_clips():
    losses = overfit(rcn(), draw((4, 2, 6, 6, 3)), steps=30, rate=0.5)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_named_networks(name):
    spec, variant = get_spec(name), VARIANTS[name]
    shapes = {path: array.shape for path, array in split(abstract(name, 5))[1].items()}
    encoder = variant.kwargs["encoder"]
    published = encoder != "small"
    if published:
        assert (spec.video.num_frames, spec.video.size) == (16, 224)
        assert spec.sources[0] == ("efficientnet" if "effnet" in encoder else "torchvision2d")
        first = (1, 3, 3, 3, 32) if "effnet" in encoder else (1, 7, 7, 3, 64)
        assert shapes["stem.conv.kernel"] == first
    width = {"small": 64, "r18": 512, "r50": 2048, "effnet_lite0": 1280}[encoder]
    gates = {"lstm": 4, "gru": 3}[variant.kwargs["cell"]]
    if name.startswith("cnn"):
        hidden, inputs = (512, width) if published else (64, 16 * width)
        assert shapes["pooling.rnn.cells.0.0.input.kernel"] == (inputs, gates * hidden)
        assert shapes["head.kernel"] == (hidden, 5)
    else:
        hidden = (64, 128, 256) if published else (16, 16, 32)
        # The small network is stacked: above the first cell, the states below come in beside the maps.
        widths = (128, 256, 512) if published else (16, 32 + 16, 64 + 16)
        for level, (inputs, features) in enumerate(zip(widths, hidden, strict=True)):
            assert shapes[f"pooling.cells.{level}.input.kernel"] == (1, 3, 3, inputs, gates * features)
        assert shapes["head.kernel"] == (sum(hidden), 5)


def test_options_are_arguments():
    variant = VARIANTS["cnn_lstm_r18"]
    settings = {"recurrent_layers": 2, "bidirectional": True, "hidden": 8, "temporal_pooling": "attention",
                "recurrent_dropout": 0.3, "dropout": 0.2}  # fmt: skip
    model = nnx.eval_shape(lambda: variant.build(num_classes=5, rngs=nnx.Rngs(0), **{**variant.kwargs, **settings}))
    assert [len(cells) for cells in model.pooling.rnn.cells] == [2, 2]
    assert model.head.in_features == 16 and model.pooling.pool.name == "attention"
    assert (model.dropout.rate, model.pooling.rnn.dropout.rate) == (0.2, 0.3)
    assert list_models("rcn_*") == ["rcn_gru_r18", "rcn_gru_tiny", "rcn_lstm_r18"]


def test_bfloat16_maps_and_a_float32_recurrence():
    model = RecurrentConvNet(3, **(network() | {"dtype": jnp.bfloat16}), hidden=(3,))
    model.eval()
    video = jax.ShapeDtypeStruct((1, 2, 8, 8, 3), np.float32)
    features, state = jax.eval_shape(lambda v: (model.features(v), model.step(v[:, 0])[1]), video)
    assert features.dtype == np.float32 and state[0][0].dtype == np.float32
    assert jax.eval_shape(lambda v: model.maps(v)[-1], video).dtype == jnp.bfloat16
