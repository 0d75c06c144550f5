"""Late fusion of several evaluated networks (`vidjax fuse RUN RUN …`)."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax.evaluation import identity
from vidjax.evaluation.fusion import VideoScores, align, fuse, read_scores


def fuse_runs(
    runs: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    rule: str = "probabilities",
    out: str = "",
    as_json: bool = False,
) -> int:
    """Print the accuracy of each network and of all together, on the videos scored by every network.

    Args:
      runs: folders of evaluations, or their `scores.npz`.
      weights: weight of each run; None: equal weights.
      rule: what is averaged, one of `vidjax.nn.score_fusion.RULES`.
      out: folder for the fused `scores.npz`, which can be fused again; empty: none is written.
      as_json: print JSON instead of a table.

    Raises:
      UserError: as `vidjax.evaluation.fusion.fuse` and `read_scores` do.
    """
    streams = [read_scores(run) for run in runs]
    fused = fuse(streams, weights, rule)
    if out:
        _write(Path(out), fused)
    folders = {run: Path(run) if Path(run).is_dir() else Path(run).parent for run in runs}
    found = {run: told for run, folder in folders.items() if (told := identity.read(folder))}
    for line in identity.differences(found):
        Console(stderr=True).print(f"warning: {line}", highlight=False, soft_wrap=True)
    most = max(map(len, streams))
    figures = [stream.accuracy() for stream in align(streams)]
    if as_json:
        summary = {
            "runs": [{"run": run} | accuracy for run, accuracy in zip(runs, figures, strict=True)],
            "fused": fused.accuracy(),
            "num_videos": len(fused),
            "coverage": len(fused) / most,
        }
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return 0
    table = Table("", *fused.accuracy())
    for name, accuracy in [*zip(runs, figures, strict=True), ("together", fused.accuracy())]:
        table.add_row(name, *(f"{100 * value:.2f} %" for value in accuracy.values()))
    console = Console()
    console.print(table)
    console.print(f"{len(fused)} of {most} videos: those scored by every network")
    return 0


def _write(folder: Path, fused: VideoScores) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "scores.npz",
        scores=fused.scores.astype(np.float32),
        targets=fused.targets,
        paths=fused.paths,
        class_names=np.array(fused.class_names),
    )
