"""Tokenizers for tests: CLIP's, from the package that has it, and small ones."""

import functools
import importlib.util
import io
from pathlib import Path

import pytest

from vidjax.text import TokenizerFile, read_tokenizer, train_tokenizer

SENTENCES = ("a red square moves left.", "a blue circle moves right behind a red square", "what colour is the circle?")


def clip_merges() -> Path:
    """CLIP's list of merges, which open_clip_torch holds."""
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("needs open_clip_torch: pip install -e '.[test]'")
    return Path(next(iter(found.submodule_search_locations))) / "bpe_simple_vocab_16e6.txt.gz"


@functools.cache
def clip() -> TokenizerFile:
    return read_tokenizer(clip_merges())


@functools.cache
def small(size: int = 60, rules: str = "clip") -> TokenizerFile:
    return train_tokenizer(SENTENCES, size, rules)


@functools.cache
def pieces() -> TokenizerFile:
    """A SentencePiece model without tokens for start and end, as VideoPrism's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=32, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    return TokenizerFile.of("tokenizer.model", model.getvalue())
