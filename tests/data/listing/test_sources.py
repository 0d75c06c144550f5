"""Which source a name stands for, and which kinds of annotations it can give."""

import json

import pytest

from vidjax.config import DataConfig
from vidjax.data.listing.csv_file import CsvFile
from vidjax.data.listing.folder import Folder
from vidjax.data.listing.json_lines import JsonLines
from vidjax.data.listing.load import load_sets
from vidjax.data.listing.rows import OneSplit
from vidjax.data.listing.sources import open_sources
from vidjax.data.text import DataError


@pytest.mark.parametrize(
    ("name", "kind"), [("a.csv", CsvFile), ("list.txt", CsvFile), ("a.jsonl", JsonLines), ("A.JSONL", JsonLines)]
)
def test_files_go_by_their_suffix(tmp_path, name, kind):
    (tmp_path / name).touch()
    (source,) = open_sources(str(tmp_path / name), "")
    assert type(source) is kind and source.name == str(tmp_path / name) and source.root == str(tmp_path)
    (part,) = open_sources(f"{tmp_path / name}@val", "elsewhere")
    assert isinstance(part, OneSplit) and part.name == f"{tmp_path / name}@val"
    assert type(part.source) is kind and part.source.root == "elsewhere"


def test_folders_and_several_at_once(tmp_path):
    (tmp_path / "a.jsonl").touch()
    folder, lines = open_sources(f"{tmp_path}, {tmp_path / 'a.jsonl'}", "")
    assert type(folder) is Folder and type(lines) is JsonLines


@pytest.mark.parametrize("name", ["list.csv", "videos"])
def test_kinds_that_a_source_cannot_give_are_refused_by_name(tmp_path, name):
    """Before it is opened: nothing in it could be read."""
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "videos").mkdir()
    with pytest.raises(
        DataError,
        match=rf"{name}: its annotations are labels, but boxes or segments are needed; give .* JSON Lines \(.jsonl\)",
    ):
        load_sets(DataConfig(train=str(tmp_path / name)), kinds=frozenset({"segments", "boxes"}))


def test_published_labels_are_no_boxes():
    with pytest.raises(
        DataError,
        match=r"'ucf101': its annotations are labels, but boxes are needed; give data that has them$",
    ):
        load_sets(DataConfig(dataset="ucf101", train="nowhere"), kinds=frozenset({"boxes"}))


def test_sources_of_two_kinds_are_one_set(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("path,label\na.mp4,run\nb.mp4,walk\n")
    (tmp_path / "more.jsonl").write_text(json.dumps({"path": "c.mp4", "label": "jump"}) + "\n")
    text = f"{tmp_path / 'list.csv'},{tmp_path / 'more.jsonl'}"
    train, _ = load_sets(DataConfig(train=text, eval=str(tmp_path / "list.csv")))
    assert train.labels.names == ("jump", "run", "walk") and train.sources == (0, 0, 1)
    assert train.targets().tolist() == [1, 2, 0]


def test_a_folder_without_videos_is_one_of_sounds(tmp_path, caplog):
    for name in ("low/a.wav", "low/b.FLAC", "high/c.mp3", "high/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [row.path[len(str(tmp_path)) + 1 :] for row in Folder(str(tmp_path), str(tmp_path)).rows()]
    assert sorted(listed) == ["high/c.mp3", "low/a.wav", "low/b.FLAC"] and "notes.txt" in caplog.text
    (tmp_path / "low" / "d.mp4").touch()
    (tmp_path / "high" / "e.mkv").touch()
    listed = [row.path[len(str(tmp_path)) + 1 :] for row in Folder(str(tmp_path), str(tmp_path)).rows()]
    assert sorted(listed) == ["high/e.mkv", "low/d.mp4"]
