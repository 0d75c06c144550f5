"""Every `*_tiny` network on clips of 4 frames of 16², the widest of them narrower still, with drawn weights."""

import functools
from typing import Any

import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import filled
from vidjax.models.arguments import arguments_of
from vidjax.models.registry import abstract_model, family_of, get_spec, get_variant
from vidjax.models.state import split

TINY = [name for name in vidjax.list_models("*_tiny") if get_spec(name).task == "classify"]
FAMILIES = {family_of(name)[1]: name for name in reversed(TINY)}  # of each family the first

_CLIP = {"num_frames": 4, "size": 16}
_NARROW = {"dim": 16, "depth": 2, "heads": 2}
_CHANGES = {
    "early_fusion_tiny": {"num_frames": 4},
    "late_fusion_tiny": {"num_frames": 4, "hidden": 8},
    "mvit_tiny": {**_CLIP, "dim": 8, "depth": 2, "heads": 1, "stages": (1,)},
    "swin3d_tiny": {"dim": 8, "depths": (2, 1), "heads": (2, 2), "window": (2, 3, 3)},
    **{
        name: {**_CLIP, **_NARROW, "patch": 8}
        for name in ("aim_tiny", "frame_vit_tiny", "frame_siglip_tiny", "frame_dinov3_tiny", "st_adapter_tiny")
    },
    "timesformer_tiny": {**_CLIP, **_NARROW},
    "videomae_tiny": {**_CLIP, **_NARROW},
    "vivit_tiny": {**_CLIP, **_NARROW},
    "vivit_fdp_tiny": {**_CLIP, **_NARROW},
    "vivit_fsa_tiny": {**_CLIP, **_NARROW},
    "vivit_fe_tiny": {**_CLIP, **_NARROW, "temporal_depth": 1},
    "ast_tiny": {**_NARROW, "frames": 24, "mels": 16, "patch": 8, "strides": (6, 4)},
    "audio_resnet_tiny": {"mels": 16, "width": 4},
    "panns_tiny": {"mels": 16, "widths": (4, 8, 16)},
    "vggish_tiny": {"mels": 16, "frames": 8, "stages": ((8,), (16,)), "hidden": 32, "embedding": 32},
    "internvideo2_tiny": {**_CLIP, **_NARROW, "patch": 8, "pool_heads": 2, "pool_features": 16},
    "videoprism_tiny": {**_CLIP, **_NARROW, "patch": 8, "temporal_depth": 1},
    "x3d_tiny": {"widths": (8, 16), "depths": (1, 1), "out_features": 16},
    "slowfast_tiny": {"width": 16},
    "avslowfast_tiny": {"width": 16},
    **{name: {**_CLIP, **_NARROW, "fusion_layer": 1, "sound_frames": 32} for name in ("mbt_tiny", "mbt_token_tiny")},
}
# Sizes of the inputs, without the batch.
_SIZES = {"features": (3, 16), "audio": (24, 16)}
_OWN_SIZES = {
    "avslowfast_tiny": {"audio": (48, 80)},
    **{name: {"audio": (32, 128)} for name in ("mbt_tiny", "mbt_token_tiny")},
    **{name: {"audio": (24, 64)} for name in ("audio_visual_tiny", "audio_visual_gated_tiny")},
}


def of_families(names: list[str], others: pytest.MarkDecorator = pytest.mark.exhaustive) -> list[Any]:
    """Cases for `parametrize`: the first of each family with every run of the tests, others with those of a mark."""
    first = {family_of(name)[1]: name for name in reversed(names)}
    return [name if name in first.values() else pytest.param(name, marks=others) for name in names]


@functools.cache
def tiny(name: str, **kwargs: Any) -> nnx.Module:
    """The network, of 3 classes, in evaluation mode."""
    return filled(_shapes(name, kwargs))


def graph(name: str, **kwargs: Any) -> nnx.GraphDef:
    """The structure of the network with other arguments, for the same arrays."""
    return split(_shapes(name, kwargs))[0]


def clips(name: str, batch: int = 2, seed: int = 0) -> Any:
    """What the network takes, such as `(B, 4, 16, 16, 3)` or spectrograms of 24 frames; several inputs by name."""
    spec, rng = get_spec(name), np.random.default_rng(seed)
    sizes = _SIZES | _OWN_SIZES.get(name, {})
    if "video" in spec.inputs:
        sizes = sizes | {"video": (4, 16, 16, spec.video.channels)}
    drawn = {part: rng.standard_normal((batch, *sizes[part])).astype(np.float32) for part in spec.inputs}
    return drawn if len(drawn) > 1 else next(iter(drawn.values()))


def takes(name: str, argument: str) -> bool:
    """Whether the network's constructor has that argument."""
    return argument in arguments_of(get_variant(name).build)


def _shapes(name: str, kwargs: dict[str, Any]) -> nnx.Module:
    return abstract_model(name, num_classes=3, **{**_CHANGES.get(name, {}), **kwargs})
