"""The compiled program of one update, for the training loop or, built only from shapes, for any devices.

`Program.of` needs no data, no weights and none of the devices; plans and benchmarks use it.
"""

import contextlib
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache as cache
from jax.sharding import Mesh

from vidjax import parallel
from vidjax.batch import BatchLayout, layout_of
from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.models.build import build_model
from vidjax.models.state import merge, split
from vidjax.tasks import make_task
from vidjax.tasks.task import Objective, Task
from vidjax.training.optimizer import make_optimizer, make_schedule
from vidjax.training.step import StepOptions, TrainState, init_state, make_train_step
from vidjax.training.teacher import abstract_teacher, reading_spec

Shapes = dict[str, dict[str, jax.ShapeDtypeStruct]]


def jit_step(
    config: Config,
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    objective: Objective,
    mesh: Mesh,
    teacher: nnx.Module | None = None,
) -> jax.stages.Wrapped:
    """Jit the function `(state, {"inputs", "targets"}) → (state, done)` of one update, which donates its state.

    Only the shapes of `state` matter here; they decide its placement on the mesh. The returned state is donated to the
    next update; `done` is a separate array that is ready once this update has ended. With a `teacher`, a batch also has
    its arrays, see `make_train_step`.

    Raises:
      ConfigError: if the model has no batch normalisation to configure, or the objective cannot use the settings.
    """
    if config.train.batch_norm != "sync" and not state.stats:
        raise ConfigError(
            f"config.train.batch_norm = {config.train.batch_norm!r}: {config.model.name} has no batch normalisation; "
            "leave it at 'sync'"
        )
    options = StepOptions(
        seed=config.seed,
        ema_decay=config.train.ema_decay,
        accumulate=config.train.accumulate,
        skip_bad_steps=config.train.skip_bad_steps,
        norm_groups=parallel.batch_shards(mesh) if config.train.batch_norm == "device" else 1,
        quantize=config.train.quantize,
    )
    step = make_train_step(model, optimizer, objective, options, teacher)

    layout = parallel.state_sharding(state, mesh, offload=config.optimizer.offload)
    on_devices = parallel.state_sharding(state, mesh).opt_state

    def step_and_signal(state: TrainState, batch: dict[str, Any]) -> tuple[TrainState, jax.Array]:
        if config.optimizer.offload:
            state = dataclasses.replace(state, opt_state=jax.device_put(state.opt_state, on_devices))
        tokens = parallel.splitting_tokens(mesh) if config.mesh.tokens else contextlib.nullcontext()
        with parallel.kernels_on(mesh), tokens:
            state = step(state, batch)
        return state, jnp.copy(state.step)

    return jax.jit(step_and_signal, donate_argnums=0, out_shardings=(layout, parallel.replicated(mesh)))


def batch_shapes(
    config: Config, layout: BatchLayout, *, mesh: Mesh, constant: Mapping[str, Any] | None = None
) -> Shapes:
    """Shapes and placement of the inputs and targets of a batch over all processes.

    Args:
      config: config of the run.
      layout: arrays of a batch.
      mesh: devices.
      constant: arrays that come with every batch, such as those of a teacher, with their placement.
    """
    shapes = layout.shapes(config.train.batch_size, config.data.sampling.views)
    batch = {
        group: {name: jax.ShapeDtypeStruct(*shape) for name, shape in arrays.items()}
        for group, arrays in shapes.items()
    }
    return _placed(batch, parallel.batch_sharding(mesh)) | jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), dict(constant or {})
    )


def count_steps(config: Config, num_videos: int) -> tuple[int, float]:
    """Number of updates of a run on `num_videos` training videos, and updates per epoch."""
    per_epoch = num_videos / config.train.batch_size
    return config.train.steps or max(1, round(config.train.epochs * per_epoch)), per_epoch


@dataclass(frozen=True)
class Program:
    """One update, described by shapes and their placement."""

    config: Config
    spec: Spec
    mesh: Mesh
    model: nnx.Module  # abstract
    optimizer: optax.GradientTransformation
    task: Task
    step: jax.stages.Wrapped  # from `jit_step`
    state: TrainState  # of ShapeDtypeStructs
    layout: BatchLayout
    batch: Shapes  # of `layout`, "inputs" and "targets"

    @classmethod
    def of(
        cls,
        config: Config,
        spec: Spec,
        labels: LabelSpace,
        *,
        num_videos: int,
        devices: Sequence[Any] | None = None,
    ) -> "Program":
        """Build the update that `config` describes.

        Args:
          config: validated config.
          spec: spec of the clips, from `resolve_spec`.
          labels: classes of the data set.
          num_videos: number of training videos, which decides the length of the schedule.
          devices: devices to compile for; None: those of all processes.

        Raises:
          ConfigError: if settings do not fit each other or the devices.
        """
        mesh = parallel.mesh_of(config.mesh, devices)
        size = config.train.batch_size
        parallel.check_batch_size(size // config.train.accumulate, mesh, "train.batch_size")
        dtype = parallel.compute_dtype(config.model.compute_dtype)
        steps, per_epoch = count_steps(config, num_videos)
        optimizer = make_optimizer(
            config.optimizer, make_schedule(config.optimizer, steps=steps, steps_per_epoch=per_epoch, batch_size=size)
        )
        task = make_task(config, spec, labels, dtype)
        model = build_model(config, len(labels.names), dtype=dtype, abstract=True, head=task.head)
        reading = reading_spec(config, spec, labels)
        layout = layout_of(reading.inputs, task.targets.fields())
        teacher, constant = None, None
        if config.train.teacher:
            teacher, arrays = abstract_teacher(config.train.teacher)
            constant = {"teacher": _placed(arrays, parallel.replicated(mesh))}
        graphdef, params, stats = split(model)
        state = jax.eval_shape(
            lambda params, stats: init_state(
                merge(graphdef, params, stats),
                optimizer,
                ema=config.train.ema_decay > 0,
                param_dtype=config.model.param_dtype,
                sums=task.objective.sums,
            ),
            params,
            stats,
        )
        return cls(
            config=config,
            spec=spec,
            mesh=mesh,
            model=model,
            optimizer=optimizer,
            task=task,
            step=jit_step(config, model, optimizer, state, task.objective, mesh, teacher),
            state=_placed(state, parallel.state_sharding(state, mesh, offload=config.optimizer.offload)),
            layout=layout,
            batch=batch_shapes(config, layout, mesh=mesh, constant=constant),
        )

    @property
    def clips(self) -> int:
        """Clips of one update, over all devices."""
        return self.config.train.batch_size * self.config.data.sampling.views

    def lower(self) -> jax.stages.Lowered:
        """Trace and lower the update, ready for compilation."""
        return self.step.lower(self.state, self.batch)


def _placed(tree: Any, sharding: Any) -> Any:
    """Shapes with their placement; `sharding` is one for all, or a tree of them."""
    if isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.tree.map(lambda _: sharding, tree)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, sharding)


@contextlib.contextmanager
def compilation_cache(folder: str) -> Generator[None, None, None]:
    """Context that keeps compiled programs in `folder` for this run and later ones; "": JAX's own setting applies.

    Raises:
      ConfigError: if the folder cannot be made.
    """
    if not folder:
        yield
        return
    path = Path(folder).expanduser().absolute()
    before = jax.config.jax_compilation_cache_dir  # pyrefly: ignore[missing-attribute]: made when JAX is imported
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"config.train.compilation_cache = {folder!r}: {error.strerror}") from error
    try:
        _use_cache(str(path))
        yield
    finally:
        _use_cache(before)


def _use_cache(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    cache.reset_cache()  # JAX reads the setting only once
