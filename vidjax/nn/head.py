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
