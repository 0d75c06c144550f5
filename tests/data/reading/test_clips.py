"""Training clips of real files: each setting acts, views differ, labels follow mirrored clips."""

import itertools

import chex
import numpy as np
import pytest

from tests.settings import data_config
from tests.videos import numbered_frames, write_video
from vidjax.config import AugmentConfig, DataConfig, SamplingConfig, Spec
from vidjax.data.pipeline import train_batches
from vidjax.data.reading import transforms
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.errors import UserError
from vidjax.tasks.classify.targets import make_targets

SPEC = Spec.of_video("toy", num_frames=4, stride=4, size=16, resize=(20,), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """30 frames, each of its own grey."""
    return str(write_video(tmp_path_factory.mktemp("clips") / "counting.mp4", numbered_frames(30)))


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A still picture: red above and blue below, darker to the left, as fine as 40×60 pixels are."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :, 0] = picture[20:, :, 2] = np.linspace(60, 240, 60).astype(np.uint8)
    path = tmp_path_factory.mktemp("clips") / "coloured.mp4"
    return str(write_video(path, np.repeat(picture[None], 8, axis=0)))


def clips(path, seed=0, directional=False, spec=SPEC, **settings):
    """Training clips as the pipeline asks for them, and their views."""
    config = data_config(**settings)
    targets = make_targets(LabelSpace(("a", "b"), directional=directional), config.augment, ())
    return ClipReader(spec, config).train(Record(path), np.random.default_rng(seed), mirror=targets.mirrors)


def test_a_network_of_other_channels_is_not_fed_with_colour():
    with pytest.raises(UserError, match=r"depth takes 1 channels \(data.clip.mean: \(0.5,\)\), but videos have 3"):
        ClipReader(Spec.of_video("depth", 4, mean=(0.5,), std=(0.5,)), DataConfig())


def seen(path, **settings):
    """Frame numbers of 40 clips, after checking them against the pixels."""
    drawn = [clips(path, seed, **settings) for seed in range(40)]
    for video, views in drawn:
        np.testing.assert_allclose(video.mean(axis=(2, 3, 4)) / 8, views.frames, atol=0.6)
        np.testing.assert_allclose(views.times, views.frames / 10)
    return np.concatenate([views.frames for _, views in drawn])


def test_reverse(counting):
    backwards = (np.diff(seen(counting, reverse=0.5)) < 0).all(axis=1)
    assert 8 < backwards.sum() < 32
    assert (np.diff(seen(counting, reverse=1.0)) == -4).all()


def test_temporal_jitter(counting):
    frames = seen(counting, temporal_jitter=True)
    gaps = np.diff(frames)
    assert set(gaps.ravel()) >= {1, 4, 7} and gaps.min() >= 1 and gaps.max() <= 7 and frames.max() <= 29
    at_rate = seen(counting, temporal_jitter=True, spec=SPEC.with_video(fps=5.0))
    assert set(np.diff(at_rate).ravel()) == {1, 2, 3}


@pytest.mark.parametrize("fps", [None, 2.5])
def test_speed(counting, fps):
    frames = seen(counting, speed=(0.5, 2.0), spec=SPEC.with_video(fps=fps))
    spans = (frames[:, -1] - frames[:, 0]) / 12  # 12 at normal speed
    assert 0.5 <= spans.min() < 0.65 and 1.6 < spans.max() <= 2 and 0.85 < np.median(spans) < 1.2


def test_segments_bound_jitter_and_speed(counting):
    reader = ClipReader(SPEC, DataConfig(sampling=SamplingConfig(temporal_jitter=True, speed=(0.5, 1.5))))
    for seed in range(20):
        _, views = reader.train(Record(counting, start=1.0, end=2.0), np.random.default_rng(seed))
        frames = views.frames
        assert frames.min() >= 10 and frames.max() < 20


@pytest.mark.parametrize("crop", ["square", "short_side"])
@pytest.mark.parametrize("rule", ["opencv", "torchvision"])
def test_views_are_drawn_each_for_itself_from_one_pass(counting, monkeypatch, crop, rule):
    from vidjax.video import VideoReader

    calls, read = [], VideoReader.read
    monkeypatch.setattr(VideoReader, "read", lambda self, *a, **k: calls.append(1) or read(self, *a, **k))
    video, drawn = clips(counting, views=3, crop=crop, short_side=(16, 24), resize_rule=rule, colour_jitter=0.0)
    chex.assert_shape([video, drawn.frames, drawn.mirrored, drawn.affine], [(3, 4, 16, 16, 3), (3, 4), (3,), (3, 2, 3)])
    np.testing.assert_allclose(video.mean(axis=(2, 3, 4)) / 8, drawn.frames, atol=0.6)
    assert len(np.unique(drawn.frames, axis=0)) > 1 and calls == [1]


def test_views_differ_in_augmentation(coloured):
    video, _ = clips(coloured, views=4, sampling_train="centre", colour_jitter=0.4)
    assert len(np.unique(video.reshape(4, -1), axis=0)) == 4
    for view in video:
        chex.assert_trees_all_close(view[0].astype(int), view[-1].astype(int), atol=3)


SETTINGS = [
    {"crop": "short_side", "short_side": (16, 40)},
    {"crop": "random_resized", "crop_area": (0.1, 0.5)},
    {"crop": "multi_scale"},
    {"colour_jitter": 0.5},
    {"hue": 0.4},
    {"greyscale": 1.0},
    {"randaugment_m": 9.0, "randaugment_n": 6},
    {"augmix_m": 9.0, "augmix_depth": 3},
    {"erase": 1.0},
    {"erase": 1.0, "erase_mode": "const"},
    {"resize_rule": "torchvision"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_acts_on_all_frames_alike(coloured, settings):
    still = {"scale": (1.0, 1.0), "flip": False, "sampling_train": "centre"}
    plain, _ = clips(coloured, **still)
    drawn, _ = clips(coloured, **still, **settings)
    chex.assert_shape(drawn, (1, 4, 16, 16, 3))
    assert not np.array_equal(drawn, plain)
    frames = drawn[0].astype(int)
    assert np.abs(frames - frames[:1]).max() <= 24 and np.abs(frames - frames[:1]).mean() < 1
    np.testing.assert_array_equal(drawn, clips(coloured, **still, **settings)[0])


def test_short_side_shows_the_smaller_part_the_larger_it_is(coloured):
    def width(side):
        settings = {"crop": "short_side", "short_side": (side, side), "flip": False, "resize_rule": "torchvision"}
        row = clips(coloured, **settings)[0][0, 0, 0].max(-1).astype(int)
        return np.ptp(row)

    assert width(16) > 1.6 * width(32) > 2.4 * width(64)


@pytest.mark.parametrize(
    "settings",
    [{"crop": "short_side", "short_side": (24, 36)}, {"scale": (0.5, 1.0)}, {"crop": "random_resized"},
     {"crop": "multi_scale"}],
    ids=str,
)  # fmt: skip
def test_a_part_cut_out_while_decoding_is_the_part_that_was_drawn(coloured, settings):
    """Up to the half pixel of the video by which it is rounded."""
    spec, picture = SPEC.with_video(resize=(32,)), ClipReader(SPEC, DataConfig())._open(coloured)[0].read([0])[0]
    for seed in range(12):
        reader = ClipReader(spec, data_config(sampling_train="centre", **settings))
        (seen,), _ = reader.train(Record(coloured), np.random.default_rng(seed), mirror=False)
        rng = np.random.default_rng(seed)
        size = reader._train_resize(rng)
        rest = transforms.resize(picture[None], size)
        box = transforms.TRAIN_CROPS[reader.config.augment.crop](
            *rest.shape[1:3], rng, reader.config.augment, spec.video.size
        )
        (wanted,) = transforms.crop(rest, box, spec.video.size)
        # Brightness rises by three of 255 from pixel to pixel, so that places show.
        wanted, seen = (x.astype(int).sum(-1)[[0, -1]][:, [0, -1]] for x in (wanted, seen[0]))
        chex.assert_trees_all_close(seen, wanted, atol=12)


def test_one_clip_is_decoded_to_its_crop_and_a_much_enlarged_one_is_not(coloured, monkeypatch):
    from vidjax.video import VideoReader

    asked, read = [], VideoReader.read
    monkeypatch.setattr(VideoReader, "read", lambda self, *a, **k: asked.append(k) or read(self, *a, **k))
    clips(coloured)
    clips(coloured, views=2)
    clips(coloured, spec=SPEC.with_video(resize=(90,)))
    assert [k.get("crop") is not None for k in asked] == [True, False, False]


@pytest.mark.slow
def test_chances_are_chances(coloured):
    still = {"scale": (1.0, 1.0), "flip": False, "sampling_train": "centre"}
    still["spec"] = SPEC.with_video(resize=(16, 16))
    plain, _ = clips(coloured, **still)
    grey = [clips(coloured, seed, greyscale=0.3, **still)[0] for seed in range(60)]
    changed = [not np.array_equal(v, plain) for v in grey]
    assert 8 < sum(changed) < 30
    jittered = [clips(coloured, seed, colour_jitter=0.4, hue=0.2, jittered=0.3, **still)[0] for seed in range(60)]
    assert 8 < sum(not np.array_equal(v, plain) for v in jittered) < 30
    erased = [clips(coloured, seed, erase=0.3, **still)[0] for seed in range(60)]
    assert 8 < sum(not np.array_equal(v, plain) for v in erased) < 30


# Mirroring, and labels that it changes.


def mirrored(path, views=1, count=30, **kwargs):
    return np.stack([clips(path, seed, views=views, **kwargs)[1].mirrored for seed in range(count)])


def test_flip_is_on_unless_classes_tell_directions(coloured):
    assert 8 < mirrored(coloured).sum() < 22
    assert not mirrored(coloured, flip=False).any()
    assert not mirrored(coloured, directional=True).any()
    assert 8 < mirrored(coloured, directional=True, flip=True).sum() < 22


@pytest.mark.parametrize("directional", [False, True])
def test_views_of_one_video_are_mirrored_each_for_itself(coloured, directional):
    drawn = mirrored(coloured, views=3, directional=directional, flip=True)
    assert (drawn.any(1) & ~drawn.all(1)).any()
    assert (drawn.sum(0) > 8).all() and (drawn.sum(0) < 22).all()


def test_mirrored_is_what_is_shown(coloured):
    for seed in range(12):
        video, drawn = clips(coloured, seed, views=2)
        for view, flip in zip(video, drawn.mirrored, strict=True):
            columns = view.max(axis=(0, 1, 3)).astype(int)
            assert (columns[0] > columns[-1]) == flip


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("views", [1, 2])
def test_labels_follow_mirrored_clips(coloured, multi_label, views):
    labels = [(0,), (1,), (2,)] if not multi_label else [(0, 2), (1,), (2,)]
    videos = VideoSet(
        tuple(Record(coloured, Labels(label)) for label in labels * 6),
        LabelSpace(("left", "right", "up"), multi_label, True, {0: 1, 1: 0}),
    )
    swapped = {0: 1, 1: 0, 2: 2}
    reader = ExampleReader(SPEC, DataConfig(sampling=SamplingConfig(views=views), augment=AugmentConfig(flip=True)))
    targets = make_targets(videos.labels, reader.config.augment, ())
    both = set()
    for batch in itertools.islice(train_batches(videos, reader, targets, batch_size=6, seed=0), 4):
        found = batch["targets"]["label"]
        chex.assert_type(found, np.float32 if multi_label else np.int32)
        chex.assert_shape(found, (6, views, 3) if multi_label else (6, views))
        for clip, labels, index in zip(batch["inputs"]["video"], found, batch["index"], strict=True):
            for view, label in zip(clip, labels, strict=True):
                columns = view.max(axis=(0, 1, 3)).astype(int)
                flip = columns[0] > columns[-1]
                both.add(flip)
                expected = {swapped[i] if flip else i for i in videos.records[index].labels}
                assert (set(np.flatnonzero(label)) if multi_label else {int(label)}) == expected
    assert both == {True, False}
