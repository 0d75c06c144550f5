"""RAFT: optical flow between two pictures, by repeated lookups in the correlation of all pairs of places.

Paper: Teed & Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow (2003.12039). Reference code:
princeton-vl/RAFT `core/raft.py`, `core/extractor.py`, `core/update.py`; torchvision `models/optical_flow/raft.py`.

It takes pairs of pictures, not clips: `vidjax.inputs.PairInput`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import PairInput
from vidjax.models.base import Features, VideoNetwork, Widths, named
from vidjax.models.raft_parts import ConvGRU, Encoder, MotionEncoder, Pair
from vidjax.models.registry import Variant
from vidjax.nn.clips import ClipError, need_floats
from vidjax.nn.correlation import correlation_lookup, correlation_pyramid
from vidjax.nn.upsampling import convex_upsampled, upsampled

STRIDE = 8  # of the maps on which flow is estimated, in pixels
_MASK_SCALE = 0.25  # of the weights of the learned enlargement


class Raft(VideoNetwork):
    """RAFT: two encoders, a correlation pyramid, and a recurrent update of the flow.

    It has no head. Its features are the correlated maps of the first picture.

    Args:
      num_classes: unused, for the common signature.
      widths: channels of the encoders' stem and of their three stages.
      features: channels of the correlated maps.
      hidden: channels of the recurrent state.
      context: channels of the map of the first picture that every update sees.
      radius: r; each update looks (2·r + 1)² places around where a pixel seems to have gone, at every scale.
      levels: scales of the correlation.
      correlation: channels of one or two convolutions over what the lookup finds.
      flow: channels of the two convolutions over the flow.
      motion: channels of what both become, the flow itself among them.
      kernels: heights and widths of the recurrent unit's kernels; of several units, one after the other.
      head: channels between the two convolutions that give a change of the flow.
      bottleneck: whether the encoders' blocks are bottlenecks.
      context_norm: norm of the encoder of the context, "batch" or "none".
      learned: whether the flow is enlarged by learned means of neighbours, or else bilinearly.
      updates: number of updates unless a call says otherwise.
      dtype: dtype of the convolutions; None: float32. Parameters, the state and the flow are float32.
      rngs: random streams for the initial weights.

    Attributes:
      least: fewest rows and columns of a picture for which every scale has two of each.
    """

    def __init__(
        self,
        num_classes: int = 0,
        *,
        widths: Sequence[int] = (64, 64, 96, 128),
        features: int = 256,
        hidden: int = 128,
        context: int = 128,
        radius: int = 4,
        levels: int = 4,
        correlation: Sequence[int] = (256, 192),
        flow: Sequence[int] = (128, 64),
        motion: int = 128,
        kernels: Sequence[tuple[int, int]] = ((1, 5), (5, 1)),
        head: int = 256,
        bottleneck: bool = False,
        context_norm: str = "batch",
        learned: bool = True,
        updates: int = 12,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        del num_classes
        self.hidden, self.radius, self.levels, self.updates = hidden, radius, levels, updates
        self.widths, self.dropout = Widths.of_maps({STRIDE: features}), nnx.Dropout(0.0)
        self.least = STRIDE * 2**levels
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        encoder = partial(Encoder, widths, bottleneck=bottleneck, **options)
        self.feature_encoder = encoder(features, norm="instance")
        self.context_encoder = encoder(hidden + context, norm=context_norm)
        window = levels * (2 * radius + 1) ** 2
        self.motion = MotionEncoder(window, correlation, flow, motion, **options)
        self.gru = nnx.List([ConvGRU(hidden, context, motion, kernel, **options) for kernel in kernels])
        self.flow_head = Pair(hidden, head, 2, last=3, **options)
        self.mask = Pair(hidden, 256, 9 * STRIDE**2, last=1, **options) if learned else None

    def taken(self, inputs: Any) -> jax.Array:
        """Select the pairs `(B, 2, H, W, 3)`, given directly or as "pair" of a mapping, and check them.

        Raises:
          ClipError: for other shapes, and for integer pixels.
        """
        pairs = named(inputs, "pair", type(self).__name__)
        if len(pairs.shape) != 5 or pairs.shape[1] != 2 or pairs.shape[-1] != 3:
            raise ClipError(f"pictures {tuple(pairs.shape)}: expected pairs (B, 2, H, W, 3)")
        need_floats(pairs)
        return pairs

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Map pairs `(B, 2, H, W, 3)` to the maps of the first pictures that are correlated with the second ones'."""
        del rngs  # nothing is random
        self._check(video[:, 0], video[:, 1])
        maps = self.feature_encoder(video[:, 0]).astype(jnp.float32)
        return Features.of_maps({STRIDE: maps[:, None]}, maps.mean(axis=(1, 2)))

    def __call__(self, video: Any, *others: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map pairs `(B, 2, H, W, 3)`, or a mapping with them as "pair", to the flow between them, see `flow`."""
        del others, rngs
        return self.flow(video[:, 0], video[:, 1])

    def flow(self, first: jax.Array, second: jax.Array, *, updates: int | None = None) -> jax.Array:
        """Estimate the flow from the first pictures to the second ones.

        Args:
          first: pictures with values in −1…1, float `(B, H, W, 3)`; H and W multiples of 8 and at least `least`.
          second: the pictures that follow, of the same shape.
          updates: number of updates; None: the network's own.

        Returns:
          float32 `(B, H, W, 2)`: dx, right positive, and dy, down positive, in pixels.

        Raises:
          ValueError: for other sizes, or if the two differ.
          ClipError: for integer pixels.
        """
        flow, hidden = self._estimated(first, second, updates, enlarge=False)
        return self._enlarged(flow, hidden)

    def all_flows(self, first: jax.Array, second: jax.Array, *, updates: int | None = None) -> jax.Array:
        """Estimate the flow as `flow` does; returns that after each of the K updates, `(K, B, H, W, 2)`."""
        return self._estimated(first, second, updates, enlarge=True)

    def _estimated(self, first: jax.Array, second: jax.Array, updates: int | None, enlarge: bool) -> Any:
        """The last flow and state at an eighth of the size; or, if `enlarge`, all flows at full size."""
        self._check(first, second)
        count, height, width, _ = first.shape
        maps = self.feature_encoder(jnp.concatenate([first, second]))
        pyramid = correlation_pyramid(maps[:count], maps[count:], self.levels)
        look_up = correlation_lookup(pyramid, self.radius)
        hidden, context = jnp.split(self.context_encoder(first).astype(jnp.float32), [self.hidden], axis=-1)
        hidden, context = jnp.tanh(hidden), nnx.relu(context)
        known = [unit.known(context) for unit in self.gru]
        grid = jnp.meshgrid(*(jnp.arange(n // STRIDE, dtype=jnp.float32) for n in (width, height)))
        places = jnp.stack(grid, axis=-1)[None]

        def update(state: tuple[jax.Array, jax.Array], _: None):
            flow, hidden = state
            flow = jax.lax.stop_gradient(flow)
            motion = self.motion(look_up(places + flow), flow)
            for unit, part in zip(self.gru, known, strict=True):
                hidden = unit(hidden, motion, part)
            flow = flow + self.flow_head(hidden).astype(jnp.float32)
            return (flow, hidden), self._enlarged(flow, hidden) if enlarge else None

        start = jnp.zeros((count, height // STRIDE, width // STRIDE, 2), jnp.float32), hidden
        length = self.updates if updates is None else updates
        last, flows = jax.lax.scan(update, start, None, length=length)
        return flows if enlarge else last

    def _enlarged(self, flow: jax.Array, hidden: jax.Array) -> jax.Array:
        """Flow at full size, in its pixels, from flow `(B, H/8, W/8, 2)` in places of the map."""
        if self.mask is None:
            return STRIDE * upsampled(flow, STRIDE)
        return convex_upsampled(STRIDE * flow, _MASK_SCALE * self.mask(hidden), STRIDE)

    def _check(self, first: jax.Array, second: jax.Array) -> None:
        need_floats(first)
        need_floats(second)
        height, width = first.shape[1:3]
        if first.shape != second.shape:
            raise ValueError(f"the pictures of a pair must have one shape, not {first.shape} and {second.shape}")
        if height % STRIDE or width % STRIDE or min(height, width) < self.least:
            raise ValueError(
                f"pictures of {height}×{width} pixels: both must be multiples of {STRIDE} and at least {self.least}; "
                "`padded_flow` repeats their border"
            )


def scaled(pictures: jax.Array) -> jax.Array:
    """Scale 8-bit pictures to −1…1, float32."""
    return pictures.astype(jnp.float32) / 127.5 - 1


def padded_flow(
    network: Raft, first: jax.Array, second: jax.Array, *, bottom: bool = False, updates: int | None = None
) -> jax.Array:
    """Estimate flow between pictures of any size: their border is repeated, and the flow is cut back.

    Args:
      network: the network.
      first: pictures with values in −1…1, float `(B, H, W, 3)`.
      second: the pictures that follow.
      bottom: whether all added rows are at the bottom, as for KITTI; or half of them at the top, as for Sintel. Half of
        the added columns, the smaller half, are on the left.
      updates: number of updates; None: the network's own.

    Returns:
      float32 `(B, H, W, 2)`, as the network's.
    """
    height, width = first.shape[1:3]
    down, across = (max(network.least, -(-n // STRIDE) * STRIDE) - n for n in (height, width))
    top, left = 0 if bottom else down // 2, across // 2
    edges = ((0, 0), (top, down - top), (left, across - left), (0, 0))
    first, second = (jnp.pad(x, edges, mode="edge") for x in (first, second))
    return network.flow(first, second, updates=updates)[:, top : top + height, left : left + width]


_PAPER = "2003.12039"
_SMALL: dict[str, Any] = {
    "widths": (32, 32, 64, 96), "features": 128, "hidden": 96, "context": 64, "radius": 3, "correlation": (96,),
    "flow": (64, 32), "motion": 82, "kernels": ((3, 3),), "head": 128, "bottleneck": True, "context_norm": "none",
    "learned": False,
}  # fmt: skip
_TINY: dict[str, Any] = {
    "widths": (8, 8, 16, 16), "features": 16, "hidden": 16, "context": 8, "radius": 2, "levels": 2, "flow": (16, 8),
    "motion": 18, "head": 16, "updates": 3,
}  # fmt: skip


def _variant(name: str, height: int, width: int, published: str = "", **kwargs: Any) -> Variant:
    spec = Spec(
        name, {"pair": PairInput(height, width)}, task="optical_flow", num_classes=0, paper=_PAPER,
        sources=("torchvision", "princeton"), published=published,
    )  # fmt: skip
    return Variant(Raft, spec, kwargs)


# Sizes of the pictures: those of training on FlyingChairs. Published errors: torchvision's metadata, after training on
# FlyingChairs and FlyingThings3D.
VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("raft_large", 368, 496, "Sintel clean EPE 1.38, final 2.72 (torchvision)"),
        _variant("raft_small", 368, 496, "Sintel clean EPE 2.12, final 3.28 (torchvision)", **_SMALL),
        _variant("raft_tiny", 64, 64, **_TINY | {"correlation": (16, 16)}),
        _variant("raft_small_tiny", 64, 64, **_SMALL | _TINY | {"correlation": (16,)}),
    )
}
