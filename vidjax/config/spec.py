"""What a named network expects of its inputs, and where it comes from."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidjax import inputs as streams
from vidjax.config.data_settings import DataConfig
from vidjax.config.section import ConfigError
from vidjax.errors import UserError
from vidjax.inputs import Input, VideoInput

# `config.model.input` → `VideoInput.enters`.
ENTERS = {"rgb": "frames", "diff": "differences", "rgb+diff": "both"}
# Fields of specs that were written before inputs had names.
_FLAT = ("num_frames", "stride", "fps", "size", "resize", "mean", "std")


@dataclass(frozen=True)
class Spec:
    """What a named network expects of its inputs, and where it comes from. Stored in every checkpoint.

    The preprocessing of a video is: resize, crop, scale to 0…1, subtract the mean, divide by the deviation.

    Attributes:
      name: of the network.
      inputs: by name, what enters it.
      task: what it is trained for, a name in `vidjax.tasks.TASKS`.
      num_classes: K of the published checkpoints.
      paper: where the network is described.
      sources: checkpoint formats that `load_pretrained` reads for it.
      published: accuracy reported elsewhere, with its views and its source; never measured here.
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
        """The spec of a network whose one input is called "video".

        Args:
          name: of the network.
          num_frames: T.
          stride: τ, source frames between two of a clip.
          **settings: further fields of `VideoInput` and of `Spec`.
        """
        own = {f.name for f in dataclasses.fields(cls)}
        rest = {key: value for key, value in settings.items() if key in own}
        video = {key: value for key, value in settings.items() if key not in own}
        return cls(name, {"video": VideoInput(num_frames, stride, **video)}, **rest)

    @property
    def video(self) -> VideoInput:
        """The one video among the inputs.

        Raises:
          UserError: if there is none, or more than one.
        """
        found = [value for value in self.inputs.values() if isinstance(value, VideoInput)]
        if len(found) != 1:
            kinds = ", ".join(f"{name} ({value.kind})" for name, value in self.inputs.items())
            raise UserError(f"{self.name} has {len(found) or 'no'} video inputs where one is needed: it takes {kinds}")
        return found[0]

    def with_video(self, **changes: Any) -> "Spec":
        """The same with other fields of `VideoInput`."""
        name = next(name for name, value in self.inputs.items() if value is self.video)
        video = dataclasses.replace(self.video, **changes)
        return dataclasses.replace(self, inputs={**self.inputs, name: video})

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"inputs": streams.to_dict(self.inputs), "sources": list(self.sources)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Spec":
        """From what `to_dict` made, also of versions before inputs had names.

        Raises:
          ConfigError: for a field that is not known.
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
    """`spec` with the clip settings that `config` overrides, as it is stored in checkpoints.

    Args:
      spec: of the network.
      config: its clip settings.
      input: `config.model.input`, what enters the network; None: as the spec has it.
    """
    if not any(isinstance(value, VideoInput) for value in spec.inputs.values()):
        return spec
    names = ("num_frames", "size", "resize", "mean", "std")
    changes = {name: getattr(config.clip, name) for name in names if getattr(config.clip, name)}
    if config.clip.fps:
        changes["fps"] = config.clip.fps
    elif config.clip.stride:
        changes |= {"stride": config.clip.stride, "fps": None}
    if config.clip.size and not config.clip.resize:
        # The published margin between resizing and cropping is kept when only the crop changes.
        changes["resize"] = tuple(round(r * config.clip.size / spec.video.size) for r in spec.video.resize)
    if input is not None:
        changes["enters"] = ENTERS[input]
    return spec.with_video(**changes)


def need_colour(spec: Spec) -> None:
    """Refuse the spec of a network that sees something else than colour.

    Raises:
      UserError: naming the number of channels that it sees.
    """
    video = spec.video
    if video.read_channels != 3:
        raise UserError(
            f"{spec.name} sees {video.read_channels} channels (data.clip.mean: {video.mean}), but videos have 3. One "
            "of optical flow is called from Python, with flow scaled to -1…1; data.clip.mean and data.clip.std have 3 "
            "numbers."
        )
