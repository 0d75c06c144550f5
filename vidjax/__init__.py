"""Video understanding in JAX: models, input pipeline, training and evaluation.

Public names are imported on first use, so that `import vidjax` costs next to nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOMES = {
    "Config": "vidjax.config",
    "ConfigError": "vidjax.config",
    "Spec": "vidjax.config",
    "Captioner": "vidjax.captioner",
    "Cascade": "vidjax.cascade",
    "Predictor": "vidjax.predictor",
    "create_model": "vidjax.models",
    "get_spec": "vidjax.models",
    "list_models": "vidjax.models",
    "load_model": "vidjax.training.checkpoints",
    "load_pretrained": "vidjax.weights",
    "preprocess": "vidjax.data.reading.preprocess",
    "SoundReader": "vidjax.video",
    "VideoError": "vidjax.video",
    "VideoReader": "vidjax.video",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from vidjax.captioner import Captioner
    from vidjax.cascade import Cascade
    from vidjax.config import Config, ConfigError, Spec
    from vidjax.data.reading.preprocess import preprocess
    from vidjax.models import create_model, get_spec, list_models
    from vidjax.predictor import Predictor
    from vidjax.training.checkpoints import load_model
    from vidjax.video import SoundReader, VideoError, VideoReader
    from vidjax.weights import load_pretrained


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'vidjax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
