"""Tubelet embedding: non-overlapping space-time blocks (tubelets), each projected to one token."""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from vidjax.nn.clips import need_clips, need_floats
from vidjax.nn.grids import Grid, Triple, triple_of

TORCH_UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class TubeletEmbedding(nnx.Module):
    """Embedding of tubelets, `(B, T, H, W, C)` to `(B, N, D)`, a token each, N = T'·H'·W' in t, h, w order.

    The same as a 3D convolution whose stride is its kernel (ViViT, arXiv 2103.15691, section 3.2), computed as a
    reshape and one matrix product, which is faster. `kernel` is `(t, h, w, C, D)`, `bias` `(D,)`.

    Args:
      in_features: C, channels of the video.
      dim: D, features of a token.
      tubelet: frames, rows and columns of a tubelet.
      kernel_init: initialiser; default: uniform in ±1/√(t·h·w·C), as in PyTorch's convolutions; the bias starts at 0.
      use_bias: whether to add a bias.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial kernel.
    """

    def __init__(
        self,
        in_features: int,
        dim: int,
        tubelet: Triple = (2, 16, 16),
        *,
        kernel_init: nnx.Initializer = TORCH_UNIFORM,
        use_bias: bool = True,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.tubelet = triple_of(tubelet)
        self.dtype = dtype
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*self.tubelet, in_features, dim), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(dim)) if use_bias else None

    def grid(self, video: jax.Array) -> Grid:
        """Tokens along time, height and width, `(T', H', W')`, of a video `(B, T, H, W, C)`.

        Raises:
          ClipError: if the pixels are integers, or the video does not have five axes and the kernel's channels.
          ValueError: if the tubelet does not divide the video's size; names both.
        """
        need_clips(video, self.kernel.shape[3])
        sizes = video.shape[1:4]
        if any(size % patch or not size for size, patch in zip(sizes, self.tubelet, strict=True)):
            (t, h, w), (pt, ph, pw) = sizes, self.tubelet
            raise ValueError(
                f"video of T×H×W = {t}×{h}×{w} does not divide into tubelets of {pt}×{ph}×{pw}: "
                f"choose num_frames as a multiple of {pt}, height of {ph} and width of {pw}"
            )
        return triple_of(size // patch for size, patch in zip(sizes, self.tubelet, strict=True))

    def project(self, patches: jax.Array) -> jax.Array:
        """Project any tubelets of `to_patches`, `(B, N, t·h·w·C)`, in any order, to tokens `(B, N, D)`."""
        need_floats(patches)
        dtype = self.dtype or jnp.promote_types(patches.dtype, self.kernel.dtype)
        patches, kernel = patches.astype(dtype), self.kernel[...].astype(dtype)
        tokens = patches @ rearrange(kernel, "pt ph pw c d -> (pt ph pw c) d")
        return tokens if self.bias is None else tokens + self.bias[...].astype(dtype)[None, None]

    def __call__(self, video: jax.Array) -> jax.Array:
        """Map `(B, T, H, W, C)` to `(B, N, D)`."""
        self.grid(video)
        # Rounded before pixels are rearranged: half as much to move.
        return self.project(to_patches(video.astype(self.dtype or video.dtype), self.tubelet))


def to_patches(video: jax.Array, tubelet: Triple) -> jax.Array:
    """Cut `(B, T, H, W, C)` into tubelets `(B, N, t·h·w·C)`, both N and their pixels in t, h, w order."""
    pt, ph, pw = tubelet
    return rearrange(video, "b (t pt) (h ph) (w pw) c -> b (t h w) (pt ph pw c)", pt=pt, ph=ph, pw=pw)


def from_patches(patches: jax.Array, tubelet: Triple, grid: Grid) -> jax.Array:
    """Reassemble a video from the tubelets of `to_patches`: `(B, N, t·h·w·C)` → `(B, T, H, W, C)`, for `grid` tubelets
    along T, H and W.
    """
    (pt, ph, pw), (t, h, w) = tubelet, grid
    return rearrange(patches, "b (t h w) (pt ph pw c) -> b (t pt) (h ph) (w pw) c", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)
