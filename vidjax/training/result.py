"""The result of a run, its best checkpoint's evaluation: kept during training, written at the end, and read again."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjax import parallel
from vidjax.evaluation import report
from vidjax.evaluation.engine import Outcome, flat_metrics
from vidjax.evaluation.evaluator import Evaluator
from vidjax.training.checkpoints import metric_value
from vidjax.training.curve import plot_learning_curve
from vidjax.training.logs import read_metrics

_CURVE = "learning_curve.png"


@dataclass
class Kept:
    """The best evaluation since the start of this process, kept so that it need not be repeated.

    Attributes:
      metric: name of the metric that ranks evaluations.
      step: step of the checkpoint; None: nothing was evaluated yet.
      outcome: evaluation of that checkpoint; its evaluators are kept only in the writing process.
    """

    metric: str
    step: int | None = None
    outcome: Outcome = dataclasses.field(default_factory=lambda: Outcome({}, {}))

    def offer(self, step: int, outcome: Outcome) -> None:
        """Keep an evaluation unless an earlier one is better; of two equal ones, the later is kept."""
        if self.step is None or self._value(outcome) >= self._value(self.outcome):
            self.replace(step, outcome)

    def replace(self, step: int, outcome: Outcome) -> None:
        """Keep this evaluation in place of the earlier one."""
        self.step, self.outcome = step, outcome if parallel.is_writer() else Outcome(outcome.summary, {})

    def _value(self, outcome: Outcome) -> float:
        return metric_value(flat_metrics(outcome.summary), self.metric)


def read_result(workdir: Path, expected: dict[str, Any]) -> dict[str, Any] | None:
    """Read the `eval.json` of a run; None if it is not the `expected` result or a file of it is missing."""
    return report.read_whole(workdir, expected) if (workdir / _CURVE).exists() else None


def write_result(workdir: Path, summary: dict[str, Any], evaluators: Iterable[Evaluator]) -> None:
    """Write the evaluation of a run's best checkpoint, and the learning curve that led to it."""
    run = f"{workdir.resolve().name}, {summary['model']}"
    metrics = read_metrics(workdir / "metrics.jsonl")
    plot_learning_curve(metrics, workdir / _CURVE, summary["best_metric"], run, summary["step"])
    report.write(workdir, summary, evaluators, run)
