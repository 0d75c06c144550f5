import pytest

from vidjax.data.listing.sources import open_sources, read_rows
from vidjax.data.records import Caption
from vidjax.data.text import DataError

KINDS = frozenset({"caption"})


def rows_of(folder, text, **kwargs):
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    return read_rows(open_sources(str(folder / "captions.csv"), "", KINDS, **kwargs), KINDS)


def test_lines_of_one_video_are_its_captions(tmp_path):
    text = 'path,caption,split\na.mp4,"a man runs, fast",train\nb.mp4,a dog,val\na.mp4,someone runs,train\n'
    first, second = rows_of(tmp_path, text, need_files=False)
    assert first.annotation == Caption(("a man runs, fast", "someone runs"))
    assert (first.split, first.where) == ("train", f"{tmp_path}/captions.csv:2")
    assert second.annotation == Caption(("a dog",)) and second.split == "val"


def test_every_wrong_line_is_named(tmp_path):
    text = "path,caption,split\n,a,\na.mp4,,\na.mp4,x,train\na.mp4,y,val\na.mp4,x,train\nb.mp4,a, b,val\n"
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, text, need_files=False)
    assert str(error.value).replace(f"{tmp_path}/captions.csv:", "").splitlines() == [
        "2: the path is empty",
        "3: the caption of 'a.mp4' is empty",
        "5: 'a.mp4' is in split 'val', but in 'train' at 4",
        "6: this caption of 'a.mp4' is repeated",
        "7: 4 cells where the header has 3; quote cells that hold a comma",
    ]


def test_what_lacks_captions_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no column 'caption' in the header 'path,label'"):
        rows_of(tmp_path, "path,label\na.mp4,run\n")
    with pytest.raises(DataError, match=r"no such file: .*a\.mp4"):
        rows_of(tmp_path, "path,caption\na.mp4,run\n")
    with pytest.raises(DataError, match="no captions below the header line"):
        rows_of(tmp_path, "path,caption\n")
    (tmp_path / "captions.csv").write_text("path,caption\na.mp4,run\n")
    with pytest.raises(DataError, match="annotations are caption, but labels are needed"):
        open_sources(str(tmp_path / "captions.csv"), "")


def test_questions_of_one_video_are_rows_of_their_own(tmp_path):
    text = "path,question,answer\na.mp4,what colour?,red\na.mp4,what form?,square\na.mp4,what colour?,dark red\n"
    first, second = rows_of(tmp_path, text, need_files=False)
    assert first.annotation == Caption(("red", "dark red"), "what colour?")
    assert second.annotation == Caption(("square",), "what form?")
    with pytest.raises(DataError, match=r"2: the question of 'a\.mp4' is empty"):
        rows_of(tmp_path, "path,question,answer\na.mp4,,red\n", need_files=False)


def test_json_lines_have_questions_too(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"path": "a.mp4", "question": "what colour?", "caption": ["red"]}\n', encoding="utf-8")
    (row,) = read_rows(open_sources(str(file), "", KINDS, need_files=False), KINDS)
    assert row.annotation == Caption(("red",), "what colour?")
