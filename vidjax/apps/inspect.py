"""Inspection of a data set as the pipeline reads it: contact sheets, checks of sampling and splits."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.apps.contact_sheet import COLUMNS, Row, draw_sheet
from vidjax.config.choices import UNSTRIDED_RULES
from vidjax.config.files import read_config
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.audit import clip_checks, split_checks
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading.clips import ClipReader, clip_indices, segment_frames
from vidjax.data.reading.open_video import open_video
from vidjax.data.records import Record, VideoSet
from vidjax.inputs import VideoInput
from vidjax.models.registry import get_spec
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.tasks.videos import load_videos
from vidjax.video import VideoError
from vidjax.wording import things

_DRAWS = 4  # random training clips per video in the checks, besides the earliest and the latest
_VIEWS_SHOWN = 4  # views per video on the evaluation's contact sheet
_LISTED = 200  # paths per check in the JSON


def inspect(
    data: str | None,
    argv: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    as_json: bool = False,
    num_videos: int = 8,
    num_draws: int = 2,
    num_opened: int = 500,
) -> int:
    """Check a data set with the settings of a training, and draw the clips that the model would see.

    Args:
      data: CSV file or folder that replaces `data.train`; None: that of the config.
      argv: `--config=FILE` and `--config.field=value`, as for train.py.
      out: folder for `inspect.json`, `train.png` and `eval.png`; None: `inspect/` and the name of the data.
      as_json: print JSON instead of a table.
      num_videos: number of videos on each contact sheet.
      num_draws: training clips per video on the contact sheet.
      num_opened: number of videos per split that the checks open, drawn at random; 0: all.

    Returns:
      0, the exit status; warnings do not change it.

    Raises:
      ConfigError, DataError: as in training, if settings or annotations cannot be used.
    """
    console = Console(stderr=as_json)
    config = validate(read_config(argv, data))
    train, evaluation = load_videos(config)
    spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
    targets = make_task(config, spec, train.labels).targets
    reader = ClipReader(spec, config.data)
    out = Path(out) if out else Path("inspect") / (Path(config.data.train).stem or "data")
    out.mkdir(parents=True, exist_ok=True)

    sets = {"training": train, "evaluation": evaluation}
    probes, unreadable, sheets = {}, {}, []
    with progress_bar(Console(stderr=True)) as bar:
        for split, videos in sets.items():
            records = _some(videos.records, num_opened, config.seed)
            task = bar.add_task(f"open {split}", total=len(records), info="")
            probes[split] = []
            for result in _probe_all(records, reader, config, split):
                if isinstance(result, VideoError):
                    unreadable[result.path] = result.reason
                else:
                    probes[split].append(result)
                bar.advance(task)
        for split, name in (("training", "train.png"), ("evaluation", "eval.png")):
            records = _pick(sets[split], num_videos, config.seed, unreadable)
            task = bar.add_task(f"draw {name}", total=len(records), info="")
            rows: list[Row] = []
            names = _names(record.path for record in records)
            for i, record in enumerate(records):
                try:
                    draws = [np.random.default_rng((config.seed, i, k)) for k in range(num_draws)]
                    drawn = draws if split == "training" else None
                    views = _rows(record, sets[split], reader, config.eval, drawn, targets.mirrors)
                    rows += [dataclasses.replace(row, label=f"{names[record.path]}\n{row.label}") for row in views]
                except VideoError as error:  # it opens, but does not decode
                    unreadable[error.path] = error.reason
                bar.advance(task)
            (out / name).unlink(missing_ok=True)
            if rows:
                draw_sheet(out / name, _title(split, spec, config), rows)
                sheets.append(str(out / name))
        findings = _check(probes, unreadable, train, evaluation, config, spec)

    summary = {
        "data": config.data.train,
        "model": config.model.name,
        "spec": spec.to_dict(),
        "videos": {
            split: {"num_videos": len(videos), "num_opened": len(probes[split])} for split, videos in sets.items()
        },
        "warnings": sum(not f.ok for f in findings),
        "checks": {f.check: _entry(f) for f in findings},
        "sheets": sheets,
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (out / "inspect.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
    else:
        _show(findings, summary, console)
    names = ", ".join([*(Path(sheet).name for sheet in sheets), "inspect.json"])
    console.print(f"results in {out}: {names}", highlight=False, soft_wrap=True)
    return 0


def _some(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    if not count or len(records) <= count:
        return list(records)
    return [records[i] for i in np.sort(np.random.default_rng(seed).choice(len(records), count, replace=False))]


def _probe_all(
    records: Sequence[Record], reader: ClipReader, config: cfg.Config, split: str
) -> Iterator[clip_checks.Sampled | VideoError]:
    with ThreadPoolExecutor(config.data.reading.num_threads) as pool:
        yield from pool.map(lambda record: _probe(record, reader, config, split), records)


def _probe(record: Record, reader: ClipReader, config: cfg.Config, split: str) -> clip_checks.Sampled | VideoError:
    """Sample the frame numbers of a video's clips, without decoding."""
    try:
        with open_video(record.path, timeout=config.data.reading.timeout, folder_fps=folder_fps(config.data)) as video:
            timestamps, fps, height, width = video.timestamps, video.fps, video.height, video.width
    except VideoError as error:
        return error
    first, count = segment_frames(timestamps, (record.start, record.end))

    def clips(rng: Any = None) -> np.ndarray:
        rule = config.data.sampling.eval if split == "evaluation" else config.data.sampling.train
        many = config.eval.num_clips if split == "evaluation" else 1
        return clip_indices(rule, count, fps, reader.spec, config.data.sampling, num_clips=many, rng=rng)

    if split == "evaluation":
        indices = clips()
    else:
        draws = [np.random.default_rng((config.seed, i)) for i in range(_DRAWS)]
        ends = clip_checks.ExtremeDraws(highest=False), clip_checks.ExtremeDraws(highest=True)
        indices = np.concatenate([clips(rng) for rng in (*ends, *draws)])
    return clip_checks.Sampled(record.path, timestamps[first : first + count], fps, height, width, indices)


def _check(
    probes: dict[str, list[clip_checks.Sampled]],
    unreadable: dict[str, str],
    train: VideoSet,
    evaluation: VideoSet,
    config: cfg.Config,
    spec: cfg.Spec,
) -> list[clip_checks.Finding]:
    clip = spec.video
    ours, theirs = probes["training"], probes["evaluation"]
    everything = [*ours, *theirs]
    rules = (config.data.sampling.train, config.data.sampling.eval)
    digests = split_checks.content_digests(r.path for r in (*train.records, *evaluation.records))
    return [
        clip_checks.check_reading(unreadable, len(everything) + len(unreadable)),
        clip_checks.check_ends(ours, theirs),
        clip_checks.check_spacing(ours, theirs, train_rule=rules[0]),
        clip_checks.check_padding(ours, theirs),
        clip_checks.check_coverage(ours, theirs),
        clip_checks.check_fps(
            everything,
            rules=rules,
            num_frames=clip.num_frames,
            stride=clip.stride,
            target_fps=clip.fps,
        ),
        clip_checks.check_aspect(everything, resize=clip.resize, size=clip.size, num_crops=config.eval.num_crops),
        split_checks.check_classes(train, evaluation),
        split_checks.check_overlap(train, evaluation, digests),
    ]


def _pick(videos: VideoSet, count: int, seed: int, unreadable: Iterable[str]) -> list[Record]:
    """Choose readable videos in random order, one of each class in turn."""
    turns: dict[tuple[int, ...], int] = {}
    queue = []
    for i in np.random.default_rng(seed).permutation(len(videos)):
        record = videos.records[i]
        if record.path not in unreadable:
            turns[record.labels] = turns.get(record.labels, 0) + 1
            queue.append((turns[record.labels], record.labels, record))
    return [record for *_, record in sorted(queue, key=lambda item: item[:2])[:count]]


def _rows(
    record: Record,
    videos: VideoSet,
    reader: ClipReader,
    config: cfg.EvalConfig,
    draws: Sequence[np.random.Generator] | None,
    mirror: bool,
) -> list[Row]:
    """Rows of one video's views, with its classes and the names of the views: a training clip for each generator, or
    the views of the evaluation if there are none."""
    crops = config.num_crops
    if draws:
        clips = [reader.train(record, rng, mirror=mirror) for rng in draws]
        names = [f"draw {i + 1} of {len(draws)}" for i, (video, _) in enumerate(clips) for _ in video]
    else:
        clips = [reader.evaluate(record, config.num_clips, crops)]
        count = len(clips[0][0]) // crops
        names = [f"clip {k + 1} of {count}, crop {c + 1} of {crops}" for k in range(count) for c in range(crops)]
    labels = "|".join(videos.labels.names[i] for i in record.labels)
    views = [view for video, seen in clips for view in zip(video, seen.frames, seen.times, strict=True)]
    shown = range(len(views))
    if not draws and len(views) > _VIEWS_SHOWN:
        shown = np.unique(np.round(np.linspace(0, len(views) - 1, _VIEWS_SHOWN)).astype(int))
    video = reader.spec.video
    return [Row(f"{_short(labels)}\n{names[v]}", _pictures(views[v][0], video), *views[v][1:]) for v in shown]


def _pictures(view: np.ndarray, video: VideoInput) -> np.ndarray:
    """Colours of a view, uint8 `(T, H, W, 3)`; of flow alone, its first field: motion to the right as red, down as
    green, so that a still picture is grey."""
    if video.colours or (video.flow is not None and video.flow.on_device):
        return view[..., :3]
    return np.concatenate([view[..., :2], np.full_like(view[..., :1], 128)], axis=-1)


def _names(paths: Iterable[str]) -> dict[str, str]:
    """Name of each file on a sheet: its file name, with the folders that distinguish it if two files share it."""
    parts = {path: Path(path).parts for path in paths}

    def end(path: str, depth: int) -> tuple[str, ...]:
        return parts[path][-depth:]

    names = {}
    for path in parts:
        depth = 1
        while depth < len(parts[path]) and any(o != path and end(o, depth) == end(path, depth) for o in parts):
            depth += 1
        names[path] = _short("/".join(end(path, depth)))
    return names


def _short(text: str, length: int = 34) -> str:
    return text if len(text) <= length else text[: length // 2 - 1] + "…" + text[-length // 2 :]


def _title(split: str, spec: cfg.Spec, config: cfg.Config) -> str:
    rule = config.data.sampling.train if split == "training" else config.data.sampling.eval
    pace = f" at {spec.video.fps:g} frames/s" if spec.video.fps else f" at a stride of {spec.video.stride}"
    pace = "" if rule in UNSTRIDED_RULES else pace
    part = f", {COLUMNS} of them shown" if spec.video.num_frames > COLUMNS else ""
    return (
        f"{split}: {rule}, {spec.video.num_frames} frames{pace}{part}, "
        f"{spec.video.size}×{spec.video.size} (frame number, time; orange: repeats or goes back)"
    )


def _entry(finding: clip_checks.Finding) -> dict[str, Any]:
    return {
        "ok": finding.ok,
        "text": finding.text,
        "values": finding.values,
        "num_videos": len(finding.videos),
        "videos": finding.videos[:_LISTED],
    }


def _show(findings: Sequence[clip_checks.Finding], summary: dict[str, Any], console: Console) -> None:
    table = Table("check", "", "found")
    for finding in findings:
        table.add_row(finding.check, "[green]ok[/]" if finding.ok else "[yellow]warn[/]", finding.text)
    console.print(table)
    counts = "; ".join(
        f"{split}: {n['num_opened']} of {n['num_videos']} videos opened" for split, n in summary["videos"].items()
    )
    console.print(f"{counts}; {things(summary['warnings'], 'warning')}", highlight=False, soft_wrap=True)
