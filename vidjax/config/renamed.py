"""Names of settings in earlier versions, and their current names.

Stored configs of older runs are read silently under the new names; on the command line and in config files an old name
still works, with one warning that gives the new one.
"""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("vidjax")


def _moved(old: str, new: str, names: str) -> dict[str, str]:
    """Fields of the section `old` that are now in the section `new`, under the same name or, as in `a:b`, another."""
    pairs = (name.partition(":") for name in names.split())
    return {f"{old}.{name}": f"{new}.{renamed or name}" for name, _, renamed in pairs}


# Old dotted name → current one.
RENAMED: dict[str, str] = {
    **_moved("data", "data.clip", "num_frames stride fps size resize resize_rule mean std preset"),
    **_moved("data", "data.sampling", "train_sampling:train eval_sampling:eval train_views:views"),
    **_moved("data", "data.sampling", "hop short_video speed temporal_jitter reverse"),
    **_moved("data", "data.augment", "train_crop:crop scale short_side crop_area crop_aspect crop_scales crop_gap"),
    **_moved("data", "data.augment", "crop_positions flip colour_jitter hue jittered greyscale"),
    **_moved("data", "data.augment", "randaugment_m randaugment_n randaugment_mstd randaugment_inc"),
    **_moved("data", "data.augment", "augmix_m augmix_width augmix_depth augmix_alpha"),
    **_moved("data", "data.augment", "erase erase_mode erase_area erase_aspect"),
    **_moved("data", "data.reading", "num_workers num_threads prefetch timeout isolate"),
    **_moved("data", "task.classify", "balance flip_pairs"),
    **_moved("train", "task", "objective:name"),
    **_moved("train", "task.classify", "label_smoothing mixup cutmix mix_probability cutmix_share mix_per_clip"),
}
_said: set[str] = set()


def todays_name(name: str) -> str:
    """Current name of the setting `name`; an old name logs a warning, once each."""
    new = RENAMED.get(name)
    if new is None:
        return name
    if name not in _said:
        _said.add(name)
        logger.warning("config.%s is now called config.%s; the old name will be removed", name, new)
    return new


def with_todays_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a stored config, as nested dictionaries, to current names and values of settings."""
    values = _copy(values)
    for old, new in RENAMED.items():
        section, _, leaf = old.rpartition(".")
        owner = values.get(section)
        if isinstance(owner, dict) and leaf in owner:
            value = owner.pop(leaf)
            *sections, leaf = new.split(".")
            owner = values
            for name in sections:
                owner = owner.setdefault(name, {})
            owner.setdefault(leaf, value)
    return values


def todays_value(value: Any, name: str) -> Any:
    """Convert a stored value of the setting `name` to its current form."""
    if name == "model.remat" and isinstance(value, bool):
        return "full" if value else ""
    return value


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copy(value) if isinstance(value, Mapping) else value for name, value in values.items()}
