"""Files of tokenizers: `tokenizer.json`, SentencePiece's `.model`, and the list of merges of OpenAI's CLIP."""

import base64
import gzip
import json
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vidjax.errors import UserError
from vidjax.text.packages import sentencepiece, tokenizers

JSON, SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
# Names of files in the folder of a checkpoint, the preferred one first.
_NAMES = (JSON, "tokenizer.model", "spiece.model", "sentencepiece.model")
# CLIP's list has one line for the version, and more merges than the vocabulary of 49408 tokens has room for.
_CLIP_MERGES = 49408 - 2 * 256 - 2
_CLIP_PIECES = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class TokenizerFile:
    """Content of a tokenizer's file, as a checkpoint carries it.

    Attributes:
      name: `JSON` for the format of the package tokenizers, or `SENTENCEPIECE`.
      packed: content, compressed and in letters.
    """

    name: str
    packed: str = field(repr=False)

    @classmethod
    def of(cls, name: str, content: bytes) -> "TokenizerFile":
        """Pack the content of a file."""
        return cls(name, base64.b64encode(zlib.compress(content)).decode("ascii"))

    @cached_property
    def content(self) -> bytes:
        """Content of the file."""
        return zlib.decompress(base64.b64decode(self.packed))


def read_tokenizer(path: str | Path) -> TokenizerFile:
    """Read a tokenizer.

    Args:
      path: `tokenizer.json`, a SentencePiece `.model`, CLIP's `bpe_simple_vocab_16e6.txt.gz`, or a folder with one of
        the first two, such as that of a checkpoint of transformers.

    Raises:
      UserError: if there is no such file, it is not a tokenizer, or a needed package is not installed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = next((path / name for name in _NAMES if (path / name).is_file()), None)
        if found is None:
            raise UserError(f"{path}: no tokenizer in this folder; there should be {' or '.join(_NAMES[:2])}")
        path = found
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the tokenizer cannot be read: {error.strerror}") from None
    if path.name.endswith((".txt.gz", ".txt")):
        return _read_merges(path, content)
    if path.suffix == ".model":
        return _checked(path, TokenizerFile.of(SENTENCEPIECE, content))
    if path.suffix == ".json":
        return _checked(path, TokenizerFile.of(JSON, content))
    raise UserError(f"{path}: not a tokenizer; give a tokenizer.json, a .model of SentencePiece, or their folder")


def _checked(path: Path, file: TokenizerFile) -> TokenizerFile:
    """Return the file if its package can read it."""
    try:
        if file.name == JSON:
            tokenizers().Tokenizer.from_str(file.content.decode("utf-8"))
        else:
            sentencepiece().SentencePieceProcessor(model_proto=file.content)
    except UserError:
        raise
    except Exception as error:  # the packages raise plain exceptions of their native code
        raise UserError(f"{path}: not a tokenizer: {str(error).splitlines()[0]}") from None
    return file


def byte_letters() -> list[str]:
    """Letters that stand for the 256 bytes in GPT-2's byte-level vocabularies, in the order of these vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = len([byte for byte in range(256) if byte not in printable])
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]


def _read_merges(path: Path, content: bytes) -> TokenizerFile:
    """Make a `tokenizer.json` of CLIP's list of merges, which has a pair in each line."""
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        merges = [tuple(line.split()) for line in text.split("\n")[1 : _CLIP_MERGES + 1]]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not CLIP's list of merges: {error}") from None
    if len(merges) < _CLIP_MERGES or any(len(pair) != 2 for pair in merges):
        raise UserError(f"{path}: not CLIP's list of merges, {_CLIP_MERGES} lines of two parts below the first")
    letters = byte_letters()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    package = tokenizers()
    split = package.pre_tokenizers.Split(package.Regex(_CLIP_PIECES), "removed", invert=True)
    bytes_of = package.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model = package.models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, end_of_word_suffix="</w>")
    made = package.Tokenizer(model)
    made.pre_tokenizer = package.pre_tokenizers.Sequence([split, bytes_of])
    made.decoder = package.decoders.ByteLevel()
    made.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    return TokenizerFile.of(JSON, json.dumps(json.loads(made.to_str()), ensure_ascii=False).encode("utf-8"))
