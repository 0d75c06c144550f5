"""Prompts and what follows them: questions, answers and captions as numbers."""

import dataclasses

import numpy as np
import pytest

from vidjax.data.reading.prompts import PromptReader
from vidjax.data.records import Caption, Labels, Record
from vidjax.data.views import whole
from vidjax.errors import UserError
from vidjax.inputs import PromptInput
from vidjax.text import train_tokenizer

CAPTIONS = ("a red square moves left", "it goes left")
QUESTION = Caption(("red",), "which colour is the square?")
INPUT = PromptInput(24, 80, "clip", train_tokenizer([*CAPTIONS, QUESTION.question], 80, "clip"))


def read(annotation, rng=None, **changes):
    return PromptReader(dataclasses.replace(INPUT, **changes)).of(Record("a.mp4", annotation), whole(2), rng)


def test_a_caption_follows_the_start_alone():
    reader = INPUT.reader()
    rows = read(Caption(CAPTIONS))
    assert rows.shape == (2, 25) and rows.dtype == np.int32 and (rows[:, 0] == 1).all()
    for row in rows:
        assert row[1] == reader.start and reader.decode(row[2:].tolist()) == CAPTIONS[0]


def test_an_answer_follows_its_question():
    reader, row = INPUT.reader(), read(QUESTION)[0]
    prompt, rest = row[1 : 1 + row[0]], row[1 + row[0] :]
    assert prompt.tolist() == [reader.start, *reader.encode(QUESTION.question)]
    assert rest[: np.flatnonzero(rest == reader.end)[0]].tolist() == reader.encode("red")
    assert not rest[np.flatnonzero(rest == reader.end)[0] + 1 :].any()


def test_training_draws_any_of_the_captions():
    rng = np.random.default_rng(0)
    reader = INPUT.reader()
    found = {reader.decode(row[2:].tolist()) for _ in range(8) for row in read(Caption(CAPTIONS), rng)}
    assert found == set(CAPTIONS)


def test_videos_without_captions_have_zeros():
    for annotation in (None, Caption(()), Labels((1,))):
        assert not read(annotation).any()


def test_what_does_not_fit_is_named_with_both_lengths():
    with pytest.raises(UserError, match=r"has [0-9]+ tokens, but the network takes 4: shorten it"):
        read(Caption(CAPTIONS), length=4)
    assert PromptReader(dataclasses.replace(INPUT, length=4), cut=True).row("", CAPTIONS[0])[4] == INPUT.reader().end
    with pytest.raises(UserError, match="a caption is empty"):
        read(Caption((" ",)))
