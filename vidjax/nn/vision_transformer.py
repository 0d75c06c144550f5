"""Trunk of plain Vision Transformers: tubelet embedding, positions and blocks.

Families add what differs: their blocks, positions, and normalisation and pooling at the end.

Source: Dosovitskiy et al., "An image is worth 16x16 words" (arXiv 2010.11929), whose table 1 has the sizes base, large
and huge; small is DeiT's (arXiv 2012.12877), giant V-JEPA 2's (arXiv 2506.09985).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.blocks import Execution
from vidjax.nn.grids import Grid
from vidjax.nn.patches import TORCH_UNIFORM, TubeletEmbedding


@dataclass(frozen=True)
class TransformerSize:
    """Width, depth and number of heads of a Transformer.

    Attributes:
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads per block; divides `dim`.
    """

    dim: int
    depth: int
    heads: int


@dataclass(frozen=True)
class ClipSize:
    """Size of the clips that position tables are made for.

    Attributes:
      num_frames: T, number of frames.
      size: height and width, pixels.
    """

    num_frames: int
    size: int = 224


# For experiments on a CPU.
TINY = TransformerSize(96, 4, 4)
SMALL = TransformerSize(384, 12, 6)
BASE = TransformerSize(768, 12, 12)
LARGE = TransformerSize(1024, 24, 16)
HUGE = TransformerSize(1280, 32, 16)
GIANT = TransformerSize(1408, 40, 22)


class VisionTransformer(nnx.Module):
    """Base class of networks with one stack of similar blocks over tubelets.

    Its parts belong to the network itself: in checkpoints they are `patch_embed.…` and `blocks.…`. A family builds it
    with `__init__`, sets `blocks` with `stack`, and adds positions to tokens in `placed`.

    Args:
      dim: D, features of a token.
      tubelet: frames, rows and columns of a token.
      execution: dtype, rematerialisation and scanning of the blocks.
      clip: size of the clips that tables of positions are made for; None: no tables.
      in_channels: C, channels of the clips.
      kernel_init: initialiser of the embedding's kernel, see `TubeletEmbedding`.
      use_bias: whether the embedding has a bias.
      rngs: random streams; `params` draws the initial weights.

    Attributes:
      channels: C, channels of the clips.
      patch_embed: embedding of tubelets.
      blocks: Transformer blocks, called as `block(x, grid, rngs=rngs)`.
      base_grid: tokens along T, H, W of `clip`; None: without a clip.

    Raises:
      ValueError: if the tubelet does not divide the clip.
    """

    base_grid: Grid | None = None
    blocks: nnx.List

    def __init__(
        self,
        dim: int,
        tubelet: Grid,
        execution: Execution,
        *,
        clip: ClipSize | None = None,
        in_channels: int = 3,
        kernel_init: nnx.Initializer = TORCH_UNIFORM,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.execution, self.channels = execution, in_channels
        self.patch_embed = TubeletEmbedding(
            in_channels,
            dim,
            tubelet,
            kernel_init=kernel_init,
            use_bias=use_bias,
            dtype=execution.dtype,
            rngs=rngs,
        )
        if clip is not None:
            shape = (1, clip.num_frames, clip.size, clip.size, in_channels)
            video = jax.eval_shape(self.sample, jax.ShapeDtypeStruct(shape, jnp.float32))
            self.base_grid = self.patch_embed.grid(video)

    @property
    def table_grid(self) -> Grid:
        """`base_grid` of a network that is built for a clip."""
        assert self.base_grid is not None
        return self.base_grid

    def sample(self, video: jax.Array) -> jax.Array:
        """Select the frames of a clip `(B, T, H, W, C)` to cut into tubelets: here all."""
        return video

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Add positions, and a class token where there is one, to tokens `(B, N, D)` of `grid`; here: none."""
        del grid
        return x

    def encoded(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, Grid]:
        """Encode normalised float clips `(B, T, H, W, C)`: return the last block's tokens `(B, N, D)`, and their grid.

        Raises:
          ValueError: if the tubelet does not divide the clip, naming the sizes.
        """
        video = self.sample(video)
        grid = self.patch_embed.grid(video)
        x = self.placed(self.patch_embed(video), grid)
        return self.execution.run(self.blocks, x, grid, rngs=rngs), grid

    def patch_map(self, tokens: jax.Array, grid: Grid) -> dict[int, jax.Array]:
        """Only map of a network without a hierarchy, `{stride: (B, t, h, w, D)}`, without class tokens.

        Args:
          tokens: tokens `(B, N, D)`, those of the grid last.
          grid: tokens along time, height and width, `(t, h, w)`.
        """
        return {self.patch_embed.tubelet[1]: grid_tokens(tokens, grid)}


def grid_tokens(tokens: jax.Array, grid: Grid) -> jax.Array:
    """Tokens of the grid, `(B, t, h, w, D)`, from `(B, N, D)` with or without class tokens before them."""
    t, h, w = grid
    return tokens[:, tokens.shape[1] - t * h * w :].reshape(tokens.shape[0], t, h, w, tokens.shape[2])
