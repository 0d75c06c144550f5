import jax.numpy as jnp
import numpy as np
import pytest

from tests.text.vocabularies import small
from vidjax.data.reading.text import TextReader
from vidjax.data.records import Caption, Labels, Record
from vidjax.data.views import whole
from vidjax.errors import UserError
from vidjax.inputs import TextInput
from vidjax.nn.enter import enter

INPUT = TextInput(24, 60, "clip", small())
RECORD = Record("a.mp4", Caption(("a red square", "a blue circle moves right")))


def test_training_takes_any_caption_and_evaluation_the_first():
    reader, tokenizer = TextReader(INPUT), INPUT.reader()
    first = reader.of(RECORD, whole(2))
    assert [tokenizer.decode(row) for row in first] == ["a red square"] * 2
    drawn = {tokenizer.decode(row) for row in reader.of(RECORD, whole(20), np.random.default_rng(0))}
    assert drawn == set(RECORD.annotation.texts)


def test_a_video_without_captions_gives_padding():
    for record in (Record("a.mp4"), Record("a.mp4", Labels((0,)))):
        assert not TextReader(TextInput(8, 60)).of(record, whole(3)).any()


def test_numbers_enter_as_they_are():
    numbers = jnp.asarray(TextReader(INPUT).of(RECORD, whole(1)))
    entered = enter({"text": numbers}, {"text": INPUT}, jnp.bfloat16)
    assert entered["text"].dtype == jnp.int32 and (entered["text"] == numbers).all()


def test_what_does_not_fit_the_network_is_refused():
    with pytest.raises(UserError, match="has no tokenizer"):
        TextReader(TextInput(8, 60)).of(RECORD, whole(1))
    with pytest.raises(UserError, match="the tokenizer has 60 tokens, but the network knows 50"):
        TextReader(TextInput(8, 50, "clip", small())).of(RECORD, whole(1))
    short = TextInput(4, 60, "clip", small())
    with pytest.raises(UserError, match="tokens, but the network takes 4"):
        TextReader(short).of(RECORD, whole(1))
    assert TextReader(short, cut=True).of(RECORD, whole(1))[0, -1] == 59
