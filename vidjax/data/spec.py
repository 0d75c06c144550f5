"""What the clips of a run are: the model's published ones, with the settings of the config. Needs no video library."""

import dataclasses

from vidjax.config import DataConfig, Spec
from vidjax.errors import UserError


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


def need_colour(spec: Spec) -> None:
    """Refuse the spec of a network that sees something else than colour.

    Raises:
      UserError: naming the number of channels that it sees.
    """
    if len(spec.mean) != 3:
        raise UserError(
            f"{spec.name} sees {len(spec.mean)} channels (data.mean: {spec.mean}), but videos have 3. One of "
            "optical flow is called from Python, with flow scaled to -1…1; data.mean and data.std have 3 numbers."
        )


def resize_target(spec: Spec) -> int | tuple[int, int]:
    """What frames are resized to before they are cropped: the short side, or (height, width); pixels."""
    return spec.resize[0] if len(spec.resize) == 1 else spec.resize
