"""The settings under `data.sound`, and the input of sound that they make."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidjax.config.fields import at_least, choice, share
from vidjax.config.section import ConfigError, Section
from vidjax.inputs import AudioInput, Input
from vidjax.spectrograms import SPECTROGRAMS, spectrogram

SAMPLING = {"train": "random", "eval": "multi_clip", "temporal_jitter": False}  # rules that clips of sound alone have


@dataclass
class SoundConfig(Section, path="data.sound"):
    """Sound of the clips, for networks that hear; all but the first two settings are for training clips."""

    seconds: float = at_least(
        0, 0.0, "Length of a clip's sound; 0: the model's.", unit="seconds", meaning="the model's own"
    )
    preset: str = choice(
        "",
        *SPECTROGRAMS,
        help="Spectrogram, with as many values per spectrum as the model's; empty: the model's.",
    )
    drop: float = share(
        0.0,
        "Share of training clips whose sound is dropped, as if the video had none. Where only some classes have sound, "
        "this keeps a network from telling them by that alone.",
    )
    gain: float = at_least(0, 0.0, "Largest change of loudness, up or down, drawn evenly; 0: none.", unit="decibels")
    shift: float = at_least(
        0, 0.0, "Largest shift of the sound against the pictures, to either side, drawn evenly; 0: none.",
        unit="seconds",
    )  # fmt: skip
    time_masks: int = at_least(0, 0, "Stretches of a spectrogram that are masked, as in SpecAugment; 0: none.")
    time_mask: int = at_least(0, 0, "Longest masked stretch; lengths are drawn evenly.", unit="spectra")
    frequency_masks: int = at_least(0, 0, "Ranges of bands that are masked; 0: none.")
    frequency_mask: int = at_least(0, 0, "Widest masked range; widths are drawn evenly.", unit="bands")


def with_sound(name: str, inputs: Mapping[str, Input], config: SoundConfig) -> Mapping[str, Input]:
    """Copy of a network's inputs whose sound is as configured.

    Of a network with a fixed number of spectra, another length changes this number in proportion.

    Args:
      name: name of the network, for messages.
      inputs: its inputs, by name.
      config: settings of sound.

    Raises:
      ConfigError: if there are settings of sound for a network that does not hear, the spectrogram has other values
        than the network's, or masks have a number but no size, or a size but no number.
    """
    standard, heard = SoundConfig(), {key: value for key, value in inputs.items() if isinstance(value, AudioInput)}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(standard, field.name) and not heard:
            raise ConfigError(f"config.data.sound.{field.name} = {value!r}: {name} takes no sound; leave it out")
    for kind in ("time", "frequency"):
        if bool(getattr(config, f"{kind}_masks")) != bool(getattr(config, f"{kind}_mask")):
            raise ConfigError(
                f"config.data.sound.{kind}_masks and {kind}_mask: give both, the number and the size of masks, or none"
            )
    if not heard:
        return inputs
    return {**inputs, **{key: _changed(name, value, config) for key, value in heard.items()}}


def _changed(name: str, value: AudioInput, config: SoundConfig) -> AudioInput:
    preset, seconds = config.preset or value.preset, config.seconds or value.seconds
    own, wanted = value.spectrogram, spectrogram(preset)
    if own.values != wanted.values:
        raise ConfigError(
            f"config.data.sound.preset = {preset!r}: has {wanted.values} values per spectrum, {name} takes {own.values}"
        )
    frames = value.frames
    if frames and seconds != value.seconds:
        frames = max(1, round(frames * seconds / value.seconds))
    changes: dict[str, Any] = {} if preset == value.preset else {"mean": None, "std": None}
    return dataclasses.replace(value, preset=preset, seconds=seconds, frames=frames, **changes)
