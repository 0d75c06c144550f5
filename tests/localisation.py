"""Goldens of temporal localisation: the rule by which their weights and inputs are drawn, and where they are.

Weights are those of `tests.golden.fill`, with three additions for what classifiers do not have: norms and branch scales
of shape (1, C, 1) are filled as (C,), keys that end in "scale" are about 1, and BMN's sampling matrix, VideoMAE's
positions and the number that a loss is divided by are not drawn. Decodings and small arrays are in
`data/golden/localisation`, the large ones in the shared material.
"""

import json
import zlib
from pathlib import Path

import numpy as np

from tests import golden
from tests.golden import FOLDER, read_keys

SMALL = FOLDER / "localisation"
INDEX = json.loads((SMALL / "index.json").read_text())["goldens"]


def fill(key, shape):
    """The float32 tensor that stands under `key`; None for a computed one."""
    if key.endswith(("sample_mask", "bm_mask", "pos_embed", "loss_normalizer")):
        return None
    norm = len(shape) == 3 and shape[0] == shape[2] == 1 and not key.startswith(("x_1d_s", "x_1d_e"))
    inner = shape[1:2] if norm else shape
    if key.endswith("scale"):
        z = np.asarray(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(inner))
        return (1 + 0.1 * z).astype(np.float32).reshape(shape)
    return golden.fill(key, inner).reshape(shape)


def state_of(name):
    """The reference's state dict, under its own keys, without what is computed; checked against the index."""
    state, crc = {}, 0
    for key, shape, _ in read_keys(name):
        if (value := fill(key, shape)) is not None:
            state[key], crc = value, zlib.crc32(np.ascontiguousarray(value).tobytes(), crc)
    assert crc == INDEX[name]["state_crc32"]
    return state


def features(channels, length, lengths, seed=0):
    """Vectors `(B, T, D)`, 0 from lengths[b] on, and their mask `(B, T)`."""
    x = np.random.default_rng(seed).standard_normal((len(lengths), channels, length)).astype(np.float32)
    mask = np.arange(length)[None] < np.asarray(lengths)[:, None]
    return np.ascontiguousarray((x * mask[:, None]).transpose(0, 2, 1)), mask


def segments(count, length, num_classes, seed=0):
    """Segments `(count, 2)` in vectors, float32, and their classes."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(2.0), np.log(length / 2), count))
    start = rng.uniform(0, length - size)
    return np.stack([start, start + size], 1).astype(np.float32), rng.integers(0, num_classes, count)


def predictions(lengths, num_classes, channels=2, seed=0):
    """Logits `(N, K)` and offsets `(N, channels)` of all levels, one after the other."""
    rng = np.random.default_rng(seed)
    logits = [(rng.standard_normal((n, num_classes)) * 2.0 - 4.0).astype(np.float32) for n in lengths]
    offsets = [np.abs(rng.standard_normal((n, channels)) * 2.0).astype(np.float32) for n in lengths]
    return np.concatenate(logits), np.concatenate(offsets)


def arrays(name, folder: Path = SMALL):
    """Arrays of a golden, by name."""
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def of_shared(name, shared: Path):
    """Arrays of a golden that only the shared material has."""
    return arrays(name, shared / "reference" / "golden-localisation")
