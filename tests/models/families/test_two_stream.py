"""Two-stream networks by name: their inputs, and the networks that can be a stream."""

import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract
from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig
from vidjax.errors import UserError
from vidjax.models.arguments import ArgumentError
from vidjax.models.build import build_model
from vidjax.models.registry import UnknownModelError, abstract_model, get_spec

PROTOCOLS = {
    # frames, fields, first mean of flow, fusion of the published network
    "two_stream_r50": (1, 10, 0.5, ("probabilities", (0.5, 0.5))),
    "two_stream_tsn": (3, 5, 0.5, ("probabilities", (0.4, 0.6))),
    "two_stream_i3d": (64, 1, 0.5, ("logits", (1.0, 1.0))),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_published_protocols(name):
    frames, fields, mean, fusion = PROTOCOLS[name]
    spec, model = get_spec(name), abstract(name, num_classes=5)
    video = spec.video
    assert (video.num_frames, video.flow.count, video.content) == (frames, fields, "rgb+flow")
    assert video.flow.bound == 20 and video.flow.mean_subtracted == (name == "two_stream_r50")
    assert video.mean[3:] == (mean,) * 2 * fields
    assert model.channels == video.channels == 3 + 2 * fields
    assert (model.rgb.channels, model.flow.channels) == (3, 2 * fields)
    assert (model.head.rule, model.head.weights) == fusion


def test_any_two_networks_by_config():
    """Names, kind of fusion and fields from the settings, down to lengths and sizes of tables."""
    kwargs = {"rgb": "vivit_tiny", "flow": "early_fusion_tiny", "fusion": "weighted", "weights": (1, 2)}
    config = Config(
        model=ModelConfig(name="two_stream_tiny", kwargs=kwargs),
        data=DataConfig(flow_fields=3, clip=ClipConfig(num_frames=4, size=32)),
    )
    model = build_model(config, 7, dtype=None, abstract=True)
    assert (model.channels, model.flow.channels) == (9, 6)
    assert model.rgb.base_grid == (2, 4, 4) and model.flow.stem.conv.kernel.shape[0] == 4
    answer = nnx.eval_shape(lambda net, video: net(video), model, jax.ShapeDtypeStruct((2, 4, 32, 32, 9), np.float32))
    assert answer.shape == (2, 7)


@pytest.mark.slow(after=3)
@pytest.mark.parametrize(
    "pair",
    [
        ("tsm_tiny", "slow_tiny"),
        ("mvit_tiny", "x3d_tiny"),
        ("cnn_lstm_tiny", "swin3d_tiny"),
        ("csn_tiny", "conv3d_tiny"),
    ],
)
@pytest.mark.parametrize("fusion", ["learned", "concat"])
def test_networks_of_all_kinds(pair, fusion):
    model = abstract("two_stream_tiny", num_classes=4, fusion=fusion, rgb=pair[0], flow=pair[1])
    video = jax.ShapeDtypeStruct((2, 8, 64, 64, 5), np.float32)
    logits, parts = nnx.eval_shape(lambda net, video: (net(video), net.encode(video)), model, video)
    assert logits.shape == (2, 4) and parts.pooled.shape == (2, model.widths.pooled)


@pytest.mark.parametrize("pair", [("slow_tiny", "slow_tiny"), ("x3d_tiny", "x3d_tiny"), ("csn_tiny", "csn_tiny"),
                                  ("i3d_inception_tiny", "i3d_inception_tiny"), ("tsm_tiny", "frame_pool_tiny"),
                                  ("r2plus1d_tiny", "r2plus1d_tiny")])  # fmt: skip
def test_networks_whose_stages_take_motion(pair):
    model = abstract("two_stream_tiny", num_classes=4, fusion="lateral", rgb=pair[0], flow=pair[1])
    assert model.lateral_strides == tuple(sorted(model.rgb.widths.maps)[:-1])
    video = jax.ShapeDtypeStruct((2, 8, 64, 64, 5), np.float32)
    assert nnx.eval_shape(lambda net, video: net(video), model, video).shape == (2, 4)


def test_arguments_of_one_stream():
    model = abstract_model("two_stream_tiny", num_classes=2, rgb_options={"temporal_pooling": "max"}, remat="full")
    assert (model.rgb.pooling.name, model.flow.pooling.name) == ("max", "mean")
    assert model.rgb.remat == model.flow.remat == "full"
    with pytest.raises(ArgumentError, match="frame_pool_tiny takes no argument 'share'"):
        abstract_model("two_stream_tiny", flow_options={"share": 8})


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"rgb": "slow_r05"}, UnknownModelError, "no model 'slow_r05'. Did you mean"),
        ({"rgb": "two_stream_tiny"}, UserError, "rgb = 'two_stream_tiny': is itself one of two streams"),
        ({"flow": "feature_linear_tiny"}, UserError, "flow = 'feature_linear_tiny': takes other inputs than a video"),
        ({"rgb": "slow_detect_tiny"}, UserError, "rgb = 'slow_detect_tiny': takes other inputs than a video"),
        ({"rgb": "videomae_tiny_pretrain"}, UserError, "rgb = 'videomae_tiny_pretrain': has no classifier"),
        ({"in_channels": 3}, UserError, "in_channels = 3: .*takes 3 colours and 2 channels of each field"),
        ({"in_channels": 6}, UserError, "in_channels = 6: "),
    ],
)
def test_what_cannot_be_a_stream_is_named(kwargs, error, message):
    with pytest.raises(error, match=message):
        abstract_model("two_stream_tiny", **kwargs)


def test_a_clip_without_flow_is_refused():
    with pytest.raises(UserError, match="C = 5, channels last"):
        vidjax.create_model("two_stream_tiny")(np.zeros((1, 2, 16, 16, 3), np.float32))
