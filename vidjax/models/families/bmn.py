"""BMN: scores of starts and ends at every place, and of every segment between two of them; proposals without classes.

Source: Lin et al., "BMN: boundary-matching network for temporal action proposal generation" (arXiv 1907.09702), and
open-mmlab/mmaction2, `mmaction/models/localizers/bmn.py`. Features of a video are resized to 100 vectors.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import SequenceInput
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant
from vidjax.models.sequences import sequence_of
from vidjax.nn.boundary_matching import BoundaryMatching
from vidjax.nn.conv import Conv3D
from vidjax.nn.init import uniform_fan_in
from vidjax.nn.masked_conv import TimeConv


@functools.partial(jax.tree_util.register_dataclass, data_fields=["start", "end", "overlap", "match"], meta_fields=[])
@dataclass(frozen=True)
class BoundaryOutputs:
    """Outputs of a network for proposals, logits in float32.

    The segment of duration d and start s reaches from place s to place s + d + 1, in T equal parts of the video; where
    s + d is beyond the last place there is none.

    Attributes:
      start: of a start at each place, `(B, T)`.
      end: of an end at each place, `(B, T)`.
      overlap: of the overlap of each segment with an action, `(B, T, T)`, by duration and start.
      match: of each segment being an action, `(B, T, T)`.
    """

    start: jax.Array
    end: jax.Array
    overlap: jax.Array
    match: jax.Array


class BoundaryHead(nnx.Module):
    """Towers for starts and ends, and a map of all segments.

    Args:
      dim: C, channels of the sequence.
      features: channels of the map, after and before its first convolution.
      samples: samples of a segment.
      groups: groups of the towers' first convolutions.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, features: tuple[int, int], samples: int, groups: int, *, dtype: Any, rngs: nnx.Rngs):
        def tower() -> nnx.List:
            near = TimeConv(dim, dim, groups=groups, dtype=dtype, rngs=rngs)
            return nnx.List([near, TimeConv(dim, 1, 1, dtype=dtype, rngs=rngs)])

        self.start, self.end = tower(), tower()
        self.segments = TimeConv(dim, dim, dtype=dtype, rngs=rngs)
        wide, narrow = features
        self.matching = BoundaryMatching(dim, wide, samples, dtype=dtype, rngs=rngs)
        layers = ((wide, narrow, 1), (narrow, narrow, 3), (narrow, narrow, 3), (narrow, 2, 1))
        self.maps = nnx.List(
            Conv3D(
                a, b, (1, size, size), padding=(0, size // 2, size // 2), use_bias=True, kernel_init=uniform_fan_in,
                dtype=dtype, rngs=rngs,
            )
            for a, b, size in layers
        )  # fmt: skip

    def __call__(self, x: jax.Array) -> BoundaryOutputs:
        """Map sequences `(B, T, C)` to logits."""
        ends = [last(nnx.relu(first(x)))[..., 0] for first, last in (self.start, self.end)]
        y = nnx.relu(self.matching(nnx.relu(self.segments(x))))[:, None]
        for layer in self.maps[:-1]:
            y = nnx.relu(layer(y))
        y = self.maps[-1](y)[:, 0]
        wide = jnp.promote_types(y.dtype, jnp.float32)
        return BoundaryOutputs(*(each.astype(wide) for each in (*ends, y[..., 0], y[..., 1])))


class BMN(VideoNetwork):
    """Two convolutions, then starts, ends and a map of segments. Its tokens are the places; it has no maps of pictures.

    Args:
      num_classes: unused: proposals have no class; 0: no head.
      width: D, width of a vector; a multiple of `groups`.
      steps: T, length of the sequences.
      dim: C, channels of the convolutions.
      features: channels of the map of segments, after and before its first convolution.
      samples: samples of a segment.
      groups: groups of the convolutions along time.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        num_classes: int = 1,
        *,
        width: int,
        steps: int = 100,
        dim: int = 256,
        features: tuple[int, int] = (512, 128),
        samples: int = 32,
        groups: int = 4,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        del num_classes
        self.width, self.steps = width, steps
        self.widths = Widths(pooled=dim, tokens=dim)
        self.dropout = nnx.Dropout(0.0)
        self.base = nnx.List(TimeConv(a, dim, groups=groups, dtype=dtype, rngs=rngs) for a in (width, dim))
        self.head = BoundaryHead(dim, features, samples, groups, dtype=dtype, rngs=rngs)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select the vectors `(B, T, D)` of videos that are resized to T, see `sequence_of`; a mask is not used."""
        return sequence_of(inputs, self.width, type(self).__name__)

    def encode(self, video: Any, rngs: nnx.Rngs | None = None) -> Features:
        """Map vectors `(B, T, D)` to their places as tokens `(B, T, C)`, and the mean of these."""
        del rngs  # nothing is random
        x = video["features"]
        for layer in self.base:
            x = nnx.relu(layer(x))
        return Features(x.mean(axis=1, dtype=jnp.float32), x, (x.shape[1], 1, 1))

    def apply_head(self, features: Features, *others: jax.Array, rngs: nnx.Rngs | None = None) -> Any:
        """Apply the head to the features of `encode`: `BoundaryOutputs`."""
        del others, rngs  # nothing else is read, and nothing is random
        assert self.head is not None, "a network without a head has nothing to apply"
        return self.head(features.tokens)

    def __call__(self, video: Any, rngs: nnx.Rngs | None = None) -> Any:
        """Map vectors `(B, T, D)` to `BoundaryOutputs`; without a head, to features `(B, C)`."""
        features = self.encode(video, rngs=rngs)
        return features.pooled if self.head is None else self.apply_head(features, rngs=rngs)


def _variant(name: str, width: int, steps: int = 100, published: str = "", **kwargs: Any) -> Variant:
    spec = Spec(
        name,
        {"features": SequenceInput(steps=steps, width=width, resized=True)},
        task="localise",
        num_classes=1,
        paper="https://arxiv.org/abs/1907.09702",
        sources=() if name.endswith("_tiny") else ("mmaction2",),
        published=published,
    )
    return Variant(BMN, spec, {"width": width, "steps": steps, **kwargs})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("bmn", 400, published="ActivityNet 1.3 AR@100 75.28, AUC 67.22 (mmaction2, TSN features)"),
        _variant("bmn_slowonly", 2048),
        _variant("bmn_tiny", 16, 16, dim=16, features=(16, 8), samples=4),
    )
}
