"""Image Transformers as encoders of frames: ViT, DINOv2 and 3, CLIP and SigLIP, with a pooling over frames or adapters.

- frame_vit_*: every frame by itself, then a pooling of the frames' vectors. Frozen with a new classifier, it is
  `probe="linear"` or, over the patches of all frames, `probe="attentive"`.
- st_adapter_*: ST-Adapter (Pan et al., 2206.13559): CLIP's image network, frozen, with depthwise convolutions over time
  in small layers before the MLPs, or before attention too.
- aim_*: AIM (Yang et al., 2302.03024): the same network, frozen, its attention applied over time as well, with three
  small layers in each block.

Papers of the image networks: Dosovitskiy et al. (2010.11929), Oquab et al., DINOv2 (2304.07193), Siméoni et al., DINOv3
(2508.10104), Radford et al., CLIP (2103.00020), Zhai et al., SigLIP (2303.15343) and Tschannen et al., SigLIP 2
(2502.14786). Reference code: timm `models/vision_transformer.py`; torchvision `models/vision_transformer.py`;
transformers `models/{dinov2,dinov3_vit,clip,siglip}`.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.attentive import QueryPooling
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.frame_blocks import ACTIVATIONS, Adapters, Block, Form
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_001, normal_002
from vidjax.nn.pooling import temporal_pooling as make_temporal_pooling
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, LARGE, SMALL, ClipSize, TransformerSize, VisionTransformer


class FrameTransformer(VisionTransformer, VideoNetwork):
    """Image Transformer over the frames of a clip, and a pooling of the frames' vectors.

    With adapters only these, norms and tables that they bring, and the classifier are trained; `frozen` names the rest.

    Args:
      num_classes: K, number of classes.
      transformer: width, depth and heads, passed as the fields of `TransformerSize`.
      form: form of the image network, passed as the fields of `Form`.
      adapters: small trained layers, passed as the fields of `Adapters`.
      num_frames: T of the clips that the table of times of "aim" is made for; other networks take any number.
      size: height and width of the pictures that the table of places is made for, pixels.
      temporal_pooling: pooling of the frames' vectors, see `vidjax.nn.pooling.temporal_pooling`.
      dropout: dropout probability before the classifier.
      drop_path: drop path rate of the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide `dim` or the patch the size, or for an unknown pooling.
    """

    positions: ClassVar[Mapping[str, Table]] = {
        "pos_embed": Table((1, 2), "cubic"),
        "time_embed": Table((0,), "linear"),
    }
    block_type: ClassVar[type[Block]] = Block  # of a family's own networks, one with the same arguments

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        form: Form,
        adapters: Adapters,
        num_frames: int = 8,
        size: int = 224,
        temporal_pooling: str = "mean",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, dtype = transformer.dim, execution.dtype
        clip = ClipSize(num_frames, size)
        super().__init__(
            dim,
            (1, form.patch, form.patch),
            execution,
            clip=clip,
            in_channels=in_channels,
            kernel_init=normal_002,
            use_bias=form.patch_bias,
            rngs=rngs,
        )
        _, rows, columns = self.table_grid
        places = form.class_token + rows * columns

        def tokens(count: int) -> nnx.Param:
            return nnx.Param(normal_002(rngs.params(), (1, count, dim)))

        self.cls_token = tokens(1) if form.class_token else None
        self.registers = tokens(form.registers) if form.registers else None
        self.pos_embed = None if form.rotary else tokens(places)
        self.time_embed = nnx.Param(jnp.zeros((1, num_frames, dim))) if adapters.adapter == "aim" else None
        norm = partial(nnx.LayerNorm, dim, epsilon=form.epsilon, rngs=rngs)
        self.norm_before = norm() if form.norm_before else None

        def block(_: int, rate: float) -> Block:
            return self.block_type(dim, transformer.heads, form, adapters, drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.norm = norm()
        mapped = form.pooled == "map"
        query = partial(
            QueryPooling,
            dim,
            transformer.heads,
            activation=ACTIVATIONS[form.activation],
            epsilon=form.epsilon,
            dtype=dtype,
            rngs=rngs,
        )
        self.query = query() if mapped else None
        self.pooling = make_temporal_pooling(temporal_pooling, dim, rngs=rngs)
        # ST-Adapter averages class tokens before their norm.
        self.norm_last = adapters.adapter == "st" and form.pooled == "token"
        self.form = form
        self.frozen = _frozen(transformer.depth, adapters)
        self.dropout = nnx.Dropout(dropout)
        init = normal_002 if adapters.adapter else normal_001
        self.head = nnx.Linear(self.pooling.out_features, num_classes, kernel_init=init, rngs=rngs)
        self.widths = Widths(self.pooling.out_features, dim, {form.patch: dim})

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Patches of a clip `(B, T·H·W, D)` as tokens of its frames `(B·T, N, D)`, with positions."""
        frames, rows, columns = grid
        x = x.reshape(-1, rows * columns, x.shape[-1])
        x = _after(self.cls_token, x)
        if self.pos_embed is not None:
            if self.pos_embed.shape[1] != x.shape[1]:
                made = "×".join(map(str, self.table_grid[1:]))
                raise ValueError(
                    f"the positions are for {made} patches, not {rows}×{columns}: build the network with size"
                )
            x = x + self.pos_embed[...].astype(x.dtype)
        if self.registers is not None:
            first = int(self.cls_token is not None)
            x = jnp.concatenate([x[:, :first], _after(self.registers, x[:, first:])], axis=1)
        if self.time_embed is not None:
            if self.time_embed.shape[1] != frames:
                raise ValueError(
                    f"the positions are for {self.time_embed.shape[1]} frames, not {frames}: build the network with "
                    f"num_frames={frames}"
                )
            times = jnp.tile(self.time_embed[0], (x.shape[0] // frames, 1))
            x = x + times.astype(x.dtype)[:, None]
        return x if self.norm_before is None else self.norm_before(x).astype(x.dtype)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: tokens are the normalised patches of all frames.

        Raises:
          ValueError: if the patch does not divide the frames, or the tables are for another size.
        """
        x, grid = self.encoded(video, rngs)
        patches, frames = grid[1] * grid[2], grid[0]
        normed = self.norm(x)
        dim = x.shape[-1]
        if self.query is not None:
            vectors = self.query(normed)
        else:
            vectors = normed.mean(axis=1) if self.form.pooled == "mean" else (x if self.norm_last else normed)[:, 0]
        pooled = self.pooling(vectors.astype(jnp.float32).reshape(-1, frames, dim), rngs=rngs)
        if self.norm_last:
            pooled = self.norm(pooled).astype(jnp.float32)
        tokens = normed[:, normed.shape[1] - patches :].reshape(-1, frames * patches, dim)
        return Features(pooled, tokens, grid, self.patch_map(tokens, grid))


def _after(tokens: nnx.Param | None, x: jax.Array) -> jax.Array:
    """Tokens `(B, N, D)` after the learned ones `(1, M, D)`, if there are any."""
    if tokens is None:
        return x
    return jnp.concatenate([jnp.broadcast_to(tokens[...].astype(x.dtype), (x.shape[0], *tokens.shape[1:])), x], axis=1)


def _frozen(depth: int, adapters: Adapters) -> tuple[str, ...]:
    """Prefixes of the paths that stay as they are beside trained adapters."""
    if not adapters.adapter:
        return ()
    inside = ("norm1.", "attn.", "norm2.", "mlp.", "scale")
    blocks = tuple(f"blocks.{index}.{part}" for index in range(depth) for part in inside)
    last = () if adapters.adapter == "aim" else ("norm.",)
    return ("patch_embed.", "cls_token", "registers", "pos_embed", "norm_before.", "query.", *last, *blocks)


CLIP_PIXELS = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
CLIP = {"norm_before": True, "patch_bias": False, "activation": "quick_gelu", "epsilon": 1e-5}
SIGLIP = {"class_token": False, "activation": "gelu_tanh", "pooled": "map"}
DINOV3 = {"registers": 4, "rotary": True, "key_bias": False, "layer_scale": True, "epsilon": 1e-5}
DINOV2 = {"patch": 14, "layer_scale": True, "size": 518}
_VIT, _DINO = "https://arxiv.org/abs/2010.11929", "https://arxiv.org/abs/2304.07193"
_DINO3 = "https://arxiv.org/abs/2508.10104"
_CLIP, _SIGLIP = "https://arxiv.org/abs/2103.00020", "https://arxiv.org/abs/2502.14786"
_ST, _AIM = "https://arxiv.org/abs/2206.13559", "https://arxiv.org/abs/2302.03024"


def _variant(
    name: str,
    size: TransformerSize,
    kwargs: Mapping[str, Any],
    paper: str,
    sources: tuple[str, ...],
    *,
    frames: tuple[int, int] = (8, 8),
    published: str = "",
    **pixels: Any,
) -> Variant:
    """Named network: `frames` are T and τ."""
    side = kwargs.get("size", 224)
    spec = Spec.of_video(
        name=name,
        num_frames=frames[0],
        stride=frames[1],
        size=side,
        resize=(round(side * 256 / 224),),
        paper=paper,
        sources=sources,
        published=published,
        **pixels,
    )
    return Variant(FrameTransformer, spec, {**dataclasses.asdict(size), **kwargs})


# timm's are trained on ImageNet-21k with pixels in -1…1, torchvision's on ImageNet-1k with its statistics.
_TIMM, _BOTH = ("vit_timm",), ("vit_timm", "vit_torchvision")
_ADAPTED = {**CLIP, "dropout": 0.5}
_TINY = {"dim": 48, "depth": 2, "heads": 3, "patch": 16, "num_frames": 8, "size": 64}

VARIANTS = {
    "frame_vit_s16": _variant("frame_vit_s16", SMALL, {}, _VIT, _TIMM, **HALF),
    "frame_vit_b16": _variant("frame_vit_b16", BASE, {}, _VIT, _BOTH, **HALF),
    "frame_vit_l16": _variant("frame_vit_l16", LARGE, {}, _VIT, _BOTH, **HALF),
    **{
        f"frame_dinov2_{letter}14": _variant(f"frame_dinov2_{letter}14", size, DINOV2, _DINO, ("dinov2",))
        for letter, size in (("s", SMALL), ("b", BASE), ("l", LARGE))
    },
    "frame_dinov2_b14_registers": _variant(
        "frame_dinov2_b14_registers", BASE, DINOV2 | {"registers": 4}, _DINO, ("dinov2",)
    ),
    **{
        f"frame_dinov3_{letter}16": _variant(f"frame_dinov3_{letter}16", size, DINOV3, _DINO3, ("dinov3",))
        for letter, size in (("s", SMALL), ("b", BASE), ("l", LARGE))
    },
    "frame_clip_b32": _variant(
        "frame_clip_b32", BASE, {**CLIP, "patch": 32}, _CLIP, ("clip", "clip_openai"), **CLIP_PIXELS
    ),
    "frame_clip_b16": _variant("frame_clip_b16", BASE, CLIP, _CLIP, ("clip", "clip_openai"), **CLIP_PIXELS),
    "frame_clip_l14": _variant(
        "frame_clip_l14", LARGE, {**CLIP, "patch": 14}, _CLIP, ("clip", "clip_openai"), **CLIP_PIXELS
    ),
    "frame_siglip_b16": _variant("frame_siglip_b16", BASE, SIGLIP, _SIGLIP, ("siglip",), **HALF),
    "frame_siglip_l16_256": _variant(
        "frame_siglip_l16_256", LARGE, {**SIGLIP, "size": 256}, _SIGLIP, ("siglip",), **HALF
    ),
    "st_adapter_b16": _variant(
        "st_adapter_b16",
        BASE,
        {**_ADAPTED, "adapter": "st"},
        _ST,
        ("st_adapter", "clip", "clip_openai"),
        frames=(8, 16),
        published="K400 82.2, 3×1 views (ST-Adapter)",
        **CLIP_PIXELS,
    ),
    "st_adapter_b16_two": _variant(
        "st_adapter_b16_two",
        BASE,
        {**_ADAPTED, "adapter": "st", "adapter_before_attention": True},
        _ST,
        ("st_adapter", "clip", "clip_openai"),
        frames=(8, 16),
        published="SSv2 66.9, 1×3 views (ST-Adapter)",
        **CLIP_PIXELS,
    ),
    "aim_b16": _variant(
        "aim_b16",
        BASE,
        {**_ADAPTED, "adapter": "aim", "num_frames": 32, "drop_path": 0.2},
        _AIM,
        ("aim", "clip", "clip_openai"),
        frames=(32, 4),
        published="K400 84.7 / 96.7, 3×1 views (AIM)",
        **CLIP_PIXELS,
    ),
    **{
        name: Variant(FrameTransformer, tiny_spec(name, paper), {**_TINY, **kwargs})
        for name, kwargs, paper in (
            ("frame_vit_tiny", {"layer_scale": True}, _VIT),
            ("frame_siglip_tiny", SIGLIP, _SIGLIP),
            ("frame_dinov3_tiny", DINOV3, _DINO3),
            ("st_adapter_tiny", {**CLIP, "adapter": "st", "adapter_before_attention": True}, _ST),
            ("aim_tiny", {**CLIP, "adapter": "aim"}, _AIM),
        )
    },
}
