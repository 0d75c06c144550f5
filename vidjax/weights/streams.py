"""Checkpoints of networks of several streams: a checkpoint for each stream, by name."""

import dataclasses
import inspect
import os
import re
from collections.abc import Mapping
from typing import Any

from vidjax.config import Spec
from vidjax.models.registry import get_variant
from vidjax.models.streams import Streams
from vidjax.weights.read import CheckpointError

_LISTS = ("inflated", "resized", "widened", "copied", "fresh", "dropped")  # of a load's report


def of_streams(name: str) -> bool:
    """Whether a named model is a network of several streams."""
    return inspect.signature(get_variant(name).build).return_annotation is Streams


def by_stream(checkpoint: Any, model: Streams) -> dict[str, Any]:
    """Checkpoint of each stream, by name.

    Args:
      checkpoint: `rgb=PATH,flow=PATH`, or one of the two, with the names of the model's streams; or a mapping of paths
        by these names.
      model: the network.

    Returns:
      Empty if the checkpoint is not given by stream.

    Raises:
      CheckpointError: if a stream is named twice.
    """
    known = [stream for stream, _ in model.names]
    if isinstance(checkpoint, Mapping):
        return dict(checkpoint) if checkpoint and set(checkpoint) <= set(known) else {}
    names = "|".join(map(re.escape, known))
    parts = re.split(rf",(?=(?:{names})=)", os.fspath(checkpoint))
    pairs = [part.partition("=") for part in parts]
    if any(stream not in known or not path for stream, _, path in pairs):
        return {}
    if len({stream for stream, _, _ in pairs}) < len(pairs):
        raise CheckpointError(f"{checkpoint}: names a stream twice; give {example(model)}")
    return {stream: path for stream, _, path in pairs}


def need_by_stream(checkpoint: Any, model: Streams, name: str) -> dict[str, Any]:
    """Checkpoint of each stream as of `by_stream`.

    Raises:
      CheckpointError: if the checkpoint is not given by stream; the message says how to.
    """
    if found := by_stream(checkpoint, model):
        return found
    title = "state dict" if isinstance(checkpoint, Mapping) else checkpoint
    raise CheckpointError(f"{title}: {name} has several streams, and files for each: give {example(model)}")


def example(model: Streams) -> str:
    """Form of a checkpoint by stream, for messages."""
    return ",".join(f"{stream}=PATH" for stream, _ in model.names)


def spec_of(spec: Spec, model: Streams, stream: str) -> Spec:
    """Spec of one stream's clips, from that of all channels."""
    video, own = spec.video, model.channel_ranges[stream]
    fields = video.flow if stream == "flow" else None
    return spec.with_video(mean=video.mean[own], std=video.std[own], content=stream, flow=fields)


def joined(reports: Mapping[str, Any]) -> Any:
    """Report of the loads of all streams, from a `LoadReport` of each; its paths begin with the stream's name."""
    lists = {key: tuple(f"{s}.{path}" for s, r in reports.items() for path in getattr(r, key)) for key in _LISTS}
    worst = next((report for report in reports.values() if not report.head_loaded), next(iter(reports.values())))
    source = ", ".join(f"{stream}: {report.source}" for stream, report in reports.items())
    return dataclasses.replace(worst, source=source, num_loaded=sum(r.num_loaded for r in reports.values()), **lists)
