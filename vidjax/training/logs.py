"""Log files of a run: `metrics.jsonl`, TensorBoard and the list of bad videos."""

import json
import logging
import math
from pathlib import Path
from typing import Any

from vidjax.data.listing.quarantine import BAD_RECORDS
from vidjax.data.pipeline import MAX_FAILURES, BadRecord

logger = logging.getLogger("vidjax")


class MetricsLog:
    """Log of figures: one JSON object per line in `metrics.jsonl`, and the same figures in TensorBoard.

    On resuming, lines beyond the restored step are dropped, so that a run killed and continued leaves the same file as
    an uninterrupted one.
    """

    def __init__(self, workdir: Path, resume_step: int):
        from tensorboardX import SummaryWriter

        self.path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= resume_step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(self.path)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Log figures of one kind, "train" or "eval", after update `step`."""
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        try:
            self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close the log. A full disk is only a warning here, as its error may already be ending the run."""
        for part in (self._file, self._writer):
            try:
                part.close()
            except OSError as error:
                logger.warning("%s: the last lines of the log could not be written: %s", self.path.parent, error)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a `metrics.jsonl`, without a last line cut off by a kill. Empty if there is no file."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


class BadRecordLog:
    """Log of unreadable videos, each listed once in `bad_records.jsonl` as `{"path", "reason", "replaced"}`, where
    `replaced` counts its substitutions by other videos. Lines are written at once; `save` updates the counts.

    Videos that were used, but without sound, are listed beside it, in `unheard.jsonl`, with the number of their clips.

    Args:
      path: path of the file.
      counted: name of the count.
    """

    def __init__(self, path: Path, counted: str = "replaced"):
        self._path, self._counted = path, counted
        beside = path.with_name(path.name.replace("bad_records", "unheard"))
        self.unheard = None if beside == path else BadRecordLog(beside, "clips")
        self._lines: dict[str, dict[str, Any]] = {line["path"]: line for line in read_metrics(path)}
        self.substitutions = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, records: list[BadRecord]) -> None:
        """Add the bad records of one batch."""
        if self.unheard is not None:
            self.unheard.add([record for record in records if record.unheard])
            records = [record for record in records if not record.unheard]
        self.substitutions += len(records)
        for record in records:
            if (line := self._lines.get(record.path)) is not None:
                line[self._counted] = line.get(self._counted, 1) + 1
                continue
            self._lines[record.path] = {"path": record.path, "reason": record.reason, self._counted: 1}
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self._lines[record.path]) + "\n")

    def save(self) -> None:
        """Rewrite the lists with the current counts."""
        if self.unheard is not None:
            self.unheard.save()
        if not self._lines:
            return
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in self._lines.values()), encoding="utf-8")
        temporary.replace(self._path)


def failed_before(workdir: Path) -> dict[str, str]:
    """Path → reason of the videos that the run in `workdir` has replaced too often to try them again."""
    lines = [line for path in sorted(workdir.glob(BAD_RECORDS)) for line in read_metrics(path)]
    return {line["path"]: line["reason"] for line in lines if line.get("replaced", 1) >= MAX_FAILURES}
