"""What a network is told beside a clip: text, and boxes."""

from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.errors import UserError
from vidjax.inputs.field import Field
from vidjax.text import Tokenizer, TokenizerFile
from vidjax.wording import things


@dataclass(frozen=True)
class TextInput:
    """Text, as token numbers.

    Attributes:
      length: L, tokens per text, with those of start and end, and padding.
      vocabulary: number of different tokens that the network knows.
      rules: what is done with a text around its tokenizer, a key of `vidjax.text.RULES`.
      tokenizer: the tokenizer's file, which checkpoints carry in their spec; None: not chosen yet.
    """

    length: int
    vocabulary: int
    rules: str = "clip"
    tokenizer: TokenizerFile | None = None

    kind: ClassVar[str] = "text"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: token numbers, where 0 is padding."""
        return Field((self.length,), "int32", below=self.vocabulary)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.length} tokens"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"length": self.length}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"{things(self.length, 'token')} of text"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (L,)."""
        return (self.length,)

    def reader(self) -> Tokenizer:
        """Tokenizer of the network.

        Raises:
          UserError: if there is none yet, or it has more tokens than the network knows.
        """
        if self.tokenizer is None:
            raise UserError(
                "the network has no tokenizer: give its file, with config.data.text.tokenizer or `vidjax convert "
                "--tokenizer`"
            )
        made = Tokenizer(self.tokenizer, self.rules)
        if made.size > self.vocabulary:
            raise UserError(
                f"the tokenizer has {made.size} tokens, but the network knows {self.vocabulary}: it is of another model"
            )
        return made


@dataclass(frozen=True)
class PromptInput(TextInput):
    """A text whose beginning, the prompt, is given, and whose rest is to be said.

    In a batch the number of tokens of the prompt, with that of the start, stands before the tokens. As the input of a
    network it is the tokens alone.

    Attributes:
      length, vocabulary, rules, tokenizer: as for `TextInput`.
      dialogue: what stands around frames and questions in the prompts of a language model, a key of
        `vidjax.text.dialogue.DIALOGUES`; empty: a prompt is the start and a question.
    """

    dialogue: str = ""

    kind: ClassVar[str] = "prompt"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: the prompt's length, then token numbers, where 0 is padding."""
        return Field((1 + self.length,), "int32", below=max(self.vocabulary, self.length + 1))


@dataclass(frozen=True)
class BoxInput:
    """Boxes in the key frame of a clip: corners x1, y1, x2, y2 in pixels of the view that the network sees.

    Attributes:
      count: R, most boxes per clip. Clips with fewer are padded with zeros; a box without area is padding.
    """

    count: int = 32

    kind: ClassVar[str] = "boxes"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: up to R boxes."""
        return Field((self.count, 4), "float32", ragged=True)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"≤ {things(self.count, 'box', 'boxes')}"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"boxes": self.count}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"up to {things(self.count, 'box', 'boxes')} a clip"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (R, 4)."""
        return (self.count, 4)
