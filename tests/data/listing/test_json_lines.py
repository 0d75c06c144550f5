"""JSON Lines: annotations of every kind, read, written and refused by name with file and line."""

import json
import logging

import pytest

from vidjax.config import DataConfig
from vidjax.data.listing.json_lines import KEYS, read_annotation, write_annotation
from vidjax.data.listing.load import list_videos, load_eval_set, load_sets
from vidjax.data.records import KINDS, Boxes, Caption, Labels, LabelSpace, Masks, Segments, TrueFlow
from vidjax.data.text import DataError

BOX = {"corners": [0.1, 0.2, 0.5, 0.9], "label": "run"}
EVERY = {
    "labels": ({"label": "run"}, Labels(("run",))),
    "boxes": ({"boxes": [BOX | {"track": 3}], "at": 2.5}, Boxes(2.5, ((0.1, 0.2, 0.5, 0.9),), (("run",),), (3,))),
    "segments": ({"segments": [[0, 2.5, "run"]]}, Segments(((0.0, 2.5, "run"),))),
    "masks": ({"mask": {"path": "m", "ids": [1, 2]}}, Masks("m", (1, 2))),
    "caption": ({"caption": ["a dog runs"]}, Caption(("a dog runs",))),
    "flow": ({"flow": {"second": "b.png", "path": "a.flo"}}, TrueFlow("b.png", "a.flo")),
}


@pytest.fixture
def write(tmp_path):
    """Writes list.jsonl beside empty videos v0.mp4 … v4.mp4; gives its path."""
    for i in range(5):
        (tmp_path / f"v{i}.mp4").touch()
    (tmp_path / "masks").mkdir()

    def write(*lines, name="list.jsonl"):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return write


def line(number, **values):
    return {"path": f"v{number}.mp4"} | values


def load(path, kind):
    return load_sets(DataConfig(train=path, eval=path), kinds=frozenset({kind}))[0]


def test_there_is_a_key_for_each_kind():
    assert tuple(KEYS) == tuple(EVERY) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind):
    values, annotation = EVERY[kind]
    assert read_annotation(values, frozenset({kind})) == annotation
    written = json.loads(json.dumps(write_annotation(annotation)))
    assert read_annotation(written, frozenset({kind})) == annotation


def test_labels_are_those_that_a_csv_gives(write, tmp_path):
    rows = [line(0, label="run"), line(1, label="walk", group="g"), line(2, labels=["run"], split="VAL")]
    path = write(*rows, "")
    (tmp_path / "list.csv").write_text("path,label,split,group\nv0.mp4,run,,\nv1.mp4,walk,,g\nv2.mp4,run,val,\n")
    assert load_sets(DataConfig(train=path)) == load_sets(DataConfig(train=str(tmp_path / "list.csv")))
    evaluated = load_eval_set(DataConfig(eval=f"{path}@all"), LabelSpace(("run", "walk")))
    assert [r.labels for r in evaluated.records] == [(0,), (1,), (0,)]


def test_segments_are_labels_with_times_where_labels_are_needed(write):
    spans = [[0.5, 4.0, "run"], [3.0, 6.5, "jump"], [8.0, 9.0, "run"]]
    train = load(write(line(0, segments=spans), line(1, segments=[])), "labels")
    assert train.labels.several and train.targets().tolist() == [[1, 1], [0, 0]]
    assert train.records[0].annotation.spans == ((0.5, 4.0, 1), (3.0, 6.5, 0), (8.0, 9.0, 1))
    assert load(write(line(0, label="run", segments=spans), line(1, label="jump")), "labels").labels.several is False
    for annotation in (
        Labels(("jump", "run"), ((0.5, 4.0, "run"), (3.0, 6.5, "jump"))),
        Labels(("a/x",), categories=("a", "b")),
        Labels((), (), ("a",)),
    ):
        written = json.loads(json.dumps(write_annotation(annotation)))
        assert read_annotation(written, frozenset({"labels"})) == annotation


def test_categories_that_are_not_annotated_are_not_known(write):
    rows = [line(0, labels=["action/run", "scene/beach"]), line(1, labels=["action/jump"], categories=["action"])]
    train = load(write(*rows), "labels")
    assert train.labels.names == ("action/jump", "action/run", "scene/beach")
    assert train.targets().tolist() == [[0, 1, 1], [1, 0, -1]]
    for values, message in (
        ({"labels": [], "categories": ["place"]}, "no class is of the category 'place'.*there are action, scene"),
        ({"labels": ["action/run"], "categories": ["scene"]}, "has the label 'action/run', but not its category"),
        ({"labels": [], "categories": "scene"}, "categories must be a list of texts"),
    ):
        with pytest.raises(DataError, match=f"list.jsonl:3: .*{message}"):
            load(write(*rows, line(2, **values)), "labels")


def test_several_labels_or_none(write):
    train = load(write(line(0, labels=["run", "jump"]), line(1, labels=[])), "labels")
    assert train.labels.several and train.targets().tolist() == [[1, 1], [0, 0]]
    with pytest.raises(DataError, match=r"list.jsonl:2: no label, but the model was trained with one per video"):
        path = write(line(0, label="run"), line(1, labels=[]))
        load_eval_set(DataConfig(eval=path), LabelSpace(("jump", "run")))


def test_boxes_number_the_classes_of_all(write):
    people = [{"corners": BOX["corners"], "labels": ["walk", "run"]}, BOX | {"label": "jump"}]
    path = write(line(0, boxes=people, at=1.5), line(0, boxes=[], at=2.5), line(1, boxes=[BOX], at=0))
    train = load(path, "boxes")
    assert train.labels.names == ("jump", "run", "walk") and train.labels.several
    assert [r.annotation.classes for r in train.records] == [((1, 2), (0,)), (), ((1,),)]
    assert [r.at for r in train.records] == [1.5, 2.5, 0.0]


def test_segments_masks_and_captions(write, tmp_path):
    path = write(line(0, segments=[[0.5, 2, "b"], [1, 3, "a"]], mask="masks", caption="über alles", start=1, end=4))
    record = load(path, "segments").records[0]
    assert record.annotation.spans == ((0.5, 2.0, 1), (1.0, 3.0, 0)) and (record.start, record.end) == (1.0, 4.0)
    assert load(path, "masks").records[0].annotation == Masks(str(tmp_path / "masks"))
    captioned = load(path, "caption")
    assert captioned.records[0].annotation == Caption(("über alles",)) and captioned.labels.names == ()


def test_true_flow_of_pairs(write, tmp_path):
    (tmp_path / "a.flo").touch()
    path = write(line(0, flow={"second": "v1.mp4", "path": "a.flo"}))
    assert load(path, "flow").records[0].annotation == TrueFlow(str(tmp_path / "v1.mp4"), str(tmp_path / "a.flo"))
    wrong = write(
        line(0, flow="a.flo"), line(1, flow={"path": "a.flo"}), line(2, flow={"second": "v1.mp4", "path": "b"})
    )
    with pytest.raises(DataError) as error:
        load(wrong, "flow")
    for message in (":1: flow must be", ":2: the second of the flow must be text", ":3: no such file or folder"):
        assert message in str(error.value)


def test_parts_of_one_video_are_records_of_their_own(write):
    path = write(line(0, label="a", start=0, end=2), line(0, label="b", start=2), line(1, label="b"))
    assert [(r.start, r.end) for r in load(path, "labels").records] == [(0, 2), (2, None), (None, None)]
    again = write(line(0, label="a", start=0, end=2), line(0, label="b", end=2, start=0.0))
    with pytest.raises(DataError, match=r"list.jsonl:2: 'v0.mp4' is already listed at \S*list.jsonl:1; remove one"):
        load(again, "labels")


def test_annotations_that_are_not_needed_are_not_looked_at(write):
    path = write(line(0, label=7), line(1), line(2, boxes="none"))
    train, _ = load_sets(DataConfig(train=path, eval=path), kinds=frozenset())
    assert len(train) == 3 and train.labels.names == ("unlabelled",)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("labels", {}, r"there is no 'label' or 'labels' or 'segments' of 'v1.mp4'"),
        ("labels", {"label": " "}, "the label of 'v1.mp4' is empty"),
        ("labels", {"label": 3}, "the label of 'v1.mp4' must be text, not 3"),
        ("labels", {"labels": "run"}, 'the labels of .v1.mp4. must be a list of texts, not "run"'),
        ("labels", {"labels": ["a", "a"]}, "a label of 'v1.mp4' is repeated"),
        ("labels", {"label": "a", "labels": ["a"]}, "give the label or the labels of 'v1.mp4', not both"),
        ("labels", {"label": "a", "path": ""}, "the path is empty"),
        ("labels", {"label": "a", "path": 3}, "the path is 3; give a video's path"),
        ("labels", {"label": "a", "path": "gone.mp4"}, "no such file: .*gone.mp4"),
        ("labels", {"label": "a", "start": "1"}, 'start must be a number of seconds, 0 or more, not "1"'),
        (
            "labels",
            {"label": "a", "start": 2, "end": 2.0},
            "the part of 'v1.mp4' ends at 2 s, which is not after",
        ),
        ("labels", {"label": "a", "end": 2, "at": 2.5}, "the time 'at', 2.5 s, is not within the given part of"),
        ("labels", {"label": "a", "at": -1}, "at must be a number of seconds"),
        ("labels", {"label": "a", "group": 3}, "the group must be text, not 3"),
        ("boxes", {"boxes": [BOX]}, "boxes need 'at', the time of their frame"),
        ("boxes", {"boxes": {}, "at": 1}, "boxes must be a list"),
        ("boxes", {"boxes": [BOX, {"corners": [0, 0, 1.5, 1], "label": "a"}], "at": 1}, "box 2 must have corners left"),
        ("boxes", {"boxes": [{"corners": [0, 0, 1, 1]}], "at": 1}, "the labels of box 1 must be a list .* not nothing"),
        ("boxes", {"boxes": [BOX, BOX | {"track": 1}], "at": 1}, "1 box has a track, of 2; give all or none"),
        ("boxes", {"boxes": [BOX | {"track": 0.5}], "at": 1}, "the track of box 1 must be a whole number"),
        ("segments", {"segments": 3}, "segments must be a list of"),
        ("segments", {"segments": [[1, 2]]}, "segment 1 must be .start, end, .class.., not"),
        ("segments", {"segments": [[0, 1, "a"], [2, 1, "a"]]}, "segment 2 ends at 1 s, which is not after"),
        ("segments", {"segments": [[0, 1, ""]]}, "the class of segment 1 is empty"),
        ("masks", {"mask": 3}, "mask must be a path or"),
        ("masks", {"mask": {"path": "masks", "ids": ["a"]}}, "each of the ids of a mask must be a whole number"),
        ("masks", {"mask": "nowhere"}, "no such file or folder: .*nowhere"),
        ("caption", {"caption": []}, "caption must be a text or a list of texts"),
        ("caption", {"caption": ["", "b"]}, "the caption is empty"),
    ],
)
def test_wrong_lines_are_named(write, kind, values, message):
    first = line(0) | EVERY[kind][0] | ({"mask": "masks"} if kind == "masks" else {})
    with pytest.raises(DataError, match=rf"^\S*list.jsonl:2: {message}"):
        load(write(first, line(1) | values), kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "v1.mp4", "label": }', r"not valid JSON \(Expecting value at character 29\)"),
        ('["v1.mp4", "a"]', r"must be an object such as"),
    ],
)
def test_lines_that_are_no_objects(write, text, message):
    with pytest.raises(DataError, match=rf"list.jsonl:2: {message}"):
        load(write(line(0, label="a"), text), "labels")


def test_every_wrong_line_is_in_the_one_error(write):
    with pytest.raises(DataError, match=r"jsonl:1: (.|\n)*jsonl:2: (.|\n)*jsonl:3: "):
        load(write("{", line(9, label="a"), line(1)), "labels")


def test_empty_files_and_unknown_keys(write, caplog):
    with pytest.raises(DataError, match=r"list.jsonl: lists no videos"):
        load(write(""), "labels")
    with caplog.at_level(logging.WARNING, "vidjax"):
        load(write(line(0, label="a", lable="b"), line(1, label="b", fps=3)), "labels")
    assert "list.jsonl: unused keys: fps, lable" in caplog.text


def test_check_lists_what_is_missing(write):
    rows = list_videos(DataConfig(train=write(line(0, label="a"), line(9, label="b"))))
    assert [(row.path.rpartition("/")[2], row.missing) for row in rows] == [("v0.mp4", False), ("v9.mp4", True)]
