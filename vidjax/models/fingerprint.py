"""Fingerprint of a network's weights, by which features computed with other weights are recognised."""

import hashlib

import numpy as np
from flax import nnx

from vidjax.models.state import split


def weights_fingerprint(model: nnx.Module) -> str:
    """Hash all parameters and statistics, with their paths, types and shapes, to 16 hexadecimal digits."""
    _, params, stats = split(model)
    digest = hashlib.sha256()
    for path, array in sorted({**params, **stats}.items()):
        values = np.ascontiguousarray(np.asarray(array))
        digest.update(f"{path} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]
