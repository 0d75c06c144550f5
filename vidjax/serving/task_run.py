"""A run whose task brings its own answers, such as boxes or captions, and the choice of what serves a folder."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidjax import parallel
from vidjax.data.reading.examples import ExampleReader
from vidjax.errors import UserError
from vidjax.evaluation.engine import compile_forward
from vidjax.export.folder import read_info
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.state import split
from vidjax.serving.answers import Run, TrainedRun, guarded
from vidjax.serving.batcher import View
from vidjax.serving.limits import Limits
from vidjax.tasks import make_task
from vidjax.tasks.service import Service, ServiceLimits
from vidjax.training.checkpoints import Meta, load_meta, load_model
from vidjax.view_batches import apply

TOP = 5  # classes in an answer


def open_run(
    folder: str,
    limits: Limits,
    *,
    num_clips: int | None = None,
    num_crops: int | None = None,
    step: int | None = None,
    top: int | None = None,
) -> Run:
    """Open what a server serves.

    Args:
      folder: work directory of a run, or folder written by `convert`, `export` or `quantize`.
      limits: limits of the server.
      num_clips, num_crops, step: as for `TrainedRun`; a task with answers of its own takes neither clips nor crops.
      top: number of classes in an answer; None: 5.

    Raises:
      UserError: if the run cannot be served, or an option has no effect on it.
    """
    if read_info(folder) is None:
        meta = load_meta(folder)
        data = dataclasses.replace(meta.config.data, reading=guarded(limits))
        meta = dataclasses.replace(meta, config=dataclasses.replace(meta.config, data=data))
        dtype = parallel.compute_dtype(meta.config.model.compute_dtype)
        make = make_task(meta.config, meta.spec, meta.labels, dtype).service
        if make is not None:
            service = make(ServiceLimits(limits.windows, limits.window_bytes, limits.seconds, top or TOP))
            given = {"--num-clips": num_clips, "--num-crops": num_crops, "--top": None if service.ranks else top}
            if unused := [name for name, value in given.items() if value is not None]:
                raise UserError(f"{unused[0]}: has no effect on the answers of {meta.spec.name}; leave it out")
            return TaskRun(folder, meta, service, step)
    return TrainedRun(folder, limits, num_clips=num_clips, num_crops=num_crops, step=step, top=top or TOP)


class TaskRun:
    """Run of a network whose task brings its answers; see `vidjax.serving.answers.Run`.

    Args:
      folder: work directory of the run, or folder written by `convert`.
      meta: its facts, with settings of reading for files that are not trusted.
      service: its answers.
      step: update number of the checkpoint; None: the best.
    """

    def __init__(self, folder: str, meta: Meta, service: Service, step: int | None = None):
        self._mesh = parallel.make_mesh(1)
        model, _, _ = load_model(folder, step=step, sharding=parallel.replicated(self._mesh))
        self.answers = dict(service.answers)
        self.facts: dict[str, Any] = {
            "model": meta.spec.name,
            "fingerprint": weights_fingerprint(model),
            "classes": list(meta.labels.names),
            "views": {},
        }
        self._forward = compile_forward(model, service.forward, self._mesh)
        _, *weights = split(model)
        self._weights = (weights[0], weights[1])
        self._layout = ExampleReader(meta.spec, meta.config.data).layout()

    def blank(self) -> View:
        """A view without a video."""
        return {name: array[0] for name, array in self._layout.empty(1)["inputs"].items()}

    def compute(self, views: Sequence[View], size: int) -> np.ndarray:
        """Outputs of the service for views; see `Run.compute`."""
        return apply(self._forward, self._weights, self._mesh, views, size)
