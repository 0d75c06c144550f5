"""Networks that map videos and texts to vectors of one space, in which a video is near its descriptions."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import Features, VideoNetwork

_LEAST = 1e-12  # length below which a vector stays as it is


def unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1, float32 `(…, D)`."""
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), _LEAST)


class TextVideoNetwork(VideoNetwork):
    """Base class of networks of videos and texts.

    A family defines `encode`, whose `pooled` is the video's vector of length 1, and `text_vectors`, and calls
    `make_temperature`. Where texts have another vector beside each video, it sets `texts_vary` and defines `compare`,
    `encode_text` and `class_vectors`, too.

    Attributes:
      texts_vary: whether a text has another vector beside each video.
      logit_scale: logarithm of the factor of cosines in similarities, `()`.
      logit_bias: number added to similarities, `()`, for losses of pairs; None: 0.
    """

    texts_vary: ClassVar[bool] = False
    logit_scale: nnx.Param
    logit_bias: nnx.Param | None = None

    def make_temperature(self, biased: bool, temperature: float = 0.07) -> None:
        """Set the first factor of cosines: 1/`temperature` (CLIP: 1/0.07), or with a bias 10, and -10 as the bias
        (SigLIP, arXiv 2303.15343)."""
        self.logit_scale = nnx.Param(jnp.float32(math.log(10) if biased else -math.log(temperature)))
        self.logit_bias = nnx.Param(jnp.float32(-10)) if biased else nnx.data(None)

    def text_vectors(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts of any length, float32 `(N, E)`.

        Args:
          numbers: token numbers, int `(N, L)`, see `vidjax.text.Tokenizer.rows`.

        Raises:
          ValueError: for anything but integers, or more tokens than the network takes; names both numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define text_vectors(numbers)")

    def encode_text(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts, of length 1, float32 `(N, E)`; see `text_vectors`."""
        return unit(self.text_vectors(numbers))

    def class_vectors(self, texts: jax.Array) -> jax.Array:
        """What a `TextHead` keeps of the texts of classes: their mean, of length 1, float32 `(K, E)`.

        Args:
          texts: result of `encode_text` for M texts of each of K classes, float32 `(K, M, E)`.
        """
        return unit(texts.mean(axis=1))

    def encode_video(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Vectors of normalised float clips `(B, T, H, W, C)`, of length 1, float32 `(B, E)`."""
        return self.encode(video, rngs=rngs).pooled

    def compare(self, features: Features, texts: jax.Array) -> jax.Array:
        """Cosines of videos and texts, float32 `(B, N)`.

        Args:
          features: result of `encode` for B videos.
          texts: result of `encode_text` for N texts.
        """
        return features.pooled @ texts.T

    def apply_head(self, features: Features, *others: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Apply the head, see `VideoNetwork.apply_head`; of a `TextHead`, similarities with its texts, `(B, K)`."""
        if isinstance(self.head, TextHead):
            return self.scaled(self.compare(features, self.head.texts[...]))
        return super().apply_head(features, *others, rngs=rngs)

    def scaled(self, cosines: jax.Array, most: float = math.inf) -> jax.Array:
        """Similarities from cosines: times `exp(logit_scale)`, at most `most`, plus the bias."""
        similar = cosines * jnp.minimum(jnp.exp(self.logit_scale[...]), most)
        return similar if self.logit_bias is None else similar + self.logit_bias[...]

    def similarity(self, video: jax.Array, numbers: jax.Array) -> jax.Array:
        """Similarities of clips and texts, float32 `(B, N)`, whose softmax over texts are their probabilities.

        Args:
          video: normalised float clips, `(B, T, H, W, C)`.
          numbers: token numbers, int `(N, L)`.
        """
        return self.scaled(self.compare(self.encode(video), self.encode_text(numbers)))


class TextHead(nnx.Module):
    """Classes given by texts, as the head of a network of videos and texts, which compares clips with them.

    Args:
      texts: vectors of the classes' texts, float32 `(K, …)`, see `TextVideoNetwork.class_vectors`.

    Attributes:
      out_features: K, number of classes.
    """

    def __init__(self, texts: jax.Array):
        self.texts = nnx.Param(texts)
        self.out_features = texts.shape[0]
