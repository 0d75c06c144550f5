"""Parts of RAFT: encoders of pictures, and the recurrent update of the flow.

Paper: Teed & Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow (2003.12039). Reference code:
princeton-vl/RAFT `core/extractor.py`, `core/update.py`; torchvision `models/optical_flow/raft.py`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Conv3D, conv3d
from vidjax.nn.init import kaiming_fan_out, uniform_fan_in
from vidjax.nn.norm import BatchNorm, InstanceNorm


def _conv(in_features: int, features: int, size: int | tuple[int, int], stride: int = 1, **kwargs: Any) -> Conv3D:
    """Make a convolution of single frames that keeps their size, but for its stride."""
    height, width = (size, size) if isinstance(size, int) else size
    padding = (0, height // 2, width // 2)
    return Conv3D(in_features, features, (1, height, width), (1, stride, stride), padding, use_bias=True, **kwargs)


def _norm(kind: str, features: int, rngs: nnx.Rngs) -> nnx.Module | None:
    """Make a norm by name.

    Raises:
      ValueError: for any other name than "batch", "instance" and "none".
    """
    if kind not in ("batch", "instance", "none"):
        raise ValueError(f"norm = {kind!r}: must be batch, instance or none")
    return BatchNorm(features, rngs=rngs) if kind == "batch" else InstanceNorm() if kind == "instance" else None


class ConvNorm(nnx.Module):
    """Convolution of single frames with a bias, and its norm, if there is one.

    Args:
      in_features: I, channels of the input.
      features: O, channels of the output.
      size: rows and columns of the kernel.
      stride: stride over rows and columns.
      norm: kind of norm, "batch", "instance" or "none".
      dtype: dtype of the convolution; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, in_features: int, features: int, size: int, stride: int = 1, *, norm: str, dtype: Any, rngs: nnx.Rngs
    ):
        self.conv = _conv(in_features, features, size, stride, kernel_init=kaiming_fan_out, dtype=dtype, rngs=rngs)
        self.norm = nnx.data(_norm(norm, features, rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, H, W, I) to (B, 1, H', W', O)."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Block(nnx.Module):
    """Residual block of two 3×3 convolutions, or a bottleneck of three, with a ReLU after each and after the sum.

    Args:
      in_features: I, channels of the input.
      features: O, channels of the output.
      stride: stride over rows and columns.
      bottleneck: whether it is a bottleneck, a quarter as wide inside.
      norm: kind of norm, "batch", "instance" or "none".
      dtype: dtype of the convolutions; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, in_features: int, features: int, stride: int, *, bottleneck: bool, **options: Any):
        inside = features // 4
        shapes = (
            ((in_features, inside, 1), (inside, inside, 3, stride), (inside, features, 1))
            if bottleneck
            else ((in_features, features, 3, stride), (features, features, 3))
        )
        self.convs = nnx.List([ConvNorm(*shape, **options) for shape in shapes])
        self.shortcut = nnx.data(ConvNorm(in_features, features, 1, stride, **options) if stride > 1 else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, H, W, I) to (B, 1, H', W', O)."""
        y = x
        for conv in self.convs:
            y = nnx.relu(conv(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Encoder(nnx.Module):
    """Encoder of pictures at an eighth of their size: a 7×7 stem, three stages of two blocks, a last 1×1 convolution.

    Args:
      widths: channels of the stem and of the three stages.
      features: channels of its maps.
      bottleneck: whether its blocks are bottlenecks.
      norm: kind of norm, "batch", "instance" or "none".
      dtype: dtype of the convolutions; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, widths: Sequence[int], features: int, *, bottleneck: bool, norm: str, dtype: Any, rngs: nnx.Rngs
    ):
        options: dict[str, Any] = {"norm": norm, "dtype": dtype, "rngs": rngs}
        self.stem = ConvNorm(3, widths[0], 7, 2, **options)
        self.stages = nnx.List()
        for stride, before, width in zip((1, 2, 2), widths, widths[1:], strict=False):
            blocks = [Block(before, width, stride, bottleneck=bottleneck, **options)]
            self.stages.append(nnx.List([*blocks, Block(width, width, 1, bottleneck=bottleneck, **options)]))
        self.conv = _conv(widths[-1], features, 1, kernel_init=kaiming_fan_out, dtype=dtype, rngs=rngs)

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Map pictures (B, H, W, 3) to (B, H/8, W/8, F)."""
        x = nnx.relu(self.stem(pictures[:, None]))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.conv(x)[:, 0]


class Pair(nnx.Module):
    """A 3×3 convolution, a ReLU and a second convolution.

    Args:
      in_features: channels of the input.
      features: channels between the two.
      out_features: channels of the output.
      last: rows and columns of the second kernel.
      dtype: dtype of the convolutions; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, in_features: int, features: int, out_features: int, *, last: int, dtype: Any, rngs: nnx.Rngs):
        options: dict[str, Any] = {"kernel_init": uniform_fan_in, "dtype": dtype, "rngs": rngs}
        self.conv1 = _conv(in_features, features, 3, **options)
        self.conv2 = _conv(features, out_features, last, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, I) to (B, H, W, O)."""
        return self.conv2(nnx.relu(self.conv1(x[:, None])))[:, 0]


class MotionEncoder(nnx.Module):
    """What an update sees of the motion: the correlation found and the flow so far, convolved and joined.

    Args:
      window: channels of the correlation found.
      correlation: channels of the convolutions over it, a 1×1 and perhaps a 3×3 one.
      flow: channels of the 7×7 and of the 3×3 convolution over the flow.
      features: channels of the result, the last two of which are the flow itself.
      dtype: dtype of the convolutions; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, window: int, correlation: Sequence[int], flow: Sequence[int], features: int, *, dtype: Any, rngs: nnx.Rngs
    ):
        make = partial(_conv, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs)
        sizes = zip((window, *correlation), correlation, (1, 3), strict=False)
        self.correlation = nnx.List([make(before, width, size) for before, width, size in sizes])
        self.flow = nnx.List([make(2, flow[0], 7), make(flow[0], flow[1], 3)])
        self.conv = make(correlation[-1] + flow[1], features - 2, 3)

    def __call__(self, found: jax.Array, flow: jax.Array) -> jax.Array:
        """Map the correlation found (B, H, W, I) and the flow (B, H, W, 2) to float32 (B, H, W, F)."""
        maps = []
        for x, convs in ((found, self.correlation), (flow, self.flow)):
            x = x[:, None]
            for conv in convs:
                x = nnx.relu(conv(x))
            maps.append(x)
        joint = nnx.relu(self.conv(jnp.concatenate(maps, axis=-1)))[:, 0]
        return jnp.concatenate([joint.astype(jnp.float32), flow], axis=-1)


class ConvGRU(nnx.Module):
    """GRU with convolutions for products, one of whose two inputs is the same in every step.

    Args:
      hidden: F, channels of the state.
      context: channels of the input that stays.
      motion: channels of the input that changes.
      kernel: rows and columns of the kernels.
      dtype: dtype of the convolutions; None: float32. The state is float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, hidden: int, context: int, motion: int, kernel: tuple[int, int], *, dtype: Any, rngs: nnx.Rngs):
        make = partial(
            _conv, hidden + context + motion, hidden, kernel, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs
        )
        self.convz, self.convr, self.convq = make(), make(), make()
        self.hidden, self.context = hidden, context

    def known(self, context: jax.Array) -> jax.Array:
        """What the context (B, H, W, C) adds to z, r and q in every step, biases included: float32 (B, H, W, 3·F)."""
        start, stop = self.hidden, self.hidden + self.context
        bias = jnp.concatenate([conv.bias[...] for conv in self._all if conv.bias is not None])
        return self._sum(context, slice(start, stop), self._all) + bias[None, None, None]

    def __call__(self, hidden: jax.Array, motion: jax.Array, known: jax.Array) -> jax.Array:
        """Map the state (B, H, W, F), the motion (B, H, W, M) and the result of `known` to the next state."""
        sums = known + self._sum(motion, slice(self.hidden + self.context, None), self._all)
        gates, candidate = jnp.split(sums, [2 * self.hidden], axis=-1)
        of_state = slice(0, self.hidden)
        z, r = jnp.split(nnx.sigmoid(gates + self._sum(hidden, of_state, self._all[:2])), 2, axis=-1)
        q = jnp.tanh(candidate + self._sum(r * hidden, of_state, self._all[2:]))
        return (1 - z) * hidden + z * q

    @property
    def _all(self) -> list[Conv3D]:
        return [self.convz, self.convr, self.convq]

    def _sum(self, x: jax.Array, channels: slice, convs: Sequence[Conv3D]) -> jax.Array:
        """Convolve `x` with the kernels of `convs` side by side, of which it meets some input channels."""
        dtype = convs[0].dtype or x.dtype
        kernel = jnp.concatenate([conv.kernel[...][:, :, :, channels] for conv in convs], axis=-1).astype(dtype)
        return conv3d(x[:, None].astype(dtype), kernel, padding=convs[0].padding)[:, 0].astype(jnp.float32)
