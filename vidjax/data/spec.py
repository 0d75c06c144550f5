"""What the clips of a run are: the model's published ones, with the settings of the config. Needs no video library."""

import dataclasses

from vidjax.config import DataConfig, Spec
from vidjax.errors import UserError


def resolve_spec(spec: Spec, config: DataConfig, input: str = "rgb") -> Spec:
    """`spec` with the clip settings that `config` overrides and what enters the network (`config.model.input`); the
    result is what is stored in checkpoints."""
    clip, names = config.clip, ("num_frames", "size", "resize", "mean", "std")
    changes = {name: getattr(clip, name) for name in names if getattr(clip, name)}
    if clip.fps:
        changes["fps"] = clip.fps
    elif clip.stride:
        changes |= {"stride": clip.stride, "fps": None}
    if clip.size and not clip.resize:
        # The published margin between resizing and cropping is kept when only the crop changes.
        changes["resize"] = tuple(round(r * clip.size / spec.size) for r in spec.resize)
    return dataclasses.replace(spec, input=input, **changes)


def need_colour(spec: Spec) -> None:
    """Refuse the spec of a network that sees something else than colour.

    Raises:
      UserError: naming the number of channels that it sees.
    """
    if len(spec.mean) != 3:
        raise UserError(
            f"{spec.name} sees {len(spec.mean)} channels (data.clip.mean: {spec.mean}), but videos have 3. "
            "One of optical flow is called from Python, with flow scaled to -1…1; data.clip.mean and data.clip.std "
            "have 3 numbers."
        )


def resize_target(spec: Spec) -> int | tuple[int, int]:
    """What frames are resized to before they are cropped: the short side, or (height, width); pixels."""
    return spec.resize[0] if len(spec.resize) == 1 else spec.resize
