"""Checkpoints of two-stream networks: a published file for each stream, read, refused and written back."""

import logging

import jax
import numpy as np
import pytest

from tests.golden import fill, read_keys
from tests.models.abstract import abstract
from vidjax.__main__ import main
from vidjax.apps.convert import convert, convert_back
from vidjax.config import Config, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models import create_model, get_spec
from vidjax.models.registry import abstract_model
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.streams import by_stream, spec_of
from vidjax.weights.torch_files import write_archive
from vidjax.weights.write import to_state_dict

PAIR = {"rgb": "frame_pool_r18", "flow": "conv3d_tiny"}
HEAD = "fc.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image ResNet-18 as torchvision names it, of 1000 classes and of 10."""
    folder = tmp_path_factory.mktemp("streams")
    state = {key: fill(key, shape) for key, shape, _ in read_keys("torchvision2d_resnet18")}
    write_archive(folder / "rgb.pth", state)
    write_archive(folder / "few.pth", state | {key: state[key][:10] for key in state if key.startswith("fc.")})
    return folder


@pytest.fixture(scope="module")
def loaded(files):
    """Two streams, of which one comes from the file, and that network by itself."""
    both = load_pretrained("two_stream", {"rgb": files / "rgb.pth"}, seed=3, **PAIR)
    return both, load_pretrained("frame_pool_r18", files / "rgb.pth")


def own_arrays(model, stream):
    with model.alone(stream) as network:
        return {path: array for part in split(network)[1:] for path, array in part.items()}


def assert_same(own, expected):
    for part in split(expected)[1:]:
        for path, array in part.items():
            if path in own:
                np.testing.assert_array_equal(own[path], array, err_msg=path)


@pytest.mark.slow
def test_a_stream_is_loaded_as_the_network_by_itself(loaded):
    both, alone = loaded
    own = own_arrays(both, "rgb")
    assert own.keys() == set().union(*split(alone)[1:])
    assert_same(own, alone)
    assert both.head.out_features == 1000


@pytest.mark.slow
def test_the_other_stream_is_as_new(loaded):
    new = create_model("two_stream", num_classes=1000, seed=3, **PAIR)
    own = own_arrays(loaded[0], "flow")
    assert "head.kernel" in own
    with new.alone("flow") as flow:
        assert_same(own, flow)


def test_one_report_of_the_streams(files):
    model = abstract_model("two_stream", num_classes=10, **PAIR)
    report = load_into(model, f"rgb={files / 'few.pth'}", name="two_stream")
    assert report.head_loaded and report.source == "rgb: torchvision2d" and report.fresh == ()
    assert report.num_loaded == len(own_arrays(model, "rgb"))


def test_other_classes_leave_that_stream_a_new_classifier(files, caplog):
    model = abstract_model("two_stream", num_classes=3, **PAIR)
    with caplog.at_level(logging.WARNING, "vidjax"):
        report = load_into(model, f"rgb={files / 'rgb.pth'}", name="two_stream")
    assert not report.head_loaded and "classifier has 1000 classes, but frame_pool_r18 needs 3" in caplog.text
    own = own_arrays(model, "rgb")
    assert {path for path, array in own.items() if isinstance(array, jax.ShapeDtypeStruct)} == {
        "head.kernel", "head.bias"
    }  # fmt: skip


@pytest.mark.slow
def test_without_classifiers_of_the_streams_those_of_the_files_are_left_out(files, loaded):
    model = abstract_model("two_stream", num_classes=3, fusion="concat", **PAIR)
    report = load_into(model, f"rgb={files / 'rgb.pth'}", name="two_stream")
    assert f"rgb.{HEAD}" in report.dropped and model.rgb.head is None
    own = own_arrays(model, "rgb")
    assert "stem.norm.mean" in own and "head.kernel" not in own
    assert_same(own, loaded[1])


def test_a_stream_is_written_back_as_it_was_read(files, loaded):
    with loaded[0].alone("rgb") as network:
        state = to_state_dict(network, "frame_pool_r18", "torchvision2d")
    original = read_state_dict(files / "rgb.pth")
    assert state.keys() == original.keys()
    for key, array in original.items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(state[key], array, err_msg=key)


@pytest.mark.slow
def test_a_stream_of_a_run_is_written_by_name(files, loaded, tmp_path):
    config = Config(model=ModelConfig(name="two_stream", kwargs=PAIR))
    labels = LabelSpace(tuple(f"class {k}" for k in range(1000)))
    save_model(tmp_path / "run", loaded[0], Meta(config, get_spec("two_stream"), labels))
    command = ["convert", "--to", "torchvision2d", str(tmp_path / "run")]
    assert main([*command, str(tmp_path / "rgb.pth"), "--stream", "rgb"]) == 0
    again, original = read_state_dict(tmp_path / "rgb.pth"), read_state_dict(files / "rgb.pth")
    np.testing.assert_array_equal(again[HEAD], original[HEAD])
    with pytest.raises(CheckpointError, match="holds two_stream, a network of several streams: choose one with"):
        convert_back(str(tmp_path / "run"), str(tmp_path / "whole.pth"), "torchvision2d")
    with pytest.raises(UserError, match="no stream 'sound'"):
        convert_back(str(tmp_path / "run"), str(tmp_path / "sound.pth"), "torchvision2d", stream="sound")


def test_checkpoints_are_told_apart_by_the_streams_names():
    model = abstract("two_stream_tiny")
    assert by_stream("rgb=a,b.pth,flow=c=d.pth", model) == {"rgb": "a,b.pth", "flow": "c=d.pth"}
    assert by_stream("flow=runs/flow", model) == {"flow": "runs/flow"}
    assert by_stream({"flow": "runs/flow"}, model) == {"flow": "runs/flow"}
    for other in ("runs/two", "sound=a", "rgb=", {"conv.weight": np.zeros(3)}, {}):
        assert by_stream(other, model) == {}
    with pytest.raises(CheckpointError, match="names a stream twice; give rgb=PATH,flow=PATH"):
        by_stream("rgb=a,rgb=b", model)


@pytest.mark.parametrize("checkpoint", ["i3d.pth", {"conv.weight": np.zeros(3)}])
def test_a_checkpoint_of_no_stream_is_refused_with_the_form(checkpoint):
    with pytest.raises(CheckpointError, match=r"two_stream_tiny has several streams.*give rgb=PATH,flow=PATH"):
        load_pretrained("two_stream_tiny", checkpoint)


def test_classes_of_both_files_must_agree(files):
    paths = {"rgb": files / "rgb.pth", "flow": files / "few.pth"}
    with pytest.raises(CheckpointError, match=r"other classes \(rgb 1000, flow 10\); give num_classes"):
        load_pretrained("two_stream", paths, rgb="frame_pool_r18", flow="frame_pool_r18")


def test_a_streams_spec_has_its_channels():
    spec = get_spec("two_stream_r50")
    model = abstract("two_stream_r50")
    rgb, flow = (spec_of(spec, model, stream).video for stream in ("rgb", "flow"))
    assert (rgb.content, rgb.mean, rgb.flow) == ("rgb", (0.485, 0.456, 0.406), None)
    assert (flow.content, flow.mean, flow.flow) == ("flow", (0.5,) * 20, spec.video.flow)


@pytest.mark.slow
def test_two_published_files_become_one_checkpoint(tmp_path):
    """I3D's two files, by the command."""
    keys = read_keys("piergiaj_i3d_rgb")
    for stream, channels in (("rgb", 3), ("flow", 2)):
        state = {key: fill(f"{stream}.{key}", shape) for key, shape, _ in keys}
        first = next(key for key, shape, _ in keys if shape[1:2] == (3,) and len(shape) == 5)
        state[first] = state[first][:, :channels]
        write_archive(tmp_path / f"{stream}.pt", state)
    both = f"rgb={tmp_path}/rgb.pt,flow={tmp_path}/flow.pt"
    assert convert("two_stream_i3d", both, tmp_path / "both") == 0
    model, meta, _ = load_model(tmp_path / "both")
    assert meta.spec.video.flow.method == "tvl1" and model.head.weights == (1.0, 1.0)
    for stream, name in model.names:
        own = own_arrays(model, stream)
        assert "head.kernel" in own
        assert_same(own, load_pretrained(name, tmp_path / f"{stream}.pt"))
