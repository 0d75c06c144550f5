"""VideoMAE's classifier: a joint space-time Vision Transformer over tubelets.

Every token attends to every other in space and time. Positions are a fixed sinusoid over the token index; the mean of
all tokens is normalised and classified.

Source: Tong et al., "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video pre-training"
(arXiv 2203.12602); the layers, their names and epsilons are those of `modeling_finetune.py` in MCG-NJU/VideoMAE.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import VideoNetwork
from vidjax.models.registry import Variant
from vidjax.nn.attention import SelfAttention
from vidjax.nn.blocks import run_blocks
from vidjax.nn.droppath import DropPath
from vidjax.nn.mlp import Mlp
from vidjax.nn.patches import TubeletEmbedding
from vidjax.nn.positions import fixed_positions
from vidjax.nn.remat import check_remat

PAPER = "https://arxiv.org/abs/2203.12602"
IMAGES = ("vit_timm", "vit_torchvision")
EPSILON = 1e-6  # of every layer norm; transformers has 1e-12 in the blocks and 1e-5 at the end, which no logit shows
# The reference draws from a normal truncated at ±2, a hundred standard deviations: it is never cut.
KERNEL_INIT = nnx.initializers.normal(0.02)


class Block(nnx.Module):
    """Pre-norm Transformer block: attention and MLP, each a residual branch behind stochastic depth."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        drop_path: float = 0.0,
        kernel_init: nnx.Initializer = KERNEL_INIT,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.norm1 = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, qkv_bias="qv", kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = x + self.drop_path(self.attn(self.norm1(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class VideoMAE(VideoNetwork):
    """Joint space-time ViT classifier.

    Videos of another length or size than `num_frames` and `size` are taken as they come, as long as the tubelet divides
    them: the positions are then interpolated from the grid of `num_frames` and `size` (`nn/positions.py`). A network
    that is trained anew at another size is best built with it.

    Args:
      num_classes: K.
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads per block; divides `dim`.
      num_frames: T that the position table is made for.
      size: height and width that the position table is made for, pixels.
      tubelet: frames, rows and columns of a token.
      positions: "index", the reference's sinusoid over the flat index of a token; "axes", one for time, row and column
        each, which small networks learn with sooner, see `axis_positions`.
      dropout: probability, between the normalised mean and the classifier.
      drop_path: probability of leaving out a residual branch in the last block; rises linearly from 0 in the first.
      head_init_scale: the classifier's kernel starts with standard deviation 0.02 times this, so that a pre-trained
        encoder gets no large gradients from a head that knows nothing; the fine-tuning script's `init_scale`.
      dtype: what activations are computed in; parameters, norm statistics, softmax and classifier stay float32.
      remat: what a block keeps for the backward pass: one of `REMAT`, see `nn/remat.py`.
      scan_blocks: loop over blocks that are alike instead of compiling each, see `nn/blocks.py`.
      rngs: `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim`, or the tubelet not the size; for unknown positions.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        dim: int,
        depth: int,
        heads: int,
        num_frames: int = 16,
        size: int = 224,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        positions: str = "index",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        head_init_scale: float = 0.001,
        dtype: Any = None,
        remat: str = "",
        scan_blocks: bool = False,
        rngs: nnx.Rngs,
    ):
        self.remat, self.scan_blocks = check_remat(remat, attention=True), scan_blocks
        fixed_positions(positions)
        self.position_kind = positions
        self.patch_embed = TubeletEmbedding(3, dim, tubelet, dtype=dtype, rngs=rngs)
        self.base_grid = self.patch_embed.grid(jax.ShapeDtypeStruct((1, num_frames, size, size, 3), jnp.float32))
        rates = np.linspace(0, drop_path, depth)
        self.blocks = nnx.List([Block(dim, heads, drop_path=float(rate), dtype=dtype, rngs=rngs) for rate in rates])
        self.fc_norm = nnx.LayerNorm(dim, epsilon=EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        head_init = nnx.initializers.normal(0.02 * head_init_scale)
        self.head = nnx.Linear(dim, num_classes, kernel_init=head_init, rngs=rngs)

    def tokens(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → `(B, N, D)`, the last block's tokens in t, h, w order.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        grid = self.patch_embed.grid(video)
        x = self.patch_embed(video)
        positions = fixed_positions(self.position_kind)(grid, x.shape[-1], self.base_grid)
        x = x + jnp.asarray(positions, x.dtype)[None]
        return run_blocks(self.blocks, x, rngs=rngs, remat=self.remat, scan=self.scan_blocks)

    def features(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → `(B, D)` float32, the normalised mean of all tokens.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        return self.fc_norm(self.tokens(video, rngs).mean(axis=1, dtype=jnp.float32))

    def __call__(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → logits `(B, K)` float32.

        Args:
          video: the clips.
          rngs: stream `dropout`, for dropout and drop path in training mode.
        """
        return self.head(self.dropout(self.features(video, rngs), rngs=rngs))


def _variant(name: str, published: str, **kwargs: Any) -> Variant:
    # The published Kinetics-400 protocol: 16 frames, every 4th, short side 224 (run_class_finetuning.py's
    # short_side_size), ImageNet statistics, 5 clips × 3 crops.
    spec = Spec.of_video(
        name=name,
        num_frames=16,
        stride=4,
        size=224,
        resize=(224,),
        paper=PAPER,
        # No image ViT of this size has patches of 16 pixels.
        sources=("videomae", "transformers", *(() if name.endswith("huge") else ("mmaction2", *IMAGES))),
        published=f"K400 {published}, 5×3 views (VideoMAE)",
    )
    return Variant(VideoMAE, spec, kwargs)


# What the classifiers and the networks that are pre-trained have in common, by size. The tiny one is for experiments
# on a CPU: 4×4×4 tokens of a clip of 8 frames of 32².
TINY = {"num_frames": 8, "size": 32, "tubelet": (2, 8, 8)}
SIZES = {
    "tiny": {"dim": 96, "depth": 4, "heads": 4, **TINY},
    "small": {"dim": 384, "depth": 12, "heads": 6},
    "base": {"dim": 768, "depth": 12, "heads": 12},
    "large": {"dim": 1024, "depth": 24, "heads": 16},
    "huge": {"dim": 1280, "depth": 32, "heads": 16},
}
TINY_SPEC = Spec.of_video("videomae_tiny", num_frames=8, stride=2, size=32, resize=(32,), num_classes=6, paper=PAPER)

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        Variant(VideoMAE, TINY_SPEC, SIZES["tiny"]),
        _variant("videomae_small", "79.0 / 93.8", **SIZES["small"]),
        _variant("videomae_base", "81.5 / 95.1", **SIZES["base"]),
        _variant("videomae_large", "85.2 / 96.8", **SIZES["large"]),
        _variant("videomae_huge", "86.6 / 97.1", **SIZES["huge"]),
    )
}
