"""Evaluation of captions: what the network says of each video, scored against all of its reference captions."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.config import Spec
from vidjax.data.records import Caption, VideoSet
from vidjax.evaluation.caption_tokens import caption_tokens
from vidjax.evaluation.captions import caption_scores
from vidjax.evaluation.evaluator import Rows
from vidjax.inputs import PromptInput
from vidjax.nn.enter import enter
from vidjax.nn.generation import Decoding

FILE = "captions.csv"


class CaptionEvaluator:
    """Captions of the first view of each video, and their scores.

    Args:
      videos: videos to evaluate, with their captions.
      spec: spec of the network, with its inputs and their normalisation.
      decoding: how words are chosen.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, videos: VideoSet, spec: Spec, decoding: Decoding, dtype: Any = None):
        self._videos, self._spec, self._decoding, self._dtype = videos, spec, decoding, dtype
        (self._text,) = (value for value in spec.inputs.values() if isinstance(value, PromptInput))
        self._said: dict[int, np.ndarray] = {}

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Generate the words after each prompt, int32 `(B, length)`."""
        del number  # nothing is drawn
        entered = enter(inputs, self._spec.inputs, self._dtype, network=network)
        # A video without captions has no prompt, but a slot of one is read.
        seen = jnp.arange(entered["text"].shape[1])[None] < jnp.maximum(entered["prompt"], 1)[:, None]
        tokens = getattr(network.encode(entered), network.head.sees)
        end = self._text.reader().end
        ids = jnp.where(seen, entered["text"], 0)
        return network.head.answer(tokens, ids, seen, self._decoding, end=-1 if end is None else end)

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch holds the first view of any video."""
        return view == 0 and bool((index >= 0).any())

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Add the words of these videos."""
        self._said |= dict(zip(rows.index.tolist(), outputs, strict=True))

    def merge(self, other: Self) -> None:
        """Add the words of another evaluator."""
        self._said |= other._said

    def captions(self) -> dict[int, str]:
        """Captions by the number of the video's record, in their order."""
        reader = self._text.reader()
        return {index: reader.decode(self._said[index].tolist()) for index in sorted(self._said)}

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise, under `caption`: `bleu1` … `bleu4`, `rouge_l`, `cider` (as published, in hundreds at most 10) and
        `exact`, the share of captions whose words are those of a reference."""
        said = {index: text for index, text in self.captions().items() if self._references(index)}
        if not said:
            names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "exact")
            return {"caption": dict.fromkeys(names, float("nan"))}
        references = [self._references(index) for index in said]
        figures = caption_scores(list(said.values()), references).figures()
        return {"caption": figures | {"exact": float(np.mean(list(map(_exact, said.values(), references))))}}

    def details(self) -> dict[str, Any]:
        """Empty: there are no further figures."""
        return {}

    def write(self, folder: Path, title: str) -> list[str]:
        """Write `captions.csv`: path, question, caption and references of each video."""
        del title
        with open(folder / FILE, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "question", "caption", "exact", "references"])
            for index, text in self.captions().items():
                record, references = self._videos.records[index], self._references(index)
                question = record.annotation.question if isinstance(record.annotation, Caption) else ""
                rows.writerow([record.path, question, text, int(_exact(text, references)), " | ".join(references)])
        return [FILE]

    def _references(self, index: int) -> tuple[str, ...]:
        annotation = self._videos.records[index].annotation
        return annotation.texts if isinstance(annotation, Caption) else ()


def _exact(text: str, references: tuple[str, ...]) -> bool:
    """Whether a caption has the words of a reference."""
    words = caption_tokens(text)
    return any(words == caption_tokens(reference) for reference in references)
