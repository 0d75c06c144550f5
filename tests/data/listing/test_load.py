"""CSV files and folders: what is read, and every mistake named with file and line."""

import logging
from pathlib import Path

import chex
import numpy as np
import pytest

from vidjax.config import DataConfig
from vidjax.data.listing.load import list_videos, load_eval_set, load_sets
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError


@pytest.fixture
def videos(tmp_path):
    """Ten empty files: reading annotations opens none of them."""
    for i in range(10):
        (tmp_path / f"v{i}.mp4").touch()
    return tmp_path


def write(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_csv_pair(videos):
    train = write(videos, "train.csv", "path,label,group", "v0.mp4,walk,a", "v1.mp4,run,a", "v2.mp4,jump,b")
    val = write(videos, "val.csv", "path,label", "v3.mp4,walk", "v4.mp4,run")
    train_set, eval_set = load_sets(DataConfig(train=train, eval=val))
    assert train_set.labels.names == eval_set.labels.names == ("jump", "run", "walk")
    np.testing.assert_array_equal(train_set.targets(), [2, 1, 0])
    np.testing.assert_array_equal(eval_set.targets(), [2, 1])
    assert train_set.records[0].path == str(videos / "v0.mp4") and train_set.records[2].group == "b"


def test_split_column(videos):
    rows = [f"v{i}.mp4,{'ab'[i % 2]},{'train' if i < 6 else 'val'}" for i in range(10)]
    train_set, eval_set = load_sets(DataConfig(train=write(videos, "all.csv", "path,label,split", *rows)))
    assert (len(train_set), len(eval_set)) == (6, 4)


@pytest.fixture
def lists(videos):
    """all.csv: six videos, of which v2 and v5 are marked val and v4 nothing; test.csv: v6 val, v7 train; bare.csv: v8,
    v9 without a split column."""
    marks = ("train", "train", "val", "Training", "", "validation")
    write(videos, "all.csv", "path,label,split", *(f"v{i}.mp4,{'ab'[i % 2]},{mark}" for i, mark in enumerate(marks)))
    write(videos, "test.csv", "path,label,split", "v6.mp4,a,val", "v7.mp4,b,train")
    write(videos, "bare.csv", "path,label", "v8.mp4,a", "v9.mp4,b")
    return str(videos)


def numbers(videos):
    return [int(Path(record.path).stem[1:]) for record in videos.records]


@pytest.mark.parametrize(
    ("train", "evaluation", "trained", "evaluated"),
    [
        ("all.csv", "", [0, 1, 3, 4], [2, 5]),  # what is not marked trains
        ("all.csv", "all.csv", [0, 1, 3, 4], [2, 5]),
        ("all.csv", "test.csv", [0, 1, 3, 4], [6]),
        ("all.csv", "bare.csv", [0, 1, 3, 4], [8, 9]),
        ("bare.csv", "all.csv", [8, 9], [2, 5]),
        ("bare.csv,all.csv", "test.csv,all.csv", [8, 9, 0, 1, 3, 4], [6, 2, 5]),
        ("all.csv@all", "test.csv@all", [0, 1, 2, 3, 4, 5], [6, 7]),
        ("all.csv@train", "test.csv@train", [0, 1], [7]),
    ],
)
def test_a_split_column_counts_with_and_without_data_eval(lists, train, evaluation, trained, evaluated):
    """Rows marked val never train unless they are asked for."""
    train, evaluation = (",".join(f"{lists}/{n}" for n in text.split(",") if n) for text in (train, evaluation))
    train_set, eval_set = load_sets(DataConfig(train=train, eval=evaluation))
    assert numbers(train_set) == trained and numbers(eval_set) == evaluated


def test_rows_that_no_role_takes_are_counted_in_one_line_for_each_file(lists, caplog):
    load_sets(DataConfig(train=f"{lists}/all.csv", eval=f"{lists}/test.csv"))
    assert caplog.messages == [
        f"{lists}/all.csv: 2 of 6 rows are left out, the split being val, validation; {lists}/all.csv@all takes all of "
        "them",
        f"{lists}/test.csv: 1 of 2 rows are left out, the split being train; {lists}/test.csv@all takes all of them",
    ]
    caplog.clear()
    load_sets(DataConfig(train=f"{lists}/all.csv", eval=f"{lists}/all.csv"))
    assert not caplog.messages


def test_a_file_whose_split_column_leaves_nothing_for_its_role(lists, videos):
    train = write(videos, "train.csv", "path,label,split", "v0.mp4,a,train", "v1.mp4,b,train")
    val = write(videos, "val.csv", "path,label,split", "v2.mp4,a,val", "v3.mp4,b,test")
    refused = r"none of its 2 rows is for training, their split being test, val; write \S*val.csv@all .*, drop the col"
    with pytest.raises(DataError, match=refused):
        load_sets(DataConfig(train=val, eval=f"{lists}/bare.csv"))
    refused = r"none of its 2 rows is for evaluation, their split being train; .* drop the column, or drop config.data"
    with pytest.raises(DataError, match=refused):
        load_sets(DataConfig(train=train, eval=train))
    with pytest.raises(DataError, match=refused):
        load_eval_set(DataConfig(eval=train), LabelSpace(("a", "b")))
    assert len(load_eval_set(DataConfig(eval=f"{train}@train"), LabelSpace(("a", "b")))) == 2
    with pytest.raises(DataError, match=r"gives 2 training videos and 0 evaluation videos; .* add @all to hold out"):
        load_sets(DataConfig(train=train))


def test_a_trained_model_is_evaluated_on_the_rows_for_evaluation_alone(lists, caplog):
    assert numbers(load_eval_set(DataConfig(eval=f"{lists}/all.csv"), LabelSpace(("a", "b")))) == [2, 5]
    assert "4 of 6 rows are left out, the split being empty, train, training" in caplog.text


def test_check_looks_at_each_video_that_a_training_would_use_once(lists):
    def listed(**settings):
        return [int(Path(video.path).stem[1:]) for video in list_videos(DataConfig(**settings))]

    assert listed(train=f"{lists}/all.csv") == list(range(6))
    assert listed(train=f"{lists}/all.csv", eval=f"{lists}/all.csv") == [0, 1, 3, 4, 2, 5]
    assert listed(train=f"{lists}/all.csv", eval=f"{lists}/test.csv") == [0, 1, 3, 4, 6]
    assert listed(train=f"{lists}/all.csv@val") == [2]
    assert listed(train=f"{lists}/bare.csv", eval=f"{lists}/bare.csv") == [8, 9]


def test_splits_that_are_not_there_are_named(lists, videos):
    with pytest.raises(DataError, match=r"all.csv@fold1: there is no split 'fold1', only train, training, val, valid"):
        load_sets(DataConfig(train=f"{lists}/all.csv@fold1"))
    with pytest.raises(DataError, match=r"bare.csv has no splits; omit @val"):
        load_sets(DataConfig(train=f"{lists}/bare.csv@val"))
    with pytest.raises(DataError, match=r"gone.csv: no such file or folder"):
        load_sets(DataConfig(train=f"{lists}/gone.csv@val"))
    folds = write(videos, "folds.csv", "path,label,split", "v0.mp4,a,fold1", "v1.mp4,b,fold1", "v2.mp4,a,fold2")
    with pytest.raises(DataError, match=r"folds.csv:2: split 'fold1' is neither train nor .*: SOURCE@fold1"):
        load_sets(DataConfig(train=folds, eval=folds))
    assert list(map(numbers, load_sets(DataConfig(train=f"{folds}@Fold1", eval=f"{folds}@fold2")))) == [[0, 1], [2]]


def test_an_at_sign_in_a_path_is_no_split(videos):
    (videos / "a@b").mkdir()
    train = write(videos / "a@b", "x@y.csv", "path,label", "../v0.mp4,a", "../v1.mp4,b")
    assert len(load_sets(DataConfig(train=train, eval=train))[0]) == 2


def test_multi_label(videos):
    train = write(videos, "train.csv", "path,label", "v0.mp4,a|b", "v1.mp4,c")
    val = write(videos, "val.csv", "path,label", "v2.mp4,b|c")
    train_set, eval_set = load_sets(DataConfig(train=train, eval=val))
    assert train_set.labels.several
    np.testing.assert_array_equal(train_set.targets(), [[1, 1, 0], [0, 0, 1]])
    chex.assert_type(eval_set.targets(), np.float32)
    np.testing.assert_array_equal(eval_set.targets(), [[0, 1, 1]])


def test_root_and_absolute_paths(videos, tmp_path_factory):
    other = tmp_path_factory.mktemp("lists")
    train = write(other, "train.csv", "path,label", "v0.mp4,a", f"{videos / 'v1.mp4'},b")
    val = write(other, "val.csv", "path,label", "v2.mp4,a")
    train_set, _ = load_sets(DataConfig(train=train, eval=val, root=str(videos)))
    assert [r.path for r in train_set.records] == [str(videos / "v0.mp4"), str(videos / "v1.mp4")]


def make_folder(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i:02d}.mp4").touch()
    return root


def test_folder_holds_out_a_share_of_every_class_the_same_each_time(tmp_path):
    make_folder(tmp_path, run=10, walk=20)
    train_set, eval_set = load_sets(DataConfig(train=str(tmp_path)), seed=3)
    assert np.bincount(eval_set.targets()).tolist() == [2, 4]
    assert len(train_set) == 24
    assert load_sets(DataConfig(train=str(tmp_path)), seed=3)[1] == eval_set
    assert load_sets(DataConfig(train=str(tmp_path)), seed=4)[1] != eval_set


def test_held_out_groups_are_whole(videos):
    rows = [f"v{i}.mp4,{'ab'[i % 2]},g{i // 4}" for i in range(10)]
    train = write(videos, "all.csv", "path,label,group", *rows)
    for seed in range(5):
        train_set, eval_set = load_sets(DataConfig(train=train, eval_share=0.4), seed)
        assert not {r.group for r in train_set.records} & {r.group for r in eval_set.records}


def test_folder_lists_files_that_are_no_videos(tmp_path, caplog):
    make_folder(tmp_path, run=3, walk=3)
    (tmp_path / "run" / "notes.txt").touch()
    with caplog.at_level(logging.WARNING, "vidjax"):
        train_set, eval_set = load_sets(DataConfig(train=str(tmp_path)))
    assert "run/notes.txt" in caplog.text
    assert len(train_set) + len(eval_set) == 6


def test_empty_class_folder(tmp_path):
    make_folder(tmp_path, run=3, walk=0)
    with pytest.raises(DataError, match="class 'walk' has no videos"):
        load_sets(DataConfig(train=str(tmp_path)))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", "v0.mp4,a", "gone.mp4,b"], r"train.csv:3: no such file: .*gone.mp4"),
        (["path,label", "v0.mp4,a", "v1.mp4,"], r"train.csv:3: the label of 'v1.mp4' is empty"),
        (["path,label", "v0.mp4,a", ",b"], r"train.csv:3: the path is empty"),
        (["path,label", "v0.mp4,a", "v1.mp4,b|"], r"train.csv:3: the label of 'v1.mp4' is empty"),
        (["path,label", "v0.mp4,a", "v1.mp4,b|b"], r"train.csv:3: a label of 'v1.mp4' is repeated"),
        (["path,label", "v0.mp4,a", "v1.mp4,b", "v0.mp4,b"], r"train.csv:4: 'v0.mp4' is already listed at .*csv:2"),
        (["path,label", "v0.mp4,a", "v1.mp4,b,c"], r"train.csv:3: 3 cells where the header has 2"),
        (["path,label", "v0.mp4,a", "v1.mp4"], r"train.csv:3: 1 cell where the header has 2"),
        (["file,label", "v0.mp4,a"], r"train.csv:1: no column 'path' in the header"),
        (["path,label", 'v0.mp4,"a'], r"train.csv:\d: not a valid CSV line"),
        (["path,label"], r"train.csv: no videos below the header"),
        (["path,label", "v0.mp4,a", "v1.mp4,a"], r"needs at least two classes"),
        (["path,label,split", "v0.mp4,a,train", "v1.mp4,b,later"], r"train.csv:3: split 'later'"),
    ],
)
def test_wrong_lines_are_named(videos, lines, message):
    with pytest.raises(DataError, match=message):
        load_sets(DataConfig(train=write(videos, "train.csv", *lines)))


def test_every_wrong_line_is_in_the_one_error(videos):
    train = write(videos, "train.csv", "path,label", "x.mp4,a", "v1.mp4,", "v2.mp4,b,c")
    with pytest.raises(DataError, match=r"csv:2: (.|\n)*csv:3: (.|\n)*csv:4: "):
        load_sets(DataConfig(train=train))


def test_unknown_label_in_evaluation(videos):
    train = write(videos, "train.csv", "path,label", "v0.mp4,walking", "v1.mp4,running")
    val = write(videos, "val.csv", "path,label", "v2.mp4,walking", "v3.mp4,runing")
    with pytest.raises(DataError, match=r"val.csv:3: label 'runing' is not one of the 2 .*mean 'running'"):
        load_sets(DataConfig(train=train, eval=val))


def test_wrong_path():
    with pytest.raises(DataError, match=r"nowhere.csv: no such file or folder"):
        load_sets(DataConfig(train="nowhere.csv"))
    with pytest.raises(DataError, match=r"config.data.train is empty"):
        load_sets(DataConfig())


def test_not_text(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(DataError, match="not a UTF-8 text file"):
        load_sets(DataConfig(train=str(path)))


def test_overlap_of_groups_is_warned_of(videos, caplog):
    train = write(videos, "train.csv", "path,label,group", "v0.mp4,a,g1", "v1.mp4,b,g2")
    val = write(videos, "val.csv", "path,label,group", "v2.mp4,a,g1")
    with caplog.at_level(logging.WARNING, "vidjax"):
        load_sets(DataConfig(train=train, eval=val))
    assert "1 group is in training and in evaluation" in caplog.text and "g1" in caplog.text


def test_evaluation_set_with_a_models_classes(videos):
    val = write(videos, "val.csv", "path,label", "v2.mp4,b")
    videos_ = load_eval_set(DataConfig(eval=val), LabelSpace(("a", "b", "c")))
    np.testing.assert_array_equal(videos_.targets(), [1])
    with pytest.raises(DataError, match="label 'b' is not one of the 2"):
        load_eval_set(DataConfig(eval=val), LabelSpace(("a", "c")))


def test_videos_without_labels(videos):
    """The column is not needed, and what it says is not looked at; one split each."""
    rows = [f"v{i}.mp4,{'train' if i < 6 else 'val'}" for i in range(10)]
    config = DataConfig(train=write(videos, "bare.csv", "path,split", *rows))
    with pytest.raises(DataError, match="no column 'label'"):
        load_sets(config)
    train_set, eval_set = load_sets(config, kinds=frozenset())
    assert (len(train_set), len(eval_set)) == (6, 4) and train_set.labels.names == ("unlabelled",)
    np.testing.assert_array_equal(train_set.targets(), 0)
    assert load_eval_set(DataConfig(eval=config.train), LabelSpace(("unlabelled",)), frozenset()) == eval_set
    labelled = write(videos, "train.csv", "path,label", "v0.mp4,a|b", "v1.mp4,", "v2.mp4,b")
    train_set, eval_set = load_sets(DataConfig(train=labelled, eval=config.train), kinds=frozenset())
    assert len(train_set) == 3 and not train_set.labels.several and len(eval_set) == 4


def test_folder_without_labels(tmp_path):
    for name in ("a.mp4", "b.mp4", "one/c.mp4", "one/deep/d.mp4", "empty/notes.txt", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train_set, eval_set = load_sets(DataConfig(train=str(tmp_path), eval_share=0.25), kinds=frozenset())
    found = sorted(r.path for r in train_set.records + eval_set.records)
    assert found == [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "one/c.mp4", "one/deep/d.mp4")]
    assert len(eval_set) == 1
    bare = tmp_path / "empty"
    with pytest.raises(DataError, match=r"empty: no videos there or in its sub-folders"):
        load_sets(DataConfig(train=str(bare)), kinds=frozenset())


def shares(videos, share, seed=0):
    rows = [f"v{i}.mp4,{'ab'[i % 2] if i < 8 else 'c'}" for i in range(10)]
    train = write(videos, "train.csv", "path,label", *rows)
    train_set, eval_set = load_sets(DataConfig(train=train, eval=train, train_share=share), seed)
    assert len(eval_set) == 10 and train_set.labels.names == ("a", "b", "c")
    return train_set


def test_a_share_of_each_class_by_the_seed(videos):
    half = shares(videos, 0.5)
    np.testing.assert_array_equal(np.bincount(half.targets()), [2, 2, 1])
    assert half == shares(videos, 0.5)
    paths = [[r.path for r in shares(videos, 0.5, seed).records] for seed in range(6)]
    assert len(set(map(tuple, paths))) > 1 and all(p == sorted(p) for p in paths)
    # A smaller share is part of a larger one, and every class keeps a video.
    small = shares(videos, 0.01)
    np.testing.assert_array_equal(np.bincount(small.targets()), [1, 1, 1])
    assert set(small.records) <= set(half.records) <= set(shares(videos, 0.75).records)
    assert shares(videos, 1.0) == shares(videos, 1.0, seed=5)
