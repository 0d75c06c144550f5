"""Golden logits: what the reference implementations answer when their weights are filled by a public rule.

Every tensor of a reference's state dict is drawn from its key and shape alone, and so are two inputs. A test builds
that state dict without the reference or any download, loads it as a user would a real checkpoint, and compares logits:

    assert max(errors("torchvision_r3d_18_8x112", "r3d_18")) < 1e-4

Both inputs are used: global pooling averages white noise away, the coarse one tells a wrong network from a right one.
`errors` and `compiled` are in `tests/weights/answers.py`: here nothing needs JAX, which the references run without.
`data/golden/make.py` writes the data and says how each was made.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "data" / "golden"
GAIN = 1.25  # of weight matrices and kernels, over 1/√(fan in): keeps the logits of deep networks within float32

Keys = list[tuple[str, tuple[int, ...], str]]  # key, shape, type of the elements


def read_keys(table: str) -> Keys:
    """Keys, shapes and element types of a reference's state dict, in its order, from `data/golden/keys/{table}.tsv`."""
    rows = (line.split("\t") for line in (FOLDER / "keys" / f"{table}.tsv").read_text().splitlines())
    return [(key, tuple(int(n) for n in shape.split("x") if n), dtype) for key, shape, dtype in rows]


def fill(key: str, shape: tuple[int, ...], gain: float = GAIN) -> np.ndarray:
    """The float32 tensor that stands under `key`: normal deviates seeded by the key's CRC-32, scaled by what it is.

    `gain` is that of weight matrices and kernels: squeeze-and-excitation halves what passes through it, and without
    more gain the last of many blocks would not see the picture any more.
    """
    z = np.asarray(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape))
    if key.endswith("running_var"):
        values = 1 + 0.25 * np.abs(z)
    elif key.endswith("running_mean"):
        values = 0.1 * z
    elif key.endswith("weight") and z.ndim >= 2:
        values = z * (gain / np.sqrt(float(np.prod(shape[1:]))))
    elif key.endswith("weight") and z.ndim == 1:
        values = 1 + 0.1 * z
    else:
        values = (0.1 if z.ndim == 1 else 0.2) * z
    return values.astype(np.float32)


def fill_linen(name: str, shape: tuple[int, ...], gain: float = GAIN) -> np.ndarray:
    """The tensor of a Flax Linen reference under `name`, a path joined by dots, by the same rule.

    A kernel is drawn as the PyTorch weight of its layer, (fan out, fan in), a scale as a weight of one axis.
    """
    owner, _, leaf = name.rpartition(".")
    size = int(np.prod(shape))
    if leaf == "kernel":
        by_head = owner.endswith((".query", ".key", ".value"))
        outputs = int(np.prod(shape[1:])) if by_head else shape[-1]
        return fill(f"{owner}.weight", (outputs, size // outputs), gain).T.reshape(shape)
    if leaf in ("scale", "bias"):
        return fill(f"{owner}.{'weight' if leaf == 'scale' else leaf}", (size,), gain).reshape(shape)
    return fill(name, shape, gain)


def fill_state(keys: Keys, aliases: Mapping[str, str] | None = None, gain: float = GAIN) -> dict[str, np.ndarray]:
    """A whole state dict by the rule. Counters, and what else is no float, are zeros.

    `aliases` names keys under which another key's tensor stands once more.
    """
    aliases = aliases or {}
    return {
        key: fill(aliases.get(key, key), shape, gain)
        if dtype.startswith("float") and not key.endswith("num_batches_tracked")
        else np.zeros(shape, dtype)
        for key, shape, dtype in keys
    }  # fmt: skip


def state_crc32(keys: Keys, state: dict[str, np.ndarray]) -> int:
    """Checksum of the filled tensors, by sorted key."""
    crc = 0
    for key, _, dtype in sorted(keys):
        if dtype.startswith("float"):
            crc = zlib.crc32(state[key].tobytes(), zlib.crc32(key.encode(), crc))
    return crc


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """White noise (2, C, T, H, W) or (2, C, H, W), channels first as it is drawn."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def coarse_noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Noise of standard deviation 2, constant in blocks of 4 frames × 56 × 56 pixels; channels first."""
    block = (4, 56, 56)[-(len(shape) - 2) :]
    counts = tuple(-(-n // b) for n, b in zip(shape[2:], block, strict=True))
    x = (2 * np.random.default_rng(seed).standard_normal((*shape[:2], *counts))).astype(np.float32)
    for axis, (n, b) in enumerate(zip(shape[2:], block, strict=True), start=2):
        x = np.repeat(x, b, axis=axis).take(range(n), axis=axis)
    return x


def channels_last(x: np.ndarray) -> np.ndarray:
    """(B, C, T, H, W) → (B, T, H, W, C); (B, C, H, W) → a video of one frame."""
    return np.ascontiguousarray(np.moveaxis(x if x.ndim == 5 else x[:, :, None], 1, -1))


@dataclass(frozen=True)
class Golden:
    """One reference network's answers. Logits are (2, K): float32, and with the same weights in float64 arithmetic.

    A pre-training network's logits are the pixels that it predicts for the first two masked tokens, (2, 2, pixels).
    """

    name: str
    table: str  # of keys
    input_shape: tuple[int, ...]  # channels first
    logits: np.ndarray
    coarse_logits: np.ndarray
    logits64: np.ndarray
    coarse_logits64: np.ndarray
    entry: dict[str, Any]  # what index.json says: constructor, versions, checksum, frames of a slow pathway
    others: dict[str, np.ndarray] = field(default_factory=dict)  # what else its file holds, such as the mask

    @cached_property
    def state(self) -> dict[str, np.ndarray]:
        """The reference's state dict, under its own keys."""
        if self.entry.get("fill") == "linen":
            return {key: fill_linen(key, shape) for key, shape, _ in read_keys(self.table)}
        return fill_state(read_keys(self.table), self.entry.get("aliases"), self.entry.get("gain", GAIN))

    @property
    def video(self) -> np.ndarray:
        """White noise, float32 (2, T, H, W, C); T = 1 for networks on images."""
        return channels_last(noise(self.input_shape))

    @property
    def coarse_video(self) -> np.ndarray:
        """Coarse noise, float32 (2, T, H, W, C); T = 1 for networks on images."""
        return channels_last(coarse_noise(self.input_shape))

    @property
    def both(self) -> np.ndarray:
        """The first clip of the noise and the second of the coarse noise, as one batch."""
        return np.concatenate([self.video[:1], self.coarse_video[1:]])

    @property
    def sound_of_both(self) -> np.ndarray:
        """The spectrograms beside `both`, channels first as they are drawn."""
        shape = tuple(self.entry["sound_shape"])
        return np.concatenate([noise(shape, 1)[:1], coarse_noise(shape, 1)[1:]])

    @property
    def sound(self) -> np.ndarray:
        """`both` as spectrograms `(2, frames, mels)`, of networks whose input is a picture of one channel."""
        return self.both[:, 0, :, :, 0]

    def of_both(self, field: str) -> np.ndarray:
        """What the reference gives for `both`: "logits", "logits64", or an entry of `others`."""
        arrays = vars(self) | self.others
        return np.concatenate([arrays[field][:1], arrays[f"coarse_{field}"][1:]])


def read_index() -> dict[str, dict[str, Any]]:
    """What there is, by name."""
    return json.loads((FOLDER / "index.json").read_text())


def golden(name: str) -> Golden:
    """The golden of that name in `data/golden/index.json`."""
    entry = read_index()[name]
    with np.load(FOLDER / f"{name}.npz") as arrays:
        arrays = dict(arrays)
    logits = {name: arrays.pop(name) for name in ("logits", "coarse_logits", "logits64", "coarse_logits64")}
    return Golden(name, entry["keys"], tuple(entry["input_shape"]), **logits, entry=entry, others=arrays)


def relative_error(y: Any, g: Any) -> float:
    """‖y − g‖ / ‖g‖ over all elements."""
    y, g = np.asarray(y, np.float64), np.asarray(g, np.float64)
    assert y.shape == g.shape, f"{y.shape} is compared with {g.shape}"
    return float(np.linalg.norm(y - g) / np.linalg.norm(g))


def language_golden(shared: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """State dict by the rule and stored arrays of a golden of videos and language, which are kept beside the project.

    Args:
      shared: folder of the references.
      name: name of the golden.
    """
    folder = shared / "reference" / "golden-language-segmentation"
    with np.load(folder / f"{name}.npz") as file:
        return fill_state(language_keys(shared, name)), dict(file)


def language_keys(shared: Path, table: str) -> Keys:
    """Keys, shapes and element types of a table of these."""
    file = shared / "reference" / "golden-language-segmentation" / "keys" / f"{table}.tsv"
    rows = (line.split("\t") for line in file.read_text().splitlines())
    return [(key, tuple(int(n) for n in shape.split("x") if n), dtype) for key, shape, dtype in rows]
