"""What a transformers folder says besides its weights: class names in order, and how pixels are prepared."""

import json

import numpy as np
import pytest

from tests import peers
from vidjax.config import Spec
from vidjax.weights import CheckpointError, describe
from vidjax.weights.hf_config import preprocessor_config

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def folder(path, config=None, processor=None, name="preprocessor_config.json"):
    for file, content in (("config.json", config), (name, processor)):
        if content is not None:
            (path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_names_stand_in_the_order_of_their_numbers(tmp_path):
    labels = {str(i): f"class of {i}" for i in sorted(range(12), key=str)}
    assert list(labels)[:3] == ["0", "1", "10"]
    found = describe(folder(tmp_path, {"id2label": labels, "num_frames": 4, "image_size": 32}))
    assert found.class_names == tuple(f"class of {i}" for i in range(12))
    assert found.clip == {"num_frames": 4, "size": 32}


def test_placeholders_are_no_names(tmp_path):
    labels = {str(i): f"LABEL_{i}" for i in range(3)}
    assert describe(folder(tmp_path, {"id2label": labels})).class_names == ()
    labels["2"] = "a name"
    assert describe(folder(tmp_path, {"id2label": labels})).class_names == ("LABEL_0", "LABEL_1", "a name")


def test_what_is_no_folder_says_nothing(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    for checkpoint in (tmp_path / "a.pth", tmp_path / "nowhere", {"a": 1}, tmp_path):
        found = describe(checkpoint)
        assert found.class_names == () and found.clip == {}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "must name every class once"),
        ({"0": "a", "zero": "b"}, "must name every class once"),
        ({"0": "a", "2": "b"}, "class 1 has no name"),
        ({"0": "a", "1": 7}, "class 1 has no name"),
        ({"0": "a", "1": "b", "2": "a"}, "'a' is listed twice"),
    ],
)
def test_names_that_cannot_be_used(tmp_path, labels, message):
    with pytest.raises(CheckpointError, match=rf"config\.json: id2label (?s:.*){message}"):
        describe(folder(tmp_path, {"id2label": labels}))


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
        # Older processors: one number for both, and no scale.
        (
            {"size": 224, "image_mean": [0.45] * 3, "image_std": [0.225] * 3},
            {"resize": (224,), "size": 224, "mean": (0.45,) * 3, "std": (0.225,) * 3},
        ),
        (
            {"size": {"height": 128, "width": 171}, "crop_size": {"height": 112, "width": 112}},
            {"resize": (128, 171), "size": 112},
        ),
        ({"size": {"shortest_edge": 292}, "crop_size": 256, "do_resize": False}, {"size": 256}),
        # Pixels in -1…1, by an offset, and by a normalisation after it.
        (
            {"image_processor_type": "VivitImageProcessor", "rescale_factor": 1 / 127.5, "offset": True,
             "do_normalize": False},
            {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        ),
        (
            {"rescale_factor": 1 / 127.5, "offset": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            {"mean": (0.75,) * 3, "std": (0.25,) * 3},
        ),
        ({"do_rescale": False, "do_normalize": False}, {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}),
        ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
    ],
)  # fmt: skip
def test_what_is_done_to_pixels(tmp_path, processor, expected):
    found = describe(folder(tmp_path, {}, processor)).clip
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6), key


@pytest.mark.parametrize("name", ["VideoMAEImageProcessor", "VivitImageProcessor"])
def test_values_are_those_that_transformers_computes(tmp_path, name):
    transformers = peers.transformers()
    processor = getattr(transformers, name)()
    processor.save_pretrained(tmp_path)
    said = describe(tmp_path).clip
    frame = np.random.default_rng(0).integers(0, 256, (said["size"], said["size"], 3), np.uint8)
    theirs = processor([frame], return_tensors="np", do_resize=False)["pixel_values"][0, 0].transpose(1, 2, 0)
    np.testing.assert_allclose((frame / 255 - said["mean"]) / said["std"], theirs, atol=1e-5)


def test_processors_of_newer_folders_are_found(tmp_path):
    processor = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3}
    folder(tmp_path, {}, {"video_processor": processor}, "processor_config.json")
    assert describe(tmp_path).clip["mean"] == (0.1,) * 3
    folder(tmp_path, {}, processor | {"image_mean": [0.3] * 3})
    assert describe(tmp_path).clip["mean"] == (0.3,) * 3
    folder(tmp_path, {}, processor | {"image_mean": [0.4] * 3}, "video_preprocessor_config.json")
    assert describe(tmp_path).clip["mean"] == (0.4,) * 3


def test_what_is_written_is_what_is_read(tmp_path):
    spec = Spec.of_video("x", 16, size=112, resize=(128, 171), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    found = describe(folder(tmp_path, {}, preprocessor_config(spec))).clip
    assert found == {"size": 112, "resize": (128, 171), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ("{not json", "is not valid JSON"),
        ([1], "has a list, not an object"),
        ({"image_mean": [0.5], "image_std": [0.5] * 3}, r"image_mean = \[0\.5\]: must be three numbers"),
        ({"image_mean": [0.5] * 3, "image_std": [0.5, 0, 0.5]}, "image_std = .*: must be three positive numbers"),
        ({"image_mean": ["a"] * 3, "image_std": [0.5] * 3}, "image_mean = .*: must be three numbers"),
        ({"rescale_factor": 0}, "rescale_factor = 0: must be a positive number"),
        ({"size": {"longest_edge": 8}}, "size = .*: must be a number of pixels"),
        ({"crop_size": {"height": 8, "width": 9}}, "crop_size = .*: must be a square"),
    ],
)
def test_a_processor_that_cannot_be_used(tmp_path, processor, message):
    with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json: {message}"):
        describe(folder(tmp_path, {}, processor))
