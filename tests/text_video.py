"""Small networks of videos and texts, and folders that hold them, for tests."""

import functools
from pathlib import Path

from tests.models.abstract import filled
from tests.text.vocabularies import SENTENCES
from vidjax.config import Config, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.models.registry import abstract_model, get_spec
from vidjax.text import train_tokenizer
from vidjax.training.checkpoints import Meta, save_model
from vidjax.training.tokenizers import set_tokenizer

KWARGS = {
    "dim": 16, "depth": 1, "heads": 2, "size": 16, "patch": 8, "embed": 8, "vocabulary": 80, "text_length": 24,
    "text_dim": 16, "text_depth": 1, "text_heads": 2,
}  # fmt: skip
WORDS = (*SENTENCES, "jumping, running, a video of a person", "a photo of a person is falling")


@functools.cache
def spec(name: str = "clip_tiny"):
    """Spec of the network, with a tokenizer."""
    own = get_spec(name, KWARGS).with_video(num_frames=4, size=16, resize=(16,), stride=1)
    return set_tokenizer(own, train_tokenizer(WORDS, 80))


@functools.cache
def network(name: str = "clip_tiny", **kwargs):
    """Network with drawn weights, in evaluation mode."""
    return filled(abstract_model(name, **KWARGS | kwargs))


def save(folder: Path, name: str = "clip_tiny") -> Path:
    """Write the network's checkpoint."""
    config = Config(model=ModelConfig(name=name, kwargs=KWARGS))
    return save_model(folder, network(name), Meta(config, spec(name), LabelSpace(())))
