"""Inputs of a network, stream by stream: sizes, rates and units. Data workers import this, so it needs no JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vidjax.errors import UserError
from vidjax.inputs.beside import BoxInput, PromptInput, TextInput
from vidjax.inputs.features import BankInput, FeatureInput, SequenceInput
from vidjax.inputs.field import Field
from vidjax.inputs.pair import PairInput
from vidjax.inputs.sound import UNHEARD, AudioInput
from vidjax.inputs.video import CONTENTS, DEVICE_FLOWS, FlowFields, VideoInput, content_of
from vidjax.text import TokenizerFile

__all__ = [
    "CONTENTS",
    "DEVICE_FLOWS",
    "KINDS",
    "UNHEARD",
    "AudioInput",
    "BankInput",
    "BoxInput",
    "FeatureInput",
    "Field",
    "FlowFields",
    "Input",
    "PairInput",
    "PromptInput",
    "SequenceInput",
    "TextInput",
    "VideoInput",
    "from_dict",
    "to_dict",
]

Input = (
    VideoInput | AudioInput | TextInput | PromptInput | FeatureInput | SequenceInput | BoxInput | BankInput | PairInput
)
_ALL: tuple[type[Input], ...] = (
    VideoInput, AudioInput, TextInput, PromptInput, FeatureInput, SequenceInput, BoxInput, BankInput, PairInput,
)  # fmt: skip
KINDS: dict[str, type[Input]] = {each.kind: each for each in _ALL}


def to_dict(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Convert inputs by name to plain values for JSON."""
    return {name: {"kind": value.kind} | dataclasses.asdict(value) for name, value in inputs.items()}


def from_dict(values: Mapping[str, Any]) -> dict[str, Input]:
    """Restore inputs by name from the values of `to_dict`.

    Raises:
      UserError: for a kind of input that this version does not support.
    """
    made: dict[str, Input] = {}
    for name, value in values.items():
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        kind = settings.pop("kind")
        if kind not in KINDS:
            raise UserError(f"input {name!r} has kind {kind!r}; this version of vidjax supports {', '.join(KINDS)}")
        if kind == VideoInput.kind:
            settings |= content_of(settings)
        if kind in (TextInput.kind, PromptInput.kind) and settings.get("tokenizer"):
            settings["tokenizer"] = TokenizerFile(**settings["tokenizer"])
        made[name] = KINDS[kind](**settings)
    return made
