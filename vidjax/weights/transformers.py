"""What transformers keeps beside the weights: `config.json` and `preprocessor_config.json` of its video classifiers.

Source: `configuration_videomae.py`, `configuration_timesformer.py`, `configuration_vivit.py` and the image processors
there; the field names are theirs.
"""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.models.timesformer import TimeSformer
from vidjax.models.videomae import VideoMAE
from vidjax.models.vivit import ViViT
from vidjax.weights.read import CheckpointError

_ATTENTION = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}
_EPSILON = 1e-6  # of the layer norms of all three here; transformers' own default for VideoMAE is 1e-12


def model_config(model: nnx.Module, spec: Spec, class_names: Sequence[str]) -> dict[str, Any]:
    """`config.json` of a model.

    Args:
      model: a `VideoMAE`, `TimeSformer` or `ViViT` (model 1).
      spec: its clip length and size.
      class_names: in the order of the classifier.

    Raises:
      CheckpointError: for a model that transformers does not have.
    """
    kinds = {
        VideoMAE: ("videomae", "VideoMAEForVideoClassification", "gelu"),
        TimeSformer: ("timesformer", "TimesformerForVideoClassification", "gelu"),
        ViViT: ("vivit", "VivitForVideoClassification", "gelu_fast"),
    }
    if type(model) not in kinds:
        raise CheckpointError(f"transformers has no network like {type(model).__name__}")
    kind, architecture, activation = kinds[type(model)]
    block = model.blocks[0]
    tubelet = model.patch_embed.tubelet
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [architecture],
        "dtype": "float32",
        "image_size": model.base_grid[1] * tubelet[1],
        "patch_size": tubelet[1],
        "num_channels": model.patch_embed.kernel.shape[3],
        "num_frames": model.base_grid[0] * tubelet[0],
        "hidden_size": model.patch_embed.kernel.shape[-1],
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.attn.heads,
        "intermediate_size": block.mlp.fc1.kernel.shape[-1],
        "hidden_act": activation,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": _EPSILON,
        "qkv_bias": True,
        "id2label": {str(i): name for i, name in enumerate(class_names)},
        "label2id": {name: i for i, name in enumerate(class_names)},
    }
    if kind == "videomae":
        config |= {"tubelet_size": tubelet[0], "use_mean_pooling": True}
    elif kind == "timesformer":
        config |= {"attention_type": _ATTENTION[model.attention], "drop_path_rate": 0}
    else:
        config |= {"tubelet_size": list(tubelet)}
    return config


def preprocessor_config(spec: Spec) -> dict[str, Any]:
    """`preprocessor_config.json`: resize, central crop, scale to 0…1, normalise."""
    short = spec.resize[0]
    size = {"shortest_edge": short} if len(spec.resize) == 1 else {"height": short, "width": spec.resize[1]}
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": size,
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
