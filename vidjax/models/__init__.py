"""Video models as Flax NNX modules, one file per family, and the registry of named models."""

from vidjax.models.registry import create_model, get_spec, list_models

__all__ = ["create_model", "get_spec", "list_models"]
