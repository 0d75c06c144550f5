"""A trained network for clips of long videos: features and, where it has classes, scores, batch by batch."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vidjax import parallel
from vidjax.errors import UserError
from vidjax.evaluation.engine import compile_forward
from vidjax.inputs import VideoInput
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.state import split
from vidjax.nn.enter import enter
from vidjax.tasks import make_task
from vidjax.training.checkpoints import load_model

_AHEAD = 2  # batches read ahead


class ClipNetwork:
    """Network of a run, or of a folder written by `convert`, applied to clips in batches.

    Args:
      run: folder of the checkpoint.
      step: number of its update; None: the best.
      batch_size: clips that go through the network at a time; None: 4 on CPUs, 16 on accelerators.

    Attributes:
      model: the network, in evaluation mode.
      spec: spec of the network.
      data: data settings of the run, such as those of resizing.
      classes: names of the classes; empty if it has none.
      fingerprint: fingerprint of the weights.

    Raises:
      UserError: if the network takes anything but one video.
    """

    def __init__(self, run: str | Path, *, step: int | None = None, batch_size: int | None = None):
        self._mesh = parallel.make_mesh(1)
        model: Any
        model, meta, _ = load_model(run, step=step, sharding=parallel.replicated(self._mesh))
        self.model: Any
        self.model, self.spec, self.data, self.config = model, meta.spec, meta.config.data, meta.config
        if [type(value) for value in self.spec.inputs.values()] != [VideoInput]:
            given = " and ".join(value.kind for value in self.spec.inputs.values())
            raise UserError(f"{run}: {self.spec.name} takes {given}; a network of clips of video is needed here")
        self.batch_size = batch_size or (4 if jax.default_backend() == "cpu" else 16)
        self.fingerprint = weights_fingerprint(model)
        dtype = parallel.compute_dtype(meta.config.model.compute_dtype)
        self.dtype = dtype
        task = make_task(meta.config, self.spec, meta.labels, dtype)
        present = task.present
        self.present = present
        headed = getattr(self.model, "head", None) is not None
        self.classes: tuple[str, ...] = meta.labels.names if present is not None and headed else ()
        _, params, stats = split(model)
        self._weights = jax.device_put((params, stats), parallel.replicated(self._mesh))

        def describe(network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> dict[str, jax.Array]:
            del number
            found = network.encode(enter(inputs, self.spec.inputs, dtype, network=network))
            outputs = {"features": found.pooled.astype(np.float32)}
            if self.classes:
                outputs["logits"] = network.apply_head(found).astype(np.float32)
            return outputs

        self._forward = compile_forward(model, describe, self._mesh)

    def __call__(self, clips: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Apply the network to clips of one video, read ahead in a thread, and yield its outputs for each.

        The next batch is under way while the outputs of one are taken.

        Args:
          clips: clips uint8 `(T, size, size, 3)`.

        Yields:
          `features` float32 `(D,)` and, with classes, `scores`, probabilities `(K,)`.
        """
        name = next(iter(self.spec.inputs))
        number, sharding = np.zeros(self.batch_size, np.int32), parallel.batch_sharding(self._mesh)
        under_way: list[tuple[Mapping[str, jax.Array], int]] = []
        for batch in ahead(_batches(clips, self.batch_size)):
            count = len(batch)
            full = np.concatenate([batch, np.zeros((self.batch_size - count, *batch.shape[1:]), np.uint8)])
            found = self._forward(*self._weights, *parallel.place(({name: full}, number), sharding))
            under_way.append((found, count))
            if len(under_way) > 1:
                yield from self._rows(*under_way.pop(0))
        for one in under_way:
            yield from self._rows(*one)

    def _rows(self, found: Mapping[str, jax.Array], count: int) -> Iterator[dict[str, np.ndarray]]:
        """Outputs of the first `count` clips of a batch, one by one."""
        outputs = {"features": np.asarray(found["features"])}
        if self.present is not None and "logits" in found:
            outputs["scores"] = self.present(np.asarray(found["logits"]))
        for row in range(count):
            yield {key: value[row] for key, value in outputs.items()}

    def needs_classes(self, run: str | Path) -> None:
        """Check that the network has classes.

        Raises:
          UserError: if it has none.
        """
        if not self.classes:
            raise UserError(f"{run}: {self.spec.name} has no classes, only features; train a classifier from it first")


def _batches(clips: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def ahead(items: Iterable[Any], most: int = _AHEAD) -> Iterator[Any]:
    """Yield the items of an iterable that a thread takes up to `most` ahead; its errors are raised here."""
    ready: queue.Queue = queue.Queue(most)
    stopped, end = threading.Event(), object()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def take() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(end)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=take, name="vidjax-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
