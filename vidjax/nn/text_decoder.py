"""Text decoder of language models: RMS norms, rotary positions, grouped queries and gated MLPs.

One network for Llama (arXiv 2407.21783), Qwen2 (arXiv 2407.10671: biases of queries, keys and values) and Qwen3
(arXiv 2505.09388: norms of each head's queries and keys). Reference code: transformers,
`models/{llama,qwen2,qwen3}/modeling_*.py`.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.cached_attention import Cache, CachedAttention, KeysAndValues, causal_mask
from vidjax.nn.init import normal_002
from vidjax.nn.remat import check_remat, keeping, layer_result


@dataclass(frozen=True, kw_only=True)
class TextForm:
    """Size and form of a text decoder.

    Attributes:
      text_dim: D, features of a token.
      text_depth: number of layers.
      text_heads: query heads.
      text_groups: heads of keys and values; divides `text_heads`.
      text_head_dim: features of a head; 0: D / heads.
      text_hidden: features inside an MLP.
      text_theta: base of the rotary positions' frequencies.
      text_epsilon: epsilon of the norms.
      text_bias: whether queries, keys and values have biases.
      text_head_norms: whether each head's queries and keys are normalised.
      tied: whether the last layer is the table of words.
    """

    text_dim: int
    text_depth: int
    text_heads: int
    text_groups: int
    text_head_dim: int = 0
    text_hidden: int
    text_theta: float = 1e5
    text_epsilon: float = 1e-5
    text_bias: bool = False
    text_head_norms: bool = False
    tied: bool = False


class GatedMlp(nnx.Module):
    """MLP whose hidden features are multiplied by a gate (SwiGLU, arXiv 2002.05202): `down(silu(gate(x)) · up(x))`.

    Args:
      dim: D, input and output features.
      hidden: features between the layers.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, hidden: int, *, dtype: Any = None, rngs: nnx.Rngs):
        layer = functools.partial(nnx.Linear, use_bias=False, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.gate, self.up, self.down = layer(dim, hidden), layer(dim, hidden), layer(hidden, dim)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(…, D)` to `(…, D)`."""
        gate, up = layer_result(self.gate(x)), layer_result(self.up(x))
        return layer_result(self.down(jax.nn.silu(gate) * up))


class TextLayer(nnx.Module):
    """Attention and gated MLP, with a norm before each.

    Args:
      form: size and form of the decoder.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, form: TextForm, *, dtype: Any = None, rngs: nnx.Rngs):
        norm = functools.partial(nnx.RMSNorm, form.text_dim, epsilon=form.text_epsilon, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        self.attn = CachedAttention(
            form.text_dim,
            form.text_heads,
            form.text_groups,
            head_dim=form.text_head_dim,
            qkv_bias=form.text_bias,
            out_bias=False,
            theta=form.text_theta,
            norm_epsilon=form.text_epsilon if form.text_head_norms else 0.0,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm2 = norm()
        self.mlp = GatedMlp(form.text_dim, form.text_hidden, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, places: jax.Array, mask: jax.Array, past: KeysAndValues | None = None, slot: Any = 0
    ) -> tuple[jax.Array, KeysAndValues]:
        """Map tokens `(B, N, D)` to the same shape, see `CachedAttention`."""
        y, kept = self.attn(self.norm1(x), places, mask, past, slot)
        x = x + y
        return x + self.mlp(self.norm2(x)), kept


class TextDecoder(nnx.Module):
    """Decoder of tokens that are words, or stand for parts of a video.

    Args:
      vocabulary: V, number of different words.
      form: size and form.
      dtype: dtype of the computation; None: float32.
      remat: rematerialisation policy of each layer in training, see `nn/remat.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the width, or the groups the heads, or for an unknown policy.
    """

    def __init__(self, vocabulary: int, form: TextForm, *, dtype: Any = None, remat: str = "", rngs: nnx.Rngs):
        self.words = nnx.Embed(vocabulary, form.text_dim, embedding_init=normal_002, dtype=dtype, rngs=rngs)
        self.layers = nnx.List([TextLayer(form, dtype=dtype, rngs=rngs) for _ in range(form.text_depth)])
        self.norm = nnx.RMSNorm(form.text_dim, epsilon=form.text_epsilon, dtype=dtype, rngs=rngs)
        self.remat = check_remat(remat, attention=True)

    def __call__(self, x: jax.Array, seen: jax.Array) -> tuple[jax.Array, tuple[KeysAndValues, ...]]:
        """Map embedded tokens `(B, N, D)` to `(B, N, D)`, and return all keys and values.

        Args:
          x: tokens, padded at the end.
          seen: whether a token may be seen by others, bool `(B, N)`.
        """
        places = jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape[:2])
        mask, kept = causal_mask(seen), []

        def one(layer: TextLayer, x: jax.Array) -> tuple[jax.Array, KeysAndValues]:
            return layer(x, places, mask)

        run = keeping(self.remat, one)
        for layer in self.layers:
            x, own = run(layer, x)
            kept.append(own)
        return self.norm(x), tuple(kept)

    def step(self, ids: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Add one word to each text, int32 `(B,)`: its token `(B, D)`, and the new cache."""
        cache = cache.opened()
        x, mask, layers = self.words(ids)[:, None], cache.seen[:, None, None], []
        for layer, past in zip(self.layers, cache.layers, strict=True):
            x, kept = layer(x, cache.place[:, None], mask, past, cache.slot)
            layers.append(kept)
        return self.norm(x)[:, 0], cache.advanced(tuple(layers))
