"""The tokenizer of a run: a file's, that of the checkpoint it starts from, or one trained on its captions."""

import dataclasses
import logging
from pathlib import Path

from vidjax.config import Config, Spec
from vidjax.data.records import Caption, VideoSet
from vidjax.errors import UserError
from vidjax.inputs import TextInput
from vidjax.text import TokenizerFile, read_tokenizer, train_tokenizer
from vidjax.training.checkpoints import is_checkpoint, load_meta
from vidjax.wording import things

logger = logging.getLogger("vidjax")


def set_tokenizer(spec: Spec, file: TokenizerFile) -> Spec:
    """Copy of a spec whose texts are read with this tokenizer.

    Raises:
      UserError: if it has other special tokens, or more tokens than the network.
    """
    inputs = dict(spec.inputs)
    for name, value in spec.inputs.items():
        if isinstance(value, TextInput):
            inputs[name] = read = dataclasses.replace(value, tokenizer=file)
            read.reader()
    return dataclasses.replace(spec, inputs=inputs)


def with_tokenizer(spec: Spec, config: Config, videos: VideoSet) -> Spec:
    """Copy of a network's spec with the tokenizer of its texts, if it reads any and has none.

    It is the file of `config.data.text.tokenizer`; or else that of the checkpoint in `config.model.init_from`; or else
    byte-pair encoding trained on the captions of `videos`, with as many tokens as the network knows.

    Raises:
      UserError: if the file cannot be used, the checkpoint is of another framework and has none, or there are no
        captions.
    """
    inputs = [value for value in spec.inputs.values() if isinstance(value, TextInput)]
    if not inputs or all(value.tokenizer is not None for value in inputs):
        return spec
    if config.data.text.tokenizer:
        return set_tokenizer(spec, read_tokenizer(config.data.text.tokenizer))
    if config.model.init_from:
        return set_tokenizer(spec, tokenizer_of(config.model.init_from))
    captions = [record.annotation for record in videos.records if isinstance(record.annotation, Caption)]
    texts = [text for each in captions for text in (*each.texts, each.question) if text]
    file = train_tokenizer(texts, inputs[0].vocabulary, inputs[0].rules)
    spec = set_tokenizer(spec, file)
    logger.info("trained a tokenizer on %s", things(len(texts), "sentence"))
    return spec


def tokenizer_of(checkpoint: str | Path) -> TokenizerFile:
    """Tokenizer of a vidjax checkpoint, or of a folder of another framework.

    Raises:
      UserError: if it has none.
    """
    if is_checkpoint(checkpoint):
        for value in load_meta(checkpoint).spec.inputs.values():
            if isinstance(value, TextInput) and value.tokenizer is not None:
                return value.tokenizer
    elif Path(checkpoint).is_dir():
        return read_tokenizer(checkpoint)
    raise UserError(f"{checkpoint}: has no tokenizer; give its file with config.data.text.tokenizer")
