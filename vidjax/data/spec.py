"""What the clips of a run are: the model's published ones, with the settings of the config. Needs no video library."""

import dataclasses

from vidjax.config import DataConfig, Spec


def resolve_spec(spec: Spec, config: DataConfig, input: str = "rgb") -> Spec:
    """`spec` with the clip settings that `config` overrides and what enters the network (`config.model.input`); the
    result is what is stored in checkpoints."""
    names = ("num_frames", "size", "resize", "mean", "std")
    changes = {name: getattr(config, name) for name in names if getattr(config, name)}
    if config.fps:
        changes["fps"] = config.fps
    elif config.stride:
        changes |= {"stride": config.stride, "fps": None}
    if config.size and not config.resize:
        # The published margin between resizing and cropping is kept when only the crop changes.
        changes["resize"] = tuple(round(r * config.size / spec.size) for r in spec.resize)
    return dataclasses.replace(spec, input=input, **changes)
