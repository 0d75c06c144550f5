"""Text as numbers: files of tokenizers, the rules of the networks that use them, and training on own sentences.

NumPy only: data workers import this, so it needs no JAX. The packages of the extra `text` are imported when used.
"""

from vidjax.text.files import TokenizerFile, read_tokenizer
from vidjax.text.tokenizer import RULES, Tokenizer
from vidjax.text.train import train_tokenizer

__all__ = ["RULES", "Tokenizer", "TokenizerFile", "read_tokenizer", "train_tokenizer"]
