"""Agreement of an exported program with the network that it comes from."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidjax.errors import UserError

BATCHES = (1, 3, 8)  # numbers of clips that a program is tried with
LARGEST = 1e-4  # relative error that an export may have

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]


def relative_error(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """Largest difference of any output ÷ the largest magnitude in it; where that is 0, the difference itself.

    Args:
      found: outputs by name.
      wanted: outputs of the reference, by the same names; infinities must be in the same places.

    Returns:
      The error; infinity for other names or shapes, or where something is not a number.
    """
    if found.keys() != wanted.keys():
        return float("inf")
    return max((_error(np.asarray(found[name]), np.asarray(wanted[name])) for name in wanted), default=0.0)


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    other = ~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))
    if not other.any():
        return 0.0
    if not np.isfinite(found[other]).all() or not np.isfinite(wanted[other]).all():
        return float("inf")
    largest = np.abs(wanted[np.isfinite(wanted)]).max()
    return float(np.abs(found[other] - wanted[other]).max() / (largest or 1.0))


def parity(run: Run, reference: Run, clips: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative errors of a program with the first 1, 3 and 8 clips, by number of clips.

    Args:
      run: program to try.
      reference: the network itself.
      clips: inputs as read, 8 clips of each.
    """
    wanted = reference(clips)
    errors = {}
    for count in BATCHES:
        found = run({name: array[:count] for name, array in clips.items()})
        errors[str(count)] = relative_error(found, {name: array[:count] for name, array in wanted.items()})
    return errors


def need_parity(errors: Mapping[str, float], title: str) -> None:
    """Check that no error is above `LARGEST`.

    Raises:
      UserError: if one is.
    """
    if max(errors.values()) > LARGEST:
        told = f"{', '.join(f'{error:.1e}' for error in errors.values())} for {', '.join(errors)} clips"
        raise UserError(
            f"{title}: the exported program does not give the network's answers: relative error {told}; at most "
            f"{LARGEST:.0e} is allowed. Nothing was written; please report the network's name and config"
        )
