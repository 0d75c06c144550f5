"""Identity of an evaluation: its checkpoint, views and videos, without which its figures mean nothing.

The identity is stored in `eval.json` beside the figures, decides the folder an evaluation is written to, and shows
which evaluations must not be compared.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidjax.config import Config, DataConfig, Spec, evaluated_names, field_names, setting
from vidjax.config.choices import WHOLE_VIDEO_RULES
from vidjax.data.fingerprint import fingerprint
from vidjax.data.records import VideoSet

BEST, LAST, EARLIER = "best", "last", "earlier"

# Settings of `data` and `eval` that change no figure of an evaluation: those of reading speed and of training.
_UNFELT = (
    "data.reading.", "data.augment.", "data.synthetic", "data.mixture", "data.train_share", "data.sampling.train",
    "data.sampling.views", "data.sampling.speed", "data.sampling.temporal_jitter", "data.sampling.reverse",
    "eval.batch_size", "eval.every",
)  # fmt: skip
_VIEWS = ("eval.num_clips", "eval.num_crops")
_SOURCES = ("data.eval", "data.train", "data.dataset", "data.root")
_SHORT = {"data.sampling.eval": "eval_sampling"}  # names for folders, if the last part alone is unclear
_LONGEST = 120  # characters of a folder's name


def identity(config: Config, spec: Spec, videos: VideoSet, *, step: int, checkpoint: str) -> dict[str, Any]:
    """Describe an evaluation as in `eval.json`, apart from its figures, ready for JSON.

    Args:
      config: config of the evaluation.
      spec: spec of the evaluated clips.
      videos: evaluated videos.
      step: update after which the checkpoint was written.
      checkpoint: kind of checkpoint: BEST by `config.train.best_metric`, the LAST one or an EARLIER one.

    Returns:
      `model`, its name; `step`; `checkpoint`; `best_metric`; `views`: `{"num_clips", "num_crops", "sampling"}`, where
      the number of clips is None if each video has as many as it needs; `spec`, of a clip: `{"num_frames", "size"}`;
      `data`: `{"name", "source", "num_videos", "fingerprint"}`, of all videos, readable or not; `settings` of the task
      on which the figures depend, if they are not at their defaults.
    """
    rule = "key_frame" if any(record.moment is not None for record in videos.records) else config.data.sampling.eval
    clips = None if rule in WHOLE_VIDEO_RULES else config.eval.num_clips
    joined = {} if config.eval.ensemble == "mean" else {"ensemble": config.eval.ensemble}
    settings = {name: setting(config, name) for name in evaluated_names()}
    changed = {name: value for name, value in settings.items() if value != setting(Config(), name)}
    return {
        "model": config.model.name,
        "step": step,
        "checkpoint": checkpoint,
        "best_metric": config.train.best_metric,
        "views": {"num_clips": clips, "num_crops": config.eval.num_crops, "sampling": rule} | joined,
        "spec": {key: fact for value in spec.inputs.values() for key, fact in value.facts.items()},
        "data": {
            "name": _data_words(config.data, _name),
            "source": source(config.data),
            "num_videos": len(videos),
            "fingerprint": fingerprint(videos),
        },
        **({"settings": changed} if changed else {}),
    }


def source(data: DataConfig) -> str:
    """Source of the evaluation videos of `data`, as named in the settings."""
    return _data_words(data, str)


def caption(found: Mapping[str, Any]) -> str:
    """Describe an evaluation in one line: `update 24, the best by video/top1; 3 clips × 1 crop; val.csv`.

    Args:
      found: contents of an `eval.json`; the line is empty if an older version wrote it without an identity.
    """
    if "views" not in found:
        return ""
    step = f"update {found['step']}" if found["step"] else "as converted"
    standing = {BEST: f", the best by {found['best_metric']}", LAST: ", the last"}.get(found["checkpoint"], "")
    return f"{step}{standing if found['step'] else ''}; {views(found['views'])}; {found['data']['name']}"


def views(numbers: Mapping[str, Any]) -> str:
    """Describe the views of a video in words: `10 clips × 3 crops`."""
    clips, crops = numbers["num_clips"], numbers["num_crops"]
    taken = _count(clips, "clip") if clips is not None else f"as many clips as {numbers['sampling']} takes"
    joined = f", {numbers['ensemble']} of the views" if "ensemble" in numbers else ""
    return f"{taken} × {_count(crops, 'crop')}{joined}"


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether the identity in an `eval.json` equals one from `identity`."""
    return all(found.get(key) == value for key, value in json.loads(json.dumps(expected)).items())


def folder_name(own: Config, other: Config, step: int | None) -> str:
    """Folder name for an evaluation beside a run's own result: `eval_step24_10x3_val2`; empty: it is that result.

    Args:
      own: config of the run.
      other: config of the evaluation.
      step: step of the checkpoint; None: the best.
    """
    a, b = _felt(own), _felt(other)
    changed = [name for name in b if name in a and a[name] != b[name]]
    parts = [] if step is None else [f"step{step}"]
    data = other.data
    if set(_VIEWS) & set(changed):
        parts.append("x".join(str(b[name]) for name in _VIEWS))
    if set(_SOURCES) & set(changed):
        parts.append(_value(data.eval or data.train))
    rest = [n for n in changed if n not in (*_VIEWS, *_SOURCES)]
    parts += [f"{_SHORT.get(n) or n.rpartition('.')[2]}-{_value(b[n])}" for n in rest]
    name = "_".join(["eval", *(re.sub(r"[^\w.+-]+", "-", part).strip("-") for part in parts)])
    return name[:_LONGEST] if parts else ""


def beside(folder: Path, name: str, data: str) -> Path:
    """Folder `name` in `folder`, with a number appended if it already has an evaluation of other data.

    Args:
      folder: folder of the run.
      name: folder name from `folder_name`; empty: `folder` itself.
      data: source of the videos, from `source`.
    """
    if not name:
        return folder
    number = 1
    while True:
        candidate = folder / (name if number == 1 else f"{name}-{number}")
        if (read(candidate) or {"data": {"source": data}}).get("data", {}).get("source") == data:
            return candidate
        number += 1


def read(folder: Path) -> dict[str, Any] | None:
    """Read the `eval.json` of a folder; None: it is absent or incomplete."""
    try:
        return json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def differences(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Describe how evaluations differ, one line each for checkpoint, views and data; unidentified ones are skipped.

    Args:
      evaluations: contents of each `eval.json`, by name.
    """
    told = {name: found for name, found in evaluations.items() if "views" in found}
    lines = []
    for what, say, key in (
        ("checkpoints", _standing, lambda found: found["checkpoint"]),
        ("views", lambda found: views(found["views"]), lambda found: json.dumps(found["views"], sort_keys=True)),
        ("videos", _videos, lambda found: found["data"]["fingerprint"]),
    ):
        groups = defaultdict(list)
        for name, found in told.items():
            groups[key(found)].append(name)
        if len(groups) > 1:
            each = (f"{say(told[names[0]])} ({_few(names)})" for names in groups.values())
            lines.append(f"evaluated with different {what}: {'; '.join(each)}")
    return lines


def _standing(found: Mapping[str, Any]) -> str:
    return {BEST: "the best", LAST: "the last"}.get(found["checkpoint"], f"that of update {found['step']}")


def _videos(found: Mapping[str, Any]) -> str:
    return f"{found['data']['num_videos']} of {found['data']['name']}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", … {len(names)} in all" if len(names) > 3 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _felt(config: Config) -> dict[str, Any]:
    """Settings, by name, on which an evaluation depends."""
    data = config.data
    names = [name for name in field_names(Config) if name.startswith(("data.", "eval."))] + evaluated_names()
    values = {name: setting(config, name) for name in ("seed", "model.compute_dtype", *names)}
    # Explicit evaluation videos are not held out of the training videos.
    given = {"seed", "data.train", "data.eval_share"} if data.eval and not data.dataset else set()
    return {name: value for name, value in values.items() if name not in given and not name.startswith(_UNFELT)}


def _data_words(data: DataConfig, shorten: Callable[[str], str]) -> str:
    named = shorten(data.eval) if data.eval else f"evaluation part of {shorten(data.train)}"
    return f"{data.dataset}: {named}" if data.dataset else named


def _name(source: str) -> str:
    """Last part of each of several paths."""
    return ", ".join(part.strip().rstrip("/").rpartition("/")[2] for part in source.split(","))


def _value(value: Any) -> str:
    """Setting as part of a folder's name; a path becomes its file name without suffix."""
    if isinstance(value, list | tuple):
        return "x".join(map(_value, value))
    return re.sub(r"\.(csv|jsonl?|txt|parquet)\b", "", _name(value)) if isinstance(value, str) else f"{value}"
