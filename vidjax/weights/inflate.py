"""Inflation of a vidjax network: image or single-frame kernels given a temporal extent."""

from collections.abc import Mapping

import numpy as np

from vidjax.weights.fit import FIRST, INFLATIONS, Conversion
from vidjax.weights.read import CheckpointError


def inflate(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], inflation: str = "average"
) -> Conversion:
    """Inflate the arrays of a vidjax network for images or single frames to those of a network over time.

    Args:
      arrays: parameters and statistics by dotted path, as `vidjax.models.state.split` gives them.
      shapes: shapes of the parameters and statistics of the network over time, by path.
      inflation: kind of inflation, "average" or "central".

    Returns:
      The arrays that both networks have, kernels with their temporal extent; those of the second only are `fresh`.

    Raises:
      CheckpointError: if an array has no place, or its shape differs in more than the temporal extent (for the first
        kernel, also the channels of the picture); it lists all of them.
      ValueError: if `inflation` is unknown.
    """
    if inflation not in INFLATIONS:
        raise ValueError(f"inflation = {inflation!r}: must be one of {', '.join(map(repr, INFLATIONS))}")
    made, inflated, problems = {}, [], [f"{path}: has no place" for path in arrays if path not in shapes]
    for path, array in arrays.items():
        wanted = tuple(shapes.get(path, array.shape))
        if array.shape != wanted and array.ndim == 5:
            fit = FIRST if array.shape[3] == 3 else INFLATIONS
            try:
                array = fit[inflation].forward(array, wanted)
                inflated.append(path)
            except ValueError:
                pass  # reported below
        if array.shape != wanted:
            problems.append(f"{path}: {array.shape} cannot become {wanted}")
        made[path] = np.array(array, np.float32)
    if problems:
        raise CheckpointError(
            "\n".join(["the network cannot be inflated to the requested one:", *(f"  {p}" for p in problems)])
        )
    fresh = tuple(path for path in shapes if path not in made)
    return Conversion(made, inflated=tuple(inflated), fresh=fresh)
