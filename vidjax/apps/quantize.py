"""Exported networks in int8 (`vidjax quantize RUN_OR_EXPORT OUT`)."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax import parallel
from vidjax.apps.export import changed, write_export
from vidjax.config import Config
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import VideoSet
from vidjax.errors import UserError
from vidjax.evaluation import engine
from vidjax.evaluation.evaluator import Evaluator, Rows
from vidjax.evaluation.summary_file import percent, summary_text
from vidjax.export.clips import read_clips
from vidjax.export.folder import ONNX, ExportInfo, new_folder, read_info
from vidjax.export.int8 import LOGITS, Int8Outcome, Int8Settings, has_vnni, quantise
from vidjax.export.opened import ExportedNetwork, need_onnx
from vidjax.export.parity import BATCHES, need_parity, parity
from vidjax.export.program import TrainedNetwork
from vidjax.export.timing import cpu_times
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.tasks.videos import load_videos
from vidjax.wording import things

REPORT = "quantize.json"


def quantize(
    source: str,
    out: str,
    *,
    target: str | None = None,
    clips: int = 64,
    tolerance: float = 0.05,
    settings: Sequence[str] = (),
    step: int | None = None,
) -> int:
    """Write a classifier's ONNX file in int8, and compare it with the float one on the evaluation videos.

    Args:
      source: folder of `vidjax export --format onnx`, or of a run, which is exported first.
      out: new folder.
      target: runtime, one of `RUNTIMES`; None: that of the export, or "onnxruntime".
      clips: number of training clips from which ranges are taken; half as many more judge the layers.
      tolerance: largest error of the logits on those; layers stay float for it, at most half of them.
      settings: `--config.field=value` of the data.
      step: update number of a run's checkpoint; None: the best.

    Returns:
      0, the exit status.

    Raises:
      UserError: if the network has no logits, the source cannot be used, or `out` is there.
    """
    console = Console(stderr=True)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(prefix="vidjax-export-") as temporary:
        place, info, trained = _float_export(source, Path(temporary), target, step)
        if LOGITS not in info.outputs:
            raise UserError(f"{source}: {info.meta.spec.name} gives {', '.join(info.outputs)}, and int8 needs logits")
        config, spec = changed(info.meta.config, settings), info.meta.spec
        training, held_out = load_videos(config)
        read = read_clips(training, spec, config, clips + clips // 2, console)
        judging = np.arange(clips + clips // 2) % 3 == 2
        calibration, judged = ({n: x[rows] for n, x in read.items()} for rows in (~judging, judging))
        if trained:
            tried = read_clips(held_out, spec, config, max(BATCHES), console)
            errors = parity(ExportedNetwork(place, info), trained.reference(), tried)
            need_parity(errors, source)
            info = replace(info, parity=errors)
        chosen = Int8Settings(info.target == "tensorrt", info.target != "tensorrt" and not has_vnni(), tolerance)
        with progress_bar(console) as bar:
            task = bar.add_task("layers", total=None, info="")
            outcome = quantise(
                place / ONNX, folder / ONNX, calibration, judged, chosen,
                lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        int8 = replace(info, int8={**asdict(chosen), "clips": clips, "kept_float": list(outcome.kept)}, parity=None)
        int8.write(folder)
        networks = {
            name: ExportedNetwork(where, of, threads=1)
            for name, where, of in (("float32", place, info), ("int8", folder, int8))
        }
        report = _compared(networks, held_out, config, info, console)
        times = cpu_times({name: network for name, network in networks.items()}, _first(judged, 8))
        for name, network in networks.items():
            report[name] |= {"bytes": (network.folder / ONNX).stat().st_size, "cpu_ms_per_clip": times[name]}
        report |= {"error": outcome.error, "layers": outcome.errors, "kept_float": outcome.kept, "clips": clips}
        (folder / REPORT).write_text(summary_text(report) + "\n", encoding="utf-8")
    _show(report, outcome, chosen, out)
    return 0


def _float_export(
    source: str, temporary: Path, target: str | None, step: int | None
) -> tuple[Path, ExportInfo, TrainedNetwork | None]:
    """Folder and description of the float graph; and of a run, which is exported to `temporary`, its network."""
    info = read_info(source)
    if info is None:
        trained = TrainedNetwork.load(source, step)
        return temporary, write_export(temporary, trained, "onnx", target or "onnxruntime"), trained
    need_onnx(source, info)
    if target not in (None, info.target):
        raise UserError(f"{source} was exported for {info.target}; export the run for {target}, or give the run here")
    if step not in (None, info.step):
        raise UserError(f"{source} was exported from update {info.step}; leave --step out, or give the run")
    return Path(source), info, None


def _compared(
    networks: Mapping[str, ExportedNetwork], videos: VideoSet, config: Config, info: ExportInfo, console: Console
) -> dict[str, Any]:
    """Figures of every level by name of the network, and "agreement", the share of clips with the same answer."""
    spec, labels, mesh = info.meta.spec, info.meta.labels, parallel.make_mesh(1)
    (name, make), *_ = make_task(config, spec, labels).evaluators.items()
    evaluators: Any = {each: _Recorded(make(videos)) for each in networks}
    forwards = {each: evaluators[each].given(network) for each, network in networks.items()}
    batches = engine.batches_of(videos, ExampleReader(spec, config.data), config.eval, mesh, console)
    readable, *_ = engine.collect(forwards, evaluators, ({}, {}), batches, mesh)
    if not readable:
        raise UserError("none of the evaluation videos can be read: give others with --config.data.eval=FILE")
    answers = [each.answers(labels.several or name != "classes") for each in evaluators.values()]
    found: dict[str, Any] = {each: {"figures": evaluator.summary()} for each, evaluator in evaluators.items()}
    return found | {"agreement": float(np.mean(answers[0] == answers[1])), "num_videos": readable}


class _Recorded:
    """Evaluator that takes its outputs from an exported network, and keeps the logits."""

    def __init__(self, evaluator: Evaluator):
        self._evaluator = evaluator
        self._logits: list[np.ndarray] = []
        self.wants, self.summary = evaluator.wants, evaluator.summary

    def given(self, network: ExportedNetwork) -> Any:
        """Function in the place of a compiled network's."""

        def forward(params: Any, stats: Any, inputs: Mapping[str, Any], number: Any) -> Any:
            logits = network.logits(params, stats, inputs, number)
            return self._evaluator.forward(lambda entered: logits, inputs, number)  # pyrefly: ignore[bad-argument-type]

        return forward

    def add(self, rows: Rows, outputs: Any) -> None:
        """Add the outputs of one view."""
        self._logits.append(outputs[0] if isinstance(outputs, tuple) else outputs)
        self._evaluator.add(rows, outputs)

    def answers(self, several: bool) -> np.ndarray:
        """Best class of every clip, or for several classes whether each is there."""
        logits = np.concatenate(self._logits)
        return logits > 0 if several else logits.argmax(axis=-1)


def _first(clips: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: array[np.arange(count) % len(array)] for name, array in clips.items()}


def _show(report: Mapping[str, Any], outcome: Int8Outcome, chosen: Int8Settings, out: str) -> None:
    console = Console()
    names = [(level, figure) for level, values in report["float32"]["figures"].items() for figure in values]
    table = Table("", *(f"{level} {figure}" for level, figure in names), "file", "CPU ms per clip", "8 at a time")
    for name in ("float32", "int8"):
        own = report[name]
        figures = (percent(own["figures"][level][figure], 2) for level, figure in names)
        times = (f"{own['cpu_ms_per_clip'][count]:.2f}" for count in ("1", "8"))
        table.add_row(name, *figures, f"{own['bytes'] / 1000:.0f} kB", *times)
    console.print(table)
    ratio = report["float32"]["cpu_ms_per_clip"]["8"] / report["int8"]["cpu_ms_per_clip"]["8"]
    kept = ", ".join(outcome.kept) or "none"
    console.print(
        f"{things(report['num_videos'], 'video')}; same answer for {percent(report['agreement'], 2)} of the clips; "
        f"error of the logits {percent(outcome.error)}; {ratio:.1f} times as fast, 8 clips at a time, on one thread; "
        f"{things(len(outcome.kept), 'layer')} of {len(outcome.errors)} kept float: {kept}"
        f"{'; weights of 7 bits, as this CPU has no VNNI' if chosen.reduce_range else ''}\n"
        f"in {out}, the report in {Path(out) / REPORT}",
        highlight=False,
        soft_wrap=True,
    )
