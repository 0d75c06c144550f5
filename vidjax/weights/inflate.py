"""Inflation of a vidjax network: kernels for images or single frames given a temporal extent."""

from collections.abc import Mapping

import numpy as np

from vidjax.weights.fit import FIRST, INFLATIONS, Conversion
from vidjax.weights.read import CheckpointError


def inflate(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], inflation: str = "average"
) -> Conversion:
    """The arrays of a vidjax network for images, or for frames one by one, as those of one that sees time.

    Args:
      arrays: parameters and statistics by dotted path, as `vidjax.models.state.split` gives them.
      shapes: of the network that sees time, by path.
      inflation: "average" or "central".

    Returns:
      The arrays that both have, kernels with the temporal extent asked for; what only the second has is `fresh`.

    Raises:
      CheckpointError: listing every array that has no place and every one whose shape differs in more than the temporal
        extent (or, for the first kernel, the channels of the picture).
      ValueError: for an unknown `inflation`.
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
                pass  # said below
        if array.shape != wanted:
            problems.append(f"{path}: {array.shape} cannot become {wanted}")
        made[path] = np.array(array, np.float32)
    if problems:
        raise CheckpointError(
            "\n".join(["the network cannot be inflated to the one asked for:", *(f"  {p}" for p in problems)])
        )
    fresh = tuple(path for path in shapes if path not in made)
    return Conversion(made, inflated=tuple(inflated), fresh=fresh)
