"""The `config.json` and `preprocessor_config.json` of transformers' networks for video and sound, read and written.

Source: `configuration_videomae.py`, `configuration_timesformer.py`, `configuration_vivit.py`,
`configuration_audio_spectrogram_transformer.py`, and the image processors and the feature extractor there; the field
names are theirs.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import AudioInput, VideoInput
from vidjax.models.families.audio_transformer import AST
from vidjax.models.families.timesformer import TimeSformer
from vidjax.models.families.videomae import VideoMAE
from vidjax.models.families.vivit import ViViT
from vidjax.spectrograms import Spectrogram
from vidjax.weights.read import CheckpointError

_ATTENTION = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}
_EPSILON = 1e-6  # of the layer norms in all three for video; transformers' own default for VideoMAE is 1e-12


def model_config(model: nnx.Module, spec: Spec, class_names: Sequence[str]) -> dict[str, Any]:
    """Content of transformers' `config.json` for a model.

    Args:
      model: a `VideoMAE`, `TimeSformer`, `ViViT` (model 1) or `AST`.
      spec: clip length and size of the model.
      class_names: class names in the order of the classifier.

    Raises:
      CheckpointError: if transformers does not have the model.
    """
    if isinstance(model, AST):
        return _audio_config(model) | _named_classes(class_names)
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
        **_named_classes(class_names),
    }
    if kind == "videomae":
        config |= {"tubelet_size": tubelet[0], "use_mean_pooling": True}
    elif kind == "timesformer":
        config |= {"attention_type": _ATTENTION[model.attention], "drop_path_rate": 0}
    else:
        config |= {"tubelet_size": list(tubelet)}
    return config


def _named_classes(names: Sequence[str]) -> dict[str, Any]:
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def _audio_config(model: AST) -> dict[str, Any]:
    block = model.blocks[0]
    return {
        "model_type": "audio-spectrogram-transformer",
        "architectures": ["ASTForAudioClassification"],
        "dtype": "float32",
        "patch_size": model.patch,
        "time_stride": model.strides[0],
        "frequency_stride": model.strides[1],
        "max_length": model.frames,
        "num_mel_bins": model.mels,
        "hidden_size": model.widths.pooled,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.attn.heads,
        "intermediate_size": block.mlp.fc1.kernel.shape[-1],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": model.epsilon,
        "qkv_bias": True,
    }


def _extractor_config(audio: AudioInput) -> dict[str, Any]:
    settings = audio.spectrogram
    return {
        "feature_extractor_type": "ASTFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": settings.rate,
        "num_mel_bins": settings.bands,
        "max_length": audio.shape[0],
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": False,
        "do_normalize": True,
        "mean": settings.mean,
        "std": settings.std / 2,  # it divides by twice the deviation
    }


def preprocessor_config(spec: Spec) -> dict[str, Any]:
    """Content of transformers' `preprocessor_config.json`: resize, central crop, scale to 0…1, normalise; for sound,
    its spectrogram."""
    if audio := next((value for value in spec.inputs.values() if isinstance(value, AudioInput)), None):
        return _extractor_config(audio)
    short = spec.video.resize[0]
    size = {"shortest_edge": short} if len(spec.video.resize) == 1 else {"height": short, "width": spec.video.resize[1]}
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": size,
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": spec.video.size, "width": spec.video.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.video.mean),
        "image_std": list(spec.video.std),
    }


@dataclass(frozen=True)
class Description:
    """Class names and clip settings of a transformers folder."""

    class_names: tuple[str, ...] = ()  # in the order of the classifier; (): none given
    clip: dict[str, Any] = field(default_factory=dict)  # its clips, as fields of `Spec`: mean, std, …


# Files that may describe the processing of pixels; the first that exists is read. The last nests it under one of two
# names.
_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


def describe(checkpoint: str | os.PathLike | Mapping[str, Any]) -> Description:
    """Read the class names and clip settings of a checkpoint folder written by transformers.

    Args:
      checkpoint: as for `read_state_dict`; anything but a folder has an empty description.

    Returns:
      The class names from `id2label` of `config.json`, in the order of their numbers; none if they are transformers'
      placeholders `LABEL_0`, `LABEL_1`, …. The clip settings given there or for the image processor: `num_frames`,
      `size` and `resize` in pixels, and `mean` and `std` of values in 0…1, even if transformers scales pixels to
      another range. Of a network for sound, `mean` and `std` are the number subtracted from a spectrogram and the one
      it is divided by.

    Raises:
      CheckpointError: if a file cannot be understood; it names the file and the field.
    """
    if isinstance(checkpoint, Mapping) or not os.path.isdir(checkpoint):
        return Description()
    folder = Path(checkpoint)
    config = read_object(folder / "config.json")
    clip = {}
    for name, keys in (("num_frames", ("num_frames", "frames_per_clip")), ("size", ("image_size", "crop_size"))):
        value = next((config[key] for key in keys if key in config), None)
        if _is_count(value):
            clip[name] = value
    for name in _PROCESSORS:
        if (folder / name).is_file():
            clip |= _processing(read_object(folder / name), folder / name)
            break
    return Description(_labels(config, folder / "config.json"), clip)


def configured(
    checkpoint: str | os.PathLike | Mapping[str, Any], places: Mapping[str, tuple[str, int]]
) -> dict[str, int]:
    """Constructor arguments that the shapes of a checkpoint's arrays do not tell, from a folder's `config.json`.

    Args:
      checkpoint: as for `read_state_dict`; anything but a folder with that file says nothing.
      places: for each argument the path of its number there, joined by dots, and transformers' own number, which such
        files leave out.

    Raises:
      CheckpointError: if one is no positive whole number; it names the file and the field.
    """
    if not places or isinstance(checkpoint, Mapping) or not os.path.isdir(checkpoint):
        return {}
    file = Path(checkpoint) / "config.json"
    config = read_object(file)
    found = {}
    for argument, (path, default) in places.items() if config else ():
        value: Any = config
        for name in path.split("."):
            value = value.get(name, {}) if isinstance(value, Mapping) else {}
        found[argument] = default if value in ({}, None) else value
        if not _is_count(found[argument]):
            raise CheckpointError(f"{file}: {path} = {value!r} must be a positive whole number. Correct it.")
    return found


def read_object(file: Path) -> dict[str, Any]:
    """Content of a JSON file that holds an object; {} if there is no such file.

    Raises:
      CheckpointError: if it holds something else.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: is not valid JSON ({error}). Fetch it again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: has a {type(content).__name__}, not an object. Fetch it again.")
    return content


def _labels(config: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    labels = config.get("id2label")
    if labels is None:
        return ()
    wanted = 'must name every class once by its number, as {"0": "dancing", "1": "diving"}'
    try:
        numbers = {int(key): name for key, name in labels.items()}
    except (AttributeError, ValueError):
        raise CheckpointError(f"{file}: id2label {wanted}. Correct it, or take it out.") from None
    names = tuple(numbers.get(i) for i in range(len(labels)))
    twice = next((name for name in names if names.count(name) > 1), None)
    odd = next((i for i, name in enumerate(names) if not isinstance(name, str)), None)
    if odd is not None or twice is not None:
        what = f"{twice!r} is listed twice" if odd is None else f"class {odd} has no name"
        raise CheckpointError(f"{file}: id2label {wanted}, and {what}. Correct it, or take it out.")
    return () if names == tuple(f"LABEL_{i}" for i in range(len(names))) else names


def _processing(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Fields of `Spec` set by an image or video processor."""
    content = next((content[k] for k in ("video_processor", "image_processor") if k in content), content)
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: does not describe an image or video processor. Fetch it again.")

    def wrong(name: str, wanted: str) -> CheckpointError:
        return CheckpointError(f"{file}: {name} = {content[name]!r}: must be {wanted}. Correct it, or take it out.")

    if content.get("feature_extractor_type") == "ASTFeatureExtractor":
        for name in ("mean", "std"):
            if name in content and (not _is_number(content[name]) or (name == "std" and content[name] <= 0)):
                raise wrong(name, "a number" if name == "mean" else "a positive number")
        normal = {"mean": content.get("mean", -4.2677393), "std": 2 * content.get("std", 4.5689974)}
        return normal if content.get("do_normalize", True) else {"mean": 0.0, "std": 1.0}

    def edges(name: str) -> tuple[int, ...] | None:
        """`(short side,)` or `(height, width)`; None: not given."""
        value = content.get(name)
        if value is None:
            return None
        sides = (value,) if isinstance(value, int) else None
        if isinstance(value, dict):
            sides = (value.get("shortest_edge"),) if "shortest_edge" in value else (
                value.get("height"), value.get("width"))  # fmt: skip
        if sides is None or not all(map(_is_count, sides)):
            raise wrong(name, "a number of pixels, shortest_edge, or height and width")
        return sides

    found: dict[str, Any] = {}
    size, crop = edges("size"), edges("crop_size")
    if size and content.get("do_resize", True):
        found["resize"] = size
    if crop := (crop or size) if content.get("do_center_crop", True) else size:
        if len(set(crop)) > 1:
            name = "crop_size" if content.get("crop_size") else "size"
            raise wrong(name, "a square, as all networks here take")
        found["size"] = crop[0]
    # transformers turns a pixel v in 0…1 into ((scale·v - offset) - mean) / std.
    zero_centred = "Vivit" in str(content.get("image_processor_type", content.get("video_processor_type")))
    offset = 0.0
    factor = content.get("rescale_factor", 1 / 127.5 if zero_centred else 1 / 255)
    if not content.get("do_rescale", True):
        factor = 1.0
    elif not _is_number(factor) or factor <= 0:
        raise wrong("rescale_factor", "a positive number, such as 1/255")
    else:
        offset = float(bool(content.get("offset", content.get("do_zero_centering", zero_centred))))
    scale = round(255 * factor, 9)
    mean, std = [0.0] * 3, [1.0] * 3
    if content.get("do_normalize", True):
        mean, std = content.get("image_mean"), content.get("image_std")
        for name, value in (("image_mean", mean), ("image_std", std)):
            if name in content and (not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value))):
                raise wrong(name, "three numbers, of red, green and blue")
        if std and min(std) <= 0:
            raise wrong("image_std", "three positive numbers")
    if mean and std:
        found["mean"] = tuple((m + offset) / scale for m in mean)
        found["std"] = tuple(s / scale for s in std)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def other_input(
    clip: Mapping[str, Any], video: VideoInput | Spectrogram, names: Sequence[str] = ("mean", "std")
) -> dict[str, Any]:
    """Fields among `names` in which `clip`, such as a `Description`'s, differs from `video`, with the clip's values."""

    def alike(a: Any, b: Any) -> bool:
        if isinstance(a, tuple) and isinstance(b, tuple):
            return len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(a, b, strict=True))
        return math.isclose(a, b, abs_tol=1e-4) if isinstance(a, float) else a == b

    return {name: clip[name] for name in names if name in clip and not alike(clip[name], getattr(video, name))}
