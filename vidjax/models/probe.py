"""Probes: small classifiers on frozen features, to measure the quality of the features.

Chosen by `create_model(name, probe="linear")` or `config.model.probe`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config.choices import PROBES
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.cut import up_to
from vidjax.models.heads import attentive_pooler
from vidjax.models.layer_vectors import mean_of_places
from vidjax.nn.init import normal_001, normal_002
from vidjax.nn.norm import BatchNorm

EPSILON = 1e-6  # epsilon of MAE's norm


class Probe(VideoNetwork):
    """Classifier on the features of a frozen network.

    The network, `backbone`, is always in evaluation mode, whatever the probe's: norms use their running statistics, and
    nothing is dropped. No gradient enters it; a training step does not change the parameters named by `frozen`.

    Args:
      backbone: network to probe; its classifier is removed.
      num_classes: K, number of classes.
      kind: kind of classifier. "linear": one layer on the features; "attentive": a learned query attends to all tokens
        or places, and one layer classifies the result.
      layer: path of an inner module, see `VideoNetwork.intermediates`, whose output, averaged over its places, a linear
        probe reads; what comes after it is not computed. Empty: the backbone's features.
      example: shapes of the backbone's inputs, `(1, …)` by name, from which the width of the layer is found.
      norm: whether a linear probe standardises features first, by batch statistics in training and running statistics
        afterwards, as MAE does (arXiv 2111.06377, appendix A.1; `main_linprobe.py` in facebookresearch/mae).
      blocks: Transformer blocks of an attentive probe; the last is the query's cross-attention, the others are
        self-attention. 4 in V-JEPA 2 (arXiv 2506.09985), 1 in V-JEPA.
      heads: attention heads of an attentive probe, a divisor of D'. 0: the greatest common divisor of 16 and D'.
      dropout: dropout probability before the last layer.
      dtype: dtype of the pooler; the rest is float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: for an unknown kind, a setting of the other kind, a backbone without tokens, or heads that do not
        divide D'.
    """

    frozen = ("backbone.",)  # path prefixes of parameters that training does not change

    def __init__(
        self,
        backbone: VideoNetwork,
        num_classes: int,
        *,
        kind: str,
        layer: str = "",
        example: Mapping[str, jax.ShapeDtypeStruct] | None = None,
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
            raise ValueError(f"blocks = {blocks}, heads = {heads}: apply only to attentive probes")
        if kind == "attentive" and (norm or layer):
            raise ValueError(f"norm = {norm}, layer = {layer!r}: apply only to linear probes")
        features = backbone.width_of("tokens" if kind == "attentive" else "pooled", f"a probe of kind {kind!r}")
        if layer:
            backbone.eval()
            features = jax.eval_shape(lambda inputs: _layer_vectors(backbone, inputs, layer), example).shape[1]
        self.layer = layer
        backbone.head = nnx.data(None)
        self.channels = backbone.channels
        self.widths = (
            Widths(features) if layer else dataclasses.replace(backbone.widths, pooled=features, windows=False)
        )
        self.backbone = backbone
        self.norm = nnx.data(BatchNorm(features, epsilon=EPSILON, affine=False, rngs=rngs) if norm else None)
        attentive = kind == "attentive"
        self.pooler = nnx.data(attentive_pooler(features, blocks, heads, dtype=dtype, rngs=rngs) if attentive else None)
        self.dropout = nnx.Dropout(dropout)
        init = normal_001 if kind == "linear" else normal_002
        self.head = nnx.Linear(features, num_classes, kernel_init=init, rngs=rngs)
        self.eval()

    def taken(self, inputs: Any) -> Any:
        """Select the backbone's input from the argument of a call, and check it as the backbone does."""
        return self.backbone.taken(inputs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Map normalised clips (B, T, H, W, C) to the backbone's features, with `pooled` replaced by the last layer's
        input before dropout."""
        del rngs  # nothing is dropped in the backbone
        if self.layer:
            vectors = jax.lax.stop_gradient(_layer_vectors(self.backbone, video, self.layer))
            return Features(vectors if self.norm is None else self.norm(vectors))
        found = jax.lax.stop_gradient(self.backbone.encode(video))
        pooled = found.pooled if self.pooler is None else self.pooler(found.tokens)
        return dataclasses.replace(found, pooled=pooled if self.norm is None else self.norm(pooled), windows=None)


def _layer_vectors(network: VideoNetwork, inputs: Any, layer: str) -> jax.Array:
    return mean_of_places(up_to(network, inputs, layer), inputs, layer)


def plain_head(arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Kernel and bias of a linear probe's classifier for features that are not standardised, from its arrays."""
    kernel, bias = arrays["head.kernel"], arrays["head.bias"]
    if "norm.mean" in arrays:
        kernel = kernel / jnp.sqrt(arrays["norm.var"] + EPSILON)[:, None]
        bias = bias - arrays["norm.mean"] @ kernel
    return {"kernel": kernel, "bias": bias}
