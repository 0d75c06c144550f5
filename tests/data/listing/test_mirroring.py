"""Classes that mirroring swaps: pairs from the settings, and the labels of mirrored clips."""

import dataclasses

import numpy as np
import pytest

from vidjax.config import AugmentConfig, ClassifyConfig, Config, ConfigError, TaskConfig, mirrors
from vidjax.config.validate import validate
from vidjax.data.listing.mirroring import pair
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.data.views import whole
from vidjax.tasks.classify.targets import make_targets

NAMES = ("left", "right", "spin", "up left", "up right")


def mirrored_targets(videos, augment, pairs=()):
    """Of one mirrored view of each video."""
    targets = make_targets(videos.labels, augment, pairs)
    views = dataclasses.replace(whole(1), mirrored=np.ones(1, bool))
    return np.concatenate([targets.of(record, views)["label"] for record in videos.records])


def video_set(*labels, multi_label=False, **fields):
    records = tuple(Record(f"{i}.mp4", Labels(t)) for i, t in enumerate(labels))
    return VideoSet(records, LabelSpace(NAMES, multi_label, **fields))


def test_pairs_swap_both_ways():
    videos = pair(video_set((0,), (1,), (2,), (4,)), ("left<>right", " up right <> up left"))
    assert videos.labels.directional and videos.labels.mirrored == {0: 1, 1: 0, 3: 4, 4: 3}
    targets = mirrored_targets(videos, AugmentConfig(), ("left<>right",))
    np.testing.assert_array_equal(targets, [1, 0, 2, 3])
    assert targets.dtype == np.int32


def test_pairs_swap_columns_of_several_labels():
    videos = pair(video_set((0, 2), (1, 3), (), multi_label=True), ("left<>right", "up left<>up right"))
    targets = mirrored_targets(videos, AugmentConfig(), ("left<>right", "up left<>up right"))
    np.testing.assert_array_equal(targets, [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0] * 5])


def test_without_pairs_nothing_changes():
    videos = video_set((0,), (1,))
    assert pair(videos, ()) is videos
    np.testing.assert_array_equal(mirrored_targets(videos, AugmentConfig(flip=True)), [0, 1])


def test_what_the_data_set_knows_is_kept():
    known = video_set((0,), directional=True, mirrored={0: 1, 1: 0})
    assert pair(known, ("up left<>up right", "right<>left")).labels.mirrored == {0: 1, 1: 0, 3: 4, 4: 3}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("left<>rihgt",), r"'rihgt' is not a class of the data; did you mean 'right'"),
        (("left<>right", "left<>spin"), r"'left<>spin': 'left' mirrored is already 'right'"),
        (("left<>right", "up left<>right"), r"'right' mirrored is already 'left'"),
    ],
)
def test_wrong_pairs_are_named(pairs, message):
    with pytest.raises(DataError, match=rf"config.task.classify.flip_pairs: .*{message}"):
        pair(video_set((0,)), pairs)


@pytest.mark.parametrize("text", ["left", "left<>", "left<>right<>up", "left<>left", "left>right"])
def test_malformed_pairs_are_refused_before_the_data_is_read(text):
    with pytest.raises(ConfigError, match=r"config.task.classify.flip_pairs = .*two classes joined by <>"):
        validate(Config(task=TaskConfig(classify=ClassifyConfig(flip_pairs=(text,)))))


def test_pairs_turn_mirroring_on_unless_it_is_off():
    left_open, on, off = AugmentConfig(), AugmentConfig(flip=True), AugmentConfig(flip=False)
    assert mirrors(left_open, (), directional=False) and not mirrors(left_open, (), directional=True)
    assert mirrors(left_open, ("a<>b",), directional=True)
    assert not mirrors(off, ("a<>b",), directional=True)
    assert mirrors(on, (), directional=True)
    assert not mirrors(off, (), directional=False)


def test_unknown_swaps_are_warned_of(caplog):
    mirrored_targets(video_set((0,), directional=True), AugmentConfig(flip=True))
    assert "name them in config.task.classify.flip_pairs" in caplog.text
    assert "config.data.augment.flip=false" in caplog.text
