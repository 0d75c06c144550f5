"""Several sources as one training set: names, classes together, weights, what is held out."""

import json

import numpy as np
import pytest

from vidjax.config import DataConfig
from vidjax.data.listing import union as sources
from vidjax.data.listing.load import load_eval_set, load_sets
from vidjax.data.listing.prepared import PreparedSet
from vidjax.data.prepared.read import Prepared
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError


@pytest.fixture
def write(tmp_path):
    """Writes NAME.csv beside empty files that it lists; gives its path."""

    def write(name, *rows, columns="path,label"):
        for row in rows:
            (tmp_path / row.split(",")[0]).touch()
        (tmp_path / f"{name}.csv").write_text("\n".join([columns, *rows]) + "\n")
        return str(tmp_path / f"{name}.csv")

    return write


def names_of(videos):
    return [record.path.rsplit("/", 1)[1].removesuffix(".mp4") for record in videos.records]


def test_classes_are_shared_by_name_and_sorted(write):
    one = write("one", "a1.mp4,run", "a2.mp4,walk")
    two = write("two", "b1.mp4,jump", "b2.mp4,run")
    val = write("val", "v.mp4,jump")
    train, held_out = load_sets(DataConfig(train=f"{one}, {two}", eval=val))
    assert train.labels.names == held_out.labels.names == ("jump", "run", "walk")
    assert names_of(train) == ["a1", "a2", "b1", "b2"] and train.sources == (0, 0, 1, 1)
    assert train.targets().tolist() == [1, 2, 0, 1]
    alone, _ = load_sets(DataConfig(train=one, eval=write("v2", "w.mp4,run")))
    assert alone.sources == ()


def test_evaluation_takes_several_sources_too(write):
    one, two = write("one", "a1.mp4,run", "a2.mp4,walk"), write("two", "b1.mp4,run")
    _, held_out = load_sets(DataConfig(train=write("t", "c1.mp4,run", "c2.mp4,walk"), eval=f"{one},{two}"))
    assert names_of(held_out) == ["a1", "a2", "b1"]
    assert names_of(load_eval_set(DataConfig(eval=f"{one},{two}"), LabelSpace(("run", "walk")))) == ["a1", "a2", "b1"]


def test_each_source_is_split_as_it_says_and_the_others_by_share(write):
    split = write("split", "a1.mp4,run,train", "a2.mp4,walk,train", "a3.mp4,run,val", columns="path,label,split")
    whole = write("whole", *(f"b{i}.mp4,{'run' if i % 2 else 'walk'}" for i in range(10)))
    for text, order in ((f"{split},{whole}", (0, 1)), (f"{whole},{split}", (1, 0))):
        train, held_out = load_sets(DataConfig(train=text, eval_share=0.2))
        assert {"a1", "a2"} < set(names_of(train)) and "a3" in names_of(held_out)
        assert len(train) == 10 and len(held_out) == 3
        assert list(train.sources) == sorted(train.sources)
        first = train.sources[names_of(train).index("a1")]
        assert first == order[0]


def test_a_file_with_commas_in_its_name_is_one_source(tmp_path, monkeypatch):
    (tmp_path / "a,b.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert sources.names("a,b.csv") == ["a,b.csv"]
    assert sources.names("a.csv, b.csv") == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": "{one},,{two}"}, "a source is missing before, between or after its commas"),
        ({"train": "{one},{one}"}, "twice; config.data.mixture"),
        ({"train": "{one},{two}", "mixture": (1.0,)}, r"mixture has 1 weight, but config.data.train lists 2 sources"),
        ({"train": "{one}", "mixture": (1.0, 2.0)}, r"mixture has 2 weights, but config.data.train lists 1 source$"),
        ({"train": "{one},{two}", "dataset": "ucf101"}, "takes one source. To mix published data sets"),
    ],
)
def test_wrong_settings_are_named(write, change, message):
    paths = {"one": write("one", "a1.mp4,run", "a2.mp4,walk"), "two": write("two", "b1.mp4,run")}
    change["train"] = change["train"].format(**paths)
    with pytest.raises(DataError, match=message):
        load_sets(DataConfig(**change))


def test_wrong_lines_name_their_file(write, tmp_path):
    one, two = write("one", "a1.mp4,run", "a2.mp4,walk"), write("two", "b1.mp4,run", "b2.mp4,")
    with pytest.raises(DataError, match=r"two.csv:3: the label of 'b2.mp4' is empty"):
        load_sets(DataConfig(train=f"{one},{two}", eval=one))


def test_nearly_equal_names_and_twins_are_warned_of(write, caplog):
    one, two = write("one", "a1.mp4,Long Jump", "a2.mp4,run"), write("two", "b1.mp4,long_jump", "a2.mp4,run")
    train, _ = load_sets(DataConfig(train=f"{one},{two}", eval=write("v", "v.mp4,run")))
    assert train.labels.names == ("Long Jump", "long_jump", "run")
    assert "'Long Jump' and 'long_jump'" in caplog.text
    assert "1 video is listed by several sources" in caplog.text and "a2.mp4" in caplog.text


def test_equal_class_lists_keep_their_order():
    assert sources.union([("b", "a"), ("b", "a")]) == ("b", "a")
    assert sources.union([("b", "a"), ("a", "b")]) == sources.union([("b",), ("a",)]) == ("a", "b")


def declared(name, *classes, **fields):
    return PreparedSet(name, Prepared(name, (), LabelSpace(classes, **fields)))


def test_directions_go_by_name():
    one = declared("one", "left", "right", directional=True, mirrored={0: 1, 1: 0})
    two = declared("two", "right", "run")
    assert sources.directions([one, two], ("left", "right", "run")) == (True, {0: 1, 1: 0})
    assert sources.directions([two], ("right", "run")) == (False, {})
    other = declared("three", "left", "port", directional=True, mirrored={0: 1, 1: 0})
    with pytest.raises(DataError, match="three: 'left' mirrored is 'port', but 'right' in another source"):
        sources.directions([one, other], ("left", "port", "right"))


def test_mixture_works_from_the_command_line(write):
    from vidjax.config.files import read_config

    config = read_config(
        [
            "--config.data.train=a.csv,b.csv",
            "--config.data.mixture=2,1",
            "--config.task.classify.balance=sqrt",
            "--config.task.classify.flip_pairs='turn left<>turn right'",
        ]
    )
    data, classify = config.data, config.task.classify  # fmt: skip
    assert data.train == "a.csv,b.csv" and tuple(data.mixture) == (2, 1) and classify.balance == "sqrt"
    assert tuple(classify.flip_pairs) == ("turn left<>turn right",)
    assert json.loads(json.dumps(data.mixture)) == [2, 1] and np.sum(data.mixture) == 3
