"""Training of a tokenizer on own sentences, for networks that start without weights of others."""

from collections.abc import Iterable

from vidjax.errors import UserError
from vidjax.text.files import JSON, TokenizerFile
from vidjax.text.packages import tokenizers
from vidjax.text.tokenizer import RULES

_PADDING, _UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(texts: Iterable[str], size: int, rules: str = "clip") -> TokenizerFile:
    """Train byte-pair encoding on sentences; equal sentences give an equal file.

    Number 0 is padding, 1 any letter that the sentences lack, and the last ones are the start and the end of a text.

    Args:
      texts: sentences, cleaned by the rules before.
      size: most tokens, special ones included.
      rules: key of `vidjax.text.RULES`, which name the tokens for start and end.

    Raises:
      UserError: if there are no sentences, their letters alone need more tokens, or a package is not installed.
    """
    package, known = tokenizers(), RULES[rules]
    sentences = [known.clean(text) for text in texts]
    if not sentences:
        raise UserError("there are no sentences to train a tokenizer on; give a file with config.data.text.tokenizer")
    ends = [name for names in (known.start, known.end) for name in names[:1]]
    made = package.Tokenizer(package.models.BPE(unk_token=_UNKNOWN))
    # Words begin with a mark. With a mark at their ends, equal sentences would not always give an equal file.
    split = package.pre_tokenizers
    made.pre_tokenizer = split.Sequence([split.Metaspace(), split.Punctuation("isolated")])
    made.decoder = package.decoders.Metaspace()
    trainer = package.trainers.BpeTrainer(
        vocab_size=size - len(ends), special_tokens=[_PADDING, _UNKNOWN], show_progress=False
    )
    made.train_from_iterator(sentences, trainer)
    made.add_special_tokens(ends)
    if made.get_vocab_size() > size:
        raise UserError(
            f"a tokenizer for these sentences needs {made.get_vocab_size()} tokens for their letters alone, but the "
            f"network has {size}: build it with a larger vocabulary"
        )
    return TokenizerFile.of(JSON, made.to_str().encode("utf-8"))
