"""The head for boxes: what it pools, what surrounds a box, and that padding is of no consequence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from tests.models.small import draw, network, plain_convolutions  # noqa: F401
from vidjax.errors import UserError
from vidjax.models.base import NoSuchPartError
from vidjax.models.families.resnet import ResNet
from vidjax.models.families.slowfast import SlowFast
from vidjax.models.roi_head import BankAttention, RoiHead, RoiOptions, has_area
from vidjax.models.state import merge, split
from vidjax.nn.roi_align import roi_align

BOXES = np.asarray(
    [[[0, 0, 15, 15], [2, 3, 9, 8], [0, 0, 0, 0]], [[5, 5, 12, 16], [0, 0, 0, 0], [0, 0, 0, 0]]], np.float32
)
VIDEO = np.asarray(draw((2, 3, 16, 16, 3)))
BANK = np.asarray(draw((2, 5, 6), seed=1))


def detector(**options):
    """A network of two blocks with a head for boxes, with drawn weights, in evaluation mode."""

    def build(rngs):
        model = ResNet(1, **{**network(), "rngs": rngs})
        model.head = RoiHead(model, 3, RoiOptions(**{"roi_size": 3, "roi_bank": 6, **options}), rngs=rngs)
        return model

    return drawn(build)


@pytest.mark.parametrize("time", ["mean", "max"])
def test_a_box_is_the_maximum_of_its_bins_in_the_map_pooled_over_time(time):
    model = detector(roi_time=time)

    @nnx.jit
    def run(model):
        maps = model.encode(VIDEO).maps
        plane = getattr(maps[4], time)(axis=1)
        vectors = roi_align(plane, BOXES, (3, 3), 1 / 4).max(axis=(2, 3))
        wanted = vectors @ model.head.kernel[...] + model.head.bias[...].reshape(1, 1, -1)
        return wanted, model(VIDEO, BOXES), model.head(maps, lambda x: 0 * x, BOXES)

    wanted, found, dropped = run(model)
    chex.assert_trees_all_close(found, wanted, atol=1e-5)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(dropped, np.broadcast_to(model.head.bias[...], (2, 3, 3)))


def test_inputs_are_taken_by_name_or_by_place():
    model = detector()

    @nnx.jit
    def run(model):
        named, placed = model({"video": VIDEO, "boxes": BOXES}), model(VIDEO, BOXES)
        return named, placed, model.apply_head(model.encode(VIDEO), BOXES)

    named, placed, applied = run(model)
    chex.assert_trees_all_close(named, placed, applied)

    def call(*inputs):
        return nnx.eval_shape(lambda model: model(*inputs), model)

    with pytest.raises(UserError, match="takes an input named 'boxes', but got 'video'"):
        call({"video": VIDEO})
    with pytest.raises(UserError, match="ResNet with this head takes video, boxes; it got 1 of them"):
        call(VIDEO)
    with pytest.raises(UserError, match=r"expected floating-point \(B, R, 4\) with B = 2, got float32 \(2, 4\)"):
        call(VIDEO, BOXES[:, 0])
    with pytest.raises(UserError, match="roi_time = 'median': must be one of 'mean', 'max'"):
        RoiOptions(roi_time="median")


@pytest.mark.parametrize(
    "context", ["", "relations", *(pytest.param(context, marks=pytest.mark.slow) for context in ("global", "bank"))]
)
def test_padding_and_other_clips_change_no_box_in_evaluation_nor_in_training(context):
    model = detector(roi_context=context, roi_hidden=4)
    bank = (BANK,) if context == "bank" else ()
    graphdef, params, stats = split(model)

    @jax.jit
    def run(params, boxes):
        def loss(params):
            model = merge(graphdef, params, stats)
            model.train()
            logits = model(VIDEO, boxes, *bank)
            return jnp.where(has_area(boxes)[..., None], logits, 0).sum(), (logits, split(model)[2])

        (_, (logits, moved)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return merge(graphdef, params, stats)(VIDEO, boxes, *bank), logits, moved, gradients

    more = np.concatenate([BOXES[:, :2], np.zeros((2, 3, 4), np.float32)], axis=1)
    (given, trained, moved, gradients), (padded, trained_too, moved_too, gradients_too) = (
        run(params, BOXES),
        run(params, more),
    )
    real = np.asarray(has_area(BOXES))
    assert real.sum() == 3
    for few, many in ((given, padded), (trained, trained_too)):
        np.testing.assert_allclose(few[real], np.asarray(many)[:, :3][real], atol=1e-5)
    chex.assert_trees_all_close((moved, gradients), (moved_too, gradients_too), atol=1e-4)
    assert [path for path, gradient in gradients.items() if not np.isfinite(gradient).all()] == []


def test_statistics_stay_where_there_is_no_box():
    model = detector(roi_context="relations")
    before = {path: np.asarray(array) for path, array in split(model)[2].items() if "context" in path}
    model.train()
    logits = nnx.jit(lambda model: model(VIDEO, np.zeros_like(BOXES)))(model)
    assert np.isfinite(logits).all() and len(before) == 4
    after = split(model)[2]
    for path, array in before.items():
        np.testing.assert_allclose(after[path], array, rtol=1e-6)


def test_the_whole_picture_is_the_same_for_every_box():
    logits = nnx.jit(lambda model: model(VIDEO, BOXES))(detector(roi_region="picture"))
    np.testing.assert_array_equal(logits, np.broadcast_to(logits[:, :1], logits.shape))
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_relations_read_the_box_beside_every_place():
    @nnx.jit
    def run(model):
        context, maps = model.head.context, model.encode(VIDEO).maps
        plane = maps[4].mean(axis=1)
        own = roi_align(plane, BOXES, (3, 3), 1 / 4).max(axis=(2, 3))
        tiled = jnp.broadcast_to(own[0, 1].reshape(1, 1, 1, 1, -1), (1, 1, *plane.shape[1:]))
        x = nnx.relu(context.norm1(context.conv1(jnp.concatenate([tiled, plane[:1, None]], axis=-1))))
        x = nnx.relu(context.norm2(context.conv2(x)))
        return model.head.vectors(maps, BOXES)[0, 1], x.max(axis=(0, 1, 2, 3))

    np.testing.assert_allclose(*run(detector(roi_context="relations")), atol=1e-5)


def test_a_bank_is_attended_to_row_by_row():
    layer = drawn(lambda rngs: BankAttention(6, rngs=rngs))
    x, bank = draw((2, 3, 6)), jnp.asarray(BANK)

    @nnx.jit
    def run(layer, x, bank):
        shares = jax.nn.softmax(jnp.einsum("brd,bmd->brm", layer.query(x), layer.key(bank)) / np.sqrt(6))
        wanted = layer.out(nnx.relu(layer.norm(jnp.einsum("brm,bmd->brd", shares, layer.value(bank)))))
        return layer(x, bank), wanted

    np.testing.assert_allclose(*run(layer, x, bank), atol=1e-5)
    run = nnx.jit(lambda model, bank: model({"video": VIDEO, "boxes": BOXES, "bank": bank}))
    model = detector(roi_context="bank")
    logits = run(model, BANK)
    assert np.abs(logits - run(model, BANK[:, ::-1])).max() < 1e-4  # the order is of no consequence
    assert np.abs(logits - run(model, BANK[::-1])).max() > 1e-3


def test_a_network_without_maps_is_refused():
    model = detector()
    model.widths = type(model.widths)(4)
    with pytest.raises(NoSuchPartError, match="ResNet has no maps, which RoiHead reads"):
        RoiHead(model, 3, RoiOptions(), rngs=nnx.Rngs(0))


def test_the_maximum_over_time_is_that_of_each_pathway():
    tiny = {"depths": (1,), "width": 16, "beta": 4, "alpha": 2, "slow_kernels": ((1,),), "fast_kernels": ((3,),)}
    model = drawn(lambda rngs: SlowFast(3, rngs=rngs, fast_frames="max", strides=((1, 1, 1),), **tiny))
    video = draw((1, 4, 16, 16, 3))

    @nnx.jit
    def run(model, video):
        slow, fast = model.slow.stem(video[:, [0, 3]]), model.fast.stem(video)
        slow = model.slow.stage(0, jnp.concatenate([slow, model.laterals[0](fast)], axis=-1))
        wanted = jnp.concatenate([slow.max(axis=1), model.fast.stage(0, fast).max(axis=1)], axis=-1)
        return model.encode(video).maps[4].max(axis=1), wanted

    np.testing.assert_allclose(*run(model, video), atol=1e-5)
    with pytest.raises(ValueError, match="fast_frames = 'sum': must be 'mean' or 'max'"):
        SlowFast(3, rngs=nnx.Rngs(0), fast_frames="sum", **tiny)
