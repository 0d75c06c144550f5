"""A network to use: of a run, converted, exported, or built in Python, with its inputs, settings and classes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import NamedSharding

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config import ReadingConfig, SamplingConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.evaluation.calibration import stored_temperature
from vidjax.evaluation.several import read_thresholds
from vidjax.export.opened import ExportedNetwork, open_export
from vidjax.inputs import VideoInput
from vidjax.training.checkpoints import load_model, run_folder

File = str | Path


@dataclass(frozen=True)
class OpenedNetwork:
    """A network, and what is known of it.

    Attributes:
      title: folder of the checkpoint, or class of the model.
      model: the network; None: there are only programs exported from it.
      exported: these programs; None: there are none.
      spec: format of its inputs.
      config: config of its run, or defaults, with the wanted rules of reading.
      labels: classes of its run; without names for a model built in Python.
      dtype: type of activations; None: float32.
      step: update of the checkpoint.
      folder: folder of the run; None: it has none of its own.
    """

    title: str
    model: nnx.Module | None
    exported: ExportedNetwork | None
    spec: cfg.Spec
    config: cfg.Config
    labels: LabelSpace
    dtype: Any = None
    step: int = 0
    folder: Path | None = None

    @property
    def own_model(self) -> nnx.Module:
        """The network, of which there are not only exported programs."""
        assert self.model is not None
        return self.model

    @property
    def outputs(self) -> int:
        """K, number of outputs of the classifier; 0: there is none."""
        if self.exported is not None:
            return len(self.labels.names)
        head: Any = getattr(self.model, "head", None)
        return 0 if head is None else head.out_features

    @property
    def temperature(self) -> float:
        """Temperature of its probabilities, from `vidjax calibrate`; 1: it has none."""
        if self.exported is not None:
            return self.exported.info.temperature
        return 1.0 if self.folder is None else stored_temperature(self.folder, self.step)

    def thresholds(self, class_names: Sequence[str]) -> np.ndarray | None:
        """Thresholds of classes of which a video may have several, `(K,)`; None: none are stored."""
        if self.exported is not None:
            return np.asarray(self.exported.info.thresholds) if self.exported.info.thresholds else None
        return None if self.folder is None else read_thresholds(self.folder, class_names)


def open_network(
    model: File | nnx.Module,
    spec: cfg.Spec | None,
    step: int | None,
    sampling: SamplingConfig | None,
    reading: ReadingConfig | None,
    sharding: NamedSharding,
) -> OpenedNetwork:
    """Open a folder, or take a model.

    Args:
      model: work directory of a run, folder written by `convert`, `export` or `quantize`, or a model.
      spec: spec of a model; None for a folder.
      step: update number of the checkpoint; None: the best.
      sampling: rules for the frames of clips, of which `eval` and what belongs to it are used; None: the config's.
      reading: settings of reading; None: the config's.
      sharding: placement of the arrays of a checkpoint.

    Raises:
      CheckpointFolderError: if a folder holds no checkpoint.
      UserError: if a folder comes with a spec, a model without one, or with another's, or an export has no such step.
    """
    if not isinstance(model, str | Path):
        spec = _check_model(model, spec, step)
        config = cfg.Config(model=cfg.ModelConfig(name=spec.name))
        return OpenedNetwork(
            type(model).__name__, model, None, spec, _read_by(config, sampling, reading), LabelSpace(())
        )
    if spec is not None:
        raise UserError(f"{model}: a folder has its own spec; leave it out")
    network, exported = None, open_export(model)
    if exported is None:
        network, meta, loaded = load_model(model, step=step, sharding=sharding)
    else:
        meta, loaded = exported.info.meta, exported.info.step
        if step not in (None, loaded):
            raise UserError(
                f"{model} was exported from update {loaded}, so that there is no {step}; leave the step out"
            )
    config = _read_by(meta.config, sampling, reading)
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    return OpenedNetwork(
        str(model), network, exported, meta.spec, config, meta.labels, dtype, loaded, run_folder(model)
    )


def _read_by(config: cfg.Config, sampling: SamplingConfig | None, reading: ReadingConfig | None) -> cfg.Config:
    """A config with other rules of reading; None: its own."""
    data = config.data
    if sampling is not None:
        rule = {name: getattr(sampling, name) for name in ("eval", "hop", "short_video")}
        data = dataclasses.replace(data, sampling=dataclasses.replace(data.sampling, **rule))
    if reading is not None:
        data = dataclasses.replace(data, reading=reading)
    return dataclasses.replace(config, data=data)


def _check_model(model: nnx.Module, spec: cfg.Spec | None, step: int | None) -> cfg.Spec:
    """Check a model and its spec, and return the spec."""
    if not isinstance(model, nnx.Module):
        raise UserError(f"model = {model!r}: give the folder of a run, or a model from vidjax.create_model")
    if spec is None:
        raise UserError(
            "give the model's spec too, Predictor(model, vidjax.get_spec(NAME)): it sets how frames are sampled and "
            "normalised"
        )
    if step is not None:
        raise UserError(f"step = {step}: only the folder of a run has steps; leave it out for a model")
    videos = [value for value in spec.inputs.values() if isinstance(value, VideoInput)]
    for video in videos:
        if video.channels != (own := getattr(model, "channels", video.channels)):
            raise UserError(
                f"the model takes {own} channels, and the spec ({spec.name}, {video.enters}) gives "
                f"{video.channels}: give the spec it was built with, such as spec.with_video(enters='both')"
            )
    return spec
