"""The file of an evaluation's figures, `eval.json`, and how figures are written."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `eval.json` at once, so that it is never seen half written.

    Args:
      folder: existing folder.
      summary: contents, plain values and figures; NaN becomes null.
    """
    temporary = folder / "eval.tmp"
    temporary.write_text(f"{summary_text(summary)}\n", encoding="utf-8")
    temporary.replace(folder / "eval.json")


def summary_text(summary: Mapping[str, Any]) -> str:
    """The contents of `eval.json` as text."""
    return json.dumps(_finite(summary), indent=2, ensure_ascii=False)


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction as a percentage with so many decimals; None is NaN read from JSON."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by null."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
