"""Head for the boxes of a clip: a vector per box, pooled from a feature map, and a classifier of it.

The last map is pooled over time, RoIAlign cuts the box from it, and the maximum over its bins is the box's vector. What
surrounds the box may be read too, see `CONTEXTS`.

Papers: Gu et al., AVA (1705.08421) and Feichtenhofer et al., SlowFast Networks (1812.03982) for the head; Sun et al.,
Actor-Centric Relation Network (1807.10982); Wu et al., Long-Term Feature Banks (1812.05038). Reference code:
`ResNetRoIHead` in facebookresearch/SlowFast `models/head_helper.py`; mmaction2 `models/roi_heads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.base import Head, VideoNetwork
from vidjax.models.heads import Drop
from vidjax.nn.attention import attention
from vidjax.nn.conv import Conv3D
from vidjax.nn.init import normal_001
from vidjax.nn.maps import adaptive_mean, peaks
from vidjax.nn.norm import BatchNorm
from vidjax.nn.roi_align import roi_align

# What is read besides the box: nothing; the whole map, pooled to as many bins; the relations of the box to every place
# (ACRN); the vectors of other boxes half a minute before and after (a long-term feature bank).
CONTEXTS = ("", "global", "relations", "bank")
REGIONS = ("box", "picture")
TIMES = ("mean", "max")


@dataclass(frozen=True)
class RoiOptions:
    """Options of a `RoiHead`.

    Attributes:
      roi_size: height and width of a box in bins.
      roi_ratio: samples per bin and axis, 0: adaptive, see `vidjax.nn.roi_align.roi_align`.
      roi_aligned: whether RoIAlign puts the centres of pixels at half-integers. Sources of weights differ in it.
      roi_time: pooling over time: "mean" or "max".
      roi_context: what is read besides the box, one of `CONTEXTS`.
      roi_hidden: units of a hidden layer before the classifier; 0: no such layer.
      roi_bank: width of the vectors in a feature bank.
      roi_region: what is pooled: the "box", or the whole "picture" whatever the box, a baseline that sees no places.

    Raises:
      UserError: for an unknown value.
    """

    roi_size: int = 7
    roi_ratio: int = 0
    roi_aligned: bool = True
    roi_time: str = "mean"
    roi_context: str = ""
    roi_hidden: int = 0
    roi_bank: int = 2048
    roi_region: str = "box"

    def __post_init__(self) -> None:
        for name, known in (("roi_time", TIMES), ("roi_context", CONTEXTS), ("roi_region", REGIONS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(map(repr, known))}")


class RoiHead(Head, nnx.Linear):
    """Classifier of boxes.

    Args:
      network: network whose maps are read.
      num_classes: K, number of classes.
      options: choices of pooling and context.
      dtype: dtype of the context's layers; the classifier is float32.
      rngs: random streams for the initial weights.

    Raises:
      NoSuchPartError: if the network has no maps.
    """

    sees: ClassVar[str] = "maps"

    def __init__(
        self,
        network: VideoNetwork,
        num_classes: int,
        options: RoiOptions,
        *,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        widths = network.width_of("maps", type(self).__name__)
        stride, features = max(widths), widths[max(widths)]
        context, out = None, features
        if options.roi_context == "relations":
            context = Relations(features, dtype=dtype, rngs=rngs)
        elif options.roi_context == "bank":
            context = FeatureBank(features, options.roi_bank, dtype=dtype, rngs=rngs)
            out = features + context.out_features
        elif options.roi_context == "global":
            out = 2 * features
        hidden = options.roi_hidden
        super().__init__(hidden or out, num_classes, kernel_init=normal_001, rngs=rngs)
        self.hidden = nnx.data(nnx.Linear(out, hidden, kernel_init=normal_001, rngs=rngs) if hidden else None)
        self.context = nnx.data(context)
        self.stride = stride
        self.options = options
        self.reads = ("boxes", "bank") if options.roi_context == "bank" else ("boxes",)

    def __call__(
        self, x: Mapping[int, jax.Array], drop: Drop | None = None, boxes: jax.Array | None = None, *bank: jax.Array
    ) -> jax.Array:
        """Map feature maps `{stride: (B, t, h, w, C)}` and boxes to logits `(B, R, K)` float32.

        Args:
          x: maps, of which that of the largest stride is read.
          drop: the network's dropout.
          boxes: corners x1, y1, x2, y2, `(B, R, 4)` pixels of the network's picture; a box without area is padding.
          *bank: for the context "bank", vectors `(B, M, D)` of boxes around the clip; rows of zeros are padding.

        Raises:
          UserError: for boxes of another shape.
        """
        vectors = self.vectors(x, boxes, *bank)
        vectors = vectors if drop is None else drop(vectors)
        if self.hidden is not None:
            vectors = nnx.relu(self.hidden(vectors))
        return super().__call__(vectors.astype(jnp.float32))

    def vectors(self, maps: Mapping[int, jax.Array], boxes: jax.Array | None, *bank: jax.Array) -> jax.Array:
        """Vectors of boxes, `(B, R, D)` float32, with their context: what the classifier reads, before dropout."""
        full = maps[self.stride].astype(jnp.float32)
        boxes = self._checked(boxes, full)
        o = self.options
        plane = peaks(full, (1,)) if o.roi_time == "max" else full.mean(axis=1)
        size = (o.roi_size, o.roi_size)
        own = peaks(roi_align(plane, boxes, size, 1 / self.stride, o.roi_ratio, o.roi_aligned), (2, 3))
        if o.roi_region == "picture":
            whole = peaks(plane, (1, 2))
            own = jnp.broadcast_to(whole[:, None], own.shape)
        if o.roi_context == "global":
            whole = peaks(adaptive_mean(plane, size), (1, 2))
            return jnp.concatenate([own, jnp.broadcast_to(whole[:, None], own.shape)], axis=-1)
        if isinstance(self.context, Relations):
            return self.context(own, plane, has_area(boxes))
        if isinstance(self.context, FeatureBank):
            return jnp.concatenate([own, self.context(own, *bank)], axis=-1)
        return own

    def _checked(self, boxes: jax.Array | None, maps: jax.Array) -> jax.Array:
        if boxes is None or boxes.ndim != 3 or boxes.shape[0] != maps.shape[0] or boxes.shape[2] != 4:
            given = "nothing" if boxes is None else f"{boxes.dtype} {boxes.shape}"
            raise UserError(f"boxes: expected floating-point (B, R, 4) with B = {maps.shape[0]}, got {given}")
        return boxes.astype(jnp.float32)


def has_area(boxes: jax.Array) -> jax.Array:
    """Whether boxes `(…, 4)` have an area, bool `(…,)`; those without are padding."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


class Relations(nnx.Module):
    """Relations of a box to every place of the map (ACRN), maximised over the places.

    A box's vector stands beside the map's at each place. Two convolutions with norm and ReLU read the pair, the first
    of one place, the second of 3×3.

    Args:
      features: D, channels of the map and of the result.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(self, features: int, *, dtype: Any = None, rngs: nnx.Rngs):
        self.conv1 = Conv3D(2 * features, features, 1, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(features, rngs=rngs)
        self.conv2 = Conv3D(features, features, (1, 3, 3), padding=(0, 1, 1), dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(features, rngs=rngs)
        self.out_features = features

    def __call__(self, vectors: jax.Array, plane: jax.Array, real: jax.Array) -> jax.Array:
        """Map vectors of boxes `(B, R, D)` and a map `(B, H, W, D)` to `(B, R, D)`.

        Args:
          vectors: vectors of the boxes.
          plane: map of the clip.
          real: which boxes are not padding, bool `(B, R)`; the norms take statistics of these alone.
        """
        batch, count, features = vectors.shape
        height, width = plane.shape[1:3]
        real = real.reshape(-1)
        tiled = jnp.broadcast_to(vectors[:, :, None, None], (batch, count, height, width, features))
        around = jnp.broadcast_to(plane[:, None], (batch, count, *plane.shape[1:]))
        x = jnp.concatenate([tiled, around], axis=-1).reshape(-1, 1, height, width, 2 * features)
        x = nnx.relu(self.norm1(self.conv1(x), real))
        x = nnx.relu(self.norm2(self.conv2(x), real))
        return peaks(x, (1, 2, 3)).reshape(batch, count, features).astype(jnp.float32)


class FeatureBank(nnx.Module):
    """Operator of a long-term feature bank: a box attends to the vectors of boxes long before and after.

    Both are projected to `width`; each layer adds to the box's vector what it finds in the bank. As in the reference,
    rows of padding are zeros that attention may choose.

    Args:
      features: width of the vectors of boxes.
      stored: width of the vectors in the bank.
      width: width of the result.
      layers: number of attention layers.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.

    Source: `FBONonLocal` in mmaction2, `models/roi_heads/shared_heads/fbo_head.py`.
    """

    def __init__(
        self, features: int, stored: int, width: int = 512, layers: int = 2, *, dtype: Any = None, rngs: nnx.Rngs
    ):
        layer = {"dtype": dtype, "rngs": rngs}
        self.short = nnx.Linear(features, width, **layer)
        self.long = nnx.Linear(stored, width, **layer)
        self.layers = nnx.List(BankAttention(width, **layer) for _ in range(layers))
        self.out_features = width

    def __call__(self, vectors: jax.Array, bank: jax.Array) -> jax.Array:
        """Map vectors of boxes `(B, R, D)` and of the bank `(B, M, D')` to `(B, R, width)`."""
        x, bank = self.short(vectors), self.long(bank)
        for layer in self.layers:
            x = x + layer(x, bank)
        return x.astype(jnp.float32)


class BankAttention(nnx.Module):
    """Attention of vectors to a bank, with one head: softmax of scaled products, layer norm, ReLU, projection.

    Args:
      width: width of queries, keys, values and the result.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(self, width: int, *, dtype: Any = None, rngs: nnx.Rngs):
        layer = {"dtype": dtype, "rngs": rngs}
        self.query = nnx.Linear(width, width, **layer)
        self.key = nnx.Linear(width, width, **layer)
        self.value = nnx.Linear(width, width, **layer)
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, **layer)
        self.out = nnx.Linear(width, width, **layer)

    def __call__(self, x: jax.Array, bank: jax.Array) -> jax.Array:
        """Map `(B, R, D)` and a bank `(B, M, D)` to `(B, R, D)`."""
        q, k, v = (y[:, :, None] for y in (self.query(x), self.key(bank), self.value(bank)))
        found = attention(q, k, v)[:, :, 0]
        return self.out(nnx.relu(self.norm(found)))
