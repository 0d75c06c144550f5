"""Text beside a clip, as token numbers: one of a video's captions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vidjax.data.records import Caption, Record
from vidjax.data.views import Views
from vidjax.inputs import TextInput
from vidjax.text import Tokenizer


@dataclass(frozen=True)
class TextReader:
    """Reader of the caption that belongs to a clip: any of the video's in training, the first one otherwise.

    Attributes:
      input: length of a text, and its tokenizer.
      cut: whether texts that are too long lose their last tokens.
    """

    input: TextInput
    cut: bool = False

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self.input.reader()

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Token numbers of a caption for each view, int32 `(V, L)`; zeros for a video without captions.

        Raises:
          UserError: if the network has no tokenizer for it, or a caption is too long; names both lengths.
        """
        texts = record.annotation.texts if isinstance(record.annotation, Caption) else ()
        if not texts:
            return self.blank(len(views))
        chosen = [texts[0 if rng is None else int(rng.integers(len(texts)))] for _ in range(len(views))]
        return self._tokenizer.rows(chosen, self.input.length, cut=self.cut)

    def blank(self, views: int) -> np.ndarray:
        """Padding alone, int32 `(V, L)`."""
        return np.zeros((views, self.input.length), np.int32)
