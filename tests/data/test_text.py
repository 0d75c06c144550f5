"""Annotation files that are not as expected: each is refused with its line and the mend."""

import pytest

from vidjax.config import DataConfig
from vidjax.data.listing import quarantine
from vidjax.data.listing.load import load_sets
from vidjax.data.text import DataError, decode, list_mend

COLUMNS = ("path", "label")


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        (
            "clips/a b.mp4 2",
            "mmaction2's, SlowFast's or pytorchvideo's list: write path,label above it, commas for spa",
        ),
        ("frames/some_video 299 2", "mmaction2's, SlowFast's or pytorchvideo's list"),  # with the number of frames
        ("path;label;group", "separated by semicolons: save it with commas"),
        ('"path"\t"label"', "separated by tabs: save it with commas"),
        ("path label", "separated by spaces: save it with commas"),
        ("a.mp4;run", "separated by semicolons and without a header: write path,label above it, and commas for semi"),
        ("a.mp4\t3", "separated by tabs and without a header"),
        ("/data/a.mp4,3", "a list without a header: write path,label above it"),
        ('"a, b.mp4",run', "a list without a header"),
    ],
)
def test_lists_of_other_kinds_are_recognised_by_their_first_line(line, mend):
    assert list_mend(line, COLUMNS).startswith("; looks ") and mend in list_mend(line, COLUMNS)


@pytest.mark.parametrize("line", ["", "file,class", "video", "id;class"])
def test_other_headers_are_not_guessed_at(line):
    assert list_mend(line, COLUMNS) == ""


def test_the_mend_ends_the_error_of_a_header(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.mp4 2\nb.mp4 0\n")
    with pytest.raises(DataError, match=r"list.txt:1: no column 'path' and .*; looks like mmaction2's, SlowFast's"):
        load_sets(DataConfig(train=str(path)))
    path.write_text("path;label\na.mp4;x\n")
    with pytest.raises(
        DataError, match=r"list.txt:1: no column .*path;label.*; looks separated by semicolons: save it"
    ):
        load_sets(DataConfig(train=str(path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.mp4,Fußgänger\n".encode("latin-1"), r"x.csv:2: .*byte 0xdf.* looks like Latin-1 \('a.mp4,Fuß"),
        ("path,label\na.mp4,x\n".encode("utf-16"), r"x.csv:1: .*looks like UTF-16; save it as UTF-8"),
        (b"\xfe\xff\x00p", r"x.csv:1: .*looks like UTF-16"),
        (b"path,label\n\xff\x00", r"x.csv:2: not a UTF-8 text file \(byte 0xff\)$"),
    ],
)
def test_other_encodings_are_refused_with_their_line(content, message):
    with pytest.raises(DataError, match=message):
        decode("x.csv", content)


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert decode("x.csv", "path,label\nä.mp4,1".encode("utf-8-sig")) == "path,label\nä.mp4,1"


def test_lists_of_bad_videos_are_refused_alike(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes("path\nüber.mp4\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"bad.csv:2: .*looks like Latin-1"):
        quarantine.read(DataConfig(quarantine=str(path)))
