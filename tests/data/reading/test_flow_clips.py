"""Clips with optical flow: which fields, of which frames, through resizing, crops and mirroring."""

import logging

import cv2
import numpy as np
import pytest

from tests.settings import data_config
from tests.video.test_flow_folder import write_fields
from tests.videos import write_video
from vidjax.config import ConfigError, DataConfig, Spec
from vidjax.config.spec import resolve_spec
from vidjax.data.reading import flow_clips, transforms
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Boxes, Record
from vidjax.inputs import FlowFields
from vidjax.models import get_spec
from vidjax.video import VideoError, VideoReader, flow

SPEC = Spec.of_video("toy", num_frames=3, stride=4, size=32, resize=(40,), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """24 frames of 48×64 pixels: a smooth picture that moves 2 pixels to the right and 1 down."""
    noise = np.random.default_rng(0).integers(0, 256, (140, 180, 3)).astype(np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([picture[60 - t : 108 - t, 80 - 2 * t : 144 - 2 * t] for t in range(24)])
    return str(write_video(tmp_path_factory.mktemp("flow") / "moving.mp4", frames))


def reader(input="flow", count=1, method="dis_fast", spec=SPEC, bound=8.0, **settings):
    config = data_config(**settings)
    config.flow, config.flow_fields, config.flow_bound = method, count, bound
    return ClipReader(resolve_spec(spec, config, input), config)


def vectors(channels, bound=8.0):
    return (channels.astype(np.float32) - 127.5) * bound / 127.5


@pytest.mark.parametrize("num_crops", [1, 3, 10])
@pytest.mark.parametrize("count", [1, 3])
def test_evaluation_is_the_flow_of_resized_frames_then_cropped_and_mirrored(moving, count, num_crops):
    clips = reader("rgb+flow", count)
    video, views = clips.evaluate(Record(moving), 2, num_crops)
    _, plain = ClipReader(SPEC, DataConfig()).evaluate(Record(moving), 2, num_crops)
    assert video.shape == (2 * num_crops, 3, 32, 32, 3 + 2 * count) and video.dtype == np.uint8
    with VideoReader(moving) as file:
        frames = file.read(range(24), resize=40)
    fields = flow.flow(frames, "dis_fast")
    boxes = transforms.eval_boxes(40, 53, 32, num_crops)
    for number in range(len(video)):
        top, left, height, width = boxes[number % num_crops]
        for t, first in enumerate(views.frames[number]):
            for k in range(count):
                part = fields[first + k, top : top + height, left : left + width]
                expected = flow.quantise(np.ascontiguousarray(part), 8.0)
                if views.mirrored[number]:
                    expected = np.stack([255 - expected[:, ::-1, 0], expected[:, ::-1, 1]], axis=-1)
                np.testing.assert_array_equal(video[number, t, ..., 3 + 2 * k : 5 + 2 * k], expected)
            np.testing.assert_array_equal(
                video[number, t, ..., :3], _crop(frames[first], boxes[number % num_crops], views.mirrored[number])
            )
    np.testing.assert_array_equal(views.affine, plain.affine)


def _crop(frame, box, mirrored):
    top, left, height, width = box
    part = frame[top : top + height, left : left + width]
    return part[:, ::-1] if mirrored else part


def test_mirrored_views_are_the_others_mirrored(moving):
    video, views = reader("rgb+flow", 2).evaluate(Record(moving), 1, 10)
    assert views.mirrored.tolist() == [False] * 5 + [True] * 5
    plain, mirrored = video[[1, 0, 3, 2]], video[5:9]  # corners of the mirrored picture
    np.testing.assert_array_equal(mirrored[..., :3], plain[:, :, :, ::-1, :3])
    np.testing.assert_array_equal(mirrored[..., [3, 5]], 255 - plain[:, :, :, ::-1, [3, 5]])
    np.testing.assert_array_equal(mirrored[..., [4, 6]], plain[:, :, :, ::-1, [4, 6]])


@pytest.mark.parametrize(
    "settings", [{}, {"crop": "short_side", "short_side": (48, 64)}, {"resize_rule": "torchvision"}, {"views": 2}]
)
@pytest.mark.parametrize("input", ["flow", "rgb+flow"])
def test_motion_in_training_has_the_scale_and_side_of_the_view(moving, input, settings):
    clips = reader(input, 2, "dis_medium", **settings)
    sides = set()
    for seed in range(6):
        video, views = clips.train(Record(moving), np.random.default_rng(seed))
        assert video.shape == (settings.get("views", 1), 3, 32, 32, 4 if input == "flow" else 7)
        for view, mirrored, affine in zip(video, views.mirrored, views.affine, strict=True):
            # Pixels of the file are 1/64 and 1/48 of the picture; those of the view 1/32 of its crop.
            scale = np.abs(affine[[0, 1], [0, 1]]) * 32 / np.array([64, 48])
            motion = vectors(view[..., -4:].reshape(-1, 2)).mean(axis=0) / scale
            np.testing.assert_allclose(motion, (-2 if mirrored else 2, 1), atol=0.3)
            sides.add(bool(mirrored))
    assert sides == {True, False}


def test_clips_with_flow_draw_what_clips_without_draw(moving):
    record, settings = Record(moving), {"resize_rule": "torchvision"}  # frames are cropped after resizing in both
    for seed in range(4):
        video, views = reader("rgb+flow", 1, **settings).train(record, np.random.default_rng(seed))
        assert video[0, 0, ..., :3].std() > 20
        assert (views.frames[:, -1] < 23).all(), "each frame has a field"


def test_colours_change_and_flow_does_not(moving):
    plain, changed = (
        reader("rgb+flow", 1, flip=False, scale=(1.0, 1.0), **settings).train(
            Record(moving, at=None), np.random.default_rng(3)
        )[0]
        for settings in ({}, {"greyscale": 1.0})
    )
    assert np.ptp(changed[..., :3], axis=-1).max() == 0 < np.ptp(plain[..., :3], axis=-1).max()
    erased, _ = reader("rgb+flow", 1, erase=1.0, erase_mode="const").train(Record(moving), np.random.default_rng(0))
    box = (erased[..., 3:] == 128).all(axis=-1)
    assert 0.01 < box.mean() < 0.5 and (erased[box][:, :3] == 128).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reverse": 0.5}, "config.data.sampling.reverse: the flow of a clip played backwards"),
        ({"randaugment_m": 9.0}, "config.data.augment.randaugment_m: moves the picture without its flow"),
        ({"augmix_m": 3.0}, "config.data.augment.augmix_m: moves the picture"),
        ({"hue": 0.1}, "config.data.augment.hue: changes colours, and the network reads flow alone"),
    ],
)
def test_settings_that_flow_cannot_follow_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        reader("flow", **settings)


def test_the_last_field_is_repeated_at_the_end(moving):
    assert flow_clips.stacks(np.array([[0, 21]]), 3, 24).tolist() == [[[0, 1, 2], [21, 22, 22]]]
    video, views = reader("flow", 30, spec=SPEC.with_video(num_frames=1)).evaluate(Record(moving), 1, 1)
    assert views.frames.item() == 0
    for k in (23, 29):
        np.testing.assert_array_equal(video[..., 2 * k : 2 * k + 2], video[..., 44:46])
    # Around a moment, clips may begin at the last frame.
    record = Record(moving, Boxes(2.3, ((0, 0, 1, 1),), ((0,),)))
    video, views = reader("flow", 2, spec=SPEC.with_video(num_frames=1)).evaluate(record, 1, 1)
    assert views.frames.item() == 23 and vectors(video).reshape(-1, 4).mean(axis=0)[::2] == pytest.approx(
        (1.7, 1.7), abs=0.3
    )


def test_a_video_of_one_frame_does_not_move(tmp_path):
    path = write_video(tmp_path / "one.mp4", np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3)).astype(np.uint8))
    video, _ = reader("flow", 2).evaluate(Record(str(path)), 1, 1)
    assert (video == 128).all()
    stored = flow_clips.ResizedFields(flow_clips.StoredFlow("one.mp4", (), 20.0), 4, 6)
    assert stored.field(0).shape == (4, 6, 2) and not stored.field(0).any()


def test_each_field_is_computed_once(moving, monkeypatch):
    asked = []
    estimate = flow.estimate
    monkeypatch.setattr(flow, "estimate", lambda *frames: asked.append(1) or estimate(*frames))
    reader("flow", 5, spec=SPEC.with_video(stride=1)).evaluate(Record(moving), 1, 10)
    assert len(asked) == 7  # frames t to t+2, each with fields up to t+4 after it
    asked.clear()
    reader("flow", 3, views=4, spec=SPEC.with_video(stride=1)).train(Record(moving), np.random.default_rng(0))
    assert len(asked) <= 20


@pytest.mark.parametrize("rounding", ["nearest", "truncated"])
def test_fields_of_a_folder_are_read_as_they_are(tmp_path, rounding):
    write_fields(tmp_path / "flow" / "clip", 20, size=(40, 53))
    spec = resolve_spec(SPEC, DataConfig(), "flow")
    spec = spec.with_video(flow=FlowFields("folder", 2, 20.0, rounding), mean=(0.5,) * 4, std=(0.2,) * 4)
    for record, root in ((Record(str(tmp_path / "flow" / "clip")), ""), (Record("clip.mp4"), str(tmp_path / "flow"))):
        video, views = ClipReader(spec, DataConfig(flow_folder=root)).evaluate(record, 2, 1)
        assert views.frames.max() == 18  # of 20 fields; its last clip's last stack is 18, 19
        numbers = views.frames[..., None] + np.arange(2)
        np.testing.assert_array_equal(video[:, :, 5, 5, ::2], 100 + numbers)
        np.testing.assert_array_equal(video[:, :, 5, 5, 1::2], 60 + numbers)
        config = DataConfig(flow_folder=root)
        config.augment.scale = (0.8, 0.8)
        video, views = ClipReader(spec, config).train(record, np.random.default_rng(0))
        assert video.shape == (1, 3, 32, 32, 4)


def test_colours_of_a_file_with_flow_of_a_folder(tmp_path, moving):
    write_fields(tmp_path / "moving", 23, size=(20, 27))  # half of 40×53: vectors grow twice
    config = DataConfig(flow="folder", flow_folder=str(tmp_path))
    video, views = ClipReader(resolve_spec(SPEC, config, "rgb+flow"), config).evaluate(Record(moving), 1, 1)
    expected = (np.array(100 + views.frames[0]) - 127.5) * 53 / 27 + 127.5
    np.testing.assert_allclose(video[0, :, 16, 16, 3], expected, atol=1)
    assert video[..., :3].std() > 20


def test_folders_without_flow(tmp_path, moving):
    (tmp_path / "moving").mkdir()
    with pytest.raises(VideoError, match="holds no pictures of flow"):
        reader(method="folder", bound=20.0).evaluate(Record(str(tmp_path / "moving")), 1, 1)
    with pytest.raises(ConfigError, match=r"config.data.flow_folder = 'x': is for config.data.flow = 'folder'"):
        resolve_spec(SPEC, DataConfig(flow_folder="x"), "flow")


def test_stored_flow_of_another_method_is_not_taken_for_it(caplog, monkeypatch):
    monkeypatch.setattr(flow_clips, "_told", set())
    stored = flow_clips.StoredFlow("a", (), 20.0, method="tvl1")
    assert flow_clips.suited(stored, FlowFields("tvl1")) is stored is flow_clips.suited(stored, FlowFields("folder"))
    with caplog.at_level(logging.WARNING, "vidjax"):
        assert flow_clips.suited(stored, FlowFields("dis_fast")) is None
        assert flow_clips.suited(stored, FlowFields("dis_fast")) is None
    assert len(caplog.messages) == 1 and "is of tvl1, and dis_fast is computed" in caplog.messages[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["av1_video.mkv", "bitmap.mp4", "no_duration.webm", "video_90.mov", "nasa_13013_rotated.mp4"]
)
def test_odd_files_walk_through_with_flow(shared, name):
    video, _ = reader("rgb+flow", 2, spec=get_spec("i3d_tiny")).evaluate(
        Record(str(shared / "data" / "odd" / name)), 2, 3
    )
    assert video.shape == (6, 8, 64, 64, 7)
