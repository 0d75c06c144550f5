"""VGGish: embeddings of 0.96 s of sound, and their published 8-bit form.

Source: Hershey et al., CNN Architectures for Large-Scale Audio Classification (1609.09430); Gemmeke et al., Audio Set
(ICASSP 2017); harritaylor/torchvggish, `vggish.py`, a port of the network in tensorflow/models, `research/audioset`.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import AudioInput
from vidjax.models.base import Features, Widths
from vidjax.models.registry import Variant
from vidjax.models.sound import SoundNetwork, as_picture, features_of
from vidjax.nn.conv import Conv3D
from vidjax.nn.init import normal_001
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.remat import check_remat, keeping

STAGES = ((64,), (128,), (256, 256), (512, 512))  # channels of the convolutions between two pools
_RANGE = (-2.0, 2.0)  # of whitened embeddings, before they become bytes


class VGGish(SoundNetwork):
    """VGG without its last stage, on examples of 96 frames, and three dense layers with an embedding of 128.

    A longer sound is several examples, one after another; frames beyond the last whole one are left out. `pooled` is
    the mean of their embeddings, which are `Features.windows`. The network has no classifier of its own.

    Args:
      num_classes: K, number of classes.
      mels: number of mel bands.
      frames: frames of an example.
      stages: channels of the convolutions, one row per pool.
      hidden: features of the first two dense layers.
      embedding: D, features of the embedding.
      dropout: dropout probability before the classifier, in training mode.
      remat: rematerialisation policy of each stage, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if an example is too small for the pools.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mels: int = 64,
        frames: int = 96,
        stages: tuple[tuple[int, ...], ...] = STAGES,
        hidden: int = 4096,
        embedding: int = 128,
        dropout: float = 0.0,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        times, bands = (size // 2 ** len(stages) for size in (frames, mels))
        if not times * bands:
            raise ValueError(f"frames = {frames}, mels = {mels}: {len(stages)} pools need {2 ** len(stages)} of both")
        self.mels, self.frames = mels, frames
        self.stages = nnx.List()
        features = 1
        for widths in stages:
            convs = nnx.List()
            for width in widths:
                convs.append(
                    Conv3D(features, width, (1, 3, 3), padding=(0, 1, 1), use_bias=True, dtype=dtype, rngs=rngs)
                )
                features = width
            self.stages.append(convs)
        sizes = (times * bands * features, hidden, hidden, embedding)
        self.dense = nnx.List([nnx.Linear(*pair, dtype=dtype, rngs=rngs) for pair in itertools.pairwise(sizes)])
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(embedding, num_classes, kernel_init=normal_001, rngs=rngs)
        maps = {2 ** (index + 1): widths[-1] for index, widths in enumerate(stages)}
        self.widths = Widths.of_maps(maps, embedding, windows=True)
        self.remat = check_remat(remat, attention=False)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode spectrograms (B, frames, mels) as features; maps are the pools' outputs, of all examples in a row.

        Raises:
          UserError: if the sound is shorter than an example.
        """
        del rngs  # nothing random comes before the classifier
        batch, examples = video.shape[0], video.shape[1] // self.frames
        if not examples:
            raise UserError(
                f"a sound of {video.shape[1]} frames is shorter than an example of {self.frames}: give 0.975 s or more"
            )
        whole = video[:, : examples * self.frames]
        x, run, maps = as_picture(whole.reshape(-1, self.frames, self.mels)), keeping(self.remat, _stage), {}
        for index, convs in enumerate(self.stages):
            x = max_pool3d(run(convs, x), (1, 2, 2))
            maps[2 ** (index + 1)] = x.reshape(batch, 1, -1, *x.shape[3:])
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense:
            x = nnx.relu(layer(x))
        windows = x.astype(jnp.float32).reshape(batch, examples, -1)
        return features_of(maps, windows.mean(axis=1), windows)


def _stage(convs: nnx.List, x: jax.Array) -> jax.Array:
    for conv in convs:
        x = nnx.relu(conv(x))
    return x


def to_bytes(embeddings: np.ndarray, vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Whiten embeddings and quantise them to 8 bits, as in the features that AudioSet and YouTube-8M publish.

    Args:
      embeddings: embeddings `(…, D)` of VGGish.
      vectors: scaled eigenvectors `(D, D)`, one per row, `pca_eigen_vectors` of the published file.
      means: means `(D,)` or `(D, 1)`, `pca_means` of the published file.

    Returns:
      uint8 `(…, D)`: whitened values of -2…2 as 0…255.

    Raises:
      UserError: if the shapes do not match.
    """
    dim = embeddings.shape[-1]
    if vectors.shape != (dim, dim) or means.size != dim:
        raise UserError(
            f"embeddings of {dim} values are whitened by vectors ({dim}, {dim}) and means ({dim},), not by "
            f"{vectors.shape} and {means.shape}"
        )
    low, high = _RANGE
    whitened = (np.asarray(embeddings, np.float32) - means.reshape(-1)) @ vectors.T
    return np.round((np.clip(whitened, low, high) - low) * (255.0 / (high - low))).astype(np.uint8)


_PAPER = "https://arxiv.org/abs/1609.09430"

VARIANTS = {
    "vggish": Variant(
        VGGish,
        Spec(
            "vggish", {"audio": AudioInput("vggish", 0.975)}, num_classes=0, paper=_PAPER, sources=("torchvggish",),
        ),
    ),
    "vggish_tiny": Variant(
        VGGish,
        Spec("vggish_tiny", {"audio": AudioInput("vggish", 0.975)}, num_classes=6, paper=_PAPER),
        {"stages": ((8,), (16,), (32,)), "hidden": 64, "embedding": 32},
    ),
}  # fmt: skip
