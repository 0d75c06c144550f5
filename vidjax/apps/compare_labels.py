"""Short labels of runs in a comparison: the model, and the settings that distinguish the run from the others."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from vidjax import config as cfg
from vidjax.config.renamed import todays_name
from vidjax.errors import UserError

_SECTIONS = re.compile(
    r"^(model(\.kwargs)?|data(\.clip|\.augment|\.reading|\.sampling(?!\.(train|eval)$))?|train|optimizer|"
    r"task(\.classify)?)\."
)
_EVALUATED = "evaluation."  # prefix of names that are not settings of the training
_CLIP = ("data.clip.num_frames", "data.clip.size")
# Settings with a wording of their own, or implied by such settings.
_IN_WORDS = frozenset(("model.name", "model.input", "model.init_from", "model.probe", "data.clip.resize", *_CLIP,
                       "evaluation.num_frames", "evaluation.size"))  # fmt: skip


class Labelled(Protocol):
    """A group of runs with the same settings: these by dotted name, and its label."""

    settings: dict[str, Any]
    label: str


def label(groups: Sequence[Labelled], show: Sequence[str] | None) -> None:
    """Label each group by its model and the settings in which it differs from the others, or those to show.

    Settings that are empty or left to the model are omitted.

    Args:
      groups: groups of runs; their labels are set.
      show: settings to name; None: all that differ.

    Raises:
      UserError: if `show` has a name that is not a setting of any run.
    """
    names = dict.fromkeys(name for group in groups for name in group.settings)
    told = [n for n in names if len({json.dumps(group.settings.get(n)) for group in groups}) > 1]
    if show is not None:
        show = [todays_name(name) for name in show]
        told = [*show, *(name for name in told if name.startswith(_EVALUATED))]
        for name in show:
            if name not in names:
                raise UserError(f"--show {name}: not a setting of these runs; such as train.epochs or model.input")
    shared = Counter(_SECTIONS.sub("", name) for name in told)
    standard = dict(flat(cfg.to_dict(cfg.Config())))
    for group in groups:
        settings = {name: group.settings[name] for name in told if name in group.settings}
        said = {name: value for name, value in settings.items() if not _empty(value, standard.get(name))}
        rest = (_told(name, value, shared) for name, value in said.items() if name not in _IN_WORDS)
        group.label = ", ".join([_model(group.settings["model.name"], said), *_clip(group.settings, said), *rest])


def _model(name: str, said: Mapping[str, Any]) -> str:
    """The network, its input and its initial weights: `linear probe of videomae_base on diff from k400`."""
    probe, entering, start = (said.get(f"model.{field}") for field in ("probe", "input", "init_from"))
    words = f"{probe} probe of {name}" if probe else name
    words += f" on {entering}" if entering and entering != "rgb" else ""
    return words + (f" from {_source(start)}" if start else "")


def _source(start: str) -> str:
    """Name of a file or folder, without the parts that all of its kind share."""
    return re.sub(r"\.(pth|pt|th|safetensors|ckpt)$", "", start.rstrip("/").rpartition("/")[2])


def _clip(settings: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """Frames and size of the clip, `4×56²`, if they differ from the model's own."""
    if not any(name in said for name in _CLIP):
        return []
    frames, size = (settings.get(f"evaluation.{n}") or settings[f"data.clip.{n}"] for n in ("num_frames", "size"))
    return [f"{frames}×{size}²" if frames and size else f"{frames} frames" if frames else f"{size}²"]


def _empty(value: Any, standard: Any) -> bool:
    """Whether a setting is without content: "", (), or a 0 or -1 that means off or the model's own."""
    return value in ("", [], {}, None) or (value == standard and value in (0, -1, False))


def _told(name: str, value: Any, shared: Counter) -> str:
    short = _SECTIONS.sub("", name)
    short = name if shared[short] > 1 else short
    if name.startswith(_EVALUATED):
        return _evaluated(name.removeprefix(_EVALUATED), value)
    if name == "optimizer.name":
        return str(value)
    if isinstance(value, list):
        value = ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return short if value is True else f"{short}={value:g}" if isinstance(value, float) else f"{short}={value}"


def _evaluated(what: str, value: Any) -> str:
    if what == "data":
        return str(value).rpartition(" ")[0]
    if what in ("views", "checkpoint"):
        return f"{value} {what}"
    return value if isinstance(value, str) else f"{what}={value:g}"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested dictionaries of settings into pairs of dotted name and value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
