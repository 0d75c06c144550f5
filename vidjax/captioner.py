"""Captions of video files, and answers to questions about them, from one object that keeps the compiled network."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidjax import parallel
from vidjax.config import Spec
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.open_video import open_video
from vidjax.data.reading.prompts import PromptReader
from vidjax.data.reading.windows import WindowReader, Windows
from vidjax.data.records import Record
from vidjax.errors import UserError
from vidjax.inputs import PromptInput
from vidjax.models.state import merge, split
from vidjax.models.text_head import need_placeholders
from vidjax.nn.cached_attention import Cache
from vidjax.nn.enter import enter
from vidjax.nn.generation import Decoding, choose
from vidjax.text.dialogue import DIALOGUES
from vidjax.training.checkpoints import load_model

File = str | Path

_STEP = 16  # lengths of prompts are padded to multiples of it, as each length is compiled anew


class Spoken(NamedTuple):
    """What is said about a part of a video: its start and end in seconds, and the text."""

    start: float
    end: float
    text: str


class Captioner:
    """Trained network that speaks about video files.

    >>> captioner = vidjax.Captioner("runs/scenes")
    >>> captioner("a.mp4")
    'a red square moves left behind a blue circle'
    >>> captioner("a.mp4", "which colour is the circle?")
    'blue'

    Attributes:
      spec: format of the network's inputs.
      decoding: how words are chosen; may be replaced.
    """

    def __init__(self, run: File, *, decoding: Decoding | None = None, step: int | None = None, seed: int = 0):
        """Load a checkpoint.

        Args:
          run: work directory of a run, or folder written by `convert`.
          decoding: how words are chosen; None: as in the evaluation of the run.
          step: update number of the checkpoint to load; None: the best.
          seed: seed of draws, if words are drawn.

        Raises:
          CheckpointFolderError: if the folder holds no checkpoint.
          UserError: if its network does not speak, or has no tokenizer.
        """
        self._mesh = parallel.make_mesh(1)
        model, meta, _ = load_model(run, step=step, sharding=parallel.replicated(self._mesh), as_stored=True)
        network: Any = model
        self.spec: Spec = meta.spec
        found = [value for value in self.spec.inputs.values() if isinstance(value, PromptInput)]
        if len(found) != 1:
            raise UserError(f"{run}: {self.spec.name} gives no text; a run of the task caption is needed here")
        settings = getattr(meta.config.task, self.spec.task)
        self.decoding = decoding or Decoding(settings.length, settings.beams, settings.length_power)
        self._input, self._data, self._key = found[0], meta.config.data, jax.random.key(seed)
        self._tokenizer = self._input.reader()
        self._prompts = PromptReader(self._input)
        self._dialogue = DIALOGUES.get(self._input.dialogue)
        self._end = self._tokenizer.id(self._dialogue.end) if self._dialogue else self._tokenizer.end
        pictures = {name: value for name, value in self.spec.inputs.items() if value is not self._input}
        self._seen = dataclasses.replace(self.spec, inputs=pictures)
        dtype = parallel.compute_dtype(meta.config.model.compute_dtype)
        graphdef, params, stats = split(network)
        self._weights, self._head = (params, stats), network.head

        def whole(weights: Any) -> Any:
            return merge(graphdef, *weights)

        def encode(weights: Any, inputs: dict[str, jax.Array]) -> jax.Array:
            model = whole(weights)
            entered = enter(inputs, self._seen.inputs, dtype, network=model)
            return getattr(model.encode(entered), model.head.sees)

        def changed(weights: Any, inputs: dict[str, jax.Array]) -> jax.Array:
            model = whole(weights)
            return model.changed(enter(inputs, self._seen.inputs, dtype, network=model)["video"])

        def answer(weights: Any, tokens: jax.Array, ids: jax.Array, seen: jax.Array, keys: jax.Array, how: Decoding):
            end = -1 if self._end is None else self._end
            return whole(weights).head.answer(tokens, ids, seen, how, end=end, keys=keys)

        def start(weights: Any, tokens: jax.Array, ids: jax.Array, seen: jax.Array, room: int):
            return whole(weights).head.prefill(tokens, ids, seen, room)

        def go_on(weights: Any, ids: jax.Array, cache: Cache, keys: jax.Array, how: Decoding):
            logits, cache = whole(weights).head.step(ids, cache)
            return choose(logits, how, keys), cache

        self._encode, self._changed = jax.jit(encode), jax.jit(changed)
        self._answer, self._start = jax.jit(answer, static_argnums=5), jax.jit(start, static_argnums=4)
        self._go_on = jax.jit(go_on, static_argnums=4, donate_argnums=2)

    def __call__(self, path: File, question: str = "") -> str:
        """Describe a video, or answer a question about it.

        Args:
          path: video file.
          question: question; empty: a caption.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the question is too long for the network; names both lengths.
        """
        tokens, ids, seen = self._asked(path, question)
        keys = jax.random.split(self._key, 1)
        return self._text(np.asarray(self._answer(self._weights, tokens, ids, seen, keys, self.decoding))[0])

    def stream(self, path: File, question: str = "") -> Iterator[str]:
        """Describe a video or answer a question like a call, but yield pieces of the text as they come.

        Raises:
          UserError: if words are chosen by beams, which are known only at the end.
        """
        if self.decoding.beams > 1:
            raise UserError(f"beams = {self.decoding.beams}: words cannot be shown one by one; leave it out")
        tokens, ids, seen = self._asked(path, question)
        logits, cache = self._start(self._weights, tokens, ids, seen, self.decoding.length)
        said: list[int] = []
        shown = ""
        keys = jax.random.split(self._key, 1)
        word = choose(logits, self.decoding, keys)
        for number in range(1, self.decoding.length + 1):
            said.append(int(word[0]))
            if said[-1] == self._end:
                break
            text = self._text(said)
            if len(text) > len(shown) and not text.endswith("\ufffd"):  # of a letter that is not complete yet
                yield text[len(shown) :]
                shown = text
            if number < self.decoding.length:
                own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
                word, cache = self._go_on(self._weights, word, cache, own, self.decoding)

    def over_time(
        self, path: File, question: str = "", *, stride: int = 0, window: int = 0, fps: float = 0.0
    ) -> Iterator[Spoken]:
        """Describe a long video part by part; neighbouring parts with the same text are one.

        Args:
          path: video file.
          question: question about each part; empty: a caption.
          stride: frames from one part to the next; 0: those of a part.
          window: frames of a part; 0: those of the network's clips.
          fps: frames per second to take; 0: the network's, or else all.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: for parts shorter than the network's clips, or a network of whole videos.
        """
        if self._dialogue is not None:
            raise UserError(f"{self.spec.name} sees whole videos, at one frame per second; ask it about the whole")
        windows = Windows.of(self.spec.video, stride, window)
        windows = windows if stride else dataclasses.replace(windows, stride=windows.window)
        ids, seen = self._padded([self._prompts.prompt(question)])
        keys, last = jax.random.split(self._key, 1), None
        name = next(iter(self._seen.inputs))
        with WindowReader(str(path), self._seen, self._data, windows, fps) as reader:
            for number, clip in enumerate(reader.clips()):
                tokens = self._encode(self._weights, {name: jnp.asarray(clip[None])})
                text = self._text(np.asarray(self._answer(self._weights, tokens, ids, seen, keys, self.decoding))[0])
                start = number * windows.stride / reader.fps
                end = min(start + windows.stride / reader.fps, reader.duration)
                if number == len(reader) - 1:
                    end = reader.duration
                if last is not None and last.text == text:
                    last = last._replace(end=end)
                    continue
                if last is not None:
                    yield last
                last = Spoken(start, end, text)
        if last is not None:
            yield last

    def _asked(self, path: File, question: str) -> tuple[jax.Array, np.ndarray, np.ndarray]:
        """Tokens of the video, and the prompt."""
        spec, duration = self._seen, 0.0
        if self._dialogue is not None:
            how = self._data.reading
            opened = open_video(str(path), timeout=how.timeout, folder_fps=folder_fps(self._data), isolate=how.isolate)
            duration = opened.duration
            frames = min(spec.video.num_frames, max(1, round(duration * (spec.video.fps or 1.0))))
            spec = spec.with_video(num_frames=frames)
        inputs, views = ExampleReader(spec, self._data).evaluate(Record(str(path)), 1, 1)
        arrays = {name: jnp.asarray(array) for name, array in inputs.items()}
        tokens = self._encode(self._weights, arrays)
        if self._dialogue is None:
            return tokens, *self._padded([self._prompts.prompt(question)])
        times = views.times[0]
        if self._head.prunes:
            counts = np.asarray(self._changed(self._weights, arrays))[0].sum(axis=(1, 2)).tolist()
            kept = sum(counts)
        else:
            kept = tokens.shape[1]
            counts = [kept // len(times)] * len(times)
        ids: list[int] = []
        for part in self._dialogue.parts(times.tolist(), duration, counts, question):
            if isinstance(part, int):
                ids += [self._head.placeholder] * part
            else:
                ids += self._tokenizer.encode(part, special=True)
        need_placeholders(ids.count(self._head.placeholder), kept)
        return tokens, *self._padded([ids])

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Prompts of one length, int32 `(B, P)`, and whether a number is one of a prompt, bool `(B, P)`."""
        longest = max(map(len, prompts))
        if longest >= self._input.length:
            raise UserError(
                f"the prompt has {longest} tokens, but the network takes texts of {self._input.length}: shorten the "
                "question"
            )
        length = -(-longest // _STEP) * _STEP
        ids, seen = np.zeros((len(prompts), length), np.int32), np.zeros((len(prompts), length), bool)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)], seen[row, : len(prompt)] = prompt, True
        return ids, seen

    def _text(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of numbers up to the end."""
        numbers = [int(number) for number in ids]
        if self._end in numbers:
            numbers = numbers[: numbers.index(self._end)]
        return self._tokenizer.decode(numbers).strip()
