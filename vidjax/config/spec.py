"""Specs of named networks: their inputs, task and origin."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidjax import inputs as streams
from vidjax.config.choices import PRESETS
from vidjax.config.data_settings import DataConfig
from vidjax.config.pair_settings import with_pairs
from vidjax.config.section import ConfigError
from vidjax.config.sound_settings import with_sound
from vidjax.config.text_settings import need_text
from vidjax.errors import UserError
from vidjax.inputs import (
    CONTENTS,
    DEVICE_FLOWS,
    AudioInput,
    BankInput,
    BoxInput,
    FeatureInput,
    FlowFields,
    Input,
    SequenceInput,
    VideoInput,
)

# `config.model.input` → `VideoInput.enters`; names with flow are contents, too.
ENTERS = {"rgb": "frames", "diff": "differences", "rgb+diff": "both", "flow": "frames", "rgb+flow": "frames"}
# Video fields of specs from versions in which inputs had no names.
_FLAT = ("num_frames", "stride", "fps", "size", "resize", "mean", "std")


@dataclass(frozen=True)
class Spec:
    """Inputs, task and origin of a named network. Stored in every checkpoint.

    The preprocessing of a video is: resize, crop, scale to 0…1, subtract the mean, divide by the deviation.

    Attributes:
      name: name of the network.
      inputs: inputs of the network, by name.
      task: task that it is trained for, a name in `vidjax.tasks.TASKS`.
      num_classes: K, number of classes of the published checkpoints.
      paper: publication that describes the network.
      sources: checkpoint formats that `load_pretrained` reads for it.
      published: accuracy reported elsewhere, with its views and source; never measured here.
    """

    name: str
    inputs: Mapping[str, Input]
    task: str = "classify"
    num_classes: int = 400
    paper: str = ""
    sources: tuple[str, ...] = ()
    published: str = ""

    @classmethod
    def of_video(cls, name: str, num_frames: int, stride: int = 1, **settings: Any) -> "Spec":
        """Make the spec of a network with one input, called "video".

        Args:
          name: name of the network.
          num_frames: T, frames of the clip.
          stride: τ, source frames from one frame of the clip to the next.
          **settings: further fields of `VideoInput` and of `Spec`.
        """
        own = {f.name for f in dataclasses.fields(cls)}
        rest = {key: value for key, value in settings.items() if key in own}
        video = {key: value for key, value in settings.items() if key not in own}
        return cls(name, {"video": VideoInput(num_frames, stride, **video)}, **rest)

    @property
    def video(self) -> VideoInput:
        """The only video among the inputs.

        Raises:
          UserError: if there is no video, or more than one.
        """
        found = [value for value in self.inputs.values() if isinstance(value, VideoInput)]
        if len(found) != 1:
            kinds = ", ".join(f"{name} ({value.kind})" for name, value in self.inputs.items())
            raise UserError(f"{self.name} has {len(found) or 'no'} video inputs where one is needed: it takes {kinds}")
        return found[0]

    @property
    def any_video(self) -> VideoInput | None:
        """The video among the inputs; None: there is none, or more than one."""
        found = [value for value in self.inputs.values() if isinstance(value, VideoInput)]
        return found[0] if len(found) == 1 else None

    def with_video(self, **changes: Any) -> "Spec":
        """Copy of the spec with changed fields of its `VideoInput`."""
        name = next(name for name, value in self.inputs.items() if value is self.video)
        video = dataclasses.replace(self.video, **changes)
        return dataclasses.replace(self, inputs={**self.inputs, name: video})

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"inputs": streams.to_dict(self.inputs), "sources": list(self.sources)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Spec":
        """Restore a spec from the values of `to_dict`, including versions in which inputs had no names.

        Raises:
          ConfigError: if a field is unknown.
        """
        values = dict(values)
        if "inputs" not in values:
            video = {name: values.pop(name) for name in _FLAT if name in values}
            video |= {"kind": "video", "enters": ENTERS[values.pop("input", "rgb")]}
            values |= {"inputs": {"video": video}, "task": values.pop("objective", "classify")}
        if unknown := set(values) - {f.name for f in dataclasses.fields(cls)}:
            raise ConfigError(f"spec of {values.get('name')}: unknown fields {', '.join(sorted(unknown))}")
        return cls(**values | {"inputs": streams.from_dict(values["inputs"]), "sources": tuple(values["sources"])})


def resolve_spec(spec: Spec, config: DataConfig, input: str | None = None) -> Spec:
    """Apply a config's clip settings to a spec; the result is stored in checkpoints.

    Args:
      spec: spec of the network.
      config: data settings, of which `clip`, `features` and those of flow are used.
      input: input of the network as in `config.model.input`; None: the spec's.

    Raises:
      ConfigError: if there are settings of features, boxes, a feature bank, pairs or flow for a network that reads
        none, or of frames for one that only hears or takes pairs.
    """
    if config.clip.boxes:
        spec = _with_boxes(spec, config.clip.boxes)
    if config.clip.bank and not any(isinstance(value, BankInput) for value in spec.inputs.values()):
        raise ConfigError(
            f"config.data.clip.bank = {config.clip.bank!r}: {spec.name} reads no feature bank; leave it out"
        )
    spec = _with_features(spec, config)
    need_text(spec.name, spec.inputs, config.text)
    if (inputs := with_pairs(spec.name, with_sound(spec.name, spec.inputs, config.sound), config)) is not spec.inputs:
        spec = dataclasses.replace(spec, inputs=inputs)
    if not any(isinstance(value, VideoInput) for value in spec.inputs.values()):
        if config.flow:
            raise ConfigError(f"config.data.flow = {config.flow!r}: {spec.name} takes no video; leave it out")
        _need_no_frames(spec, config)
        return spec
    spec = with_input(spec, input, FlowFields(config.flow, config.flow_fields, config.flow_bound))
    if config.flow_weights and not (spec.video.flow and spec.video.flow.on_device):
        raise ConfigError(
            f"config.data.flow_weights = {config.flow_weights!r}: these are weights of a network; set config.data.flow "
            f"to {' or '.join(DEVICE_FLOWS)}, or leave them out"
        )
    _check_flow(spec, config)
    names = ("num_frames", "size", "resize")
    changes: dict[str, Any] = {**_normalisation(spec, config)}
    changes |= {name: getattr(config.clip, name) for name in names if getattr(config.clip, name)}
    if config.clip.fps:
        changes["fps"] = config.clip.fps
    elif config.clip.stride:
        changes |= {"stride": config.clip.stride, "fps": None}
    if config.clip.size and not config.clip.resize:
        # If only the crop changes, the published margin between resizing and cropping is kept.
        changes["resize"] = tuple(round(r * config.clip.size / spec.video.size) for r in spec.video.resize)
    return spec.with_video(**changes)


def _need_no_frames(spec: Spec, config: DataConfig) -> None:
    """Refuse settings of frames for a network that only hears."""
    if not all(isinstance(value, AudioInput) for value in spec.inputs.values()):
        return
    for name in ("num_frames", "stride", "fps", "size", "resize", "mean", "std"):
        if value := getattr(config.clip, name):
            raise ConfigError(
                f"config.data.clip.{name} = {value}: {spec.name} takes no video; leave it out. The length of its sound "
                "is data.sound.seconds"
            )


def with_input(spec: Spec, input: str | None, flow: FlowFields) -> Spec:
    """Copy of a network's spec whose video is what `config.model.input` says.

    Flow that a network was not made for is scaled like the colours of temporal segment networks: mean 0.5, deviation
    the mean of those of its colours, in 0…1 (arXiv 1608.00859 and its PyTorch code, tsn-pytorch).

    Args:
      spec: spec of the network.
      input: a name in `config.choices.INPUTS`; None: the spec's own, also in what enters.
      flow: settings of the fields, of which those that are empty or 0 are the spec's own, or else the defaults.

    Raises:
      ConfigError: if the input needs another content than the network is made for, or there are settings of flow
        without any flow.
    """
    video, own = spec.video, spec.video.flow
    content = input if input in CONTENTS[1:] else video.content
    if own is not None and content != video.content:
        raise ConfigError(f"config.model.input = {input!r}: {spec.name} is made for {video.content}; leave it out")
    changes: dict[str, Any] = {} if input is None else {"enters": ENTERS[input]}
    given = {name: getattr(flow, name) for name in ("method", "count", "bound") if getattr(flow, name)}
    if content == "rgb":
        if given:
            name = {"method": "flow", "count": "flow_fields", "bound": "flow_bound"}[next(iter(given))]
            raise ConfigError(
                f"config.data.{name}: {spec.name} reads no flow; set config.model.input to flow or rgb+flow, or leave "
                "it out"
            )
        return spec.with_video(**changes)
    fields = dataclasses.replace(own or FlowFields(), **given)
    kept = 3 if content == "rgb+flow" else 0
    colours = {"mean": video.mean[:kept], "std": video.std[:kept]}
    if own is None:
        pairs = {"mean": (0.5,) * 2, "std": (sum(video.std) / len(video.std),) * 2}
    else:
        pairs = {name: getattr(video, name)[kept : kept + 2] for name in colours}
    scaled = {name: colours[name] + pairs[name] * fields.count for name in colours}
    return spec.with_video(content=content, flow=fields, **scaled, **changes)


def other_flow(trained: Spec, now: Spec) -> str:
    """Description of the difference if a network reads flow of another kind than it was trained on; empty: it does not.

    Args:
      trained: spec that the network was trained with.
      now: spec by which it is given clips.

    Raises:
      ConfigError: if the numbers of fields differ, which a trained network cannot read.
    """
    old, new = (spec.any_video.flow if spec.any_video else None for spec in (trained, now))
    if old is None or new is None:
        return ""
    if old.count != new.count:
        raise ConfigError(f"config.data.flow_fields = {new.count}: {trained.name} was trained on {old.count}")
    return f"trained on {old.phrase}, now given {new.phrase}" if old != new else ""


def _check_flow(spec: Spec, config: DataConfig) -> None:
    """Refuse settings that cannot be kept with flow, or mean nothing without it.

    Raises:
      ConfigError: names the setting.
    """
    fields, augment, setting, why = spec.video.flow, config.augment, "", ""
    if config.flow_folder and (fields is None or fields.method != "folder"):
        raise ConfigError(
            f"config.data.flow_folder = {config.flow_folder!r}: is for config.data.flow = 'folder'; leave it out"
        )
    if fields is None:
        return
    if config.sampling.reverse:
        setting, why = "sampling.reverse", "the flow of a clip played backwards is not that of its frames"
    elif augment.randaugment_m or augment.augmix_m:
        setting = "augment.randaugment_m" if augment.randaugment_m else "augment.augmix_m"
        why = "moves the picture without its flow"
    elif not spec.video.colours:
        why = "changes colours, and the network reads flow alone"
        named = ("colour_jitter", "hue", "greyscale")
        setting = next((f"augment.{name}" for name in named if getattr(augment, name)), "")
    if setting:
        raise ConfigError(f"config.data.{setting}: {why}; leave it out")


def _normalisation(spec: Spec, config: DataConfig) -> dict[str, tuple[float, ...]]:
    """Configured means and deviations, one for each channel of the spec's video.

    Raises:
      ConfigError: if their number is not that of the colours, of the directions of flow, or of both, as the spec has.
    """
    video, preset = spec.video, PRESETS.get(config.clip.preset, {}).get("clip", {})
    allowed = {"rgb": {3}, "flow": {2}, "rgb+flow": {3, 5}}[video.content]
    found: dict[str, tuple[float, ...]] = {}
    for name in ("mean", "std"):
        values = getattr(config.clip, name)
        if not values or (video.content == "flow" and values == preset.get(name)):  # a preset's are of colours
            continue
        if len(values) not in allowed:
            raise ConfigError(
                f"config.data.clip.{name} = {values}: {spec.name} reads {video.content}; give "
                f"{' or '.join(map(str, sorted(allowed)))} numbers, or ()"
            )
        own = getattr(video, name)
        if video.flow is None:
            found[name] = values
        elif video.content == "flow":
            found[name] = values * video.flow.count
        else:
            found[name] = values[:3] + (values[3:] * video.flow.count or own[3:])
    return found


def _with_boxes(spec: Spec, count: int) -> Spec:
    boxes = {name: value for name, value in spec.inputs.items() if isinstance(value, BoxInput)}
    if not boxes:
        raise ConfigError(f"config.data.clip.boxes = {count}: {spec.name} takes no boxes; leave it out")
    changed = {name: dataclasses.replace(value, count=count) for name, value in boxes.items()}
    return dataclasses.replace(spec, inputs={**spec.inputs, **changed})


def _with_features(spec: Spec, config: DataConfig) -> Spec:
    """Copy of the spec whose input of features has the configured length and width."""
    changes = {name: getattr(config.features, name) for name in ("steps", "width") if getattr(config.features, name)}
    names = [name for name, value in spec.inputs.items() if type(value) in (FeatureInput, SequenceInput)]
    if changes and not names:
        raise ConfigError(
            f"config.data.features.{next(iter(changes))}: applies to networks that read features, which {spec.name} "
            "does not; leave it out"
        )
    if not changes:
        return spec
    return dataclasses.replace(
        spec, inputs={**spec.inputs, **{name: dataclasses.replace(spec.inputs[name], **changes) for name in names}}
    )


def need_colour(spec: Spec) -> None:
    """Refuse a network that takes anything but colour frames, for callers that have these alone.

    Raises:
      UserError: if it takes flow, or another number of channels than 3.
    """
    need_pixels(spec)
    if flow := spec.video.flow:
        raise UserError(
            f"{spec.name} takes {flow.phrase}, which frames of a clip cannot give, as they need not be neighbours in "
            "the file: use vidjax.Predictor, which reads the file"
        )


def need_pixels(spec: Spec) -> None:
    """Refuse a network whose channels are not those of videos.

    Raises:
      UserError: if it takes another number of colours than 3, which is named.
    """
    video = spec.video
    if video.content != "flow" and video.colours != 3:
        raise UserError(
            f"{spec.name} takes {video.colours} channels (data.clip.mean: {video.mean}), but videos have 3: give "
            "data.clip.mean and data.clip.std 3 numbers each, or set content and flow of its VideoInput"
        )
