import json
import pickle

import numpy as np
import pytest

from tests.text.vocabularies import SENTENCES, clip, pieces, small
from vidjax.errors import UserError
from vidjax.text import Tokenizer


@pytest.mark.slow
def test_clips_numbers_are_those_of_its_own_tokenizer(shared):
    tokenizer = Tokenizer(clip())
    assert (tokenizer.size, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    file = shared / "reference" / "golden-language-segmentation" / "tokens.json"
    examples = json.loads(file.read_text(encoding="utf-8"))["examples"]
    assert len(examples) == 12
    for example in examples:
        assert tokenizer.encode(example["text"]) == example["ids"], example["text"]


def test_rows_have_start_end_and_padding():
    tokenizer = Tokenizer(clip())
    rows = tokenizer.rows(["a red square", "A man is OPENING a door."], 8, cut=True)
    np.testing.assert_array_equal(rows[0], [49406, 320, 736, 3999, 49407, 0, 0, 0])
    np.testing.assert_array_equal(rows[1], [49406, 320, 786, 533, 2516, 320, 2489, 49407])  # without the full stop
    assert rows.dtype == np.int32 and tokenizer.decode(rows[0]) == "a red square"


def test_names_of_special_tokens_in_a_text_are_text_unless_asked_for():
    tokenizer = Tokenizer(small())
    assert tokenizer.end not in tokenizer.encode("a <|endoftext|> square")
    assert tokenizer.encode("a <|endoftext|>", special=True)[-1] == tokenizer.end == tokenizer.id("<|endoftext|>")
    with pytest.raises(UserError, match="no token '<image>': it is of another model"):
        tokenizer.id("<image>")


@pytest.mark.parametrize("text", SENTENCES)
def test_own_sentences_come_back(text):
    tokenizer = Tokenizer(small())
    assert tokenizer.decode(tokenizer.rows([text], 40)[0]) == text
    words = Tokenizer(pieces(), "videoprism")
    assert words.decode(words.rows([text], 60)[0]) == f"{text.rstrip('.?')}."


def test_the_end_is_the_largest_number_of_own_vocabularies_too():
    tokenizer = Tokenizer(small())
    assert tokenizer.end == tokenizer.size - 1 and tokenizer.start == tokenizer.size - 2
    assert tokenizer.encode("zzz")[1:] == [1, 1, 1]  # letters that no sentence had


def test_each_rule_cleans_and_encloses_as_it_should():
    bert = Tokenizer(small(60, "bert"), "bert")
    assert bert.rows(["a red"], 8)[0].tolist()[0] == bert.id("[CLS]") and bert.end == bert.id("[SEP]")
    prism = Tokenizer(pieces(), "videoprism")
    assert prism.start is None and prism.end is None
    assert prism.encode("A  RED, (square)") == prism.encode("a red square.")
    assert Tokenizer(small(), "llm").start is None


def test_it_travels_to_other_processes():
    tokenizer = Tokenizer(small())
    assert tokenizer.size == 60
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again == tokenizer and again.encode("red") == tokenizer.encode("red")
    assert len(repr(tokenizer)) < 200


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a red square", " "], "a text is empty"),
        (["a red square moves left"], "'a red square moves left' has 7 tokens.*network takes 6: shorten it"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(texts, message):
    with pytest.raises(UserError, match=message):
        Tokenizer(small(100)).rows(texts, 6)


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(UserError, match=r"no token <\|startoftext\|> or <start_of_text>.*of another model"):
        Tokenizer(pieces(), "clip")
    with pytest.raises(UserError, match="must be one of clip, bert, videoprism, llm"):
        Tokenizer(small(), "gpt")
