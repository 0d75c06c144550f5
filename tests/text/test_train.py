import subprocess
import sys

import pytest

from tests.text.vocabularies import SENTENCES, small
from vidjax.errors import UserError
from vidjax.text import Tokenizer, train_tokenizer


def test_equal_sentences_give_an_equal_file_in_any_order_and_process():
    code = f"from vidjax.text import train_tokenizer as t; print(t({SENTENCES[::-1]!r}, 60).packed)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == small().packed


def test_frequent_words_become_one_token():
    tokenizer = Tokenizer(train_tokenizer(SENTENCES * 3, 90))
    assert len(tokenizer.encode("a red square moves")) == 4 and tokenizer.size <= 90


def test_too_few_tokens_are_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"needs \d+ tokens for their letters alone, but the network has 12"):
        train_tokenizer(SENTENCES, 12)
    with pytest.raises(UserError, match="no sentences to train a tokenizer on"):
        train_tokenizer([], 100)
