"""Other frameworks' checkpoints → a vidjax model: read the file, name the source, map, check."""

from vidjax.weights.load import LoadReport, load_into, load_pretrained
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.transformers import Description, describe

__all__ = [
    "CheckpointError",
    "Description",
    "LoadReport",
    "describe",
    "load_into",
    "load_pretrained",
    "read_state_dict",
]
