"""AVA's lists: a row for each key frame, with the boxes in it; wrong lines named; where it can be used."""

import pytest

from vidjax.config import Config, DataConfig
from vidjax.data.listing.annotations import AnnotationFile, ClassIndex
from vidjax.data.listing.ava import parse_ava, read_excluded, read_label_map
from vidjax.data.listing.class_lists import read_class_names, read_class_numbers
from vidjax.data.listing.load import list_videos, load_sets
from vidjax.data.records import Boxes
from vidjax.data.text import DataError

AVA = """-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,1
-5KQ66BBWC4,0902,0.5,0.2,0.75,1.0,12,0
-5KQ66BBWC4,0903
-5KQ66BBWC4,0904,0.5,0.2,0.75,1.0,12,0
"""
LINES = AVA.count("\n")
BOTH = ((0.077, 0.151, 0.283, 0.811), (0.5, 0.2, 0.75, 1.0))


def parse(tmp_path, text):
    (tmp_path / "ava.csv").write_text(text)
    return parse_ava(AnnotationFile(tmp_path / "ava.csv", "train", ClassIndex(read_class_names("ava"))))


def test_a_row_is_a_key_frame_and_an_action_a_class_of_its_person(tmp_path):
    first, second = parse(tmp_path, AVA)
    classes = (("watch (a person)", "martial art"), ("stand",))
    assert first.annotation == Boxes(902.0, BOTH, classes, (1, 0))
    assert (first.path, first.group, first.at, first.labels) == ("-5KQ66BBWC4", "-5KQ66BBWC4", 902.0, ())
    assert first.where.endswith("ava.csv:1") and second.where.endswith("ava.csv:5")
    assert second.annotation == Boxes(904.0, BOTH[1:], (("stand",),), (0,))


def test_actions_that_are_not_evaluated_are_passed_over(tmp_path):
    rare = min(set(range(1, 81)) - read_class_numbers("ava").keys())
    (row,) = parse(tmp_path, f"x,10,0,0,1,1,{rare},1\nx,11,0,0,1,1,{rare},1\nx,11,0,0,1,1,12,1\n")
    assert row.at == 11 and row.annotation.classes == (("stand",),)


def test_persons_without_numbers_have_no_tracks(tmp_path):
    (row,) = parse(tmp_path, "x,10,0,0,1,1,12\nx,10,0,0,0.5,1,12\n")
    assert len(row.annotation.corners) == 2 and row.annotation.tracks == ()


def test_classes_go_by_the_publishers_numbers():
    numbers = read_class_numbers("ava")
    assert len(numbers) == 60 and numbers[80] == "watch (a person)" and numbers[1] == "bend/bow (at the waist)"
    assert tuple(numbers.values()) == read_class_names("ava") and read_class_numbers("ucf101") == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,1,0,0,1,1", "not of the form video,second"),
        ("x,1,0,0,1.5,1,80,1", "the box must be"),
        ("x,1,0,0,1,1,81,1", "action 81 is not in"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    with pytest.raises(DataError, match=f"ava.csv:{LINES + 1}: {message}"):
        parse(tmp_path, AVA + line)


def test_the_published_lists_of_a_scorer_are_read(shared, tmp_path):
    """Each box of mmaction2's ground truth, once."""
    text = (shared / "data" / "metrics" / "eval_detection" / "gt.csv").read_text()
    rows = parse(tmp_path, text)
    lines = {tuple(line.split(",")) for line in text.split() if int(line.split(",")[6]) in read_class_numbers("ava")}
    assert sum(len(c) for row in rows for c in row.annotation.classes) == len(lines) > 0
    assert len({(row.path, row.at) for row in rows}) == len(rows) == len({line[:2] for line in lines})


@pytest.fixture
def ava(tmp_path):
    (tmp_path / "ava_train_v2.2.csv").write_text(AVA + "gone,0902,0,0,1,1,12,0\n")
    (tmp_path / "ava_val_v2.2.csv").write_text("other,0950,0,0,1,1,12,0\n")
    for name in ("-5KQ66BBWC4.mkv", "other.webm"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return DataConfig(dataset="ava", train=str(tmp_path), root=str(tmp_path / "videos"))


def test_boxes_of_key_frames_are_records(ava, caplog):
    train, evaluation = load_sets(ava, kinds=frozenset({"boxes"}))
    assert [(r.path.rpartition("/")[2], r.at) for r in train.records] == [("-5KQ66BBWC4.mkv", t) for t in (902, 904)]
    names = train.labels.names
    assert names == evaluation.labels.names == read_class_names("ava") and train.labels.several
    assert [tuple(names[i] for i in box) for box in train.records[0].annotation.classes] == [
        ("martial art", "watch (a person)"),
        ("stand",),
    ]
    assert evaluation.records[0].annotation.at == evaluation.records[0].at == 950
    assert "1 of 3 train videos are not below" in caplog.text


def test_classifying_is_refused_before_anything_is_opened():
    config = DataConfig(dataset="ava", train="nowhere", root="nowhere")
    for use in (load_sets, list_videos):
        with pytest.raises(
            DataError,
            match=r"'ava': its annotations are boxes, but labels are needed; give data that has them$",
        ):
            use(config)


def test_planning_a_classifier_on_it_is_refused():
    from vidjax.plan.estimates import data_facts

    with pytest.raises(
        DataError, match=r"config.data.dataset = 'ava': its annotations are boxes, but labels are needed"
    ):
        data_facts(Config(data=DataConfig(dataset="ava")), 0, 0)


def test_check_looks_at_each_video_whatever_it_is_annotated_with(ava):
    found = list_videos(ava, frozenset())
    assert [(row.at, row.missing) for row in found] == [(902, False), (904, False), (902, True), (950, False)]


def test_a_label_map_is_read_however_it_is_spaced(tmp_path):
    file = tmp_path / "list.pbtxt"
    file.write_text(
        'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\nitem { name: \'say "no" {\' label_id: 7 }\n'
        'label{label_id:9 name:"a \\"b\\""}\n'
    )
    assert read_label_map(file) == {1: "bend/bow (at the waist)", 7: 'say "no" {', 9: 'a "b"'}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sit\nstand\n", "list.pbtxt: no items of the form"),
        ('item { name: "a" id: 1 }\nitem { id: 2 }\n', "list.pbtxt:2: an item needs a name and an id"),
        ('item { name: "a" id: 1 }\nitem { name: "b" id: 1 }\n', "list.pbtxt:2: the number or the name of 'b' is in"),
        ('item { name: "a" id: 1 }\nitem { name: "a" id: 2 }\n', "list.pbtxt:2: the number or the name of 'a' is in"),
    ],
)
def test_a_wrong_label_map_is_named(tmp_path, text, message):
    (tmp_path / "list.pbtxt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_label_map(tmp_path / "list.pbtxt")


def test_excluded_frames(tmp_path):
    file = tmp_path / "excluded.csv"
    file.write_text("a,0902\nb,1000.5\n")
    assert read_excluded(file) == [("a", 902.0), ("b", 1000.5)]
    file.write_text("a,0902\nb\nc,1,0,0,1,1,3\n")
    with pytest.raises(DataError, match=r"(?s)excluded.csv:2: not of the form.*excluded.csv:3: not of"):
        read_excluded(file)


def test_frames_may_be_named_with_empty_cells(tmp_path):
    assert parse(tmp_path, "x,10,,,,,,\nx,11\n") == []
    with pytest.raises(DataError, match=r"ava.csv:1: the person must be a number: '0\.5'"):
        parse(tmp_path, "x,10,0,0,1,1,12,0.5\n")
