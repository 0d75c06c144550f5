"""Probes: what a network's features are worth, told by a small classifier on top of them while they stay as they are.

`create_model(name, probe="linear")` or `config.model.probe`.
"""

import math
from typing import Any

import jax
from flax import nnx

from vidjax.config.choices import PROBES
from vidjax.models.base import VideoNetwork
from vidjax.nn.attentive import AttentivePooler
from vidjax.nn.init import normal_002, scaled_normal
from vidjax.nn.norm import BatchNorm

MOST_HEADS = 16  # of V-JEPA 2's probes, whatever the encoder
EPSILON = 1e-6  # of MAE's norm


class Probe(VideoNetwork):
    """A classifier on the features of a frozen network.

    The network, `backbone`, is always in evaluation mode, whatever the probe is in: norms use their running statistics,
    and nothing is dropped. No gradient passes into it; a training step leaves alone what `frozen` names.

    Args:
      backbone: gives `features(video)`, `(B, D)`, and for attentive probes `tokens(video)`, `(B, N, D')`. Its
        classifier, the attribute `head`, is taken away.
      num_classes: K.
      kind: "linear": one layer on the features; "attentive": a learned query looks at all tokens or places, and one
        layer classifies what it sees.
      norm: linear: features are standardised first, by the batch in training and by running statistics afterwards, as
        MAE does (arXiv 2111.06377, appendix A.1; `main_linprobe.py` in facebookresearch/mae).
      blocks: attentive: Transformer blocks, of which the last is the query's own; the others, if any, are
        self-attention. V-JEPA 2 has 4 (arXiv 2506.09985), V-JEPA 1.
      heads: attentive: attention heads; divides D'. 0: 16, or as many of them as divide D'.
      dropout: probability, before the last layer.
      dtype: what the pooler is computed in; the rest is float32.
      rngs: `params` draws the initial weights.

    Raises:
      ValueError: for an unknown kind, a setting of the other kind, a backbone without tokens, or heads that do not
        divide D'.
    """

    frozen = ("backbone.",)  # paths of what training leaves alone start so

    def __init__(
        self,
        backbone: VideoNetwork,
        num_classes: int,
        *,
        kind: str,
        norm: bool = False,
        blocks: int = 1,
        heads: int = 0,
        dropout: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if kind not in PROBES:
            raise ValueError(f"probe = {kind!r}: must be one of {', '.join(map(repr, PROBES))}")
        if kind == "linear" and (blocks != 1 or heads):
            raise ValueError(f"blocks = {blocks}, heads = {heads}: are for attentive probes")
        if kind == "attentive" and norm:
            raise ValueError("norm = True: is for linear probes")
        if kind == "attentive" and not hasattr(backbone, "tokens"):
            raise ValueError(f"{type(backbone).__name__} gives no tokens to look at: choose a linear probe")
        features = backbone.head.in_features
        if kind == "attentive":
            features = getattr(backbone, "token_features", features)
            heads = heads or math.gcd(MOST_HEADS, features)
        del backbone.head
        self.channels = backbone.channels
        self.backbone = backbone
        self.norm = nnx.data(None)
        if norm:
            self.norm = BatchNorm(features, epsilon=EPSILON, affine=False, rngs=rngs)
        self.pooler = nnx.data(None)
        if kind == "attentive":
            self.pooler = AttentivePooler(features, heads, blocks - 1, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        init = scaled_normal(0.01) if kind == "linear" else normal_002
        self.head = nnx.Linear(features, num_classes, kernel_init=init, rngs=rngs)
        self.eval()

    def train(self, **attributes: Any) -> None:
        """Training mode, but not for the backbone."""
        super().train(**attributes)
        self.backbone.eval()

    def features(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, C)` normalised float clips → `(B, D)` float32, what the last layer sees before dropout."""
        del rngs  # nothing is dropped in the backbone
        if self.pooler is not None:
            return self.pooler(jax.lax.stop_gradient(self.backbone.tokens(video)))
        x = jax.lax.stop_gradient(self.backbone.features(video))
        return x if self.norm is None else self.norm(x)

    def __call__(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, C)` normalised float clips → logits `(B, K)` float32.

        Args:
          video: the clips.
          rngs: stream `dropout`, for dropout in training mode.
        """
        return self.head(self.dropout(self.features(video), rngs=rngs))
