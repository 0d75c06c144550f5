"""Lists of videos to leave alone: every kind of list, how paths are found, what training and evaluation make of it."""

import csv
import json

import pytest

from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import DataConfig
from vidjax.data.listing import quarantine
from vidjax.data.listing.load import load_sets
from vidjax.data.reading.open_video import address
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """train.csv and val.csv of empty files t0…t3 and v0…v1; also the current folder."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("t", 4), ("v", 2)):
        names = [f"{split}{i}.mp4" for i in range(count)]
        for name in names:
            (tmp_path / name).touch()
        rows = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(names)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return tmp_path


def load(**settings):
    train, held_out = load_sets(DataConfig(train="t.csv", eval="v.csv", **settings))
    names = [r.path.rsplit("/", 1)[-1].removesuffix(".mp4") for r in train.records]
    return names, {held_out.records[i].path.rsplit("/", 1)[-1]: why for i, why in held_out.quarantined.items()}


def test_report_of_check_lists_what_is_not_ok(folder):
    (folder / "check.csv").write_text(
        f"path,status,start,end,reason\n{folder}/t0.mp4,ok,,,\n{folder}/t1.mp4,unreadable,,,torn\n"
        f"{folder}/v1.mp4,incomplete,,,cut off\nt2.mp4,too short,,,3 frames\n"
    )
    names, marked = load(quarantine="check.csv")
    assert names == ["t0", "t3"]
    assert marked == {"v1.mp4": "in quarantine (incomplete: cut off)"}


def test_bad_records_of_a_run_or_its_work_directory(folder):
    run = folder / "run"
    run.mkdir()
    line = json.dumps({"path": str(folder / "t0.mp4"), "reason": "torn", "replaced": 3})
    (run / "bad_records.jsonl").write_text(f"{line}\n" + '{"path": "/no')  # a run that was killed
    (run / "bad_records-1.jsonl").write_text(json.dumps({"path": str(folder / "t3.mp4"), "reason": "x"}) + "\n")
    assert load(quarantine="run")[0] == ["t1", "t2"]
    assert load(quarantine="run/bad_records.jsonl")[0] == ["t1", "t2", "t3"]
    assert load(quarantine="run/bad_records.jsonl,run/bad_records-1.jsonl")[0] == ["t1", "t2"]


def test_plain_list_of_paths_from_any_folder(folder, tmp_path_factory, monkeypatch):
    (folder / "list.csv").write_text("path\nt1.mp4\n./t2.mp4\n")
    assert load(quarantine="list.csv")[0] == ["t0", "t3"]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    settings = {"train": str(folder / "t.csv"), "eval": str(folder / "v.csv")}
    assert len(load_sets(DataConfig(**settings, quarantine=str(folder / "list.csv")))[0]) == 2


def test_parts_of_a_video_are_listed_by_their_times(tmp_path):
    (tmp_path / "list.csv").write_text("path,start,end\nlong.mp4,1.5,3.0\n")
    listed = quarantine.read(DataConfig(quarantine=str(tmp_path / "list.csv")))
    long = str(tmp_path / "long.mp4")
    (tmp_path / "long.mp4").touch()
    listed = quarantine.read(DataConfig(quarantine=str(tmp_path / "list.csv")))
    assert listed.reason(Record(long, start=1.5, end=3.0)) == "listed"
    assert listed.reason(Record(long, start=3.0, end=4.0)) is None and listed.reason(Record(long)) is None


@pytest.mark.parametrize("path", [address("data", "train", 7, "a.mp4"), "gs://bucket/a.mp4"])
def test_addresses_are_taken_as_they_are(tmp_path, path):
    (tmp_path / "bad.jsonl").write_text(json.dumps({"path": path, "reason": "x"}) + "\n")
    assert quarantine.read(DataConfig(quarantine=str(tmp_path / "bad.jsonl"))).reason(Record(path)) == "x"


def test_sources_stay_with_their_videos(tmp_path):
    videos = VideoSet(
        tuple(Record(f"/{i}.mp4", Labels((i % 2,))) for i in range(4)), LabelSpace(("a", "b")), sources=(0, 0, 1, 1)
    )
    left = quarantine.leave_out(videos, quarantine.Quarantine("x", {"/1.mp4": "torn"}))
    assert [r.path for r in left.records] == ["/0.mp4", "/2.mp4", "/3.mp4"] and left.sources == (0, 1, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.csv", None, r"config.data.quarantine: gone.csv: no such file"),
        ("list.csv", "file\nt0.mp4\n", r"list.csv:1: .* must have a column path"),
        ("list.jsonl", '{"path": "t0.mp4"}\nt1.mp4\n{"path": "t2.mp4"}\n', r"list.jsonl:2: must be \{\"path\""),
        ("list.csv", "path,start,end\nt0.mp4,a,b\n", r"list.csv:2: start, end and at must be seconds"),
        ("list.csv", "path\nt0.mp4\nt1.mp4\nt2.mp4\nt3.mp4\n", r"lists every training video"),
        ("empty", "", r"has no bad_records.jsonl"),
    ],
)
def test_wrong_lists_are_named(folder, name, text, message):
    if name == "empty":
        (folder / name).mkdir()
    elif text is not None:
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load(quarantine=name)


def test_classes_without_videos_and_lists_without_effect_are_warned_of(folder, caplog):
    (folder / "list.csv").write_text("path\nt1.mp4\nt3.mp4\n")
    load(quarantine="list.csv")
    assert "no training videos are left of b" in caplog.text
    (folder / "other.csv").write_text("path\nx.mp4\n")
    load(quarantine="other.csv")
    assert "0 of 4 training videos are left out" in caplog.text


def test_check_writes_a_list_that_training_takes(folder, capsys):
    for name in ("t0", "t1", "t2", "v0", "v1"):
        write_video(folder / f"{name}.mp4", numbered_frames(6))
    assert main(["check", "t.csv", "--eval", "v.csv"]) == 1
    assert "--config.data.quarantine=check.csv trains without these" in capsys.readouterr().out
    with open("check.csv", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("ok") == 5
    assert load(quarantine="check.csv") == (["t0", "t1", "t2"], {})
