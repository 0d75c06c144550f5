"""Weight mapping is data: per source a table of `Rule`s, and one engine that applies it and names what is off.

A source is one way of naming a network's weights (torchvision's, the VideoMAE repository's, transformers'). Its table
says which source keys make which parameter, and how the array is turned. To add one, see README.md in this folder.
"""

import difflib
import fnmatch
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from vidjax.models.inputs import fit_differences
from vidjax.nn.positions import Grid
from vidjax.weights.fit import Conversion, Fit, by, check_inflation, inflates
from vidjax.weights.patterns import fill, placeholders, regex
from vidjax.weights.read import CheckpointError

# The files that hold a `SOURCES` table.
TABLES = (
    "c3d",
    "csn",
    "frames",
    "image_vit",
    "inception",
    "inflate",
    "mvit",
    "r2plus1d",
    "s3d",
    "slow",
    "slowfast",
    "swin",
    "timesformer",
    "torchvision",
    "videomae",
    "vivit",
    "vjepa2",
    "x3d",
)


@dataclass(frozen=True)
class Transform:
    """How source arrays become a parameter, and back.

    `forward(*arrays)` takes as many arrays as the rule has keys and gives the parameter; `inverse(array)` gives them
    back as a tuple. Both raise ValueError for arrays that they cannot take.
    """

    name: str
    forward: Callable[..., np.ndarray]
    inverse: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def _permuted(name: str, order: tuple[int, ...]) -> Transform:
    back = tuple(int(i) for i in np.argsort(order))
    return Transform(name, lambda x: np.transpose(x, order), lambda x: (np.transpose(x, back),))


def joined(parts: int, then: Transform) -> Transform:
    """`parts` equally shaped arrays, joined along their first axis (outputs), then turned by `then`."""

    def forward(*arrays: np.ndarray) -> np.ndarray:
        if len({a.shape for a in arrays}) != 1:
            raise ValueError(f"the arrays to join must have one shape, not {', '.join(_dims(a.shape) for a in arrays)}")
        return then.forward(np.concatenate(arrays))

    return Transform(f"{parts} joined, {then.name}", forward, lambda x: tuple(np.split(then.inverse(x)[0], parts)))


COPY = Transform("copy", lambda x: x, lambda x: (x,))
LINEAR = _permuted("O·I → I·O", (1, 0))
CONV3D = _permuted("O·I·T·H·W → T·H·W·I·O", (2, 3, 4, 1, 0))
# A 2D kernel as a 3D one of temporal extent 1.
CONV2D = Transform(
    "O·I·H·W → 1·H·W·I·O", lambda x: np.transpose(x, (2, 3, 1, 0))[None], lambda x: (np.transpose(x[0], (3, 2, 0, 1)),)
)
# A convolution of one pixel and frame as a dense layer.
POINTWISE = Transform(
    "O·I·1·1·1 → I·O", lambda x: np.squeeze(x, (2, 3, 4)).T, lambda x: (np.expand_dims(x.T, (2, 3, 4)),)
)
QKV_LINEAR = joined(3, LINEAR)  # query, key, value (D, D) each → (D, 3·D)
QKV_BIAS = joined(3, COPY)  # query, key, value (D,) each → (3·D,)


@dataclass(frozen=True)
class Rule:
    """One line of a table: source keys → parameter path, through a transform.

    `{name}` in a key stands for any characters without a dot; the same name means the same characters in all keys and
    in the path. There it may come with a number added or taken away, and then stands for digits only:
    `Rule("layer{s}.{b}.conv1.weight", "stages.{s-1}.{b}.conv1.kernel", CONV2D)`.

    Args:
      keys: pattern, or a tuple of patterns where several arrays make one parameter, in the transform's order.
      path: of the parameter: attributes and list indices of the module, joined by dots.
      transform: of the arrays.
      fit: what makes the result the model's shape where it has another one, such as another grid of positions; None:
        another shape is an error.
      also: further parameters that the same keys make, `(path, transform)` each. They are set where the model has them
        and no key of the checkpoint is theirs.

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
        """What the placeholders stand for if any of the patterns gives `key`."""
        for pattern in self._regexes:
            if found := pattern.fullmatch(key):
                return found.groupdict()
        return None

    def fill(self, values: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
        """`(keys, path)` with the placeholders filled in."""
        return tuple(fill(pattern, values) for pattern in self.patterns), fill(self.path, values)

    def copies(self, values: Mapping[str, str]) -> tuple[tuple[str, Transform], ...]:
        """`also` with the placeholders filled in."""
        return tuple((fill(path, values), transform) for path, transform in self.also)


@dataclass(frozen=True)
class Source:
    """One way of naming weights.

    Args:
      name: as in `Spec.sources` and `load_pretrained(source=…)`. Several tables may share a name (a framework has
        several networks), as long as their models or signatures tell them apart.
      models: shell-style patterns of the names of the models it serves.
      signature: keys that a checkpoint of this source must have; what it is recognised by.
      rules: the table; of several rules that match a key the first one counts.
      ignore: shell-style patterns of keys that hold no parameter, such as `*.num_batches_tracked`.
      head: path of the classifier in the model, the one part that may be left out when the number of classes differs;
        empty: the network has none.
      prefixes: taken off the front of each key that has one (again and again) before anything is matched.
      absent: keys that such a checkpoint does not have: they tell it from one whose keys include its own.
      fresh: shell-style patterns of the model's parameters that the source's network may lack: where the checkpoint has
        none of their keys they keep their initial values, and the `LoadReport` and the log name them.
      buffers: of the state dict without prefixes, what the source keeps besides parameters (`{key: array}`); None:
        nothing but the counters of norms that `ignore` names. For writing.
      dropped: shell-style patterns of keys that hold parameters of a network of which the model is a part: they are
        left out, and the `LoadReport` and the log name them.
      kwargs: arguments with which the model's constructor builds this source's network, where that differs from the
        named model's own; `load_pretrained` sets them.
    """

    name: str
    models: tuple[str, ...]
    signature: tuple[str, ...]
    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    head: str = "head"
    prefixes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    buffers: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None

    def serves(self, model_name: str) -> bool:
        """Whether there are checkpoints of it for this model; of small networks only if it is named."""
        if model_name.endswith("_tiny"):
            return model_name in self.models
        return any(fnmatch.fnmatchcase(model_name, pattern) for pattern in self.models)

    def stripped(self, keys: Iterable[str]) -> dict[str, str]:
        """`{key without prefixes: key}`.

        Raises:
          CheckpointError: if two keys become the same, naming them.
        """
        out: dict[str, str] = {}
        for key in keys:
            short = key
            while prefix := next((p for p in self.prefixes if short.startswith(p)), ""):
                short = short.removeprefix(prefix)
            if short in out:
                raise CheckpointError(f"source {self.name}: {out[short]} and {key} both stand for {short}")
            out[short] = key
        return out

    def missing(self, keys: Iterable[str]) -> list[str]:
        """What keeps the keys from being this source's: those of the signature that lack, and `not KEY` for others."""
        present = self.stripped(keys)
        lacking = [key for key in self.signature if key not in present]
        return lacking + [f"not {key}" for key in self.absent if key in present]

    @property
    def inflates(self) -> bool:
        """Whether kernels of images may be given a temporal extent."""
        return any(inflates(rule.fit) for rule in self.rules)

    def may_lack(self, path: str) -> bool:
        """Whether the parameter may keep its initial values."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.fresh)


@cache
def sources() -> tuple[Source, ...]:
    """Every table there is."""
    return tuple(s for table in TABLES for s in importlib.import_module(f"vidjax.weights.{table}").SOURCES)


def recognise(keys: Iterable[str], model_name: str, source: str | None = None) -> Source:
    """The table that a checkpoint of the model `model_name` with these keys is to be read by.

    Args:
      keys: of the state dict.
      model_name: one of `vidjax.list_models()`.
      source: name of the source, where it is known; overrides the signature where only one table has that name.

    Raises:
      CheckpointError: if no table or more than one fits, saying of each candidate which keys it lacks.
      ValueError: for an unknown `source`.
    """
    keys = list(keys)
    candidates = [s for s in sources() if s.serves(model_name)]
    if source is not None:
        known = sorted({s.name for s in sources()})
        if source not in known:
            close = difflib.get_close_matches(source, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"there is no source {source!r}.{hint} Known are: {', '.join(known)}.")
        candidates = [s for s in candidates if s.name == source]
        if len(candidates) == 1:
            return candidates[0]
    if not candidates:
        served = sorted({s.name for s in sources() if s.serves(model_name)})
        what = f"source {source!r}" if source else "any source"
        raise CheckpointError(
            f"no checkpoint of {what} can be read into {model_name}; it takes: {', '.join(served) or 'none'}."
        )
    lacking = {s: s.missing(keys) for s in candidates}
    fitting = [s for s, missing in lacking.items() if not missing]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(s.name for s in fitting)
        raise CheckpointError(f"the keys fit several sources of {model_name}: {names}. Choose one by source=….")
    lines = [f"the keys fit no source of {model_name}:"]
    lines += [f"  {s.name} lacks {', '.join(missing)}" for s, missing in lacking.items()]
    lines += ["the checkpoint has:", *_listed([f"  {key}" for key in keys], limit=12)]
    others = sorted({p for s in sources() if not s.missing(keys) for p in s.models})
    if others:
        lines.append(f"These are keys of another model: {', '.join(others)}.")
    raise CheckpointError("\n".join(lines))


@dataclass(frozen=True)
class _Plan:
    """What a table makes of the keys at hand. Keys are the checkpoint's own, prefixes included."""

    params: dict[str, tuple[Rule, tuple[str, ...]]]  # path → the rule and the keys that make it
    copies: dict[str, tuple[Rule, tuple[str, ...]]]  # the same of what a rule makes besides, where nothing else does
    unmatched: list[str]  # keys that no rule takes
    problems: list[str]  # parameters of which a part is missing, or that several rules make
    dropped: list[str]  # keys that the table leaves out


def _plan(keys: Iterable[str], source: Source) -> _Plan:
    originals = source.stripped(keys)
    plan = _Plan({}, {}, [], [], [])
    groups: dict[tuple[Rule, tuple[str, ...], str], tuple[tuple[str, Transform], ...]] = {}
    for short, key in originals.items():
        if any(fnmatch.fnmatchcase(short, pattern) for pattern in source.ignore):
            continue
        if any(fnmatch.fnmatchcase(short, pattern) for pattern in source.dropped):
            plan.dropped.append(key)
            continue
        for rule in source.rules:
            values = rule.match(short)
            if values is not None:
                groups[(rule, *rule.fill(values))] = rule.copies(values)
                break
        else:
            plan.unmatched.append(key)
    for (rule, needed, path), copies in groups.items():
        absent = [key for key in needed if key not in originals]
        if absent:
            there = ", ".join(originals[key] for key in needed if key in originals)
            plan.problems.append(f"{path}: {there} came without {', '.join(absent)}")
        elif path in plan.params:
            twice = ", ".join((*plan.params[path][1], *(originals[key] for key in needed)))
            plan.problems.append(f"{path}: several keys make it: {twice}")
        else:
            plan.params[path] = (rule, tuple(originals[key] for key in needed))
            for other, transform in copies:
                made_by = rule if transform == rule.transform else replace(rule, transform=transform)
                plan.copies[other] = (made_by, plan.params[path][1])
    for path in plan.copies.keys() & plan.params.keys():
        del plan.copies[path]
    return plan


def head_classes(state_dict: Mapping[str, np.ndarray], source: Source) -> int | None:
    """K, outputs of the checkpoint's classifier; None if it has none and the source may lack it.

    Raises:
      CheckpointError: if the checkpoint has no classifier and should.
    """
    if not source.head:
        return None
    plan = _plan(state_dict, source)
    for leaf in ("bias", "kernel"):
        if found := plan.params.get(f"{source.head}.{leaf}"):
            rule, keys = found
            return rule.transform.forward(*(state_dict[key] for key in keys)).shape[-1]
    if source.may_lack(f"{source.head}.kernel"):
        return None
    wanted = ", ".join(p for r in source.rules if r.path.startswith(f"{source.head}.") for p in r.patterns)
    raise CheckpointError(f"the checkpoint has no classifier (source {source.name} looks for {wanted})")


def convert(
    state_dict: Mapping[str, np.ndarray],
    source: Source,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    allow_head_mismatch: bool = False,
) -> dict[str, np.ndarray]:
    """The arrays of `conversion`."""
    return conversion(state_dict, source, shapes, allow_head_mismatch=allow_head_mismatch).arrays


def conversion(
    state_dict: Mapping[str, np.ndarray],
    source: Source,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    allow_head_mismatch: bool = False,
    inflation: str = "",
    grid: Grid | None = None,
    positions: Callable[[str], Fit | None] = lambda path: None,
) -> Conversion:
    """A source's arrays as a model's parameters and statistics.

    Args:
      state_dict: the checkpoint's arrays by the source's keys.
      source: the table to go by.
      shapes: of all parameters and statistics of the model, by dotted path. A model without a classifier, such as
        what a probe stands on, takes the rest.
      allow_head_mismatch: leave the classifier (all paths under `source.head`) out of the result if it differs from
        the model's in the number of classes, its last axis, and in nothing else; in any way if the source may lack
        it.
      inflation: how kernels of images are given a temporal extent, one of `INFLATIONS`; empty: as the table says.
      grid: the model's tokens along T, H and W, for tables of positions that are made to fit it.
      positions: what makes a table of positions fit, by path, where the rule says nothing of it.

    Returns:
      `{path: float32 array}`, copies; every path in `shapes`, or all but the classifier's and the fresh ones.

    Raises:
      CheckpointError: one error that lists every key without a place, every parameter that stays unset, every
        incomplete or doubly set one and every shape that differs.
      ValueError: for an unknown `inflation`, or one where nothing is inflated.
    """
    if inflation:
        check_inflation(inflation, source.name, source.inflates)
    plan = _plan(state_dict, source)
    problems = list(plan.problems)
    left = [f"{key} ({_dims(np.shape(state_dict[key]))})" for key in plan.unmatched]
    copies = {path: made for path, made in plan.copies.items() if path in shapes}
    without = [path for path in shapes if path not in plan.params and path not in copies]
    fresh = [path for path in without if source.may_lack(path)]
    unset = [f"{path} ({_dims(shapes[path])})" for path in without if path not in fresh]
    differing: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    other_head: list[str] = []
    dropped = list(plan.dropped)
    fitted: dict[str, list[str]] = {"inflated": [], "resized": [], "widened": []}
    headless = source.head and not any(path.startswith(f"{source.head}.") for path in shapes)
    for path, (rule, keys) in {**plan.params, **copies}.items():
        if headless and path.startswith(f"{source.head}."):
            dropped += keys
            continue
        if path not in shapes:
            left += [f"{key} ({_dims(np.shape(state_dict[key]))}), for {path}" for key in keys]
            continue
        try:
            array = rule.transform.forward(*(state_dict[key] for key in keys))
        except ValueError as error:
            given = ", ".join(f"{key} ({_dims(np.shape(state_dict[key]))})" for key in keys)
            problems.append(f"{path}: {rule.transform.name} cannot take {given}: {error}")
            continue
        wanted = tuple(shapes[path])
        if (wide := fit_differences(array, wanted)) is not array:
            array = wide
            fitted["widened"].append(path)
        if array.shape != wanted and (fit := rule.fit or positions(path)):
            fit = by(fit, inflation)
            try:
                array = fit.forward(array, wanted, grid)
                fitted[fit.name].append(path)
            except (ValueError, IndexError) as error:
                differing.append(f"{path}: {', '.join(keys)} give {_dims(array.shape)}, the model has {_dims(wanted)}, "
                                 f"and {error}")  # fmt: skip
                continue
        if array.shape == wanted:
            # A copy, so that the model shares no memory with the caller's arrays.
            arrays[path] = np.array(array, np.float32, order="C")
            continue
        in_head = path.startswith(f"{source.head}.")
        same_inputs = len(wanted) == array.ndim and wanted[:-1] == array.shape[:-1]
        if allow_head_mismatch and in_head and (same_inputs or source.may_lack(path)):
            other_head.append(path)
        else:
            differing.append(f"{path}: {', '.join(keys)} give {_dims(array.shape)}, the model has {_dims(wanted)}")
    groups = (
        ("keys of the checkpoint have no place in the model", left),
        ("parameters of the model stay unset", unset),
        ("shapes differ", differing),
        ("parameters cannot be made", problems),
    )
    if any(lines for _, lines in groups):
        text = [f"the checkpoint does not fit the model (source {source.name})."]
        for title, lines in groups:
            if lines:
                text += [f"{len(lines)} {title}:", *(f"  {line}" for line in lines)]
        if source.kwargs:
            settings = " ".join(f"--config.model.kwargs.{key}={value}" for key, value in source.kwargs.items())
            text.append(f"Networks of this source are built with {settings} (load_pretrained does so by itself).")
        raise CheckpointError("\n".join(text))
    if other_head:
        arrays = {path: array for path, array in arrays.items() if not path.startswith(f"{source.head}.")}
    return Conversion(
        arrays,
        inflated=tuple(fitted["inflated"]),
        resized=tuple(fitted["resized"]),
        widened=tuple(fitted["widened"]),
        copied=tuple(path for path, (rule, _) in copies.items() if rule in source.rules),
        fresh=tuple(fresh),
        dropped=tuple(dropped),
    )


def _dims(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _listed(lines: list[str], limit: int) -> list[str]:
    return lines if len(lines) <= limit else [*lines[:limit], f"  … and {len(lines) - limit} more"]
