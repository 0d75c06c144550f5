"""Optical flow by an algorithm or a network, compared with the true flow of a benchmark."""

import json
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax.apps.flow_estimator import flow_estimator, is_run
from vidjax.data.listing.flow_pairs import flow_pairs
from vidjax.errors import UserError
from vidjax.evaluation.flow import FlowScores
from vidjax.progress import progress_bar
from vidjax.video.flow_files import read_flow

# Updates of RAFT as its authors evaluate it, and the figures that each benchmark publishes.
UPDATES = {"sintel": 32, "kitti": 24, "chairs": 24}
_FIGURES = {
    "sintel": ("epe", "1px", "3px", "5px"),
    "kitti": ("epe_per_pair", "fl_all"),
    "chairs": ("epe", "1px", "3px", "5px"),
}
_TITLES = {"epe": "EPE (pixels)", "epe_per_pair": "EPE, mean of pairs (pixels)", "fl_all": "Fl-all (%)"}


def evaluate_flow(
    folder: str,
    *,
    layout: str,
    method: str = "dis_fast",
    weights: str = "",
    updates: int = 0,
    out: str = "",
    as_json: bool = False,
) -> int:
    """Estimate the flow of a benchmark's pairs and print the errors; Sintel's means are over all pixels, KITTI's over
    pairs.

    Args:
      folder: folder of the benchmark.
      layout: its layout, see `vidjax.data.listing.flow_pairs.flow_pairs`.
      method: name of the algorithm or network, or folder of a run, see `vidjax.apps.flow_estimator.flow_estimator`.
      weights: checkpoint of the network; empty for an algorithm.
      updates: number of the network's updates; 0: as its authors evaluate it, 32 on Sintel and 24 on the others.
      out: folder for `eval.json`; empty: nothing is written.
      as_json: print all figures as JSON instead of a table.

    Returns:
      0.

    Raises:
      UserError: if a file is absent or damaged, or the method cannot be used.
    """
    pairs = flow_pairs(folder, layout)
    of_network = UPDATES[layout] if weights or is_run(method) else 0
    estimate = flow_estimator(method, weights, updates=updates or of_network, bottom=layout == "kitti")
    scores: dict[str, FlowScores] = {pair.group: FlowScores() for pair in pairs}
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task(method, total=len(pairs), info="")
        for pair in pairs:
            first, second = _picture(pair.first), _picture(pair.second)
            true, known = read_flow(pair.true)
            if not first.shape == second.shape == (*true.shape[:2], 3):
                raise UserError(
                    f"{pair.true}: flow of {true.shape[:2]} pixels between pictures of {first.shape[:2]} and "
                    f"{second.shape[:2]}; all must have one height and width"
                )
            scores[pair.group].add(estimate(first, second), true, known)
            bar.advance(task)
    figures = {group or layout: each.summary() for group, each in scores.items()}
    counts = {group or layout: each.pairs for group, each in scores.items()}
    summary = {"kind": "flow", "layout": layout, "method": method, "num_pairs": counts, "figures": figures}
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "eval.json").write_text(json.dumps(summary, indent=2) + "\n")
    if as_json:
        print(json.dumps(summary, indent=2))
        return 0
    console = Console()
    names = _FIGURES[layout]
    table = Table(method, *(_TITLES.get(name, f"within {name}") for name in names), "pairs")
    for group, each in figures.items():
        shown = (f"{each[name]:.3f}" if name in _TITLES else f"{100 * each[name]:.1f} %" for name in names)
        table.add_row(group, *shown, str(counts[group]))
    console.print(table)
    if out:
        console.print(f"results in {out}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _picture(path: Path) -> np.ndarray:
    """Picture of a file, RGB uint8 `(H, W, 3)`.

    Raises:
      UserError: if it cannot be decoded.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise UserError(f"{path}: cannot be decoded; expected a picture such as png or ppm")
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
