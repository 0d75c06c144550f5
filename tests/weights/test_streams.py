"""Checkpoints of two-stream networks: a published file for each stream, read, refused and written back."""

import logging

import numpy as np
import pytest

from tests.golden import fill, read_keys
from tests.models.abstract import abstract
from vidjax.apps.convert import convert, convert_back
from vidjax.config import Config, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models import create_model, get_spec
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.weights import load_into, load_pretrained
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.streams import by_stream, spec_of
from vidjax.weights.torch_files import write_archive
from vidjax.weights.write import to_state_dict

PAIR = {"rgb": "x3d_s", "flow": "frame_pool_tiny"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """X3D-S as pytorchvideo names it, of 400 classes and of 10."""
    folder = tmp_path_factory.mktemp("streams")
    state = {key: fill(key, shape) for key, shape, _ in read_keys("pytorchvideo_x3d_s")}
    write_archive(folder / "rgb.pth", state)
    head = {key: array[:10] for key, array in state.items() if array.shape[:1] == (400,)}
    write_archive(folder / "few.pth", state | head)
    return folder


def own_arrays(model, stream):
    with model.alone(stream) as network:
        return {path: np.asarray(array) for part in split(network)[1:] for path, array in part.items()}


def assert_same(own, expected):
    for part in split(expected)[1:]:
        for path, array in part.items():
            if path in own:
                np.testing.assert_array_equal(own[path], array, err_msg=path)


def test_a_stream_is_loaded_as_the_network_by_itself(files):
    paths = {"rgb": str(files / "rgb.pth")}
    model = load_pretrained("two_stream", paths, **PAIR)
    expected = load_pretrained("x3d_s", files / "rgb.pth")
    own = own_arrays(model, "rgb")
    assert own.keys() == set().union(*split(expected)[1:])
    assert_same(own, expected)
    assert model.head.out_features == 400
    # The other one is as new.
    new = create_model("two_stream", num_classes=400, **PAIR)
    for path, array in own_arrays(new, "flow").items():
        np.testing.assert_array_equal(own_arrays(model, "flow")[path], array, err_msg=path)


def test_one_report_of_both_streams(files):
    model = create_model("two_stream", num_classes=10, **PAIR)
    report = load_into(model, {"rgb": files / "few.pth"}, name="two_stream")
    assert report.head_loaded and report.source == "rgb: pytorchvideo" and report.fresh == ()
    assert report.num_loaded == len(own_arrays(model, "rgb"))


def test_other_classes_leave_that_stream_a_new_classifier(files, caplog):
    model = create_model("two_stream", num_classes=3, **PAIR)
    before = np.asarray(model.head.rgb.kernel[...])
    with caplog.at_level(logging.WARNING, "vidjax"):
        report = load_into(model, f"rgb={files / 'rgb.pth'}", name="two_stream")
    assert not report.head_loaded and "classifier has 400 classes, but x3d_s needs 3" in caplog.text
    np.testing.assert_array_equal(model.head.rgb.kernel[...], before)


def test_without_classifiers_of_the_streams_the_files_are_left_out(files):
    model = create_model("two_stream", num_classes=3, fusion="concat", **PAIR)
    report = load_into(model, f"rgb={files / 'rgb.pth'}", name="two_stream")
    assert "rgb.blocks.5.proj.weight" in report.dropped and model.rgb.head is None
    own = own_arrays(model, "rgb")
    assert "stem.norm.mean" in own and "head.kernel" not in own
    assert_same(own, load_pretrained("x3d_s", files / "rgb.pth"))


def test_a_stream_is_written_back_as_it_was_read(files, tmp_path):
    model = load_pretrained("two_stream", {"rgb": files / "rgb.pth"}, **PAIR)
    with model.alone("rgb") as network:
        state = to_state_dict(network, "x3d_s", "pytorchvideo")
    original = read_state_dict(files / "rgb.pth")
    assert state.keys() == original.keys()
    for key, array in original.items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(state[key], array, err_msg=key)
    config = Config(model=ModelConfig(name="two_stream", kwargs=PAIR))
    labels = LabelSpace(tuple(f"class {k}" for k in range(400)))
    save_model(tmp_path / "run", model, Meta(config, get_spec("two_stream"), labels))
    assert convert_back(str(tmp_path / "run"), str(tmp_path / "rgb.pth"), "pytorchvideo", stream="rgb") == 0
    again = read_state_dict(tmp_path / "rgb.pth")
    np.testing.assert_array_equal(again["blocks.5.proj.bias"], original["blocks.5.proj.bias"])
    with pytest.raises(CheckpointError, match="holds two_stream, a network of several streams: choose one with"):
        convert_back(str(tmp_path / "run"), str(tmp_path / "whole.pth"), "pytorchvideo")
    with pytest.raises(UserError, match="no stream 'sound'"):
        convert_back(str(tmp_path / "run"), str(tmp_path / "sound.pth"), "pytorchvideo", stream="sound")


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
    with pytest.raises(CheckpointError, match=r"other classes \(rgb 400, flow 10\); give num_classes"):
        load_pretrained("two_stream", paths, rgb="x3d_s", flow="x3d_s")


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
