"""Tables of frame-wise and recurrent networks: mmaction2's keys and logits, image networks as the body of others."""

import logging

import jax
import numpy as np
import pytest
from flax import nnx

from tests.golden import golden, read_keys, relative_error
from tests.weights.answers import compiled, errors
from tests.weights.tables.test_torchvision import empty_state, shapes_of
from vidjax.models.registry import create_model, get_spec, get_variant, list_models
from vidjax.models.state import split
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise
from vidjax.weights.tables.frame_networks import SOURCES

MMACTION2 = {"tsn_r50": "mmaction2_tsn", "tsm_r50": "mmaction2_tsm"}


@pytest.fixture(scope="module")
def resnet18():
    """The state dict of torchvision's ResNet-18, filled by rule."""
    return golden("torchvision2d_resnet18_224").state


@pytest.mark.parametrize("name", MMACTION2)
def test_every_key_of_mmaction2_has_its_place(shared, name):
    state = empty_state(shared, MMACTION2[name])
    shapes = shapes_of(name, 400)
    table = recognise(state, name)
    assert table.name == "mmaction2" and "mmaction2" in get_spec(name).sources
    assert convert(state, table, shapes).keys() == shapes.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(int(np.prod(shape)) for shape in shapes.values())


def test_tsn_and_tsm_are_told_apart(shared):
    for name, other in (("tsn_r50", "mmaction2_tsm"), ("tsm_r50", "mmaction2_tsn")):
        with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.conv"):
            recognise(empty_state(shared, other), name)


def test_every_model_of_these_tables_names_its_sources():
    for table in SOURCES:
        served = [name for name in list_models() if table.serves(name)]
        assert served and all(table.name in get_spec(name).sources for name in served)


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(
    ("name", "listing"),
    [
        ("late_fusion_r50", "torchvision2d_resnet50"),
        ("early_fusion_r50", "torchvision2d_resnet50"),
        ("cnn_lstm_r18", "torchvision2d_resnet18"),
        ("cnn_lstm_r50", "torchvision2d_resnet50"),
        ("cnn_gru_r18", "torchvision2d_resnet18"),
        ("cnn_gru_r50", "torchvision2d_resnet50"),
        ("rcn_gru_r18", "torchvision2d_resnet18"),
        ("rcn_lstm_r18", "torchvision2d_resnet18"),
    ],
)
def test_an_image_network_is_the_whole_body(shared, name, listing):
    state = empty_state(shared, listing)
    shapes = shapes_of(name, 1000)
    arrays = convert(state, recognise(state, name), shapes)
    new = shapes.keys() - arrays.keys()
    if name.startswith("early_fusion"):
        assert not new
    else:
        assert {path.split(".")[0] for path in new} == {"pooling", "head"}
        assert all(path.startswith(("stem.", "stages.")) for path in arrays)


@pytest.mark.slow
def test_what_starts_anew_is_listed(resnet18, caplog):
    model = create_model("cnn_lstm_r18", num_classes=5, hidden=8, temporal_pooling="attention")
    before = split(model)[1]
    with caplog.at_level(logging.WARNING, "vidjax"):
        report = load_into(model, resnet18, name="cnn_lstm_r18")
    new = {"head.bias", "head.kernel", "pooling.pool.hidden.bias", "pooling.pool.hidden.kernel",
           "pooling.pool.score.kernel", "pooling.rnn.cells.0.0.hidden.kernel", "pooling.rnn.cells.0.0.input.bias",
           "pooling.rnn.cells.0.0.input.kernel"}  # fmt: skip
    assert set(report.fresh) == new
    assert "newly initialised" in caplog.text and "pooling.rnn.cells" in caplog.text
    after = split(model)[1]
    assert {path for path in after if np.array_equal(after[path], before[path])} == new
    np.testing.assert_array_equal(after["stem.conv.kernel"][0], resnet18["conv1.weight"].transpose(2, 3, 1, 0))


@pytest.mark.slow
def test_a_pooling_with_more_features_gets_a_new_classifier(resnet18):
    model = create_model("frame_pool_r18", num_classes=1000, temporal_pooling="netvlad")
    head = np.asarray(model.head.kernel[...])
    report = load_into(model, resnet18, name="frame_pool_r18")
    assert set(report.fresh) == {"pooling.centres", "pooling.assign.kernel", "pooling.assign.bias"}
    np.testing.assert_array_equal(model.head.kernel[...], head)


def test_the_first_kernel_of_early_fusion_is_repeated_and_divided(shared):
    state = empty_state(shared, "torchvision2d_resnet50")
    state["conv1.weight"] = np.random.default_rng(0).standard_normal((64, 3, 7, 7)).astype(np.float32)
    variant = get_variant("early_fusion_r50")
    model = nnx.eval_shape(lambda: variant.build(num_classes=1000, rngs=nnx.Rngs(0), encoder="r50", num_frames=5))
    _, params, stats = split(model)
    shapes = {path: array.shape for path, array in {**params, **stats}.items()}
    kernel = convert(state, recognise(state, "early_fusion_r50"), shapes)["stem.conv.kernel"]
    assert kernel.shape == (5, 7, 7, 3, 64)
    for frame in kernel:
        np.testing.assert_allclose(5 * frame, state["conv1.weight"].transpose(2, 3, 1, 0), rtol=1e-6)


@pytest.mark.slow
def test_weights_for_frames_start_a_network_for_frames_and_differences(resnet18):
    model = create_model("frame_pool_r18", num_classes=1000, input="rgb+diff")
    report = load_into(model, resnet18, name="frame_pool_r18")
    assert report.widened == ("stem.conv.kernel",) and not report.fresh
    kernel = np.asarray(model.stem.conv.kernel[...])
    assert kernel.shape == (1, 7, 7, 6, 64) and not kernel[..., 3:, :].any()
    np.testing.assert_array_equal(kernel[0, ..., :3, :], resnet18["conv1.weight"].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(("name", "input", "fields"), [
    ("frame_pool_r18", "flow", 3), ("frame_pool_r18", "rgb+flow", 2), ("frame_pool_r18", "flow", 1),
])  # fmt: skip
def test_channels_of_flow_start_from_the_mean_of_the_colours(resnet18, name, input, fields):
    """Three fields have as many channels as frames and their differences, which start at zero."""
    model = load_pretrained(name, resnet18, input=input, flow_fields=fields)
    kernel = np.asarray(model.stem.conv.kernel[...])
    colours = resnet18["conv1.weight"].transpose(2, 3, 1, 0)[None]
    mean = colours.mean(axis=3, keepdims=True).repeat(2 * fields, axis=3)
    expected = mean if input == "flow" else np.concatenate([colours, mean], axis=3)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6, atol=1e-7)


def test_every_key_of_mmaction2s_flow_has_its_place():
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape, _ in read_keys("mmaction2_tsn_flow_r50_3x224")}
    shapes = shapes_of("tsn_r50_flow", 400)
    arrays = convert(state, recognise(state, "tsn_r50_flow"), shapes)
    assert arrays.keys() == shapes.keys() and arrays["stem.conv.kernel"].shape == (1, 7, 7, 10, 64)


@pytest.mark.slow
def test_logits_of_flow_are_mmaction2s():
    expected = golden("mmaction2_tsn_flow_r50_3x224")
    noise, coarse = (x.reshape(2, 3, *x.shape[2:]) for x in (expected.video, expected.coarse_video))
    model = load_pretrained("tsn_r50_flow", expected.state)
    given = np.asarray(compiled(model)(np.concatenate([noise[:1], coarse[1:]])))
    for one, answer in zip(given, expected.of_both("logits"), strict=True):
        assert relative_error(one, answer) < 1e-4


@pytest.mark.slow
def test_logits_are_mmaction2s():
    assert max(errors("mmaction2_tsm_r50_8x224", "tsm_r50")) < 1e-4


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("name", ["tsn_r50", "single_frame_r50", "early_fusion_r50"])
def test_a_still_clip_is_the_image(name):
    expected = golden("torchvision2d_resnet50_224")
    model = load_pretrained(name, expected.state, **({"num_frames": 3} if name.startswith("early") else {}))
    answers = expected.of_both("logits")
    if name.startswith("single"):  # a logarithm of probabilities
        answers = jax.nn.log_softmax(answers)
    given = compiled(model)(np.repeat(expected.both, 3, axis=1))
    for one, answer in zip(given, answers, strict=True):
        assert relative_error(one, answer) < 1e-4
