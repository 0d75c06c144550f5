"""Files of segments: each format as published, what is wrong in them, and the files of their videos."""

import json

import numpy as np
import pytest

from vidjax.config import DataConfig, FeaturesConfig
from vidjax.data.listing.load import load_eval_set, load_sets
from vidjax.data.listing.segment_files import SegmentFile, declares_segments
from vidjax.data.records import LabelSpace, Segments
from vidjax.data.text import DataError

KINDS = frozenset({"segments"})
OWN = "path,start,end,label,split,duration,fps\na.mp4,1,2.5,run,train,30,10\na.mp4,2.5,4,jump,train,30,10\n" + (
    "b.mp4,,,,val,20,10\n"
)
JSON = {
    "database": {
        "one": {
            "subset": "training",
            "duration": 9.5,
            "fps": 30,
            "annotations": [{"segment": [0, 4.5], "label": "run"}],
        },
        "two": {"subset": "Validation", "annotations": []},
    }
}
EPIC = (
    "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class\n"
    "P01_01_0,P01,P01_01,00:00:00.14,00:01:03.37,open,3,door,3\n"
)
CHARADES = "id,subject,actions,length\n46GP8,HR43,c092 11.90 21.20;c147 0.00 12.60,24.83\nN11GT,0KZ7,,18.33\n"


def rows(path):
    return SegmentFile(str(path), str(path)).rows()


def write(path, text):
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def test_own_csv(tmp_path):
    one, two = rows(write(tmp_path / "s.csv", OWN))
    assert (one.path, one.split, one.group) == ("a.mp4", "train", "a.mp4")
    assert one.annotation == Segments(((1.0, 2.5, "run"), (2.5, 4.0, "jump")), 30.0, 10.0)
    assert two.annotation == Segments((), 20.0, 10.0) and two.split == "val"


def test_activitynet_json(tmp_path):
    one, two = rows(write(tmp_path / "s.json", JSON))
    assert one.annotation == Segments(((0.0, 4.5, "run"),), 9.5, 30.0) and one.split == "training"
    assert two.annotation == Segments(()) and two.split == "validation"


def test_epic_has_verbs_and_nouns(tmp_path):
    verb, noun = rows(write(tmp_path / "EPIC_100_train.csv", EPIC))
    assert verb.annotation == Segments(((0.14, 63.37, "open"),)) and verb.split == "verb"
    assert noun.annotation == Segments(((0.14, 63.37, "door"),)) and noun.split == "noun"


def test_charades(tmp_path):
    one, two = rows(write(tmp_path / "Charades_v1_train.csv", CHARADES))
    assert one.annotation.duration == 24.83
    assert [span[:2] for span in one.annotation.spans] == [(11.9, 21.2), (0.0, 12.6)]
    assert one.annotation.spans[0][2] != one.annotation.spans[1][2] and two.annotation.spans == ()


def test_folders_of_thumos_and_multithumos(tmp_path):
    write(tmp_path / "Diving_val.txt", "video_validation_0000001  72.8 76.4\n")
    write(tmp_path / "CliffDiving_val.txt", "video_validation_0000001  72.8 76.4\n")
    write(tmp_path / "Ambiguous_test.txt", "video_test_0000004  1.0 2.0\n")
    one, two = sorted(rows(tmp_path), key=lambda row: row.split)[::-1]
    assert one.annotation.spans == ((72.8, 76.4, "CliffDiving"), (72.8, 76.4, "Diving")) and one.split == "validation"
    assert two.annotation.spans == () and two.split == "test"
    other = tmp_path / "multi"
    other.mkdir()
    write(other / "Walk.txt", "video_validation_0000001 1 2\nvideo_test_0000004 3.5 4\n")
    assert [(row.split, row.annotation.spans) for row in rows(other)] == [
        ("validation", ((1.0, 2.0, "Walk"),)),
        ("test", ((3.5, 4.0, "Walk"),)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4,4,2,run", r"s.csv:2: the segment ends at 2 s, which is not after its start at 4 s"),
        ("a.mp4,x,2,run", r"s.csv:2: start and end must be seconds, 0 or more, not 'x' and '2'"),
        ("a.mp4,1,2,", r"s.csv:2: the label is empty"),
        (",1,2,run", r"s.csv:2: the path is empty"),
        ("a.mp4,1,2", r"s.csv:2: 3 cells where the header has 4"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        rows(write(tmp_path / "s.csv", f"path,start,end,label\n{line}\n"))


def test_other_tables_are_refused_by_their_header(tmp_path):
    with pytest.raises(DataError, match=r"s.csv:1: the header is 'path,label'; segments need the columns path,start"):
        rows(write(tmp_path / "s.csv", "path,label\na.mp4,run\n"))


def test_what_has_the_form_of_segments(tmp_path):
    assert declares_segments(write(tmp_path / "s.csv", OWN)) and declares_segments(write(tmp_path / "s.json", JSON))
    assert not declares_segments(write(tmp_path / "l.csv", "path,label\na.mp4,run\n"))


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "features"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.npy", "deep/v_one.npy", "two.npy"):
        np.save(folder / name, np.zeros((4, 3), np.float32))
    return folder


def settings(train, features="", **others):
    return DataConfig(train=str(train), features=FeaturesConfig(folder=str(features)), **others)


def test_features_are_found_by_the_names_of_videos(tmp_path, features, caplog):
    train, held_out = load_sets(settings(write(tmp_path / "s.json", JSON), features), kinds=KINDS)
    assert [record.path for record in train.records] == [str(features / "deep/v_one.npy")]
    assert [record.path for record in held_out.records] == [str(features / "two.npy")]
    assert train.records[0].annotation.spans == ((0.0, 4.5, 0),) and train.labels.names == ("run",)
    assert train.records[0].annotation.fps == 30
    load_eval_set(settings("", features, eval=f"{write(tmp_path / 's.csv', OWN)}@train"), LABELS, KINDS)


LABELS = LabelSpace(("jump", "run"))


def test_videos_of_one_name_in_different_folders(tmp_path):
    for name in ("x/a.mp4", "y/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    text = "path,start,end,label\ny/a.mp4,1,2,run\nx/a.mp4,1,2,run\n"
    found = load_eval_set(settings("", eval=str(write(tmp_path / "s.csv", text))), LABELS, KINDS)
    assert [record.path for record in found.records] == [str(tmp_path / "y/a.mp4"), str(tmp_path / "x/a.mp4")]


def test_missing_features_are_counted(tmp_path, features, caplog):
    text = "path,start,end,label\n" + "".join(f"{name},1,2,run\n" for name in ("a.mp4", "gone.mp4"))
    found = load_eval_set(settings("", features, eval=str(write(tmp_path / "s.csv", text))), LABELS, KINDS)
    assert len(found) == 1 and "1 of 2 videos have no features" in caplog.text and "such as gone.mp4" in caplog.text
    text = "path,start,end,label\ngone.mp4,1,2,run\n"
    with pytest.raises(DataError, match=r"none of its 1 video has features in .*compute them with `vidjax features`"):
        load_eval_set(settings("", features, eval=str(write(tmp_path / "s.csv", text))), LABELS, KINDS)


def test_a_split_of_nouns(tmp_path):
    (tmp_path / "P01_01.mp4").touch()
    path = write(tmp_path / "EPIC_100_train.csv", EPIC)
    videos = load_eval_set(settings("", eval=f"{path}@noun"), LabelSpace(("door",)), KINDS)
    assert videos.records[0].path.endswith("P01_01.mp4") and videos.records[0].annotation.spans[0][2] == 0


def test_unknown_labels_are_named(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(
        DataError, match=r"s.csv:2: label 'run' is not one of the 1 training classes; did you mean 'runs'"
    ):
        load_eval_set(settings("", eval=f"{write(tmp_path / 's.csv', OWN)}@train"), LabelSpace(("runs",)), KINDS)


def test_all_classes_may_count_as_one(tmp_path, features):
    train, held_out = load_sets(settings(write(tmp_path / "s.json", JSON), features, one_class=True), kinds=KINDS)
    assert train.labels.names == held_out.labels.names == ("any",)
    assert train.records[0].annotation.spans == ((0.0, 4.5, 0),)
