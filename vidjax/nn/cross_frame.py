"""Attention across the frames of a clip beside that within frames, and texts that look at a clip (X-CLIP).

Source: Ni et al., "Expanding language-image pretrained models for general video recognition" (arXiv 2208.02816),
microsoft/VideoX `X-CLIP/models`; the details are those of transformers, `models/x_clip/modeling_x_clip.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.frame_blocks import ACTIVATIONS, Adapters, Block, Form
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp, gelu

_ALPHA = 0.1  # factor of what a text takes from a clip, at first


class CrossFrameBlock(Block):
    """Block over the tokens of a frame that also reads a message, made of the class tokens of all frames.

    The message of a frame is a projection of its class token after attention over those of the other frames. It is a
    further token for the frame's attention, and is gone afterwards.

    Args:
      dim: D, features of a token.
      heads: attention heads of both attentions; divides `dim`.
      form: form of the network, with a class token.
      adapters: none.
      drop_path: probability of dropping a residual branch in training.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: for adapters, rotary positions or a form without a class token, which messages do not go with.
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
        if adapters.adapter or form.rotary or not form.class_token:
            raise ValueError("messages between frames need class tokens, and exclude adapters and rotary = True")
        super().__init__(dim, heads, form, adapters, drop_path=drop_path, dtype=dtype, rngs=rngs)
        self.message = nnx.Linear(dim, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.message_norm = nnx.LayerNorm(dim, epsilon=form.epsilon, dtype=dtype, rngs=rngs)
        self.message_attn = SelfAttention(dim, heads, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens of frames `(B·T, N, D)`, class token first, of clips of T = `grid[0]` frames to the same shape."""
        count, dim = x.shape[1:]
        told = self.message(x[:, 0]).reshape(-1, grid[0], dim)
        told = told + self.drop_path(self.message_attn(self.message_norm(told)), rngs)
        longer = jnp.concatenate([x, told.reshape(-1, 1, dim).astype(x.dtype)], axis=1)
        x = x + self.drop_path(self._within_frames(longer, grid)[:, :count], rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class FrameIntegration(nnx.Module):
    """Vectors of frames `(B, T, E)` to one of the clip, float32 `(B, E)`: blocks over the frames, then their mean.

    Args:
      dim: E, features of a vector.
      num_frames: T, number of frames.
      heads: attention heads; divides `dim`.
      form: form of the blocks.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, num_frames: int, heads: int, form: Form, *, dtype: Any = None, rngs: nnx.Rngs):
        self.pos_embed = nnx.Param(normal_002(rngs.params(), (1, num_frames, dim)))
        self.blocks = nnx.List([Block(dim, heads, form, Adapters(), dtype=dtype, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, T, E)` to `(B, E)`.

        Raises:
          ValueError: for another number of frames; names both.
        """
        frames = self.pos_embed.shape[1]
        if x.shape[1] != frames:
            raise ValueError(
                f"the positions are for {frames} frames, not {x.shape[1]}: build the network with "
                f"num_frames={x.shape[1]}"
            )
        y = x + self.pos_embed[...].astype(x.dtype)
        for block in self.blocks:
            y = block(y, (frames, 1, 1))
        return (x.astype(jnp.float32) + y.astype(jnp.float32)).mean(axis=1)


class PromptLayer(nnx.Module):
    """Pre-norm block in which texts `(B, N, E)` attend to the places of a clip `(B, P, E)`, but not to each other.

    Args:
      dim: E, features of a text and of a place.
      heads: attention heads; divides `dim`.
      activation: activation function of the MLP.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        epsilon: float = 1e-5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"heads = {heads} does not divide dim = {dim}")
        self.heads = heads
        linear = partial(nnx.Linear, dim, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        norm = partial(nnx.LayerNorm, dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        self.q, self.k, self.v = (linear(use_bias=False) for _ in range(3))
        self.proj = linear()
        self.norm2 = norm()
        self.mlp = Mlp(dim, 4 * dim, activation=activation, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, texts: jax.Array, places: jax.Array) -> jax.Array:
        """Map texts `(B, N, E)` beside places `(B, P, E)` to the same shape."""

        def by_head(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:2], self.heads, -1)

        q, k, v = by_head(self.q(self.norm1(texts))), by_head(self.k(places)), by_head(self.v(places))
        texts = texts + self.proj(attention(q, k, v).reshape(texts.shape))
        return texts + self.mlp(self.norm2(texts))


class VideoPrompts(nnx.Module):
    """What texts take from a clip, `(N, E)` beside places `(B, P, E)` to `(B, N, E)` float32, to be added to them.

    Args:
      dim: E, features of a text and of a place.
      heads: attention heads; divides `dim`.
      depth: number of layers.
      form: form of the network, of which the activation and the epsilon are taken.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, heads: int, depth: int, form: Form, *, dtype: Any = None, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(dim, epsilon=form.epsilon, dtype=dtype, rngs=rngs)
        layer = partial(
            PromptLayer, dim, heads, activation=ACTIVATIONS[form.activation], epsilon=form.epsilon, dtype=dtype
        )
        self.layers = nnx.List([layer(rngs=rngs) for _ in range(depth)])
        self.alpha = nnx.Param(jnp.full(dim, _ALPHA))
        self.dtype = dtype

    def __call__(self, texts: jax.Array, places: jax.Array) -> jax.Array:
        """Map texts `(N, E)` and places `(B, P, E)` to `(B, N, E)`."""
        places = self.norm(places)
        x = jnp.broadcast_to(texts.astype(self.dtype or texts.dtype)[None], (places.shape[0], *texts.shape))
        for layer in self.layers:
            x = layer(x, places)
        return self.alpha[...][None, None] * x.astype(jnp.float32)
