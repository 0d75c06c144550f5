"""Other projects' transforms by name: settings, and pixels to the bit."""

import json

import cv2
import numpy as np
import pytest

from tests.peers import torchvision
from tests.settings import data_config
from vidjax import config as cfg
from vidjax.config import ClipConfig, Config, ConfigError, DataConfig, Spec
from vidjax.config.choices import PRESETS
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Record
from vidjax.nn.enter import normalise

SPEC = Spec.of_video("toy", num_frames=16, stride=1, size=32, resize=(40,), mean=(0.5,) * 3, std=(0.5,) * 3)


def resolved(**settings):
    data = validate(Config(data=data_config(train="x", **settings))).data
    return data, resolve_spec(SPEC, data)


def test_torchvisions_preset_gives_its_pixels(shared, tmp_path):
    frames = np.load(shared / "data/frames/clip_SOX5yA1l24A_frames0-60step4_uint8.npz")["frames"]
    expected = np.load(shared / "data/frames/preset_resnet3d.npz")["out"]
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{i + 1:05d}.png"), frame[..., ::-1])
    data, spec = resolved(preset="torchvision_resnet")
    (view,), _ = ClipReader(spec, data).evaluate(Record(str(tmp_path)), 1, 1)
    assert view.shape == (16, 112, 112, 3)
    ours = np.moveaxis(np.asarray(normalise(view, spec.video)), -1, 0)
    # uint8 values are the same; what is left is float32 rounding in the normalisation.
    np.testing.assert_allclose(ours, expected, atol=1e-6)

    fast = cfg.with_settings(data, {"clip.resize_rule": "opencv"})
    (view_fast,), _ = ClipReader(spec, fast).evaluate(Record(str(tmp_path)), 1, 1)
    assert 0 < np.abs(view_fast.astype(int) - view).max() <= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings(preset):
    data, spec = resolved(preset=preset)
    for section, values in PRESETS[preset].items():
        for name, value in values.items():
            assert getattr(getattr(data, section), name) == value
    assert (spec.video.mean, spec.video.std, spec.video.size) == (data.clip.mean, data.clip.std, data.clip.size)
    again = validate(Config(data=data)).data
    assert again == data
    assert cfg.from_dict(json.loads(json.dumps(cfg.to_dict(Config(data=data))))).data == data


def test_own_settings_come_before_a_presets():
    data, spec = resolved(preset="torchvision_resnet", size=96, mean=(0.1, 0.2, 0.3))
    assert (data.clip.size, spec.video.mean, data.clip.resize) == (96, (0.1, 0.2, 0.3), (128, 171))


def test_presets_of_torchvision_are_those_of_its_weights():
    video = torchvision().models.video
    weights = {
        "resnet": video.R3D_18_Weights, "s3d": video.S3D_Weights, "mvit": video.MViT_V2_S_Weights,
        "swin": video.Swin3D_B_Weights,
    }  # fmt: skip
    for name, enum in weights.items():
        theirs = enum.DEFAULT.transforms()
        _, spec = resolved(preset=f"torchvision_{name}")
        assert tuple(theirs.resize_size) == spec.video.resize and theirs.crop_size == [spec.video.size] * 2
        np.testing.assert_allclose(theirs.mean, spec.video.mean)
        np.testing.assert_allclose(theirs.std, spec.video.std)


def test_torchvision_rounds_the_centre_to_even(tmp_path):
    ramp = np.broadcast_to(np.arange(41, dtype=np.uint8)[None, :, None], (32, 41, 3)) * 6
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i + 1:05d}.png"), ramp)
    spec = SPEC.with_video(num_frames=2, resize=(32, 41))
    lefts = {}
    for rule in ("opencv", "torchvision"):
        reader = ClipReader(spec, DataConfig(clip=ClipConfig(resize_rule=rule)))
        view, _ = reader.evaluate(Record(str(tmp_path)), 1, 1)
        lefts[rule] = view[0, 0, 0, 0, 0] // 6
    assert lefts == {"opencv": 5, "torchvision": 4}  # half of 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"preset": "torchvision_resnet3d"},
            "data.clip.preset = 'torchvision_resnet3d': must be one of .*'torchvision_re",
        ),
        ({"speed": (2.0, 1.0)}, r"data.sampling.speed = \(2.0, 1.0\): give \(low, high\)"),
        (
            {"speed": (0.5, 2.0), "sampling_train": "segments"},
            "data.sampling.speed.*needs a rule with a stride.*segments",
        ),
        (
            {"temporal_jitter": True, "sampling_train": "uniform"},
            "data.sampling.temporal_jitter.*needs a rule with a stride",
        ),
        ({"crop_area": (0.0, 1.0)}, "data.augment.crop_area"),
        ({"crop_scales": (0.5, 1.0)}, "data.augment.crop_scales.*descending order"),
        ({"crop_positions": 4}, "data.augment.crop_positions.*5, 13, or 0"),
        ({"crop": "short_side", "size": 300}, "data.augment.short_side.*must be at least .*300 pixels"),
        ({"hue": 0.6}, "data.augment.hue = 0.6: must lie in 0…0.5"),
        ({"randaugment_m": 11.0}, "data.augment.randaugment_m = 11.0: must lie in 0…10"),
        ({"erase_mode": "rand"}, "data.augment.erase_mode.*'pixel', 'const'"),
        ({"views": 0}, "data.sampling.views = 0: must be 1 or more"),
        ({"mean": (0.5,)}, "data.clip.mean.*three numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "data.clip.std.*three positive numbers"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        validate(Config(data=data_config(train="x", **settings)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task.classify.mixup": -1.0}, "task.classify.mixup = -1.0"),
        ({"task.classify.cutmix": 1.0, "train.batch_size": 1}, "task.classify.cutmix.*batch_size must be 2 or more"),
        ({"task.classify.mix_probability": 1.5}, "task.classify.mix_probability = 1.5: must lie in 0…1"),
    ],
)
def test_wrong_mixing_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        validate(cfg.with_settings(Config(), settings))
