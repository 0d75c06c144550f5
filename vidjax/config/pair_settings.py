"""The settings under `data.pairs`, and the input of pairs of pictures that they make."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidjax.config.fields import at_least, below_one, between, share
from vidjax.config.section import ConfigError, Section
from vidjax.inputs import Input, PairInput

# Settings of clips, which pairs have none of, and those of augmentation that are for pairs, too.
_OF_CLIPS = ("clip", "sampling", "augment")
_SHARED = {
    "clip": (),
    "sampling": ("views",),
    "augment": ("flip", "colour_jitter", "hue", "jittered", "greyscale"),
}


@dataclass
class PairConfig(Section, path="data.pairs"):
    """Pairs of pictures, for networks that estimate optical flow; all but the size are for training pairs."""

    height: int = at_least(
        0, 0, "Rows of the part of the pictures that is seen; 0: the model's.", unit="pixels", meaning="the model's own"
    )
    width: int = at_least(
        0, 0, "Columns of the part of the pictures that is seen; 0: the model's.", unit="pixels",
        meaning="the model's own",
    )  # fmt: skip
    scale: tuple[float, float] = between(
        (1.0, 1.0), "Bounds of the factor by which pictures are resized before the crop, drawn log-uniformly.", most=100
    )
    stretch: float = below_one(
        0.0, "Largest further factor of the rows, and another of the columns, as a power of 2 up or down; 0: none."
    )
    stretched: float = share(1.0, "Probability that a pair is stretched.")
    resized: float = share(1.0, "Probability that a pair is resized at all.")
    upside_down: float = share(0.0, "Probability that a pair is mirrored top to bottom.")
    apart: float = share(
        0.0, "Probability that data.augment.colour_jitter and hue are drawn for each picture of a pair by itself."
    )
    erase: float = share(0.0, "Probability that one or two boxes of the second picture get its mean colour.")
    erase_side: tuple[int, int] = between((50, 100), "Bounds of the sides of these boxes.", most=10**5, unit="pixels")


def with_pairs(name: str, inputs: Mapping[str, Input], data: Any) -> Mapping[str, Input]:
    """Copy of a network's inputs whose pairs of pictures are as configured.

    Args:
      name: name of the network, for messages.
      inputs: its inputs, by name.
      data: settings of data, a `DataConfig`.

    Raises:
      ConfigError: if there are settings of pairs for a network that takes none, or settings of clips for one that does.
    """
    config, standard = data.pairs, PairConfig()
    pairs = {key: value for key, value in inputs.items() if isinstance(value, PairInput)}
    if not pairs:
        for field in dataclasses.fields(config):
            if (value := getattr(config, field.name)) != getattr(standard, field.name):
                raise ConfigError(f"config.data.pairs.{field.name} = {value!r}: {name} takes no pairs of pictures")
        return inputs
    for section in _OF_CLIPS:
        own = getattr(data, section)
        for field in dataclasses.fields(own):
            value = getattr(own, field.name)
            if field.name not in _SHARED[section] and value != getattr(type(own)(), field.name):
                raise ConfigError(
                    f"config.data.{section}.{field.name} = {value!r}: is for clips, and {name} takes pairs of "
                    "pictures; see config.data.pairs"
                )
    sizes = {side: getattr(config, side) for side in ("height", "width") if getattr(config, side)}
    for side, pixels in sizes.items():
        if pixels % 8:
            raise ConfigError(f"config.data.pairs.{side} = {pixels}: must be a multiple of 8 pixels")
    return {**inputs, **{key: dataclasses.replace(value, **sizes) for key, value in pairs.items()}}
