"""C3D on shrunk stages, and the teaching network: they train, and say which clips they are made for."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw, overfit
from vidjax.errors import UserError
from vidjax.models import create_model, get_spec
from vidjax.models.families.c3d import C3D
from vidjax.models.state import merge, split

pytestmark = pytest.mark.usefixtures("plain_convolutions")


def make(**kwargs):
    small = {"num_frames": 2, "size": 8, "stages": ((4,), (8, 8)), "hidden": 16, "dropout": 0.0}
    model = C3D(3, rngs=nnx.Rngs(0), **{**small, **kwargs})
    for layer in (model.fc6, model.fc7):  # of so few features the reference's small kernels would leave nothing
        layer.kernel.set_value(layer.kernel[...] * 50)
    model.eval()
    return model


def test_it_overfits_four_clips():
    losses = overfit(make(), draw((3, 2, 8, 8, 3)), steps=40, rate=0.05)
    assert losses[-1] < 0.3 * losses[0]


def test_the_last_map_is_padded_and_read_whole():
    # 8 pixels → 4 → with one pixel of padding on both sides 3; 2 frames → 2 → 1.
    assert make().fc6.kernel[...].shape == (1 * 3 * 3 * 8, 16)
    params = split(abstract("c3d", 101))[1]
    assert params["fc6.kernel"].shape == (1 * 4 * 4 * 512, 4096)
    model = make(num_frames=5, size=11)
    chex.assert_shape(jax.eval_shape(model, draw((2, 5, 11, 11, 3))), (2, 3))


def test_other_clips_are_refused_by_name():
    with pytest.raises(UserError, match=r"2 frames of 8×8 pixels, not 2 frames of 8×12 pixels: .* size=…"):
        make()(draw((1, 2, 8, 12, 3)))
    with pytest.raises(ValueError, match=r"num_frames = 1, size = 8: 2 pools need 2 frames"):
        make(num_frames=1)


def test_recomputing_activations_changes_nothing():
    video, gradients = draw((2, 2, 8, 8, 3)), {}
    for remat in ("", "full"):
        graphdef, params, stats = split(make(remat=remat))

        def first_logit(params, graphdef=graphdef, stats=stats):
            return merge(graphdef, params, stats)(video)[0, 0]

        gradients[remat] = jax.jit(jax.grad(first_logit))(params)
        assert ("remat" in str(jax.make_jaxpr(first_logit)(params))) == bool(remat)
    chex.assert_trees_all_close(gradients["full"], gradients[""], atol=1e-5)


def test_both_dense_layers_are_dropped_out():
    model = make(dropout=0.5)
    model.dropout.train()
    video = draw((1, 2, 8, 8, 3))

    @nnx.jit
    def answer(model, seed):
        rngs = nnx.Rngs(dropout=jax.random.key(seed))
        features = model.features(video, rngs=rngs)
        return features, model.head(features), model(video, rngs=nnx.Rngs(dropout=jax.random.key(seed)))

    first, again, other = (answer(model, seed) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert (np.asarray(first[0]) != np.asarray(other[0])).any()  # behind the first layer
    assert np.abs(np.asarray(first[1]) - np.asarray(first[2])).max() > 1e-4  # and behind the second


def test_kernels_start_as_the_reference_starts_them():
    model = C3D(3, num_frames=4, size=12, stages=((4,), (6,), (64, 64)), hidden=64, rngs=nnx.Rngs(0))
    fan_out = (2 / (27 * 64)) ** 0.5
    for layer, deviation in (
        (model.fc6, 0.005), (model.fc7, 0.005), (model.stages[2][1], fan_out), (model.head, 0.01),
    ):  # fmt: skip
        assert abs(float(layer.kernel[...].std()) / deviation - 1) < 0.2
    assert not any(
        np.asarray(layer.bias[...]).any() for layer in (model.stages[0][0], model.fc6, model.fc7, model.head)
    )


def test_mmaction2s_pixels():
    spec = get_spec("c3d")
    pixels = np.array([[104.0, 117.0, 128.0]]) / 255
    np.testing.assert_allclose((pixels - spec.video.mean) / spec.video.std, 0, atol=1e-9)
    np.testing.assert_allclose((pixels + 10 / 255 - spec.video.mean) / spec.video.std, 10)


def test_the_teaching_network_sees_the_order_of_frames_in_clips_of_any_size():
    model = create_model("conv3d_tiny", num_classes=3)
    assert [kernel[...].shape for kernel in (c.kernel for c in model.convs)] == [(3, 3, 3, 3, 12), (3, 3, 3, 12, 24)]
    video = draw((2, 8, 16, 16, 3))
    logits = nnx.jit(lambda model, video: model(video))
    forwards, backwards = logits(model, video), logits(model, video[:, ::-1])
    assert float(jnp.abs(forwards - backwards).max()) > 1e-3 * float(jnp.abs(forwards).max())
    for shape in ((1, 1, 1, 1, 3), (1, 7, 9, 30, 3)):
        chex.assert_shape(jax.eval_shape(model, jnp.zeros(shape)), (1, 3))
        chex.assert_shape(jax.eval_shape(model.features, jnp.zeros(shape)), (1, 24))
