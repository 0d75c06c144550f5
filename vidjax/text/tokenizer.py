"""Tokenizers: text → numbers and back, by the rules of the networks that read them."""

import html
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vidjax.errors import UserError
from vidjax.text.files import JSON, TokenizerFile
from vidjax.text.packages import ftfy, sentencepiece, tokenizers

if TYPE_CHECKING:
    import numpy as np

PADDING = 0  # number behind the end of a text
_SHOWN = 60  # letters of a text in a message


@dataclass(frozen=True)
class Rules:
    """What a family of networks does with a text around its tokenizer.

    Attributes:
      clean: change of the text before it is cut into tokens.
      start: names of the token before a text, of which the file has one; (): none.
      end: names of the token after it.
    """

    clean: Callable[[str], str]
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()


def _as_it_is(text: str) -> str:
    return text


def _clip_text(text: str) -> str:
    """Mend wrongly decoded letters, undo HTML twice, and write in small letters with single spaces (CLIP)."""
    return " ".join(html.unescape(html.unescape(ftfy().fix_text(text))).split()).lower()


_SPACES = str.maketrans(string.punctuation, " " * len(string.punctuation))


def _plain_words(text: str) -> str:
    """Write words in small letters with single spaces and a full stop at the end (VideoPrism)."""
    return f"{' '.join(text.lower().translate(_SPACES).split())}."


# "llm": a prompt states its own special tokens.
RULES: dict[str, Rules] = {
    "clip": Rules(_clip_text, ("<|startoftext|>", "<start_of_text>"), ("<|endoftext|>", "<end_of_text>")),
    "bert": Rules(_as_it_is, ("[CLS]",), ("[SEP]",)),
    "videoprism": Rules(_plain_words),
    "llm": Rules(_as_it_is),
}


@dataclass(frozen=True)
class Tokenizer:
    """Text to numbers and back.

    >>> tokenizer = Tokenizer(read_tokenizer("clip/tokenizer.json"), "clip")
    >>> tokenizer.encode("a red square")
    [320, 736, 3999]
    >>> tokenizer.rows(["a red square"], 6)
    array([[49406,   320,   736,  3999, 49407,     0]], dtype=int32)

    Attributes:
      file: content of its file.
      rules: key of `RULES`.

    Raises:
      UserError: for other rules, or if the file has no such token for the start or the end of a text.
    """

    file: TokenizerFile
    rules: str = "clip"

    def __post_init__(self) -> None:
        if self.rules not in RULES:
            raise UserError(f"rules = {self.rules!r}: must be one of {', '.join(RULES)}")
        for name in ("start", "end"):
            known = getattr(RULES[self.rules], name)
            if known and getattr(self, name) is None:
                raise UserError(
                    f"the tokenizer has no token {' or '.join(known)}, which a network with the rules of "
                    f"{self.rules!r} needs at the {name} of a text: it is of another model"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.file, self.rules)

    @cached_property
    def _plain(self) -> Any:
        """The package's tokenizer, for which names of special tokens are text like any other."""
        if self.file.name != JSON:
            return sentencepiece().SentencePieceProcessor(model_proto=self.file.content)
        made = tokenizers().Tokenizer.from_str(self.file.content.decode("utf-8"))
        made.no_truncation()
        made.no_padding()
        made.encode_special_tokens = True
        return made

    @cached_property
    def _naming(self) -> Any:
        """The same, where names of special tokens in a text are these tokens."""
        if self.file.name != JSON:
            raise UserError("a SentencePiece tokenizer has no special tokens that a text could name")
        made = tokenizers().Tokenizer.from_str(self.file.content.decode("utf-8"))
        made.no_truncation()
        made.no_padding()
        return made

    def _number(self, name: str) -> int | None:
        if self.file.name == JSON:
            return self._plain.token_to_id(name)
        number = self._plain.piece_to_id(name)
        return None if number == self._plain.unk_id() else number

    @cached_property
    def size(self) -> int:
        """Number of different tokens: the largest number, and 1."""
        if self.file.name == JSON:
            return 1 + max(self._plain.get_vocab(with_added_tokens=True).values())
        return self._plain.get_piece_size()

    @cached_property
    def start(self) -> int | None:
        """Number of the token before a text; None: there is none."""
        return self._first(RULES[self.rules].start)

    @cached_property
    def end(self) -> int | None:
        """Number of the token after a text; None: there is none."""
        return self._first(RULES[self.rules].end)

    def _first(self, names: Sequence[str]) -> int | None:
        return next((number for name in names if (number := self._number(name)) is not None), None)

    @property
    def padding(self) -> int:
        """Number behind the end of a text."""
        return PADDING

    def id(self, name: str) -> int:
        """Number of the token with this name, such as "<image>".

        Raises:
          UserError: if there is none.
        """
        number = self._number(name)
        if number is None:
            raise UserError(f"the tokenizer has no token {name!r}: it is of another model")
        return number

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Numbers of a text's tokens, without those of start and end.

        Args:
          text: text of any length.
          special: whether names of special tokens in it, such as "<image>", mean these tokens.
        """
        text = RULES[self.rules].clean(text)
        if self.file.name != JSON:
            return (self._naming if special else self._plain).encode(text)
        return (self._naming if special else self._plain).encode(text, add_special_tokens=False).ids

    def rows(self, texts: Sequence[str], length: int, *, cut: bool = False) -> "np.ndarray":
        """Numbers of several texts with start and end, padded with zeros, int32 `(N, L)`.

        Args:
          texts: N texts.
          length: L, numbers of each.
          cut: whether a longer text loses its last tokens, but not the end.

        Raises:
          UserError: if a text is empty, or too long without `cut`; names it and both lengths.
        """
        import numpy as np  # `--help` knows kinds of inputs, and loads no NumPy

        rows = np.full((len(texts), length), PADDING, np.int32)
        before = [] if self.start is None else [self.start]
        after = [] if self.end is None else [self.end]
        room = length - len(before) - len(after)
        for row, text in zip(rows, texts, strict=True):
            if not text.strip():
                raise UserError("a text is empty; give at least one word")
            ids = self.encode(text)
            if len(ids) > room and not cut:
                count = len(ids) + length - room
                raise UserError(f"{_short(text)!r} has {count} tokens, but the network takes {length}: shorten it")
            ids = [*before, *ids[:room], *after]
            row[: len(ids)] = ids
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """Text of numbers up to the first end token, without special tokens and padding at the end."""
        numbers = [int(number) for number in ids]
        if self.end is not None and self.end in numbers:
            numbers = numbers[: numbers.index(self.end)]
        if self.file.name != JSON:
            return self._plain.decode([number for number in numbers if number != PADDING])
        while numbers and numbers[-1] == PADDING:
            numbers.pop()
        return self._plain.decode(numbers, skip_special_tokens=True).replace("</w>", " ").strip()


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
