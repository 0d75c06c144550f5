"""Published data sets by name: classes, official splits, directions, the rate of their frames."""

import itertools

import cv2
import numpy as np
import pytest

from tests.videos import write_video
from vidjax.config import (
    DataConfig,
    Spec,
    choices,
)
from vidjax.data.listing.annotations import ClassIndex
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.pipeline import train_batches
from vidjax.data.reading.clips import ClipReader, segment_frames
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.tasks.classify.targets import make_targets

CLASSES = {
    "activitynet": 200, "ava": 60, "charades": 157, "diving48": 48, "hmdb51": 51, "jester": 27, "kinetics400": 400,
    "kinetics600": 600, "kinetics700": 700, "moments": 339, "something_v1": 174, "something_v2": 174, "ucf101": 101,
}  # fmt: skip


def test_definitions_are_those_of_the_settings():
    assert tuple(DATASETS) == choices.DATASETS == tuple(sorted(CLASSES))
    assert all(name == dataset.name for name, dataset in DATASETS.items())


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name):
    dataset = DATASETS[name]
    assert len(dataset.class_names) == len(set(dataset.class_names)) == CLASSES[name]
    index = ClassIndex(dataset.class_names)
    assert [index.get(label) for label in dataset.class_names] == list(range(CLASSES[name]))
    assert dataset.metric == ("mAP" if name in ("ava", "charades") else "top1")
    assert dataset.splits == (3 if name in ("ucf101", "hmdb51") else 1)


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


# Parts of untrimmed videos.


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ((None, None), (0, 10)), ((0.2, 0.5), (2, 3)), ((0.25, None), (3, 7)), ((None, 0.35), (0, 4)),
        ((0.31, 0.39), (3, 1)), ((0.9, 99.0), (9, 1)), ((5.0, 9.0), (9, 1)), ((0.3, 0.3), (3, 1)), ((0.0, 0.0), (0, 1)),
    ],
)  # fmt: skip
def test_segment_frames(segment, expected):
    assert segment_frames(np.arange(10) / 10, segment) == expected


def test_activitynet_clips_stay_in_their_segment(tmp_path):
    write_video(tmp_path / "v_abc.mp4", numbered_frames(30), fps=10)
    entry = {"subset": "training", "annotations": [{"segment": [0.0, 1.0], "label": "Surfing"},
                                                   {"segment": [2.0, 2.8], "label": "Archery"}]}  # fmt: skip
    held_out = {"subset": "validation", "annotations": [{"segment": [1.0, 2.0], "label": "Surfing"}]}
    (tmp_path / "activity_net.v1-3.min.json").write_text(json.dumps({"database": {"abc": entry}}))
    (tmp_path / "val.json").write_text(json.dumps({"database": {"abc": held_out}}))
    config = DataConfig(
        dataset="activitynet", train=str(tmp_path), eval=str(tmp_path / "val.json"), augment=AugmentConfig(flip=False)
    )
    train, evaluation = load_sets(config)
    reader = ClipReader(Spec.of_video("toy", num_frames=4, stride=2, size=16, resize=(16,)), config)

    def numbers(video):
        return (video.mean(axis=(2, 3, 4)) / 8).round().astype(int)

    rng = np.random.default_rng(0)
    for record, frames in zip(train.records, (range(10), range(20, 28)), strict=True):
        assert (record.start, record.end) in ((0.0, 1.0), (2.0, 2.8))
        clips = [reader.train(record, rng)[0] for _ in range(6)]
        seen = {i for clip in clips for i in numbers(clip)[0]}
        assert seen <= set(frames) and len(seen) > 4
    (record,) = evaluation.records
    np.testing.assert_array_equal(numbers(reader.evaluate(record, 2, 1)[0]), [[10, 12, 14, 16], [13, 15, 17, 19]])


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


# Training by name.


def settings(data):
    return Config(
        model=ModelConfig(name="frame_pool_tiny"),
        data=dataclasses.replace(data, clip=ClipConfig(num_frames=2, size=16, resize=(20,))),
        train=TrainConfig(batch_size=4, steps=1, checkpoint_epochs=0.0),
        eval=EvalConfig(batch_size=4),
        mesh=MeshConfig(data=1),
    )


def fill(config, paths):
    for i, path in enumerate(paths):
        write_video(Path(config.root) / path, numbered_frames(6, offset=i))


def test_unknown_names_and_splits_are_refused():
    with pytest.raises(ConfigError, match=r"config.data.dataset = 'ufc101': must be one of"):
        validate(Config(data=DataConfig(dataset="ufc101")))
    with pytest.raises(ConfigError, match=r"config.data.split = 0"):
        validate(Config(data=DataConfig(split=0)))


def test_a_checkpoint_is_evaluated_on_the_publishers_list(ucf):
    from vidjax.apps.evaluate import _eval_videos
    from vidjax.training.checkpoints import Meta

    spec, expected = Spec.of_video("toy", num_frames=4), load_sets(ucf)[1]
    config = Config(data=ucf)
    assert _eval_videos(config, Meta(config, spec, LabelSpace(DATASETS["ucf101"].class_names))) == expected
    with pytest.raises(DataError, match="other classes than the checkpoint"):
        _eval_videos(config, Meta(config, spec, LabelSpace(DATASETS["hmdb51"].class_names)))


@pytest.mark.slow
def test_ucf101_trains_by_name(ucf, tmp_path):
    from vidjax.training.loop import train

    fill(ucf, TRAIN + TEST)
    summary = train(settings(ucf), tmp_path / "run", Console(quiet=True))
    assert summary["num_videos"] == 4 and summary["coverage"] == 1.0
    assert {name for name, c in summary["per_class"].items() if c["num_videos"]} == {"Archery", "YoYo"}


@pytest.fixture
def charades(tmp_path):
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    for name, ids in (("train", "ABCD"), ("test", "EFGH")):
        actions = ("c000 0.0 1.0;c156 0.5 2.0", "", "c000 0.0 2.0", "c010 0 1;c010 2 3")
        rows = [f"{i},S{i},Kitchen,6,7,Yes,x,y,z,{a},24.83" for i, a in zip(ids, actions, strict=True)]
        (tmp_path / f"Charades_v1_{name}.csv").write_text("\n".join([header, *rows]))
    data = DataConfig(dataset="charades", train=str(tmp_path), root=str(tmp_path))
    fill(data, [f"{i}.mp4" for i in "ABCDEFGH"])
    return data


def test_charades_is_multi_label(charades):
    train, evaluation = load_sets(charades)
    assert train.labels.several and evaluation.labels.several
    np.testing.assert_array_equal(train.targets()[:, [0, 10, 156]], [[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]])


@pytest.mark.slow
def test_charades_trains_by_name_and_is_judged_by_map(charades, tmp_path):
    from vidjax.training.loop import train

    summary = train(settings(charades), tmp_path / "run", Console(quiet=True))
    assert summary["num_videos"] == 4 and 0 <= summary["video"]["mAP"] <= 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["best_metric"] == "video/mAP"
