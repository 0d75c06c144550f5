"""AudioSet, VGGSound and ESC-50 in their publishers' files, and files of sound alone found by their names."""

import dataclasses

import pytest

from tests.data.listing.test_annotations import parse
from vidjax.config import DataConfig
from vidjax.data.listing.class_lists import read_class_ids
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.listing.load import load_sets
from vidjax.data.listing.published_sounds import part_names
from vidjax.data.text import DataError

AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=5, num_positive_labels=6
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q4ntr,/m/0bt9lr,/m/0jbk"
-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw"
"""
VGGSOUND = """---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,waterfall burbling,train
--56QUhyDQM,185,"female speech, woman speaking",train
"""
ESC50 = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100038-A-14.wav,1,14,chirping_birds,False,100038,A
2-101676-A-10.wav,2,10,rain,True,101676,A
5-9032-A-0.wav,5,0,dog,True,9032,A
"""


def test_audioset(tmp_path):
    names, ids = DATASETS["audioset"].class_names, read_class_ids("audioset")
    assert (names[0], names[526], len(ids)) == ("Speech", "Field recording", 527)
    assert names[ids["/m/0bt9lr"]] == "Dog"
    found = parse(tmp_path, "audioset", "balanced_train_segments.csv", AUDIOSET)
    assert found[0] == ("--PJHxphWEs_000030_000040", ["Speech", "Gush"], "--PJHxphWEs")
    assert found[1] == (
        "--4gqARaEJE_000000_000010", ["Bellow", "Animal", "Domestic animals, pets", "Dog"], "--4gqARaEJE"
    )  # fmt: skip
    assert len(found) == 3


def test_vggsound(tmp_path):
    train = parse(tmp_path, "vggsound", "vggsound.csv", VGGSOUND)
    assert train == [
        ("--0PQM4-hqg_000030_000040", ["waterfall burbling"], "--0PQM4-hqg"),
        ("--56QUhyDQM_000185_000195", ["female speech, woman speaking"], "--56QUhyDQM"),
    ]
    assert [path for path, _, _ in parse(tmp_path, "vggsound", "v.csv", VGGSOUND, "eval")] == [
        "---g-f_I2yQ_000001_000011"
    ]
    names = DATASETS["vggsound"].class_names
    assert list(names) == sorted(names)  # as the publishers number them


@pytest.mark.parametrize(("split", "own"), [(1, 2), (2, 1), (3, 0), (5, 1)])
def test_folds_of_esc50(tmp_path, split, own):
    folder = tmp_path / "ESC-50"
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "esc50.csv").write_text(ESC50)
    (folder / "audio").mkdir()
    for line in ESC50.splitlines()[1:]:
        (folder / "audio" / line.partition(",")[0]).touch()
    config = DataConfig(dataset="esc50", train=str(folder), split=split)
    if not own:
        with pytest.raises(DataError, match="lists no eval videos"):
            load_sets(config)
        return
    train, held_out = load_sets(config)
    assert (len(train), len(held_out)) == (4 - own, own)
    assert all(record.path.startswith(str(folder / "audio")) for record in train.records)
    assert {record.group for record in held_out.records} <= {"100032", "100038", "101676", "9032"}


@pytest.mark.parametrize("stem", part_names("--PJHxphWEs", 30.0, 40.0))
def test_files_of_parts_have_several_names(tmp_path, stem):
    assert "--PJHxphWEs_30000_40000" in part_names("--PJHxphWEs", 30.0, 40.0)
    lists, files = tmp_path / "lists", tmp_path / "files"
    (files / "train").mkdir(parents=True)
    lists.mkdir()
    (lists / "balanced_train_segments.csv").write_text(AUDIOSET)
    (lists / "eval_segments.csv").write_text(AUDIOSET.splitlines()[4] + "\n")
    (files / "train" / f"{stem}.flac").touch()
    (files / "--4gqARaEJE.m4a").touch()
    config = DataConfig(dataset="audioset", train=str(lists), root=str(files))
    train, held_out = load_sets(config)
    assert [record.path for record in train.records] == [
        str(files / "train" / f"{stem}.flac"), str(files / "--4gqARaEJE.m4a")
    ]  # fmt: skip
    assert len(held_out) == 1
    (files / f"{stem}.mp4").touch()  # has both
    train, _ = load_sets(config)
    assert train.records[0].path == str(files / f"{stem}.mp4")
    with pytest.raises(DataError, match="none of the"):  # a set of videos does not take sounds
        (lists / "list.csv").write_text("label,youtube_id,time_start,time_end,split\nyoga,--4gqARaEJE,0,10,train\n")
        load_sets(
            dataclasses.replace(
                config, dataset="kinetics400", train=str(lists / "list.csv"), eval=str(lists / "list.csv")
            )
        )


@pytest.mark.parametrize(
    ("dataset", "line", "message"),
    [
        ("audioset", "abc, 10.000, 5.000, /m/09x0r", "not of the form ID, start, end"),
        ("audioset", "abc, 10.000, 20.000", "not of the form ID, start, end"),
        ("audioset", "abc, 0, 10, /m/nope", "'/m/nope' is not the identifier of one of the 527 classes"),
        ("vggsound", "abc,1,people marching,validate", "train or test"),
        ("vggsound", "abc,1,people march,train", "did you mean 'people marching'"),
        ("esc50", "filename,fold,target,category,src_file\na.wav,6,0,dog,1", "the fold '6' is not one of 1…5"),
        ("esc50", "filename,fold,target,category,src_file\na.wav,1,3,dog,1", "class 'dog' has the number 0, not 3"),
        ("esc50", "filename,fold,target,category,src_file\na.wav,1,3,doggo,1", "did you mean 'dog'"),
    ],
)
def test_wrong_lines(tmp_path, dataset, line, message):
    with pytest.raises(DataError, match=message):
        parse(tmp_path, dataset, "list.csv", line + "\n")
