"""Structured pruning: a narrower network of the same kind, with the channels of a trained one that weigh most.

A network is built anew with a smaller width, and each of its arrays is cut from the trained one's. Axes of the same
two lengths, before and after, keep the same channels: so an array that makes a tensor and those that read it agree,
however the network connects them. Whether they do is tried, not assumed: see `Pruned.masked`.

Paper: Li et al., Pruning Filters for Efficient ConvNets (1608.08710), whose measure of a channel is the norm of its
weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.models.arguments import arguments_of, default_of
from vidjax.models.registry import Variant, get_variant, list_models

WIDTHS = ("width", "widths")  # arguments of networks whose channels they scale

Arrays = Mapping[str, np.ndarray]  # by path
Lengths = tuple[int, int]  # of an axis, before and after


@dataclass(frozen=True)
class Pruned:
    """Arrays of a narrower network, and those of the trained one without the channels that it lacks.

    Attributes:
      arrays: arrays of the narrower network, by path.
      masked: arrays of the trained network with zeros where channels are left out. A network that computes channel by
        channel gives the same with both, unless it is one whose channels cannot be cut out.
      kept: channels that are kept, ascending, by the lengths of an axis before and after.
    """

    arrays: dict[str, np.ndarray]
    masked: dict[str, np.ndarray]
    kept: dict[Lengths, np.ndarray]


def narrower(name: str, kwargs: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Arguments of a named model with a share of its channels.

    Args:
      name: name of the model.
      kwargs: its arguments that differ from those of the named model.
      share: share of the channels to keep, in 0…1.

    Raises:
      UserError: if its width is no argument; the message names families whose width is.
    """
    variant = get_variant(name)
    own = next((width for width in WIDTHS if width in arguments_of(variant.build)), None)
    value = None if own is None else {**variant.kwargs, **kwargs}.get(own, _default(variant, own))
    if own is None or value is None:
        able = [n for n in list_models("*_tiny") if set(WIDTHS) & set(arguments_of(get_variant(n).build))]
        families = ", ".join(sorted({n.removesuffix("_tiny") for n in able}))
        raise UserError(f"{name}: its width is no argument, so that it cannot be pruned; those of {families} are")
    return {**kwargs, own: _scaled(value, share)}


def _default(variant: Variant, name: str) -> Any:
    """Width that a model has by its layout, or by default; None: unknown."""
    return getattr(variant.kwargs.get("layout"), name, None) or default_of(variant.build, name)


def _scaled(value: Any, share: float) -> Any:
    return [_scaled(each, share) for each in value] if isinstance(value, list | tuple) else max(1, round(share * value))


def prune(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Pruned:
    """Cut the arrays of a narrower network out of those of a trained one.

    Args:
      arrays: arrays of the trained network, by path.
      shapes: shapes of the narrower network's arrays, by path.

    Raises:
      UserError: if the two networks do not have the same arrays.
    """
    if arrays.keys() != shapes.keys():
        odd = sorted(arrays.keys() ^ shapes.keys())
        raise UserError(f"the narrower network has other arrays ({odd[0]}, …), so that none can be cut out")
    scores: dict[Lengths, np.ndarray] = {}
    for path, axis, lengths in _cut(arrays, shapes):
        array = np.asarray(arrays[path], np.float64)
        others = tuple(i for i in range(array.ndim) if i != axis)
        norms = np.square(array).sum(axis=others)
        scores[lengths] = scores.get(lengths, 0.0) + norms / max(float(norms.sum()), 1e-12)
    kept = {lengths: np.sort(np.argsort(-score, kind="stable")[: lengths[1]]) for lengths, score in scores.items()}
    small, masked = ({path: np.asarray(array) for path, array in arrays.items()} for _ in range(2))
    for path, axis, lengths in _cut(arrays, shapes):
        small[path] = np.take(small[path], kept[lengths], axis=axis)
        left = np.isin(np.arange(lengths[0]), kept[lengths])
        masked[path] = masked[path] * np.expand_dims(left, tuple(i for i in range(masked[path].ndim) if i != axis))
    return Pruned(small, {path: array.astype(arrays[path].dtype) for path, array in masked.items()}, kept)


def _cut(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, int, Lengths]]:
    """Path, axis, and lengths before and after, of every axis that becomes shorter.

    Raises:
      UserError: if one becomes longer, or an array has another number of axes.
    """
    for path, array in arrays.items():
        if len(shapes[path]) != array.ndim:
            raise UserError(f"{path} has {array.ndim} axes, and {len(shapes[path])} in the narrower network")
        for axis, (before, after) in enumerate(zip(array.shape, shapes[path], strict=True)):
            if after > before:
                raise UserError(f"{path} would grow from {before} to {after} channels; give a smaller --share")
            if after < before:
                yield path, axis, (before, after)
