"""Blocks of image Transformers over the frames of a clip: their forms, and adapters that let them see other frames."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.adapters import Bottleneck, SpaceTimeAdapter, over_space, over_time
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp, gelu, quick_gelu
from vidjax.nn.rotary import frame_angles, place_angles, rotate_halves

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "quick_gelu": quick_gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}
POOLED = ("token", "map", "mean")


@dataclass(frozen=True)
class Form:
    """Form of an image Transformer.

    Attributes:
      patch: rows and columns of a token.
      class_token: whether a learned token precedes the patches.
      registers: further learned tokens between it and the patches.
      rotary: whether attention rotates patches by their places, instead of a table of positions added to tokens.
      rotary_base: base of the frequencies of places counted in patches, see `vidjax.nn.rotary.place_angles`; 0: places
        are shares of the frame, see `frame_angles`.
      key_bias: whether the keys have a bias.
      patch_bias: whether the embedding of patches has a bias.
      norm_before: whether tokens are normalised before the blocks.
      layer_scale: whether residual branches are scaled by learned factors.
      activation: activation function of the MLPs, a name in `ACTIVATIONS`.
      mlp_features: features inside the MLPs; 0: four times those of a token.
      epsilon: epsilon of the norms.
      pooled: a frame's vector: the normalised class token ("token"), the answer of a learned query to all tokens
        ("map"), or the mean of the normalised tokens ("mean").

    Raises:
      ValueError: for an unknown activation or pooling, a vector of the class token without one, or a base of rotary
        positions without these.
    """

    patch: int = 16
    class_token: bool = True
    registers: int = 0
    rotary: bool = False
    rotary_base: float = 0.0
    key_bias: bool = True
    patch_bias: bool = True
    norm_before: bool = False
    layer_scale: bool = False
    activation: str = "gelu"
    mlp_features: int = 0
    epsilon: float = 1e-6
    pooled: str = "token"

    def __post_init__(self) -> None:
        for name, known in (("activation", ACTIVATIONS), ("pooled", POOLED)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(map(repr, known))}")
        if self.pooled == "token" and not self.class_token:
            raise ValueError("pooled = 'token': the network has no class token")
        if self.rotary_base and not self.rotary:
            raise ValueError(f"rotary_base = {self.rotary_base}: applies only with rotary = True")


@dataclass(frozen=True)
class Adapters:
    """Small trained layers in a frozen network.

    Attributes:
      adapter: kind of layers: "" (none, all is trained), "st" (ST-Adapter) or "aim" (AIM).
      adapter_width: features inside an adapter; 0: half of the tokens' for "st", a quarter for "aim".
      adapter_kernel: extent (kt, kh, kw) of the convolution of "st".
      adapter_before_attention: whether "st" also has adapters before attention, not only before the MLPs.
      adapter_scale: factor of the adapter beside the MLP of "aim".

    Raises:
      ValueError: for an unknown kind, or a setting that the kind does not have.
    """

    adapter: str = ""
    adapter_width: int = 0
    adapter_kernel: Grid = (3, 1, 1)
    adapter_before_attention: bool = False
    adapter_scale: float = 0.5

    def __post_init__(self) -> None:
        if self.adapter not in ("", "st", "aim"):
            raise ValueError(f"adapter = {self.adapter!r}: must be '', 'st' or 'aim'")
        only = {"adapter_width": ("st", "aim"), "adapter_kernel": ("st",), "adapter_before_attention": ("st",),
                "adapter_scale": ("aim",)}  # fmt: skip
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        for name, kinds in only.items():
            if self.adapter not in kinds and getattr(self, name) != usual[name]:
                given = getattr(self, name)
                raise ValueError(f"{name} = {given!r}: applies only to adapter = {' or '.join(map(repr, kinds))}")

    def width(self, dim: int) -> int:
        """Features inside an adapter, for tokens of D features."""
        return self.adapter_width or dim // (2 if self.adapter == "st" else 4)


class Block(nnx.Module):
    """Pre-norm Transformer block over the tokens of a frame, with or without adapters.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      form: form of the network.
      adapters: small layers that see other frames.
      drop_path: probability of dropping a residual branch in training; with "aim" only those of adapters are dropped.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        form: Form,
        adapters: Adapters,
        *,
        drop_path: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        norm = partial(nnx.LayerNorm, dim, epsilon=form.epsilon, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        self.attn = SelfAttention(
            dim, heads, qkv_bias="qkv" if form.key_bias else "qv", kernel_init=normal_002, dtype=dtype, rngs=rngs
        )
        self.rotary, self.rotary_base = form.rotary, form.rotary_base
        self.norm2 = norm()
        self.mlp = Mlp(
            dim,
            form.mlp_features or 4 * dim,
            activation=ACTIVATIONS[form.activation],
            kernel_init=normal_002,
            dtype=dtype,
            rngs=rngs,
        )
        scales = form.layer_scale
        self.scale1 = nnx.Param(jnp.ones(dim)) if scales else None
        self.scale2 = nnx.Param(jnp.ones(dim)) if scales else None
        self.drop_path = DropPath(drop_path)
        kind, width = adapters.adapter, adapters.width(dim)
        st = partial(SpaceTimeAdapter, dim, width, adapters.adapter_kernel, dtype=dtype, rngs=rngs)
        aim = partial(Bottleneck, dim, width, dtype=dtype, rngs=rngs)
        self.before_attention = st() if kind == "st" and adapters.adapter_before_attention else None
        self.before_mlp = st() if kind == "st" else None
        self.temporal, self.spatial, self.joint = (aim() if kind == "aim" else None for _ in range(3))
        self.joint_scale = adapters.adapter_scale

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens of frames `(B·T, N, D)`, patches last, of the clip's `grid` to the same shape."""
        if self.temporal is not None:
            return self._aim(x, grid, rngs)
        if self.before_attention is not None:
            x = self.before_attention(x, grid)
        x = x + self.drop_path(self._within_frames(x, grid), rngs)
        if self.before_mlp is not None:
            x = self.before_mlp(x, grid)
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.scale2), rngs)

    def _within_frames(self, x: jax.Array, grid: Grid) -> jax.Array:
        def rotated(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            rows, columns, dim = grid[1], grid[2], q.shape[-1]
            base = self.rotary_base
            angles = place_angles(rows, columns, dim, base) if base else frame_angles(rows, columns, dim)
            return attention(rotate_halves(q, angles), rotate_halves(k, angles), v)

        return _scaled(self.attn(self.norm1(x), attend=rotated if self.rotary else None), self.scale1)

    def _aim(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None) -> jax.Array:
        assert self.temporal is not None and self.spatial is not None and self.joint is not None
        # The block's own norm and attention, over time.
        times = self.temporal(_scaled(self.attn(self.norm1(over_time(x, grid[0]))), self.scale1))
        x = x + self.drop_path(over_space(times, x.shape[1]), rngs)
        y = self._within_frames(x, grid)
        x = x + y + self.spatial(y)
        y = self.norm2(x)
        return x + _scaled(self.mlp(y), self.scale2) + self.drop_path(self.joint_scale * self.joint(y), rngs)


def _scaled(y: jax.Array, scale: nnx.Param | None) -> jax.Array:
    """A branch's result `(B, N, D)` times the learned factors `(D,)`, if there are any."""
    return y if scale is None else y * scale[...].astype(y.dtype)[None, None]
