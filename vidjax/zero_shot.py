"""Classes named by words alone: a network of videos and texts as a classifier that was not trained for them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.config.choices import CLASSIFIED
from vidjax.data.listing.class_lists import read_class_names
from vidjax.errors import UserError
from vidjax.inputs import TextInput
from vidjax.models.state import Arrays, merge, split
from vidjax.models.text_video import TextHead, TextVideoNetwork

# Sentences around the name of a class, whose vectors are averaged.
TEMPLATES = ("{}", "a video of {}", "a video of a person {}", "a photo of {}", "a person is {}")
_TOGETHER = 64  # texts that go through the network at a time


def encode_texts(network: nnx.Module, spec: Spec, texts: Sequence[str]) -> np.ndarray:
    """Vectors of texts, float32 `(N, E)`, see `TextVideoNetwork.encode_text`.

    Args:
      network: network of videos and texts.
      spec: its spec, with the tokenizer.
      texts: N texts.

    Raises:
      UserError: if the network reads no text or has no tokenizer, or a text is empty or too long; names both lengths.
    """
    inputs = [value for value in spec.inputs.values() if isinstance(value, TextInput)]
    if not isinstance(network, TextVideoNetwork) or not inputs:
        raise UserError(
            f"{spec.name} reads no text; this needs a network of videos and texts, such as clip_b32, or one trained "
            "with captions"
        )
    rows = inputs[0].reader().rows(texts, inputs[0].length)
    graphdef, params, stats = split(network)

    @jax.jit
    def encode(params: Arrays, stats: Arrays, rows: np.ndarray) -> jax.Array:
        return cast(TextVideoNetwork, merge(graphdef, params, stats)).encode_text(jnp.asarray(rows))

    vectors = []
    for first in range(0, len(rows), _TOGETHER):
        part = rows[first : first + _TOGETHER]
        padded = np.concatenate([part, part[:1].repeat(min(_TOGETHER, len(rows)) - len(part), axis=0)])
        vectors.append(np.asarray(encode(params, stats, padded))[: len(part)])
    return np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)


def read_labels(text: str) -> tuple[str, ...]:
    """Names of classes: separated by commas, one per line of a file, or those of a published data set, by its name.

    Raises:
      UserError: if there are fewer than two, one is empty, or one is repeated.
    """
    if text in CLASSIFIED:
        names = list(read_class_names(text))
    elif Path(text).is_file():
        names = [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        names = [name.strip() for name in text.split(",")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if len(names) < 2 or not all(names) or twice:
        problem = f"{', '.join(twice)} twice" if twice else f"{len([n for n in names if n])} of them"
        raise UserError(
            f"labels {text[:60]!r}: names {problem}; give at least two, separated by commas, a file with one per line, "
            f"or one of {', '.join(CLASSIFIED)}"
        )
    return tuple(names)


def name_classes(network: Any, spec: Spec, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Spec:
    """Give a network of videos and texts, in place, a head whose classes are words.

    The vector of a class is the mean of those of its name in each template, of length 1; `_` in a name is a space. If a
    text has another vector beside each video, the mean is taken there.

    Args:
      network: network of videos and texts.
      spec: its spec, with the tokenizer.
      names: names of the K classes.
      templates: sentences with `{}` in the place of the name.

    Returns:
      Spec of the network as a classifier, which reads only the video.

    Raises:
      UserError: if a template has no `{}`, or as `encode_texts`.
    """
    if wrong := [template for template in templates if "{}" not in template]:
        raise UserError(f"template {wrong[0]!r}: has no {{}} in the place of the class")
    words = [name.replace("_", " ") for name in names]
    texts = [template.replace("{}", word) for word in words for template in templates]
    vectors = encode_texts(network, spec, texts).reshape(len(words), len(templates), -1)
    network.head = TextHead(network.class_vectors(jnp.asarray(vectors)))
    video = {name: value for name, value in spec.inputs.items() if not isinstance(value, TextInput)}
    return dataclasses.replace(spec, inputs=video, task="classify", num_classes=len(words))
