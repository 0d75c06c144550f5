"""Segments in clips of video: places of frames, parts that overlap, targets, and settings that would shift them."""

import dataclasses

import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.config import Config, ConfigError, DataConfig, SamplingConfig
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import LabelSpace, Record, Segments, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.models import get_spec
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise import make
from vidjax.tasks.localise.evaluator import SegmentEvaluator
from vidjax.tasks.localise.targets import SegmentTargets
from vidjax.tasks.localise.timing import FrameTiming

LABELS = LabelSpace(("a", "b"))
SPANS = ((1.05, 4.05, 0), (4.05, 7.85, 1))
SAMPLING = SamplingConfig(eval="sliding_window", hop=30, short_video="hold")
WHOLE = SamplingConfig(train="opentad_whole", eval="opentad_whole")


def spec_of(stride, frames=16):
    return get_spec("adatad_tiny").with_video(num_frames=frames, stride=stride, size=16, resize=(16,))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("films") / "film.mp4", numbered_frames(97))  # 10 frames/s
    return Record(str(path), Segments(SPANS))


@pytest.mark.parametrize(("stride", "frames"), [(1, 48), (2, 24), (1, 128)])
def test_places_are_those_of_the_frames_and_parts_share_them_out(record, stride, frames):
    spec, data = spec_of(stride, frames), DataConfig(sampling=SAMPLING)
    timing, (clips, views) = FrameTiming(spec, data), ClipReader(spec, data).evaluate(record, 1, 1)
    assert timing.duration(record) == pytest.approx(9.7)
    parts = [timing.part(record, view, len(views)) for view in range(len(views))]
    assert len(parts) == (1 if frames == 128 else 3)
    owned = []
    for view, part in enumerate(parts):
        real = np.unique(views.times[view], return_index=True)[1]  # the last frame is held
        np.testing.assert_allclose(part.grid.seconds(np.arange(len(clips[view])))[real], views.times[view][real])
        own = np.arange(len(real))
        owned += (own[(own >= part.first) & (own < part.last)] + part.start).tolist()
    # Windows at 0, 30 and the end, and each frame belongs to one of them, up to half a stride.
    assert len(np.unique(np.round(owned, 3))) == len(owned) and max(np.diff(np.sort(owned))) <= 1.5


@pytest.mark.parametrize(("stride", "frames"), [(1, 48), (2, 24), (1, 128)])
def test_right_answers_have_full_marks(record, stride, frames):
    spec, config = spec_of(stride, frames), Config(data=DataConfig(sampling=SAMPLING))
    evaluator = SegmentEvaluator(VideoSet((record,), LABELS), spec, config)
    _, views = ClipReader(spec, config.data).evaluate(record, 1, 1)
    for view in range(len(views)):
        logits = np.full((1, frames, 3), -9.0)
        logits[..., 2] = 0
        for start, end, label in SPANS:
            logits[0, (views.times[view] > start) & (views.times[view] < end), label] = 9
        outputs = StepOutputs(logits, np.ones((1, frames), bool))
        evaluator.add(Rows(np.array([0]), view, np.array([len(views)])), outputs)
    found, _ = evaluator.detections(0)
    whole = [found.segments[np.flatnonzero(found.labels == label)[0]] for label in (0, 1)]
    if len(views) == 1:
        np.testing.assert_allclose(whole, [span[:2] for span in SPANS], atol=0.06)
        assert evaluator.summary()["thumos"]["mAP"] == pytest.approx(1.0)
    else:  # runs end with their part
        assert all(1.0 <= start < end <= 8.0 for start, end in whole)


@pytest.mark.parametrize("stride", [1, 2])
def test_targets_are_in_frames_of_the_clip(record, stride):
    spec, data = spec_of(stride), DataConfig(sampling=SAMPLING)
    _, views = ClipReader(spec, data).train(record, np.random.default_rng(2), mirror=False)
    found = SegmentTargets(LABELS, 4, 0.0, frames=True).of(record, views)
    first = views.times[0, 0]
    wanted = np.clip([(np.array(span[:2]) - first) * 10 / stride for span in SPANS], 0, 16)
    kept = wanted[wanted[:, 1] > wanted[:, 0]]
    assert len(kept)
    shown = found["segments"][0][found["segments"][0, :, 1] > found["segments"][0, :, 0]]
    np.testing.assert_allclose(shown, kept, atol=1e-4)


@pytest.mark.parametrize("stated", [None, 10.0])
def test_frames_spread_over_the_whole_video(record, stated):
    record = dataclasses.replace(record, annotation=Segments(SPANS, duration=stated))
    spec, data = spec_of(1), DataConfig(sampling=WHOLE)
    timing, (clips, views) = FrameTiming(spec, data), ClipReader(spec, data).evaluate(record, 1, 1)
    assert len(clips) == 1 and views.frames[0].tolist() == [round(i * 97 / 16 + 97 / 32 - 0.5) for i in range(16)]
    length, part = stated or 9.7, timing.part(record, 0, 1)
    assert timing.duration(record) == pytest.approx(length)
    np.testing.assert_allclose(part.grid.seconds(np.arange(17)), np.linspace(0, length, 17))
    assert part.first < 0 and part.last > 16 and part.start == 0
    _, views = ClipReader(spec, data).train(record, np.random.default_rng(0), mirror=False)
    targets = SegmentTargets(LABELS, 4, shortest=0.35, frames=True, whole=True)
    # Where no length is stated, that of the clip's times, to a frame: a hundredth of the video.
    expected, tolerance = np.array(SPANS[1][:2]) / length * 16, 1e-4 if stated else 0.16
    found = targets.of(record, views)  # the first segment is less than a third of the video
    np.testing.assert_allclose(found["segments"][0, 0], expected, atol=tolerance)
    assert found["classes"][0, 0] == 1 and (found["segments"][0, 1:] == 0).all()


def test_a_part_of_a_video_has_its_own_grid(record):
    part = dataclasses.replace(record, start=2.0, end=6.0)
    spec, data = spec_of(1), DataConfig(sampling=WHOLE)
    np.testing.assert_allclose(
        FrameTiming(spec, data).part(part, 0, 1).grid.seconds(np.arange(17)), np.linspace(2, 6, 17)
    )
    _, views = ClipReader(spec, data).evaluate(part, 1, 1)
    found = SegmentTargets(LABELS, 4, frames=True, whole=True).of(part, views)
    np.testing.assert_allclose(found["segments"][0, :2], [[0, 2.05 * 4], [2.05 * 4, 16]], atol=1e-4)


def test_clips_of_frames_are_mirrored_unless_classes_tell_left_from_right():
    data = DataConfig(sampling=WHOLE)
    assert make(Config(data=data), spec_of(1), LABELS).targets.mirrors
    assert not make(Config(data=data), spec_of(1), dataclasses.replace(LABELS, directional=True)).targets.mirrors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval": "multi_clip"}, r"sampling.eval: .* needs sliding_window here"),
        ({"hop": 0}, r"config.data.sampling.hop, frames from clip to clip"),
        ({"short_video": "loop"}, r"needs train=random and short_video=hold"),
        ({"train": "uniform"}, r"needs train=random"),
        ({"eval": "opentad_whole"}, r"sampling.train: needs opentad_whole"),
        ({"reverse": 0.5}, r"would move the annotated segments"),
        ({"speed": (0.5, 2.0)}, r"would move the annotated segments"),
    ],
)
def test_settings_that_would_shift_segments_are_refused(changes, message):
    config = Config(data=DataConfig(sampling=SAMPLING))
    assert make(config, spec_of(1), LABELS).name == "localise"
    config.data.sampling = dataclasses.replace(SAMPLING, **changes)
    with pytest.raises(ConfigError, match=message):
        make(config, spec_of(1), LABELS)
