"""Every layer of `vidjax.nn` as small as it can be, and what its docstring promises of shapes and types."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from hypothesis import strategies as st

from vidjax.models.heads import Dense
from vidjax.nn import frame_blocks, pooling
from vidjax.nn.adapters import Bottleneck, SpaceTimeAdapter, TemporalAdapter
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.attention_patterns import pattern
from vidjax.nn.attentive import AttentivePooler, CrossAttentionBlock, QueryPooling, SelfAttentionBlock
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.boundary_matching import BoundaryMatching
from vidjax.nn.cached_attention import CachedAttention, causal_mask
from vidjax.nn.capped_blocks import CappedBlock, QueryAttention
from vidjax.nn.caption_decoder import CaptionDecoder, DecoderLayer, DecoderSize
from vidjax.nn.conv import Conv3D, conv_formulation
from vidjax.nn.cross_conv import CrossConv
from vidjax.nn.cross_frame import CrossFrameBlock, FrameIntegration, PromptLayer, VideoPrompts
from vidjax.nn.dilated import DilatedConv3D
from vidjax.nn.droppath import DropPath
from vidjax.nn.factorised import Conv2Plus1D
from vidjax.nn.local_attention import ConvAttention, ConvAttentionBlock
from vidjax.nn.masked_conv import MaskedTower, TimeConv
from vidjax.nn.mlp import Mlp
from vidjax.nn.noise import Noise
from vidjax.nn.nonlocal_ import NonLocal
from vidjax.nn.norm import LAYER_NORM_EPSILON, BatchNorm, InstanceNorm, OffsetLayerNorm
from vidjax.nn.patches import TubeletEmbedding
from vidjax.nn.pooling_attention import PoolingAttention, TokenPool
from vidjax.nn.recurrent import CELLS, CONV_CELLS, Recurrent, unroll
from vidjax.nn.rotary import frame_angles, rotary_angles, rotate, rotate_halves
from vidjax.nn.sgp import SGPBlock
from vidjax.nn.squeeze import SqueezeExcitation
from vidjax.nn.text_decoder import GatedMlp, TextDecoder, TextForm, TextLayer
from vidjax.nn.vision_transformer import VisionTransformer
from vidjax.nn.windows import WindowAttention

Sizes = tuple[int, ...]  # of one sample, without the batch


@dataclass(frozen=True)
class Layer:
    """A layer of the table.

    Attributes:
      build: called with `rngs`, and with `dtype` where `computes` is "dtype".
      samples: sizes of samples that it takes.
      example: the sizes with which it is computed.
      gives: the sizes of its answer to a sample; a layer of several answers gives several.
      call: called with the layer, a batch and random streams or None.
      computes: "dtype": in the argument `dtype` of its constructor, or else in float32, whatever it is given; "dtype,
        then float32": so, but its answer is float32; "dtype, added": so, but what it is given is added; "input": in
        what it is given; "float32": in float32.
      draws: whether something is random in training mode.
    """

    build: Callable[..., nnx.Module]
    samples: st.SearchStrategy[Sizes]
    example: Sizes
    gives: Callable[[Sizes], Any]
    call: Callable[..., Any] = lambda layer, x, rngs: layer(x)
    computes: str = "dtype"
    draws: bool = False


def seen(x):
    """A mask that hides nothing of sequences `(B, T, D)`."""
    return jnp.ones(x.shape[:2], bool)


def adapted(layer, x, _, **kwargs):
    """Clips of tokens of 2×3 places and one more, `(B, T, N, D)`."""
    frames = x.reshape(-1, *x.shape[2:])
    return layer(frames, (x.shape[1], 2, 3), **kwargs).reshape(x.shape)


TEXT = TextForm(text_dim=4, text_depth=1, text_heads=2, text_groups=1, text_hidden=6, text_bias=True)


def places_of(x):
    return jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape[:2])


def language(layer, x):
    """With the words 0, 1 and so on added, so that the table of words takes part."""
    words = layer.words(places_of(x) % 5)
    return layer(x.astype(words.dtype) + words, seen(x))[0]


class Function(nnx.Module):
    """A function without parameters as a layer."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class Block(nnx.Module):
    """A Transformer's block with everything that draws."""

    def __init__(self, index: int, rate: float, *, dtype: Any = None, rngs: nnx.Rngs):
        del index
        self.norm = nnx.LayerNorm(6, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(6, 2, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(6, 8, dropout=0.1, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(rate)

    def __call__(self, x, grid, rngs=None):
        x = x + self.drop_path(self.attn(self.norm(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm(x), rngs), rngs)


class Trunk(VisionTransformer):
    def __init__(self, *, dtype: Any = None, rngs: nnx.Rngs):
        super().__init__(6, (2, 4, 4), Execution(dtype=dtype), rngs=rngs)
        self.blocks = stack(partial(Block, dtype=dtype, rngs=rngs), 2, 0.5)


def between(*ends: tuple[int, int], features: int) -> st.SearchStrategy[Sizes]:
    return st.tuples(*(st.integers(low, high) for low, high in ends), st.just(features))


def same(sizes: Sizes) -> Sizes:
    return sizes


def with_rngs(layer, x, rngs):
    return layer(x, rngs=rngs)


# Samples of 4 features.
CLIPS = between((1, 4), (1, 7), (1, 7), features=4)
FRAMES = between((1, 9), features=4)
MAPS = between((1, 3), (1, 4), (1, 4), features=4)
CLIP, FRAME = (3, 4, 5, 4), (5, 4)


def convolution(kernel: Sizes, strides: Sizes = (1, 2, 2), formulation: str = "native", **kwargs: Any) -> Layer:
    """To 3 features, or 4 where it is depthwise, padded by half the kernel: ⌈n / stride⌉ along every axis."""
    outputs = kwargs.pop("outputs", 3)

    def call(layer, x, rngs):
        with conv_formulation(formulation):
            return layer(x)

    def gives(sizes):
        return (*(math.ceil(n / s) for n, s in zip(sizes, strides, strict=False)), outputs)

    padding = tuple(k // 2 for k in kernel)
    build = partial(Conv3D, 4, outputs, kernel, strides, padding, use_bias=True, **kwargs)
    return Layer(build, CLIPS, CLIP, gives, call, computes="input")


FORMULATIONS = {
    "native": convolution((3, 3, 3), formulation="native"),
    "pointwise": convolution((1, 1, 1), formulation="pointwise"),
    "fold": convolution((1, 3, 3), formulation="fold"),
    "temporal": convolution((3, 1, 1), (2, 1, 1), formulation="temporal"),
    "taps": convolution((3, 3, 3), formulation="taps"),
    "stack": convolution((3, 3, 3), formulation="stack"),
    "blocks": convolution((3, 3, 3), (1, 1, 2), formulation="blocks"),
    "row": convolution((3, 3, 3), formulation="row"),
    "together": convolution((3, 3, 3), formulation="together"),
    "winograd": convolution((1, 3, 3), (1, 1, 1), formulation="winograd"),
    "patches": convolution((3, 3, 3), formulation="patches"),
    "shift": convolution((1, 3, 3), formulation="shift", outputs=4, feature_group_count=4),
}


def function(
    f: Callable[..., Any],
    samples: st.SearchStrategy[Sizes],
    example: Sizes,
    gives: Callable[[Sizes], Any] = same,
    computes: str = "input",
) -> Layer:
    return Layer(lambda rngs: Function(f), samples, example, gives, computes=computes)


def pooled(name: str, width: int) -> Layer:
    """A pooling over time; those with parameters compute in float32."""
    computes = "float32" if name in ("attention", "netvlad") else "input"
    return Layer(partial(pooling.temporal_pooling, name, 4), FRAMES, FRAME, lambda s: (width,), computes=computes)


def cell(kind: type[nnx.Module], samples: st.SearchStrategy[Sizes], example: Sizes, states: int) -> Layer:
    def gives(sizes):
        outputs = (*sizes[:-1], 2)
        return outputs, (outputs[1:],) * states

    return Layer(partial(kind, 4, 2), samples, example, gives, lambda c, x, rngs: unroll(c, x), computes="float32")


def grid_attention(layer, x, rngs):
    """Of a class token and a grid of 2 × 3 × N tokens."""
    return layer(x, (2, 3, x.shape[1] // 6))


GRIDS = st.integers(1, 4).map(lambda n: (1 + 6 * n, 4))


def pooling_attention(**kwargs: Any) -> Layer:
    settings = {
        "kernel_q": (1, 3, 3), "stride_q": (1, 2, 2), "kernel_kv": (3, 3, 3), "stride_kv": (1, 1, 2),
        "relative": (2, 3, 3), "residual": True,
    } | kwargs  # fmt: skip

    def gives(sizes):
        width = (sizes[0] - 1) // 6
        return (1 + (2 * 2 * math.ceil(width / 2) if settings["kernel_q"] else 6 * width), 6)

    return Layer(partial(PoolingAttention, 4, 6, 2, **settings), GRIDS, (13, 4), gives, grid_attention)


def token_pool(layer, x, rngs):
    """Of 2 heads."""
    return grid_attention(layer, x.reshape(*x.shape[:2], 2, -1), rngs).reshape(x.shape[0], -1, x.shape[-1])


def patterned(name: str) -> Layer:
    """Self-attention of 2 × 2 × N tokens with every second one in the place of all."""

    def call(layer, x, rngs):
        return layer(x, attend=pattern(name, (2, 2, x.shape[1] // 4)))

    tokens = st.integers(1, 3).map(lambda n: (8 * n, 4))
    return Layer(partial(SelfAttention, 4, 2), tokens, (8, 4), same, call)


def by_halves(x, **kwargs):
    """Attention whose queries, keys and values are what it is given, forwards and backwards."""
    q = x.reshape(*x.shape[:2], 2, 2)
    return attention(q, q[:, ::-1], q, **kwargs).reshape(x.shape)


LAYERS = {
    "drop path": Layer(lambda rngs: DropPath(0.5), CLIPS, CLIP, same, with_rngs, computes="input", draws=True),
    "space, then time": Layer(
        partial(Conv2Plus1D, 4, 3, 3, (2, 2, 1)),
        CLIPS, CLIP, lambda s: (math.ceil(s[0] / 2), math.ceil(s[1] / 2), s[2], 3), computes="input",
    ),
    "time and frequency": Layer(
        partial(CrossConv, 4, 3, (3, 1, 3), (2, 1, 2), (1, 0, 1), activates=True), CLIPS, CLIP,
        lambda s: (math.ceil(s[0] / 2), s[1], math.ceil(s[2] / 2), 3), computes="input",
    ),
    **{f"convolution, {name}": layer for name, layer in FORMULATIONS.items()},
    "convolution, replicating": convolution((3, 3, 1), padding_mode="replicate"),
    "dilated convolution": Layer(
        partial(DilatedConv3D, 4, 3, (1, 3, 3), 2), CLIPS, CLIP, lambda sizes: (*sizes[:3], 3), computes="input"
    ),
    "batch norm": Layer(partial(BatchNorm, 4), CLIPS, CLIP, same, computes="input"),
    "batch norm, not affine": Layer(partial(BatchNorm, 4, affine=False), CLIPS, CLIP, same, computes="input"),
    "instance norm": Layer(lambda rngs: InstanceNorm(), CLIPS, CLIP, same, computes="input"),
    "layer norm": Layer(partial(nnx.LayerNorm, 4, epsilon=LAYER_NORM_EPSILON), FRAMES, FRAME, same),
    "layer norm, offset": Layer(partial(OffsetLayerNorm, 4), FRAMES, FRAME, same),
    "mlp": Layer(
        partial(Mlp, 4, 6, 3, dropout=0.5),
        st.one_of(FRAMES, CLIPS), FRAME, lambda s: (*s[:-1], 3), with_rngs, draws=True,
    ),
    "non-local": Layer(
        partial(NonLocal, 4), between((1, 3), (2, 5), (2, 5), features=4), CLIP, same, computes="input"
    ),
    "non-local, dot product": Layer(
        partial(NonLocal, 4, mode="dot_product", pool=(1, 1, 1), pool_first=False), CLIPS, CLIP, same, computes="input"
    ),
    "tubelets": Layer(
        partial(TubeletEmbedding, 4, 6, (2, 1, 2)),
        st.tuples(st.sampled_from([2, 4]), st.integers(1, 5), st.sampled_from([2, 6]), st.just(4)),
        (4, 3, 2, 4), lambda s: (s[0] * s[1] * s[2] // 4, 6),
    ),
    "rotary positions": function(
        lambda x: rotate(x, rotary_angles((1, 1, x.shape[1]), x.shape[-1])),
        st.tuples(st.integers(1, 9), st.integers(1, 2), st.integers(6, 14)), (5, 2, 13),
    ),
    "rotary positions of frames": function(
        lambda x: rotate_halves(x, frame_angles(1, x.shape[1] - 1, x.shape[-1])),
        st.tuples(st.integers(2, 9), st.integers(1, 2), st.sampled_from([4, 8])), (5, 2, 8),
    ),
    "convolution in time": Layer(
        partial(TimeConv, 4, 3, 3, 2), FRAMES, FRAME, lambda s: (math.ceil(s[0] / 2), 3), computes="input"
    ),
    "masked tower": Layer(
        partial(MaskedTower, 4, 6, 3, bias=-1.0), FRAMES, FRAME, lambda s: (s[0] + math.ceil(s[0] / 2), 3),
        lambda layer, x, rngs: jnp.concatenate(layer([x, x[:, ::2]], [seen(x), seen(x[:, ::2])]), axis=1),
    ),
    **{
        f"attention of convolutions, {name}": Layer(
            partial(ConvAttention, 4, 2, window), FRAMES, FRAME, same, lambda layer, x, rngs: layer(x, seen(x))
        )
        for name, window in (("near", 3), ("all", 0))
    },
    **{
        f"{name}, halving": Layer(
            build, FRAMES, FRAME, lambda s: (math.ceil(s[0] / 2), 4), lambda layer, x, rngs: layer(x, seen(x), rngs)[0],
            computes="dtype, added", draws=True,
        )
        for name, build in (
            ("block of attention of convolutions", partial(ConvAttentionBlock, 4, 2, 3, 2, dropout=0.5, drop_path=0.5)),
            ("block of two extents", partial(SGPBlock, 4, 6, 3, 1.5, 2, groups=2, deviation=0.1, drop_path=0.5)),
        )
    },
    "noise": Layer(lambda rngs: Noise(0.5), FRAMES, FRAME, same, with_rngs, computes="input", draws=True),
    "boundary matching": Layer(
        partial(BoundaryMatching, 4, 3, 4), FRAMES, FRAME, lambda s: (s[0], s[0], 3), computes="input"
    ),
    "squeeze and excitation": Layer(partial(SqueezeExcitation, 4, 3), CLIPS, CLIP, same, computes="input"),
    "squeeze and excitation of each frame": Layer(
        partial(SqueezeExcitation, 4, 3, activation=nnx.silu, each_frame=True), CLIPS, CLIP, same, computes="input"
    ),
    "temporal adapter": Layer(
        partial(TemporalAdapter, 4, 3), st.tuples(st.integers(1, 4), st.just(6), st.just(4)), (3, 6, 4), same,
        lambda layer, x, rngs: layer(x.reshape(-1, *x.shape[2:]), (1, 2, 3), x.shape[1]).reshape(x.shape),
        computes="dtype, added",
    ),
    "space-time adapter": Layer(
        partial(SpaceTimeAdapter, 4, 3, (3, 1, 3)), st.tuples(st.integers(1, 4), st.just(1 + 6), st.just(4)), (3, 7, 4),
        same, adapted, computes="dtype, added",
    ),
    **{
        f"block of frames, {kind or 'no'} adapters": Layer(
            partial(
                frame_blocks.Block, 4, 1, frame_blocks.Form(rotary=True, key_bias=False, layer_scale=True),
                frame_blocks.Adapters(kind), drop_path=0.5,
            ),
            st.tuples(st.integers(1, 4), st.just(1 + 6), st.just(4)), (3, 7, 4), same,
            lambda layer, x, rngs: adapted(layer, x, rngs, rngs=rngs), computes="dtype, added", draws=True,
        )
        for kind in ("", "st", "aim")
    },
    "block across frames": Layer(
        partial(CrossFrameBlock, 4, 2, frame_blocks.Form(), frame_blocks.Adapters(), drop_path=0.5),
        st.tuples(st.integers(1, 4), st.just(1 + 6), st.just(4)), (3, 7, 4), same,
        lambda layer, x, rngs: adapted(layer, x, rngs, rngs=rngs), computes="dtype, added", draws=True,
    ),
    "integration of frames": Layer(
        partial(FrameIntegration, 4, 5, 2, frame_blocks.Form()), st.just(FRAME), FRAME, lambda s: (4,),
        computes="dtype, then float32",
    ),
    "texts beside places": Layer(
        partial(PromptLayer, 4, 2), FRAMES, FRAME, lambda s: (1, 4), lambda layer, x, rngs: layer(x[:, :1], x),
        computes="dtype, added",
    ),
    "prompts of a clip": Layer(
        partial(VideoPrompts, 4, 2, 1, frame_blocks.Form()), FRAMES, FRAME, lambda s: (3, 4),
        lambda layer, x, rngs: layer(jnp.eye(3, 4), x), computes="dtype, then float32",
    ),
    "capped block": Layer(
        partial(CappedBlock, 4, 2, drop_path=0.5), FRAMES, FRAME, same, with_rngs, computes="dtype, added", draws=True
    ),
    "capped block, causal": Layer(
        partial(CappedBlock, 4, 2, causal=True), FRAMES, FRAME, same, computes="dtype, added"
    ),
    "attention of a query": Layer(
        partial(QueryAttention, 4, 2, 6), FRAMES, FRAME, lambda s: (4,), computes="dtype, then float32"
    ),
    "bottleneck": Layer(partial(Bottleneck, 4, 3), FRAMES, FRAME, same),
    "attention with a cache": Layer(
        partial(CachedAttention, 4, 2, 1, head_dim=4, theta=100.0, norm_epsilon=1e-6), FRAMES, FRAME, same,
        lambda layer, x, rngs: layer(x, places_of(x), causal_mask(seen(x)))[0],
    ),
    "gated mlp": Layer(partial(GatedMlp, 4, 6), FRAMES, FRAME, same),
    "layer of a language model": Layer(
        partial(TextLayer, TEXT), FRAMES, FRAME, same,
        lambda layer, x, rngs: layer(x, places_of(x), causal_mask(seen(x)))[0], computes="dtype, added",
    ),
    "language model": Layer(
        partial(TextDecoder, 5, TEXT), FRAMES, FRAME, same, lambda layer, x, rngs: language(layer, x)
    ),
    "layer of captions": Layer(
        partial(DecoderLayer, DecoderSize(8, 4, 1, 2)), FRAMES, FRAME, same,
        lambda layer, x, rngs: layer(x, causal_mask(seen(x), 2))[0],
    ),
    "decoder of captions": Layer(
        partial(CaptionDecoder, 4, 5, DecoderSize(3, 6, 1, 2)), FRAMES, FRAME, lambda s: (3, 6),
        lambda layer, x, rngs: layer(x, jnp.broadcast_to(jnp.arange(3)[None] * 2, (x.shape[0], 3)))[0],
    ),
    "maxima": function(
        lambda x: pooling.max_pool3d(x, (1, 3, 3), (1, 2, 1), (0, 1, 1)),
        CLIPS, CLIP, lambda s: (s[0], math.ceil(s[1] / 2), *s[2:]),
    ),
    "means": function(
        lambda x: pooling.avg_pool3d(x, (3, 1, 3), (1, 1, 2), (1, 0, 1)),
        CLIPS, CLIP, lambda s: (*s[:2], math.ceil(s[2] / 2), s[3]),
    ),
    "means, without the padding": function(
        lambda x: pooling.avg_pool3d(x, (3, 1, 3), (1, 1, 2), (1, 0, 1), count_padding=False),
        CLIPS, CLIP, lambda s: (*s[:2], math.ceil(s[2] / 2), s[3]), computes="float32",
    ),
    "means of cells": function(lambda x: pooling.grid_mean(x, 2), CLIPS, CLIP, lambda s: (s[0], 4 * s[3])),
    **{f"pooling, {name}": pooled(name, 4) for name in ("mean", "max", "last", "attention")},
    "pooling, pyramid": pooled("pyramid", 15 * 4),
    "pooling, netvlad": pooled("netvlad", 8 * 4),
    "token pool": Layer(
        partial(TokenPool, 4, (1, 3, 3), (1, 2, 1)),
        GRIDS.map(lambda s: (s[0], 8)), (13, 8), lambda s: (1 + 2 * 2 * ((s[0] - 1) // 6), 8), token_pool,
    ),
    "pooling attention": pooling_attention(),
    "pooling attention, not pooled": pooling_attention(
        kernel_q=None, stride_q=(1, 1, 1), kernel_kv=None, stride_kv=(1, 1, 1), relative=None, residual=False
    ),
    "shifted windows": Layer(
        partial(WindowAttention, 4, 2, window=(2, 2, 3), shift=(1, 0, 1)), CLIPS, (3, 3, 5, 4), same
    ),
    **{
        f"self-attention, {bias}": Layer(partial(SelfAttention, 4, 2, qkv_bias=bias), FRAMES, FRAME, same)
        for bias in ("qkv", "qv")
    },
    **{f"self-attention, {name}": patterned(name) for name in ("global", "factorised")},
    "attention": function(by_halves, FRAMES, FRAME),
    "attention, causal": function(partial(by_halves, causal=True), FRAMES, FRAME),
    "attention, capped": function(partial(by_halves, cap=1.0), FRAMES, FRAME),
    "attention, capped, by blocks": function(partial(by_halves, cap=1.0, implementation="blocks"), FRAMES, FRAME),
    "attention, by blocks": function(partial(by_halves, implementation="blocks"), FRAMES, FRAME),
    "self-attention block": Layer(
        lambda rngs, dtype=None: SelfAttentionBlock(4, 2, dtype=dtype, rngs=rngs),
        FRAMES, FRAME, same, computes="dtype, added",
    ),
    "cross-attention block": Layer(
        lambda rngs, dtype=None: CrossAttentionBlock(4, 2, dtype=dtype, rngs=rngs),
        FRAMES, FRAME, lambda s: (1, 4), lambda layer, x, rngs: layer(x[:, :1], x), computes="dtype, added",
    ),
    "attentive pooler": Layer(
        partial(AttentivePooler, 4, 2, 1), FRAMES, FRAME, lambda s: (4,), computes="dtype, then float32"
    ),
    "pooling by a query": Layer(partial(QueryPooling, 4, 2), FRAMES, FRAME, lambda s: (4,)),
    "dense head": Layer(partial(Dense, 4, 3), st.one_of(FRAMES, CLIPS), CLIP, lambda s: (3,), computes="float32"),
    **{f"{name} cell": cell(kind, FRAMES, FRAME, 1 + (name == "lstm")) for name, kind in CELLS.items()},
    **{
        f"convolutional {name} cell": cell(kind, MAPS, (2, 3, 4, 4), 1 + (name == "lstm"))
        for name, kind in CONV_CELLS.items()
    },
    "recurrent layers": Layer(
        partial(Recurrent, "gru", 4, 3, layers=2, bidirectional=True, dropout=0.5),
        FRAMES, FRAME, lambda s: ((s[0], 6), (6,)), with_rngs, computes="float32", draws=True,
    ),
    "vision transformer": Layer(
        Trunk, st.tuples(st.sampled_from([2, 4]), st.sampled_from([4, 8]), st.just(4), st.just(3)), (2, 4, 8, 3),
        lambda s: (s[0] * s[1] * s[2] // 32, 6), lambda layer, x, rngs: layer.encoded(x, rngs)[0], draws=True,
    ),
}  # fmt: skip
