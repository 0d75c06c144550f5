"""What a log line says: means over updates and over what is counted, and figures since the last evaluation."""

import math
from types import SimpleNamespace

from vidjax.tasks.task import Sum
from vidjax.training import throughput
from vidjax.training.throughput import Meter, averages, in_short, in_words

SHOWN = {"correct": Sum("accuracy", "top-1")}
SUMS = {
    "loss": 3.0,
    "grad_norm": 6.0,
    "updates": 3.0,
    "correct": 12.0,
    "weight": 48.0,
    "skipped": 0,
    "skipped_in_row": 0,
}


def test_means_are_over_updates_and_over_what_is_counted():
    assert averages(SUMS, SHOWN, skips=False, done=3) == {"loss": 1, "grad_norm": 2, "accuracy": 0.25}
    assert averages(SUMS, {}, skips=True, done=3) == {"loss": 1, "grad_norm": 2, "skipped": 0}


def test_without_updates_there_is_no_mean(caplog):
    left_out = dict.fromkeys(SUMS, 0.0) | {"skipped": 5, "skipped_in_row": 2}
    values = averages(left_out, SHOWN, skips=True, done=7)
    assert all(math.isnan(values[name]) for name in ("loss", "grad_norm", "accuracy")) and values["skipped"] == 5
    assert "update 7 was skipped" in caplog.text and "(5 in all)" in caplog.text


def test_a_line_for_people():
    values = averages(SUMS, SHOWN, skips=False, done=3)
    assert in_short(values, SHOWN) == "loss 1.000  top-1 25.0 %" and in_short(values, {}) == "loss 1.000"
    rates = {"clips_per_second": 12.34, "data_wait": 0.056}
    assert in_words(values | rates, SHOWN) == "loss 1.000  top-1 25.0 %  12.3 clips/s  waiting for data 6 %"


def test_figures_since_an_evaluation_reach_over_log_lines():
    meter = Meter(8)
    meter.keep({"loss": 2.0, "updates": 2.0})
    assert meter.since_evaluation({"loss": 0.5, "updates": 1.0}) == {"loss": 2.5, "updates": 3.0}
    # The state's sums go on; what of them was told counts once.
    meter.keep({"loss": 1.5, "updates": 2.0})
    assert meter.since_evaluation({"loss": 0.0, "updates": 0.0}) == {"loss": 1.0, "updates": 1.0}


def test_rates_are_of_the_time_that_was_training(monkeypatch):
    clock = iter((100.0, 110.0))
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    meter = Meter(8)
    meter.leave_out(6)
    meter.count()
    meter.count()
    assert meter.read(waited=1.0) == {"clips_per_second": 4.0, "data_wait": 0.25}
