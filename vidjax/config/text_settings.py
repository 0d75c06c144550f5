"""The settings under `data.text`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from vidjax.config.fields import anything
from vidjax.config.section import ConfigError, Section
from vidjax.inputs import Input, TextInput


@dataclass
class TextConfig(Section, path="data.text"):
    """Texts of videos, for networks that read them."""

    tokenizer: str = anything(
        "",
        "File of the tokenizer (tokenizer.json, a .model of SentencePiece, or CLIP's bpe_simple_vocab_16e6.txt.gz), or "
        "a folder with one; empty: that of the checkpoint in model.init_from, or else one is trained on the captions.",
    )
    cut: bool = anything(
        False, "Whether texts that are too long for the network lose their last words; otherwise they are an error."
    )


def need_text(name: str, inputs: Mapping[str, Input], config: TextConfig) -> None:
    """Refuse settings of text for a network that reads none.

    Args:
      name: name of the network, for messages.
      inputs: its inputs, by name.
      config: settings of text.

    Raises:
      ConfigError: names the setting.
    """
    if any(isinstance(value, TextInput) for value in inputs.values()):
        return
    for field in dataclasses.fields(config):
        if (value := getattr(config, field.name)) != field.default:
            raise ConfigError(f"config.data.text.{field.name} = {value!r}: {name} reads no text; leave it out")
