import gzip

import pytest

from tests.text.vocabularies import pieces, small
from vidjax.errors import UserError
from vidjax.text import TokenizerFile, read_tokenizer


def test_a_file_or_its_folder(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(small().content)
    assert read_tokenizer(tmp_path / "tokenizer.json") == read_tokenizer(tmp_path) == small()
    other = tmp_path / "other"
    other.mkdir()
    (other / "spiece.model").write_bytes(pieces().content)
    assert read_tokenizer(other) == pieces()


def test_packing_keeps_the_content():
    file = TokenizerFile.of("tokenizer.json", bytes(range(256)))
    assert file.content == bytes(range(256)) and file.packed.isascii()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", "tokenizer.json: not a tokenizer: "),
        ("tokenizer.json", b"\xff", "tokenizer.json: not a tokenizer: "),
        ("x.model", b"nothing", "x.model: not a tokenizer: "),
        ("words.csv", b"a,b", "words.csv: not a tokenizer; give a tokenizer.json"),
        (
            "bpe.txt.gz",
            gzip.compress(b"version\na b\n", mtime=0),
            "not CLIP's list of merges, 48894 lines of two parts",
        ),
        ("bpe.txt.gz", b"not gzip", "not CLIP's list of merges: "),
        ("", b"", "no tokenizer in this folder; there should be tokenizer.json or tokenizer.model"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_tokenizer(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json: the tokenizer cannot be read: No such file"):
        read_tokenizer(tmp_path / "gone.json")
