"""Loading of other frameworks' checkpoints into vidjax models: read the file, recognise its source, map, check."""

from vidjax.weights.hf_config import Description, describe
from vidjax.weights.load import LoadReport, load_into, load_pretrained
from vidjax.weights.read import CheckpointError, read_state_dict

__all__ = [
    "CheckpointError",
    "Description",
    "LoadReport",
    "describe",
    "load_into",
    "load_pretrained",
    "read_state_dict",
]
