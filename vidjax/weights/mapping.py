"""The engine of weight mapping: applies a source's table of rules to a checkpoint and lists every mismatch."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vidjax.inputs import VideoInput
from vidjax.models.inputs import fit_channels
from vidjax.models.state import copied
from vidjax.nn.grids import Grid
from vidjax.weights.fit import Conversion, Fit, by, check_inflation
from vidjax.weights.layouts import Transform, dims
from vidjax.weights.read import CheckpointError, in_float32
from vidjax.weights.table import Rule, Source, listed


@dataclass(frozen=True)
class _Plan:
    """Plan of a mapping: which keys make which parameter. Keys are the checkpoint's own, prefixes included."""

    params: dict[str, tuple[Rule, tuple[str, ...]]]  # path → the rule and the keys that make it
    copies: dict[str, tuple[Rule, tuple[str, ...]]]  # the same for `Rule.also`, unless another rule makes them
    unmatched: list[str]  # keys without a rule
    problems: list[str]  # incomplete parameters, and those that several rules make
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
    """Number of classes K of the checkpoint's classifier; None if it has none and the source may lack it.

    Raises:
      CheckpointError: if the checkpoint has no classifier and should.
    """
    if not source.head:
        return None
    state_dict = source.unstacked(state_dict)
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
    """Convert a source's arrays, as `conversion` does, and return only the arrays."""
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
    put: Callable[[str, np.ndarray], Any] | None = None,
    video: VideoInput | None = None,
) -> Conversion:
    """Convert a source's arrays to a model's parameters and statistics.

    Args:
      state_dict: the checkpoint's arrays by the source's keys.
      source: the table to apply.
      shapes: shapes of all parameters and statistics of the model, by dotted path. A model without a classifier, such
        as the backbone of a probe, takes the rest.
      allow_head_mismatch: whether to leave out the classifier (all paths of `Source.of_head`) if it differs from the
        model's only in the number of classes, its last axis; if the source may lack it, also for other differences.
      inflation: kind of inflation of image kernels, one of `INFLATIONS`; empty: the table's.
      grid: the model's number of tokens along T, H and W, for resizing position tables.
      positions: function from a path to the fit of its position table, for rules without a fit.
      put: function of a path and an array, applied to each of the result as it is made; None: a float32 copy.
      video: video that the network reads, for the channels of first kernels; None: colours or a field of flow.

    Returns:
      `{path: float32 array}`, copies; every path in `shapes`, or all but the classifier's and the fresh ones.

    Raises:
      CheckpointError: if the checkpoint does not fit: one error for all keys without a place, parameters that stay
        unset, are incomplete or doubly set, and shapes that differ. Its message lists ten of each, its `problems` all.
      ValueError: if `inflation` is unknown, or nothing can be inflated.
    """
    if inflation:
        check_inflation(inflation, source.name, source.inflates)
    state_dict = source.unstacked(state_dict)
    plan = _plan(state_dict, source)
    problems = list(plan.problems)
    left = [f"{key} ({dims(np.shape(state_dict[key]))})" for key in plan.unmatched]
    copies = {path: made for path, made in plan.copies.items() if path in shapes}
    without = [path for path in shapes if path not in plan.params and path not in copies and not source.keeps(path)]
    fresh = [path for path in without if source.may_lack(path)]
    unset = [f"{path} ({dims(shapes[path])})" for path in without if path not in fresh]
    differing: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    other_head: list[str] = []
    dropped = list(plan.dropped)
    fitted: dict[str, list[str]] = {"inflated": [], "resized": [], "widened": []}
    top = f"{source.head.partition('.')[0]}."  # the whole head, of which the classifier may be a part
    headless = source.head and not any(path.startswith(top) for path in shapes)
    for path, (rule, keys) in {**plan.params, **copies}.items():
        if headless and path.startswith(top):
            dropped += keys
            continue
        if path not in shapes:
            left += [f"{key} ({dims(np.shape(state_dict[key]))}), for {path}" for key in keys]
            continue
        try:
            array = rule.transform.forward(*(in_float32(state_dict[key]) for key in keys))
        except ValueError as error:
            given = ", ".join(f"{key} ({dims(np.shape(state_dict[key]))})" for key in keys)
            problems.append(f"{path}: {rule.transform.name} cannot take {given}: {error}")
            continue
        wanted = tuple(shapes[path])
        if (wide := fit_channels(array, wanted, video)) is not array:
            array = wide
            fitted["widened"].append(path)
        if array.shape != wanted and (fit := rule.fit or positions(path)):
            fit = by(fit, inflation)
            try:
                array = fit.forward(array, wanted, grid)
                fitted[fit.name].append(path)
            except (ValueError, IndexError) as error:
                differing.append(f"{path}: {', '.join(keys)} give {dims(array.shape)}, the model has {dims(wanted)}, "
                                 f"and {error}")  # fmt: skip
                continue
        if array.shape == wanted:
            arrays[path] = put(path, array) if put else copied(array)
            continue
        in_head = source.of_head(path)
        same_inputs = len(wanted) == array.ndim and wanted[:-1] == array.shape[:-1]
        if allow_head_mismatch and in_head and (same_inputs or source.may_lack(path)):
            other_head.append(path)
        else:
            differing.append(f"{path}: {', '.join(keys)} give {dims(array.shape)}, the model has {dims(wanted)}")
    groups = {
        "keys of the checkpoint have no place in the model": left,
        "parameters of the model stay unset": unset,
        "shapes differ": differing,
        "parameters cannot be made": problems,
    }
    if any(groups.values()):
        text = [f"the checkpoint does not fit the model (source {source.name})."]
        for title, lines in groups.items():
            if lines:
                text += [f"{len(lines)} {title}:", *listed([f"  {line}" for line in lines])]
        if source.kwargs:
            settings = " ".join(f"--config.model.kwargs.{key}={value}" for key, value in source.kwargs.items())
            text.append(f"Networks of this source are built with {settings} (load_pretrained does so by itself).")
        raise CheckpointError("\n".join(text), {title: lines for title, lines in groups.items() if lines})
    if other_head:
        arrays = {path: array for path, array in arrays.items() if not source.of_head(path)}
    return Conversion(
        arrays,
        inflated=tuple(fitted["inflated"]),
        resized=tuple(fitted["resized"]),
        widened=tuple(fitted["widened"]),
        copied=tuple(path for path, (rule, _) in copies.items() if rule in source.rules),
        fresh=tuple(fresh),
        dropped=tuple(dropped),
    )
