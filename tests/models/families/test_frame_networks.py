"""Frame pooling: the 2D network on one frame, blind to the order of several."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw, network, overfit, plain_convolutions  # noqa: F401
from tests.peers import needs, torchvision
from vidjax.config import ClipConfig, Config, ConfigError, DataConfig, ModelConfig
from vidjax.models import create_model, get_spec
from vidjax.models.families.frame_networks import VARIANTS, Concatenation, SingleFrameResNet, StackConv
from vidjax.models.families.resnet import ResNet
from vidjax.models.state import split
from vidjax.nn.clips import ClipError
from vidjax.nn.conv import Conv3D
from vidjax.training.checkpoints import build_model


@pytest.fixture(scope="module")
def video():
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 16, 16, 3)), jnp.float32)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_order_of_frames_does_not_matter(video, pooling):
    model = create_model("frame_pool_tiny", temporal_pooling=pooling)
    answer = nnx.jit(lambda model, video: (model(video), model.features(video)))
    logits, features = answer(model, video)
    chex.assert_shape((logits, features), [(2, 6), (2, 64)])
    chex.assert_trees_all_close(answer(model, video[:, np.array([2, 0, 3, 1])]), (logits, features), atol=1e-5)
    frames = np.stack([answer(model, video[:, t : t + 1])[1] for t in range(4)])
    chex.assert_trees_all_close(features, getattr(frames, pooling)(axis=0), atol=1e-5)


@pytest.mark.parametrize(("layers", "features"), [(18, 512), (34, 512), (50, 2048), (101, 2048)])
def test_named_networks_have_the_references_protocol_and_width(layers, features):
    name = f"frame_pool_r{layers}"
    spec = get_spec(name)
    assert (spec.video.num_frames, spec.video.size, spec.video.resize, spec.video.mean) == (
        8,
        224,
        (256,),
        (0.485, 0.456, 0.406),
    )
    shapes = {path: array.shape for path, array in split(abstract(name, 5))[1].items()}
    assert shapes["head.kernel"] == (features, 5)
    assert all(shape[0] == 1 for path, shape in shapes.items() if len(shape) == 5)


def test_a_clip_is_a_batch_of_frames_to_the_network():
    def last_stage():
        variant = VARIANTS["frame_pool_r50"]
        model = variant.build(num_classes=5, rngs=nnx.Rngs(0), **variant.kwargs)
        x = model.stem(jnp.zeros((1, 3, 224, 224, 3)))
        for blocks in model.stages:
            for block in blocks:
                x = block(x)
        return x

    assert jax.eval_shape(last_stage).shape == (1, 3, 7, 7, 2048)


def test_the_tiny_networks_differ_in_time_only():
    frame_pool, r2plus1d = create_model("frame_pool_tiny"), create_model("r2plus1d_tiny")
    assert [len(blocks) for blocks in frame_pool.stages] == [len(blocks) for blocks in r2plus1d.stages]
    for theirs, ours in zip(frame_pool.stages, r2plus1d.stages, strict=True):
        assert theirs[0].norm2.num_features == ours[0].norm2.num_features
    specs = get_spec("frame_pool_tiny"), get_spec("r2plus1d_tiny")
    assert specs[0].inputs == specs[1].inputs and specs[0].num_classes == specs[1].num_classes


@pytest.mark.parametrize("pooling", ["attention", "netvlad", "pyramid"])
def test_poolings_are_an_argument(pooling):
    model = ResNet(3, **network(), temporal_pooling=pooling)
    factor = {"netvlad": 8, "pyramid": 15}.get(pooling, 1)
    assert model.head.in_features == 16 * factor
    if pooling == "netvlad":
        losses = overfit(model, draw((4, 3, 6, 6, 3)), steps=3, rate=0.05)
        assert losses[-1] < losses[0]


def test_single_frames_average_probabilities():
    model = SingleFrameResNet(3, **network())
    model.eval()
    model.head.kernel.set_value(draw((16, 3)))
    answer, video = nnx.jit(lambda model, video: model(video)), draw((2, 3, 8, 8, 3))
    frames = np.stack([jax.nn.softmax(answer(model, video[:, t : t + 1])) for t in range(3)])
    chex.assert_trees_all_close(jax.nn.softmax(answer(model, video)), frames.mean(axis=0), atol=1e-5)


def fused(kind, num_frames=3):
    if kind == "late":
        model = ResNet(3, **network(), temporal_pooling=partial(Concatenation, num_frames=num_frames, hidden=8))
    else:
        parts = network()
        parts["stem"].conv = StackConv(
            num_frames, 3, 8, kernel_size=(1, 3, 3), strides=(1, 2, 2), padding=(0, 1, 1), rngs=parts["rngs"]
        )
        model = ResNet(3, **parts)
    return model


@pytest.mark.parametrize("kind", ["late", "early"])
def test_fusions_know_the_order_train_and_refuse_other_lengths(kind):
    model, video = fused(kind), draw((4, 3, 6, 6, 3))
    losses = overfit(model, video, steps=20)
    assert losses[-1] < 0.5 * losses[0]
    answer = nnx.jit(lambda model, video: model(video))
    assert float(jnp.abs(answer(model, video) - answer(model, video[:, ::-1])).max()) > 1e-3
    with pytest.raises(ValueError, match=r"clips of 3 frames, but got 4: build it with num_frames=4"):
        model(draw((4, 4, 8, 8, 3)))


def test_early_fusion_is_a_picture_of_many_channels():
    conv, x = fused("early").stem.conv, draw((2, 3, 8, 8, 3))
    plain = Conv3D(9, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1), rngs=nnx.Rngs(0))
    plain.kernel.set_value(jnp.asarray(np.concatenate(np.asarray(conv.kernel[...]), axis=2)[None]))
    side_by_side = jnp.concatenate([x[:, t] for t in range(3)], axis=-1)[:, None]
    chex.assert_trees_all_close(conv(x), plain(side_by_side), atol=1e-5)
    # It starts as large as that convolution does.
    fresh = Conv3D(9, 8, (1, 3, 3), rngs=nnx.Rngs(1)).kernel[...]
    assert 0.8 < float(conv.kernel[...].std() / fresh.std()) < 1.25


@pytest.mark.parametrize("name", ["early_fusion_r50", "late_fusion_r50", "early_fusion_tiny", "late_fusion_tiny"])
def test_fusions_are_built_for_the_length_of_the_clips(name):
    config = Config(model=ModelConfig(name=name), data=DataConfig(clip=ClipConfig(num_frames=5)))
    model = build_model(config, 4, dtype=None, abstract=True)
    shapes = {path: array.shape for path, array in split(model)[1].items()}
    if name.startswith("early"):
        assert shapes["stem.conv.kernel"][0] == 5
    else:
        assert shapes["pooling.dense.kernel"][0] % 5 == 0
        assert shapes["pooling.dense.kernel"][0] // 5 in (2048, 16 * 64)


def test_tsn_is_mmaction2s():
    spec, variant = get_spec("tsn_r50"), VARIANTS["tsn_r50"]
    assert (spec.video.num_frames, spec.video.size, variant.kwargs["dropout"]) == (8, 224, 0.4)
    assert sum(array.size for array in split(abstract("tsn_r50"))[1].values()) == 24327632


def test_wrong_arguments_name_the_setting():
    config = Config(model=ModelConfig(name="frame_pool_tiny", kwargs={"temporal_pooling": "median"}))
    with pytest.raises(ConfigError, match=r"config\.model.*'median': must be one of mean"):
        build_model(config, 4, dtype=None)


@pytest.mark.slow
def test_one_frame_is_torchvisions_network():
    torch, models = needs("torch"), torchvision().models
    from vidjax.weights import load_pretrained

    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=10).eval()
    image = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    ours = load_pretrained("frame_pool_r18", theirs.state_dict())
    chex.assert_trees_all_close(ours(image[:, None]), expected, atol=1e-4, rtol=1e-4)
    still = np.repeat(image[:, None], 3, axis=1)
    chex.assert_trees_all_close(ours(still), expected, atol=1e-4, rtol=1e-4)


def test_a_layer_of_stacked_frames_refuses_integers():
    layer = StackConv(4, 3, 2, kernel_size=(1, 3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ClipError, match="pixels are uint8"):
        layer(jnp.ones((1, 4, 8, 8, 3), jnp.uint8))
