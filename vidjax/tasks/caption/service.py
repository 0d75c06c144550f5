"""Captions of files and answers to questions about them, for a server."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from vidjax.config import Config, Spec
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.prompts import PromptReader
from vidjax.data.records import LabelSpace, Record, VideoSet
from vidjax.errors import UserError
from vidjax.evaluation.evaluator import Rows
from vidjax.inputs import PromptInput
from vidjax.nn.generation import Decoding
from vidjax.tasks.caption.evaluator import CaptionEvaluator
from vidjax.tasks.service import Read, Service, ServiceLimits, object_schema

_QUESTION = "question"


def service(config: Config, spec: Spec, decoding: Decoding, dtype: Any, limits: ServiceLimits) -> Service:
    """Make the answers `caption`, without a question, and `ask`.

    Raises:
      UserError: for a network that sees as many frames as a video has seconds, which is compiled for each number.
    """
    del limits  # of a file one clip is read
    (prompt,) = (value for value in spec.inputs.values() if isinstance(value, PromptInput))
    if prompt.dialogue:
        raise UserError(
            f"{spec.name}: sees as many frames as a video has seconds, and is compiled anew for each number, so that "
            "it cannot answer in time; use `vidjax ask`"
        )
    speech = _Speech(config, spec, decoding, dtype)
    return Service({"caption": _Spoken(speech, asks=False), "ask": _Spoken(speech, asks=True)}, speech.new().forward)


class _Speech:
    """Reading of a clip and a prompt, and the words of an answer."""

    def __init__(self, config: Config, spec: Spec, decoding: Decoding, dtype: Any):
        self._settings = (spec, decoding, dtype)
        ((self._name, prompt),) = ((n, value) for n, value in spec.inputs.items() if isinstance(value, PromptInput))
        self._prompts, self._reader = PromptReader(prompt), ExampleReader(spec, config.data)

    def new(self) -> CaptionEvaluator:
        """An evaluator of no videos."""
        return CaptionEvaluator(VideoSet((), LabelSpace(())), *self._settings)

    def read(self, path: str, question: str) -> Read:
        """Read a clip, and put the question beside it; see `Answer.read`."""
        row = self._prompts.question(question)
        inputs, _ = self._reader.evaluate(Record(path), 1, 1)
        return inputs | {self._name: row[None]}, None

    def text(self, outputs: np.ndarray) -> str:
        """Text of an answer's words, `(1, L)`."""
        evaluator = self.new()
        evaluator.add(Rows(np.zeros(1, np.int64), 0, np.ones(1, np.int64)), outputs)
        return evaluator.captions()[0].strip()


class _Spoken:
    """What is said of a file: a caption, or the answer to a question.

    Args:
      speech: reading, and words.
      asks: whether there is a question.
    """

    def __init__(self, speech: _Speech, asks: bool):
        self._speech, self._asks = speech, asks
        self.summary = "The answer to a question about a video." if asks else "What happens in a video, in words."
        self.schema: Mapping[str, Any] = MappingProxyType(object_schema(text={"type": "string"}))
        question = {_QUESTION: {"type": "string", "description": "The question, required."}}
        self.fields: Mapping[str, Mapping[str, Any]] = MappingProxyType(question if asks else {})

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read a clip of a file; see `Answer.read`."""
        question = given.get(_QUESTION, "").strip()
        if self._asks and not question:
            raise UserError(
                f"{_QUESTION}: is missing; give it as a field of the form or in the address, ?{_QUESTION}=…"
            )
        return self._speech.read(path, question)

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """The text; see `Answer.of`."""
        del read
        return {"text": self._speech.text(outputs)}
