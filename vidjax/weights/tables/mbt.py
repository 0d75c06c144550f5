"""Weights of MBT, as named by Scenic: parameters of Flax Linen, their paths joined by dots."""

import numpy as np

from vidjax.weights.layouts import COPY, Transform
from vidjax.weights.table import Rule, Source

HEAD = 64  # features of an attention head, in all published sizes


def _joined(*arrays: np.ndarray) -> np.ndarray:
    if len({array.shape for array in arrays}) != 1:
        raise ValueError("queries, keys and values must have one shape")
    return np.concatenate([array.reshape(*array.shape[:-2], -1) for array in arrays], axis=-1)


def _apart(array: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(part.reshape(*part.shape[:-1], -1, HEAD) for part in np.split(array, 3, axis=-1))


# Queries, keys and values by head, in one: (D, H, d) each → (D, 3·D), or (H, d) each → (3·D,).
HEADS_JOINED = Transform("3 of …·H·d → …·3D", _joined, _apart)
HEADS_FLAT = Transform(
    "H·d·D → D·D", lambda x: x.reshape(-1, x.shape[-1]), lambda x: (x.reshape(-1, HEAD, x.shape[-1]),)
)
# A patch's kernel as that of a tubelet of one frame.
FRAME = Transform("H·W·I·O → 1·H·W·I·O", lambda x: x[None], lambda x: (x[0],))


def _layer(key: str, path: str, names: tuple[str, ...] = ("kernel", "bias")) -> tuple[Rule, ...]:
    return tuple(Rule(f"{key}.{name}", f"{path}.{name}") for name in names)


def _stream(ending: str, prefix: str) -> tuple[Rule, ...]:
    """Rules for one of the two Transformers; `ending` of its names there, `prefix` of its paths here."""
    block, target = f"Transformer.encoderblock_{{i}}{ending}", f"{prefix}blocks.{{i}}"
    attention = f"{block}.MultiHeadDotProductAttention_0"
    return (
        *_layer(f"{block}.LayerNorm_0", f"{target}.norm1", ("scale", "bias")),
        *_layer(f"{block}.LayerNorm_1", f"{target}.norm2", ("scale", "bias")),
        *(
            Rule(
                tuple(f"{attention}.{part}.{name}" for part in ("query", "key", "value")),
                f"{target}.attn.qkv.{name}",
                HEADS_JOINED,
            )
            for name in ("kernel", "bias")
        ),
        Rule(f"{attention}.out.kernel", f"{target}.attn.proj.kernel", HEADS_FLAT),
        Rule(f"{attention}.out.bias", f"{target}.attn.proj.bias"),
        *_layer(f"{block}.MlpBlock_0.Dense_0", f"{target}.mlp.fc1"),
        *_layer(f"{block}.MlpBlock_0.Dense_1", f"{target}.mlp.fc2"),
        Rule(f"Transformer.posembed_input{ending}.pos_embedding", f"{prefix}pos_embed"),
    )


SOURCES = (
    Source(
        name="scenic",
        models=("mbt_base_16x2", "mbt_base_16x2_token"),
        signature=(
            "Transformer.encoderblock_0_spectrogram.LayerNorm_0.scale", "Transformer.encoder_norm.scale", "bottleneck",
            "embedding_spectrogram.kernel",
        ),
        rules=(
            *_stream("_spectrogram", "audio_"),
            *_stream("", ""),
            *_layer("Transformer.encoder_norm", "norm", ("scale", "bias")),
            *_layer("embedding", "patch_embed"),
            Rule("embedding_spectrogram.kernel", "audio_embed.kernel", FRAME),
            Rule("embedding_spectrogram.bias", "audio_embed.bias", COPY),
            Rule("bottleneck", "bottleneck"),
            Rule("cls", "cls_token"),
            Rule("clsspectrogram", "audio_cls_token"),
            *_layer("output_projection", "head"),
        ),
        read_only=True,  # Flax files are read, not written
    ),
)  # fmt: skip
