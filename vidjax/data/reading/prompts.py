"""Prompts beside a clip, and what is to be said: a question and its answer, or a caption, as token numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vidjax.data.records import Caption, Record
from vidjax.data.views import Views
from vidjax.errors import UserError
from vidjax.inputs import PromptInput
from vidjax.text import Tokenizer


@dataclass(frozen=True)
class PromptReader:
    """Reader of a text that begins with a prompt: any of the video's texts in training, the first one otherwise.

    Attributes:
      input: length of a text, and its tokenizer.
      cut: whether texts that are too long lose their last tokens.
    """

    input: PromptInput
    cut: bool = False

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self.input.reader()

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Length of the prompt and token numbers for each view, int32 `(V, 1 + L)`; zeros without captions.

        Raises:
          UserError: if the network has no tokenizer for it, or a text is empty or too long; names both lengths.
        """
        annotation = record.annotation
        if not isinstance(annotation, Caption) or not annotation.texts:
            return self.blank(len(views))
        rows = self.blank(len(views))
        for row in rows:
            text = annotation.texts[0 if rng is None else int(rng.integers(len(annotation.texts)))]
            row[:] = self.row(annotation.question, text)
        return rows

    def prompt(self, question: str) -> list[int]:
        """Token numbers of the start and of a question, which may be empty."""
        first = [] if self._tokenizer.start is None else [self._tokenizer.start]
        return [*first, *(self._tokenizer.encode(question) if question else [])]

    def question(self, question: str) -> np.ndarray:
        """Length of the prompt, then its token numbers, int32 `(1 + L,)`, of a question, which may be empty.

        Raises:
          UserError: if the question leaves no room for an answer; names both lengths.
        """
        prompt, found = self.prompt(question), np.zeros(1 + self.input.length, np.int32)
        if len(prompt) >= self.input.length:
            raise UserError(
                f"the prompt has {len(prompt)} tokens, but the network takes texts of {self.input.length}: shorten the "
                "question"
            )
        found[0], found[1 : 1 + len(prompt)] = len(prompt), prompt
        return found

    def row(self, question: str, text: str) -> np.ndarray:
        """Length of the prompt, then the token numbers of a question and a text, int32 `(1 + L,)`.

        Raises:
          UserError: if the text is empty, or both are too long; names both lengths.
        """
        if not text.strip():
            raise UserError("a caption is empty; give at least one word")
        prompt, length = self.prompt(question), self.input.length
        last = [] if self._tokenizer.end is None else [self._tokenizer.end]
        ids = [*prompt, *self._tokenizer.encode(text)]
        room = length - len(last)
        if len(prompt) >= room or (len(ids) > room and not self.cut):
            whole = f"{question} {text}".strip()
            raise UserError(f"{whole!r} has {len(ids) + len(last)} tokens, but the network takes {length}: shorten it")
        found = np.zeros(1 + length, np.int32)
        ids = [*ids[:room], *last]
        found[0], found[1 : 1 + len(ids)] = len(prompt), ids
        return found

    def blank(self, views: int) -> np.ndarray:
        """Padding alone, int32 `(V, 1 + L)`."""
        return np.zeros((views, 1 + self.input.length), np.int32)
