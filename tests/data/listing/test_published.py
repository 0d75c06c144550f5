"""Published data sets as sources: where their videos are found, what is left out, segments, training by name."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.videos import numbered_frames, write_video
from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    MeshConfig,
    ModelConfig,
    Spec,
    TrainConfig,
)
from vidjax.config.validate import validate
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.listing.load import load_sets
from vidjax.data.reading.clips import ClipReader, segment_frames
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError

# A small UCF-101: every video below root except one of each role.

TRAIN = [f"{c}/v_{c}_g0{g}_c01.avi" for g in (8, 9) for c in ("Archery", "YoYo")]
TEST = [f"{c}/v_{c}_g01_c0{i}.avi" for i in (1, 2) for c in ("Archery", "YoYo")]


@pytest.fixture
def ucf(tmp_path):
    lists, root = tmp_path / "lists", tmp_path / "videos"
    lists.mkdir()
    number = {"Archery": 3, "YoYo": 101}
    for split in (1, 2):
        train, test = (TRAIN, TEST) if split == 1 else (TEST, TRAIN)
        lines = [f"{p} {number[p.split('/')[0]]}\n" for p in [*train, "Archery/v_Archery_g20_c01.avi"]]
        (lists / f"trainlist{split:02d}.txt").write_text("".join(lines))
        (lists / f"testlist{split:02d}.txt").write_text("".join(f"{p}\n" for p in [*test, "YoYo/v_YoYo_g21_c01.avi"]))
    for path in TRAIN + TEST:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return DataConfig(dataset="ucf101", train=str(lists), root=str(root))


def below(videos, config):
    return sorted(r.path.removeprefix(config.root + "/") for r in videos.records)


def test_missing_videos_are_left_out_and_reported(ucf, caplog):
    with caplog.at_level(logging.WARNING, "vidjax"):
        train, evaluation = load_sets(ucf)
    assert below(train, ucf) == sorted(TRAIN) and below(evaluation, ucf) == sorted(TEST)
    assert "1 of 5 train videos" in caplog.text and "1 of 5 eval videos" in caplog.text
    assert "v_Archery_g20_c01" in caplog.text and "v_YoYo_g21_c01" in caplog.text
    assert train.labels.names == evaluation.labels.names == DATASETS["ucf101"].class_names
    assert set(train.targets()) == {2, 100}
    assert {r.group for r in train.records} == {"Archery_g08", "Archery_g09", "YoYo_g08", "YoYo_g09"}


def test_splits_and_files(ucf):
    second = load_sets(dataclasses.replace(ucf, split=2))
    assert below(second[0], ucf) == sorted(TEST)
    files = dataclasses.replace(ucf, train=f"{ucf.train}/trainlist01.txt", eval=f"{ucf.train}/testlist01.txt")
    assert load_sets(files) == load_sets(ucf)
    assert load_sets(dataclasses.replace(files, eval="")) == load_sets(ucf)  # found beside the training list
    with pytest.raises(DataError, match=r"trainlist03.txt; give config.data.train"):
        load_sets(dataclasses.replace(ucf, split=3))
    with pytest.raises(DataError, match=r"data.split = 4: UCF-101 has 3"):
        load_sets(dataclasses.replace(ucf, split=4))


def test_videos_in_both_roles_are_warned_of(ucf, caplog):
    with caplog.at_level(logging.WARNING, "vidjax"):
        load_sets(dataclasses.replace(ucf, eval=f"{ucf.train}/trainlist01.txt"))
    assert "4 videos are in training and in evaluation" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": "nowhere"}, r"config.data.root = 'nowhere': no such folder"),
        ({"root": "."}, r"none of the 5 train videos is below"),
        ({"train": "nowhere"}, r"nowhere: no such file or folder"),
        ({"train": ""}, r"config.data.train is empty: give UCF-101's"),
    ],
)
def test_wrong_places(ucf, tmp_path, change, message, monkeypatch):
    monkeypatch.chdir(tmp_path / "lists")
    with pytest.raises(DataError, match=message):
        load_sets(dataclasses.replace(ucf, **change))


def test_wrong_lines_of_several_files_are_in_one_error(tmp_path):
    for name in ("wave", "walk"):
        (tmp_path / f"{name}_test_split1.txt").write_text("a.avi 1\nb.avi\n")
    with pytest.raises(DataError, match=r"(?s)walk_test_split1.txt:2: .*wave_test_split1.txt:2: "):
        load_sets(DataConfig(dataset="hmdb51", train=str(tmp_path)))


def kinetics(tmp_path, *files):
    rows = ["label,youtube_id,time_start,time_end,split", "yoga,abc,1,11,train", "eating burger,abc,20,30,train"]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    (tmp_path / "validate.csv").write_text(f"{rows[0]}\nyoga,def,1,11,validate\n")
    for name in (*files, "def_000001_000011.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train, _ = load_sets(DataConfig(dataset="kinetics400", train=str(tmp_path), root=str(tmp_path)))
    return [r.path.removeprefix(f"{tmp_path}/") for r in train.records]


@pytest.mark.parametrize(
    "files",
    [
        ("abc_000001_000011.mp4", "abc_000020_000030.mkv"),
        ("train/yoga/abc_000001_000011.mp4", "train/eating_burger/abc_000020_000030.webm"),
        ("part_0/abc_000001_000011.MP4", "part_1/abc_000020_000030.mp4"),
    ],
)
def test_sub_folders_may_be_arranged_in_any_way(tmp_path, files):
    assert kinetics(tmp_path, *files) == list(files)


def test_of_several_files_of_one_name_the_nearest_counts(tmp_path):
    names = ("a/abc_000001_000011.mp4", "val/Yoga/abc_000001_000011.mp4", "train/yoga/abc_000001_000011.mp4",
             "a/eating_burger/abc_000020_000030.mp4", "a/abc_000020_000030.mp4")  # fmt: skip
    assert kinetics(tmp_path, *names) == [names[2], names[3]]


def test_links_that_lead_back_are_no_trap(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    assert kinetics(tmp_path, "x/abc_000001_000011.mp4") == ["x/abc_000001_000011.mp4"]


def test_folders_of_frames(tmp_path):
    (tmp_path / "jester-v1-train.csv").write_text("7;Swiping Left\n8;Swiping Right\n9;Thumb Up\n")
    (tmp_path / "jester-v1-validation.csv").write_text("8;Swiping Right\n")
    for name in ("7", "8"):
        (tmp_path / "20bn-jester-v1" / name).mkdir(parents=True)
        (tmp_path / "20bn-jester-v1" / name / "00001.jpg").touch()
    train, _ = load_sets(DataConfig(dataset="jester", train=str(tmp_path)))
    assert [r.path for r in train.records] == [str(tmp_path / "20bn-jester-v1" / n) for n in ("7", "8")]
    assert train.labels.directional and train.labels.mirrored == DATASETS["jester"].mirrored


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
    from vidjax.tasks.videos import load_eval_videos

    config = Config(data=ucf)
    own, others = (LabelSpace(DATASETS[name].class_names) for name in ("ucf101", "hmdb51"))
    assert load_eval_videos(config, "classify", own) == load_sets(ucf)[1]
    with pytest.raises(DataError, match="other classes than the checkpoint"):
        load_eval_videos(config, "classify", others)


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
