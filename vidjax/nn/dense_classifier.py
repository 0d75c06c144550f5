"""The classifier that is applied at every position of a feature map, as SlowFast and pytorchvideo evaluate."""

import jax
import jax.numpy as jnp
from flax import nnx


def dense_logits(head: nnx.Linear, x: jax.Array) -> jax.Array:
    """Logits of a map of feature vectors: the classifier everywhere, then the mean.

    In evaluation the reference averages *probabilities* over the positions, which at the size the network is made for
    are one (a 7×7 map pooled by 7×7), and more for larger pictures. Here the result is a logarithm of that mean, whose
    softmax gives the probabilities back; with one position it is the plain logits.

    Args:
      head: the classifier.
      x: `(B, T', H', W', D)`, pooled features, dropped out already.

    Returns:
      `(B, K)` float32.

    Source: `ResNetBasicHead` in facebookresearch/SlowFast, `models/head_helper.py`.
    """
    logits = head(x.astype(jnp.float32)).reshape(x.shape[0], -1, head.out_features)
    if logits.shape[1] == 1:
        return logits[:, 0]
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=1) - jnp.log(float(logits.shape[1]))


def window_means(x: jax.Array, window: int) -> jax.Array:
    """What `dense_logits` classifies: the mean over all frames and each square window, one pixel from the last.

    Args:
      x: `(B, T, H, W, D)`, the last feature map.
      window: height and width of the windows; 0: the whole map, as is a window that is larger than the map.

    Returns:
      `(B, 1, H', W', D)` float32, with H' = H - window + 1.

    Source: the same as that of `dense_logits`; the references' window is 7×7, the map that they train on 224² with.
    """
    frames = x.astype(jnp.float32).mean(axis=1, keepdims=True)
    height, width = (min(window or size, size) for size in x.shape[2:4])
    if (height, width) == x.shape[2:4]:
        return frames.mean(axis=(2, 3), keepdims=True)
    return nnx.avg_pool(frames, (1, height, width), (1, 1, 1))


def flat_map(x: jax.Array) -> jax.Array:
    """`(B, T, H, W, C)` → `(B, T·H·W, C)`, the places of a feature map as tokens in t, h, w order."""
    return x.reshape(x.shape[0], -1, x.shape[-1])
