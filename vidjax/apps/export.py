"""Trained networks for other runtimes (`vidjax export RUN OUT`)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vidjax.config import Config, ConfigError
from vidjax.config.overrides import overridden
from vidjax.config.validate import validate
from vidjax.errors import UserError
from vidjax.export.clips import read_clips
from vidjax.export.folder import PLATFORMS, ExportInfo, new_folder
from vidjax.export.onnx_file import write_onnx
from vidjax.export.opened import ExportedNetwork
from vidjax.export.parity import BATCHES, need_parity, parity
from vidjax.export.program import TrainedNetwork
from vidjax.export.stablehlo import write_programs
from vidjax.export.triton import check_repository, model_name, write_repository
from vidjax.tasks.videos import load_eval_videos


def export(
    run: str,
    out: str,
    *,
    format: str = "stablehlo",
    target: str | None = None,
    platforms: Sequence[str] | None = None,
    triton: str | None = None,
    settings: Sequence[str] = (),
    step: int | None = None,
) -> int:
    """Write a trained network as programs of another runtime, and check that they give its answers.

    Args:
      run: work directory of a run, or folder written by `convert`.
      out: new folder.
      format: "stablehlo" or "onnx".
      target: runtime of ONNX files, one of `RUNTIMES`; None: "onnxruntime".
      platforms: platforms of StableHLO programs, in `PLATFORMS`; None: all of them.
      triton: folder of a model repository of Triton to write to, too; None: none.
      settings: `--config.field=value`, such as other videos to check with.
      step: update number of the checkpoint; None: the best.

    Returns:
      0, the exit status.

    Raises:
      UserError: if options do not go together, the network cannot be converted, or its program has other answers;
        nothing is left of it then.
    """
    platforms = _check(format, target, platforms, triton)
    if triton:
        check_repository(triton, model_name(out))
    console = Console(stderr=True)
    with new_folder(out) as folder:
        trained = TrainedNetwork.load(run, step)
        info = write_export(folder, trained, format, ",".join(platforms) or target or "onnxruntime")
        videos, config = checking_videos(trained, settings)
        clips = read_clips(videos, trained.meta.spec, config, max(BATCHES), console)
        errors = parity(ExportedNetwork(folder, info), trained.reference(), clips)
        need_parity(errors, run)
        info = replace(info, parity=errors)
        info.write(folder)
    told = ""
    if triton:
        told = f"; Triton's model in {write_repository(triton, model_name(out), Path(out).expanduser(), info)}"
    _show(info, trained, out, told)
    return 0


def write_export(folder: Path, trained: TrainedNetwork, format: str, target: str) -> ExportInfo:
    """Write the programs of a network to a folder, and return their description, unwritten.

    Args:
      folder: folder to write to.
      trained: network to export.
      format: "stablehlo" or "onnx".
      target: platforms of StableHLO, comma-separated, or the runtime of an ONNX file.
    """
    info = ExportInfo.of(trained, format, target)
    if format == "onnx":
        write_onnx(folder, trained, target)
    else:
        write_programs(folder, trained, info.platforms)
    return info


def checking_videos(trained: TrainedNetwork, settings: Sequence[str]):
    """Evaluation videos of a network's run, or of changed settings, and the config with those."""
    config = changed(trained.meta.config, settings)
    return load_eval_videos(config, trained.meta.spec.task, trained.meta.labels), config


def changed(config: Config, settings: Sequence[str]) -> Config:
    """Copy of a checkpoint's config with `--config.field=value` applied, validated."""
    if any(setting.startswith("--config=") for setting in settings):
        raise ConfigError("the config is the checkpoint's; --config.field=value changes single settings of it")
    return validate(overridden(config, settings))


def _check(format: str, target: str | None, platforms: Sequence[str] | None, triton: str | None) -> tuple[str, ...]:
    """Platforms to export for, none for ONNX, of options that go together."""
    if format == "onnx":
        if platforms:
            raise UserError("--platforms: is for --format stablehlo; ONNX files take --for")
        return ()
    for name, value in (("--for", target), ("--triton", triton)):
        if value:
            raise UserError(f"{name}: is for --format onnx; StableHLO takes --platforms")
    chosen = tuple(PLATFORMS) if platforms is None else tuple(dict.fromkeys(platforms))
    if unknown := [name for name in chosen if name not in PLATFORMS]:
        raise UserError(f"--platforms {','.join(unknown)}: choose from {', '.join(PLATFORMS)}")
    return chosen


def _show(info: ExportInfo, trained: TrainedNetwork, out: str, told: str) -> None:
    console = Console()
    table = Table("clips at a time", "relative error")
    for count, error in (info.parity or {}).items():
        table.add_row(count, f"{error:.1e}")
    console.print(table)
    untried = [name for name in info.platforms if name != "cpu"] if info.kind == "stablehlo" else []
    there = f"; not tried on {' and '.join(untried)}" if untried else ""
    console.print(
        f"{trained.meta.spec.name} of update {trained.step} as {info.kind} for {info.target.replace(',', ', ')}: the "
        f"answers of the network on its own evaluation videos{there}; in {out}{told}",
        highlight=False,
        soft_wrap=True,
    )
