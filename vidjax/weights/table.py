"""Weight tables: mapping rules, sources made of rules, and the recognition of a checkpoint's source.

A source is one way of naming a network's weights (torchvision's, the VideoMAE repository's, transformers'). Its table
states which keys make which parameter, through which transform. To add one, see README.md in this folder.
"""

import difflib
import fnmatch
import importlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from vidjax.weights.fit import Fit, inflates
from vidjax.weights.layouts import COPY, Transform
from vidjax.weights.patterns import fill, placeholders, regex
from vidjax.weights.read import CheckpointError, SourceError

log = logging.getLogger("vidjax")

# The files with a `SOURCES` table.
TABLES = (
    "actionformer",
    "adatad",
    "audio_resnet",
    "audio_transformer",
    "avslowfast",
    "bmn",
    "c3d",
    "clip",
    "csn",
    "detection",
    "efficientnet",
    "frame_networks",
    "frame_vit",
    "git",
    "image_vit",
    "inception",
    "internvideo2",
    "image_cnn",
    "mbt",
    "mvit",
    "panns",
    "r2plus1d",
    "raft",
    "s3d",
    "slow",
    "slowfast",
    "swin",
    "temporalmaxer",
    "timesformer",
    "torchvision",
    "tridet",
    "vggish",
    "video_language",
    "videomae",
    "videoprism",
    "vivit",
    "vjepa2",
    "x3d",
    "xclip",
)


@dataclass(frozen=True)
class Rule:
    """One line of a table: source keys → parameter path, through a transform.

    `{name}` in a key matches any characters without a dot; the same name means the same characters in all keys and in
    the path. In the path a number may be added to or subtracted from it, and then it matches only digits:
    `Rule("layer{s}.{b}.conv1.weight", "stages.{s-1}.{b}.conv1.kernel", CONV2D)`.

    Args:
      keys: pattern, or a tuple of patterns if several arrays make one parameter, in the transform's order.
      path: path of the parameter: attributes and list indices of the module, joined by dots.
      transform: transform of the arrays.
      fit: adaptation of a result of another shape than the model's, such as another grid of positions; None: another
        shape is an error.
      also: further parameters made from the same keys, each `(path, transform)`. They are set if the model has them
        and the checkpoint has no keys of their own for them.

    Raises:
      ValueError: if a pattern or a path has other placeholders than the first pattern, or cannot be parsed.
    """

    keys: str | tuple[str, ...]
    path: str
    transform: Transform = COPY
    fit: Fit | None = None
    also: tuple[tuple[str, Transform], ...] = ()

    def __post_init__(self):
        names = [{name for name, _ in placeholders(text)} for text in (*self.patterns, *self.paths)]
        if any(n != names[0] for n in names):
            raise ValueError(f"{self}: every pattern and the path must have the same placeholders")
        if any(step for text in self.patterns for _, step in placeholders(text)):
            raise ValueError(f"{self}: arithmetic such as {{s-1}} belongs in the path, not in a key")

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.keys,) if isinstance(self.keys, str) else self.keys

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *(path for path, _ in self.also))

    @cached_property
    def _regexes(self) -> list[re.Pattern]:
        numbers = {name for path in self.paths for name, step in placeholders(path) if step}
        return [regex(pattern, numbers) for pattern in self.patterns]

    def match(self, key: str) -> dict[str, str] | None:
        """Values of the placeholders if any of the patterns matches `key`, else None."""
        for pattern in self._regexes:
            if found := pattern.fullmatch(key):
                return found.groupdict()
        return None

    def fill(self, values: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
        """Return `(keys, path)` with the placeholders filled in."""
        return tuple(fill(pattern, values) for pattern in self.patterns), fill(self.path, values)

    def copies(self, values: Mapping[str, str]) -> tuple[tuple[str, Transform], ...]:
        """Return `also` with the placeholders filled in."""
        return tuple((fill(path, values), transform) for path, transform in self.also)


@dataclass(frozen=True)
class Source:
    """One way of naming a network's weights, such as torchvision's.

    Args:
      name: name of the source in `Spec.sources` and `load_pretrained(source=…)`. Several tables may share a name (a
        framework has several networks) if their models or signatures distinguish them. Where its checkpoints come from
        and under which licence: `vidjax.weights.origins`.
      models: shell-style patterns of the names of the models it serves.
      signature: keys that every checkpoint of this source has; it is recognised by them.
      rules: mapping rules; if several match a key, the first one counts.
      ignore: shell-style patterns of keys that hold no parameter, such as `*.num_batches_tracked`.
      head: path of the classifier in the model, the only part that may be left out if the number of classes differs;
        empty: the network has none.
      heads: paths of further parts with outputs for each class, which are left out with the classifier.
      prefixes: prefixes removed, repeatedly, from each key that has one, before anything is matched.
      absent: keys that no checkpoint of this source has, to distinguish it from sources that have all its keys and
        more.
      fresh: shell-style patterns of the model's parameters that the source's network may lack: if the checkpoint has
        none of their keys, they keep their initial values, and the `LoadReport` and the log name them.
      kept: shell-style patterns of running statistics that belong to training here, and of constants of the source's
        code, which are in no checkpoint of this source: they keep their values, and are not written.
      problem: function from the state dict without prefixes to what is wrong with arrays that the model computes by
        itself, as a clause; empty: nothing. None: there are no such arrays to compare.
      buffers: function from the state dict without prefixes to the arrays other than parameters that the source keeps,
        `{key: array}`, for writing; None: it keeps only the counters of norms that `ignore` names.
      dropped: shell-style patterns of keys with parameters of a larger network that contains the model: they are left
        out, and the `LoadReport` and the log name them.
      kwargs: constructor arguments for this source's network if it differs from the named model; `load_pretrained`
        sets them.
      configured: further constructor arguments, which a folder's `config.json` states, see
        `vidjax.weights.hf_config.configured`.
      read_only: whether a model cannot be written as this source: the source's network is only a part of the model, as
        an image network is of one with adapters, lacks parameters of it that are constant there, or names a layer after
        the preceding one.
      stacked: part of keys before the layers' own names, such as "x_layers", if an array there holds a parameter of
        all layers along its first axis: rules are written for one layer, `x_layers.{i}.…`. Empty: none is.
      conventions: what this source's networks do where sources differ although their arrays have the same shapes,
        see `vidjax.models.base.VideoNetwork.conventions`; a network of another convention does not take its weights.
    """

    name: str
    models: tuple[str, ...]
    signature: tuple[str, ...]
    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    head: str = "head"
    heads: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    configured: Mapping[str, tuple[str, int]] = field(default_factory=dict, hash=False)
    read_only: bool = False
    conventions: Mapping[str, Any] = field(default_factory=dict, hash=False)
    stacked: str = ""
    buffers: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    problem: Callable[[Mapping[str, np.ndarray]], str] | None = None

    def serves(self, model_name: str) -> bool:
        """Whether this source has checkpoints for a model; for small test models only if it lists them by name."""
        if model_name.endswith("_tiny"):
            return model_name in self.models
        return any(fnmatch.fnmatchcase(model_name, pattern) for pattern in self.models)

    def stripped(self, keys: Iterable[str]) -> dict[str, str]:
        """Remove the prefixes from keys; returns `{key without prefixes: key}`.

        Raises:
          CheckpointError: if two keys become the same; it names them.
        """
        out: dict[str, str] = {}
        for key in keys:
            short = key
            while prefix := next((p for p in self.prefixes if short.startswith(p)), ""):
                short = short.removeprefix(prefix)
            if short in out:
                raise CheckpointError(f"source {self.name}: {out[short]} and {key} both map to {short}")
            out[short] = key
        return out

    def unstacked(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """State dict with a key for each layer of the stacked arrays."""
        if not self.stacked:
            return state
        out: dict[str, np.ndarray] = {}
        for key, array in state.items():
            before, found, after = key.partition(f"{self.stacked}.")
            if found and np.ndim(array):
                out |= {f"{before}{found}{index}.{after}": layer for index, layer in enumerate(array)}
            else:
                out[key] = array
        return out

    def restacked(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """State dict as the source's files have it: `unstacked`, backwards."""
        if not self.stacked:
            return dict(state)
        layers: dict[str, dict[int, np.ndarray]] = {}
        for key in state:
            before, found, after = key.partition(f"{self.stacked}.")
            if found:
                index, _, after = after.partition(".")
                layers.setdefault(f"{before}{found}{after}", {})[int(index)] = state[key]
        whole = {key: array for key, array in state.items() if f"{self.stacked}." not in key}
        return whole | {key: np.stack([rows[i] for i in sorted(rows)]) for key, rows in layers.items()}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Reasons why keys are not this source's: missing keys of the signature, and `not KEY` for excluded ones."""
        present = self.stripped(keys)
        lacking = [key for key in self.signature if key not in present]
        return lacking + [f"not {key}" for key in self.absent if key in present]

    @property
    def inflates(self) -> bool:
        """Whether this source has image kernels that can be inflated over time."""
        return any(inflates(rule.fit) for rule in self.rules)

    def differs(self, conventions: Mapping[str, Any]) -> dict[str, Any]:
        """This source's conventions where those of a network, by name, are others."""
        return {key: value for key, value in self.conventions.items() if conventions.get(key, value) != value}

    def of_head(self, path: str) -> bool:
        """Whether a parameter belongs to the classifier, or to another part with outputs for each class."""
        return path.startswith(tuple(f"{head}." for head in (self.head, *self.heads)))

    def keeps(self, path: str) -> bool:
        """Whether a statistic has no place in this source's checkpoints."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.kept)

    def may_lack(self, path: str) -> bool:
        """Whether a parameter may keep its initial values."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.fresh)


@cache
def sources() -> tuple[Source, ...]:
    """All weight tables."""
    return tuple(s for table in TABLES for s in importlib.import_module(f"vidjax.weights.tables.{table}").SOURCES)


def recognise(
    keys: Iterable[str],
    model_name: str,
    source: str | None = None,
    conventions: Mapping[str, Any] | None = None,
    among: Iterable[Source] | None = None,
) -> Source:
    """Find the table for a checkpoint of a model by its keys.

    Args:
      keys: keys of the state dict.
      model_name: name of the model, such as one of `vidjax.list_models()`.
      source: name of the source, if known; overrides the signature if only one table has that name.
      conventions: those of the network, which choose among sources with the same keys, with a warning; None: unknown.
      among: tables to choose from; None: all of `sources()`.

    Raises:
      CheckpointError: if no table fits, or several do; it names the keys missing for each candidate.
      ValueError: if `source` is unknown.
    """
    keys = list(keys)
    candidates = [s for s in (sources() if among is None else among) if s.serves(model_name)]
    if source is not None:
        known = sorted({s.name for s in sources()})
        if source not in known:
            close = difflib.get_close_matches(source, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"there is no source {source!r}.{hint} Known sources: {', '.join(known)}.")
        candidates = [s for s in candidates if s.name == source]
        if len(candidates) == 1:
            return candidates[0]
    if not candidates:
        if why := nobodys(model_name):
            raise CheckpointError(f"{why}, so it takes no other framework's checkpoints.")
        served = sorted({s.name for s in sources() if s.serves(model_name)})
        raise CheckpointError(
            f"no checkpoint of source {source!r} can be read into {model_name}; it takes: {', '.join(served)}."
        )
    lacking = {s: s.missing(keys) for s in candidates}
    fitting = [s for s, missing in lacking.items() if not missing]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(s.name for s in fitting)
        alike = [s for s in fitting if not s.differs(conventions)] if conventions else []
        if len(alike) == 1:
            text = "the keys fit several sources of %s: %s; taken as %s, as the network is built with %s"
            built = ", ".join(f"{key} = {value}" for key, value in alike[0].conventions.items())
            log.warning(text, model_name, names, alike[0].name, built)
            return alike[0]
        raise SourceError(f"the keys fit several sources of {model_name}: {names}. Choose one by source=….")
    lines = [f"the keys fit no source of {model_name}:"]
    lines += [f"  {s.name} lacks {', '.join(missing)}" for s, missing in lacking.items()]
    lines += ["the checkpoint has:", *listed([f"  {key}" for key in keys])]
    raise CheckpointError("\n".join(lines))


def listed(lines: list[str], limit: int = 10) -> list[str]:
    """Shorten a list of lines to `limit`, with a last line for the number left out."""
    return lines if len(lines) <= limit + 1 else [*lines[:limit], f"  … and {len(lines) - limit} more"]


def nobodys(model_name: str) -> str:
    """Reason why no other framework has checkpoints of a model, as a clause; empty if one has."""
    if any(source.serves(model_name) for source in sources()):
        return ""
    if model_name.endswith("_tiny"):
        return f"{model_name} is vidjax's own size; no other framework has it"
    return f"no other framework has {model_name}"
