"""Published data sets by name: classes, official splits, directions, the rate of their frames."""

import itertools

import cv2
import numpy as np
import pytest

from tests.settings import data_config
from tests.videos import write_video
from vidjax.config import (
    AugmentConfig,
    DataConfig,
    Spec,
    choices,
)
from vidjax.data.listing.annotations import ClassIndex
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.pipeline import train_batches
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.tasks.classify.targets import make_targets

CLASSES = {
    "activitynet": 200, "audioset": 527, "ava": 60, "ava_kinetics": 60, "charades": 157, "diving48": 48, "esc50": 50,
    "hmdb51": 51, "hvu": 3142,
    "jester": 27, "jhmdb": 21, "kinetics400": 400, "kinetics600": 600, "kinetics700": 700, "moments": 339,
    "multisports": 66, "something_v1": 174, "something_v2": 174, "ucf101": 101, "ucf101_24": 24,
    "vggsound": 309,
}  # fmt: skip
SEVERAL = ("audioset", "ava", "ava_kinetics", "charades", "hvu", "multisports")
SPLITS = {"ucf101": 3, "hmdb51": 3, "jhmdb": 3, "esc50": 5}


def test_definitions_are_those_of_the_settings():
    assert tuple(DATASETS) == choices.DATASETS
    assert tuple(sorted(CLASSES)) == choices.CLASSIFIED
    assert {name for name, dataset in DATASETS.items() if not dataset.class_names} == set(choices.CAPTIONED)
    assert all(name == dataset.name for name, dataset in DATASETS.items())


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name):
    dataset = DATASETS[name]
    assert len(dataset.class_names) == len(set(dataset.class_names)) == CLASSES[name]
    index = ClassIndex(dataset.class_names)
    assert [index.get(label) for label in dataset.class_names] == list(range(CLASSES[name]))
    assert dataset.metric == ("mAP" if name in SEVERAL else "top1")
    assert dataset.splits == SPLITS.get(name, 1)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ucf101", "ucfTrainTestlist/classInd.txt"), ("kinetics400", "deepmind_label_map.txt"),
        ("kinetics600", "deepmind_label_map_600.txt"), ("kinetics700", "kinetics/label_map_k700.txt"),
        ("hmdb51", "hmdb51/label_map.txt"), ("something_v1", "sthv1/label_map.txt"),
        ("something_v2", "sthv2/label_map.txt"), ("jester", "jester/label_map.txt"),
        ("diving48", "diving48/label_map.txt"), ("moments", "mit/label_map.txt"),
        ("activitynet", "activitynet/action_name.csv"), ("charades", None), ("ava", "ava/label_map.txt"),
    ],
)  # fmt: skip
def test_order_of_classes_is_the_published_one(shared, name, file):
    if file is None:
        known = {0: "Holding some clothes", 77: "Putting a pillow somewhere", 156: "Someone is eating something"}
        assert all(DATASETS[name].class_names[i] == label for i, label in known.items())
        return
    lines = (shared / "data" / "labels" / file).read_text().splitlines()
    lines = [line.split(maxsplit=1)[1] if name in ("ava", "ucf101") else line for line in lines]
    assert DATASETS[name].class_names == tuple(lines[1:] if name == "activitynet" else lines)


def test_direction_and_swaps():
    assert {name for name, d in DATASETS.items() if d.directional} == {"jester", "something_v1", "something_v2"}
    for name, count in (("jester", 6), ("something_v1", 6), ("something_v2", 6), ("ucf101", 0)):
        dataset = DATASETS[name]
        assert len(dataset.mirrored) == count
        assert all(dataset.mirrored[j] == i != j for i, j in dataset.mirrored.items())
    names = DATASETS["something_v2"].class_names
    swaps = {names[i]: names[j] for i, j in DATASETS["something_v2"].mirrored.items()}
    assert swaps["Pushing something from left to right"] == "Pushing something from right to left"
    turning = "Turning the camera {} while filming something"
    assert swaps[turning.format("left")] == turning.format("right")
    jester = DATASETS["jester"]
    swaps = {jester.class_names[i]: jester.class_names[j] for i, j in jester.mirrored.items()}
    assert swaps["Swiping Left"] == "Swiping Right"
    assert swaps["Turning Hand Clockwise"] == "Turning Hand Counterclockwise"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dataset": "jester"}, [0, 6, 12, 18]),  # 12 frames/s, every 6th
        ({}, [0, 13, 25, 38]),  # 25 frames/s assumed
        ({"dataset": "jester", "folder_fps": 4.0}, [0, 2, 4, 6]),
    ],
)
def test_clips_of_folders_of_frames(tmp_path, settings, expected):
    for n in range(39):
        cv2.imwrite(str(tmp_path / f"{n + 1:05d}.jpg"), np.full((16, 24, 3), 6 * n, np.uint8))
    config = data_config(sampling_eval="multi_clip", **settings)
    reader = ClipReader(Spec.of_video("toy", num_frames=4, fps=2.0, size=16, resize=(16,)), config)
    video, views = reader.evaluate(Record(str(tmp_path)), 2, 1)
    np.testing.assert_array_equal(views.frames[0], expected)
    np.testing.assert_array_equal((video.mean(axis=(2, 3, 4)) / 6).round(), views.frames)


def test_clips_of_directional_sets_are_not_mirrored(tmp_path):
    picture = np.zeros((6, 16, 32, 3), np.uint8)
    picture[:, :, 16:] = 200
    records = (Record(str(write_video(tmp_path / "v.mp4", picture)), Labels((0,))),) * 16
    reader = ExampleReader(
        Spec.of_video("toy", num_frames=2, size=16, resize=(16, 16)),
        DataConfig(augment=AugmentConfig(scale=(1.0, 1.0))),
    )
    brighter = {}
    for directional in (True, False):
        videos = VideoSet(records, LabelSpace(("left", "right"), directional=directional))
        targets = make_targets(videos.labels, reader.config.augment, ())
        (batch,) = itertools.islice(train_batches(videos, reader, targets, batch_size=16, seed=0), 1)
        left, right = np.split(batch["inputs"]["video"], 2, axis=-2)
        brighter[directional] = (right.mean(axis=(1, 2, 3, 4, 5)) > left.mean(axis=(1, 2, 3, 4, 5))).mean()
    assert brighter[True] == 1 and 0.1 < brighter[False] < 0.9
