"""The training run: data, updates, evaluation and checkpoints, from a config to a work directory of results.

A run that is killed and started again with the same command continues from its last checkpoint and ends as if it had
never stopped: the state restores parameters, optimiser, moving average and metric sums; dropout and the data of a step
depend only on the seed and the step's number.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsFloat, cast

import jax
import optax
from flax import nnx
from rich.console import Console
from rich.progress import Progress, TaskID

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.pipeline import footprint, train_batches
from vidjax.data.reading.examples import ExampleReader
from vidjax.evaluation import report
from vidjax.evaluation.engine import Forward, Outcome, cadences, compile_forward, flat_metrics
from vidjax.evaluation.engine import run as evaluate
from vidjax.evaluation.identity import BEST, identity
from vidjax.models.build import build_model
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.registry import get_spec
from vidjax.models.state import Arrays
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.training import checkpoints as ckpt
from vidjax.training import workdir as workdir_of
from vidjax.training.compiled_step import batch_shapes, compilation_cache, count_steps, jit_step
from vidjax.training.device_prefetch import Feed
from vidjax.training.dry_run import say_share, say_start
from vidjax.training.init_from import start
from vidjax.training.logs import BadRecordLog, MetricsLog, failed_before
from vidjax.training.optimizer import make_optimizer, make_schedule
from vidjax.training.precise_batchnorm import make_precise
from vidjax.training.result import Kept, read_result, write_result
from vidjax.training.run_data import choose_metric, training_sets
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import TrainState, init_state, next_metrics
from vidjax.training.stopping import Interrupted, TermFlag, check_finite, interrupts_say_where
from vidjax.training.summary import announce
from vidjax.training.teacher import load_teacher, reading_spec
from vidjax.training.throughput import Meter, averages, in_short, in_words
from vidjax.training.tokenizers import with_tokenizer
from vidjax.wording import things

# Without a terminal there is no progress bar; a line at this interval shows that the run is alive.
_SECONDS_BETWEEN_LINES = 15.0


def train(config: cfg.Config, workdir: str | Path, console: Console | None = None) -> dict[str, Any]:
    """Train and evaluate the model that `config` describes, writing everything under `workdir`.

    Args:
      config: experiment, see `vidjax.config`; checked before anything starts.
      workdir: new folder, or the folder of a run with the same config, which is then continued.
      console: console for progress; None: standard output.

    Returns:
      Evaluation of the best checkpoint, as in `eval.json`.

    Raises:
      ConfigError, DataError: before training, if settings or annotations cannot be used.
      CheckpointFolderError: if `workdir` cannot be made, belongs to another run, or holds a model.
      DivergedError: if the loss becomes NaN or infinite.
      CheckpointWriteError: if a checkpoint cannot be written.
      Interrupted: after SIGTERM or Ctrl-C, once the state is saved.
      KeyboardInterrupt: after Ctrl-C, if there is nothing to save yet, and after a second Ctrl-C.
    """
    return _Run(validate(config), Path(workdir), console or Console()).train()


def dry_run(config: cfg.Config, workdir: str | Path, console: Console | None = None) -> None:
    """Print what `train` would do with the same arguments, without doing it; see `vidjax.training.dry_run`.

    Raises:
      ConfigError, DataError, CheckpointFolderError: as `train`.
    """
    config, console = validate(config), console or Console()
    parallel.on_writer(lambda: workdir_of.try_place(Path(workdir)))
    if config.data.synthetic and not Path(config.data.train).exists():
        mesh = parallel.mesh_of(config.mesh)
        parallel.check_batch_size(config.train.batch_size // config.train.accumulate, mesh, "train.batch_size")
        if parallel.is_writer():
            console.print(
                f"{config.model.name}; {parallel.describe(mesh)}; {config.data.train} would be generated first, so the "
                "number of updates and each process's share are not known yet; nothing was written",
                highlight=False,
                soft_wrap=True,
            )
        return
    run = _Run(config, Path(workdir), console)
    run.announce()
    most = footprint(run.layout, config.data, config.train.batch_size, jax.process_count())
    say_share(run.config, run.videos, run.task.balance, run.mesh, most, run.console)
    say_start(run.config, run.workdir, len(run.videos.labels.names), run.console)
    run.console.print("dry run: nothing was written", highlight=False)


class _Run:
    """A training run, from its config to its result."""

    # Set by `train`.
    checkpoints: RunCheckpoints
    forwards: dict[str, Forward]
    kept: Kept
    precise: Callable[..., Arrays] | None
    log: MetricsLog | None
    bad_records: BadRecordLog
    # Set while updates are made.
    feed: Feed
    bar: Progress
    bar_task: TaskID
    last_line: float
    eval_every: int  # updates
    save_every: int

    def __init__(self, config: cfg.Config, workdir: Path, console: Console):
        self.config, self.workdir = config, workdir
        self.console = console if parallel.is_writer() else Console(quiet=True)
        self.mesh = parallel.mesh_of(config.mesh)
        parallel.check_batch_size(config.train.batch_size // config.train.accumulate, self.mesh, "train.batch_size")
        self.videos, self.eval_videos = training_sets(config, self.console)
        spec = resolve_spec(get_spec(config.model.name, config.model.kwargs), config.data, config.model.input)
        self.spec = with_tokenizer(spec, config, self.videos)
        self.dtype = parallel.compute_dtype(config.model.compute_dtype)
        self.task = make_task(config, self.spec, self.videos.labels, self.dtype)
        choose_metric(config, self.task)
        self.every = cadences(config.eval.every, list(self.task.evaluators))
        self.reader = ExampleReader(self.spec, config.data)  # of evaluations
        self.train_reader = ExampleReader(reading_spec(config, self.spec, self.videos.labels), config.data)
        self.layout = self.train_reader.layout(self.task.targets.fields())
        self.constant: dict[str, Any] = {}  # with every batch
        self.meta = ckpt.Meta(config, self.spec, self.videos.labels)
        self.meter = Meter(config.train.batch_size * config.data.sampling.views)
        self.steps, self.steps_per_epoch = count_steps(config, len(self.videos))
        self.schedule = make_schedule(
            config.optimizer,
            steps=self.steps,
            steps_per_epoch=self.steps_per_epoch,
            batch_size=config.train.batch_size,
        )

    def train(self) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            self._claim_workdir(stack)
            stack.enter_context(compilation_cache(self.config.train.compilation_cache))
            self.checkpoints = RunCheckpoints(self.workdir, self.config.train.keep_last, self.config.train.best_metric)
            stack.callback(self.checkpoints.close)
            stack.enter_context(interrupts_say_where(self.checkpoints))
            if found := self._finished():
                return found
            return self._build_and_train(stack)

    def _claim_workdir(self, stack: contextlib.ExitStack) -> None:
        """Lock the work directory and record the config, or refuse a directory of another run."""

        def claim() -> None:
            stack.enter_context(workdir_of.lock(self.workdir))
            workdir_of.claim(self.workdir, self.config)

        parallel.on_writer(claim)

    def _finished(self) -> dict[str, Any] | None:
        """Result of a finished run whose files are complete; None: something is left to do."""
        if self.checkpoints.latest_step != self.steps or not self.checkpoints.is_evaluated(self.steps):
            return None
        self._refuse_another_run()
        found = parallel.on_writer(lambda: read_result(self.workdir, self._result_of(self.checkpoints.best_step)))
        if found:
            report.show(found, self.console)
            self.console.print(
                f"{self.workdir} is finished: all {self.steps} updates are done, and nothing was changed. To train for "
                f"longer: a new --workdir and --config.model.init_from={self.workdir}\n"
                f"{report.closing(found, self.workdir)}",
                highlight=False,
                soft_wrap=True,
            )
        return found

    def _result_of(self, step: int | None) -> dict[str, Any]:
        """Identity of the run's result, which is its best checkpoint's."""
        return identity(self.config, self.spec, self.eval_videos, step=step or 0, checkpoint=BEST)

    def _refuse_another_run(self) -> None:
        meta = self.checkpoints.latest_meta()
        workdir_of.refuse_changes(self.workdir, meta.config, self.config)
        workdir_of.refuse_classes(self.workdir, meta.labels.names, self.videos.labels.names)

    def _build_and_train(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        self.announce()
        classes = len(self.videos.labels.names)
        model = build_model(self.config, classes, dtype=self.dtype, head=self.task.head)
        if self.task.start is not None:
            self.task.start(model)
        return self._train(model, make_optimizer(self.config.optimizer, self.schedule), stack)

    def _train(
        self, model: nnx.Module, optimizer: optax.GradientTransformation, stack: contextlib.ExitStack
    ) -> dict[str, Any]:
        workdir = self.workdir
        resuming = self.checkpoints.latest_step is not None
        if not resuming:
            start(model, self.config, self.spec)
        state = self._initial_state(model, optimizer, resuming)
        self.forwards = {
            name: compile_forward(model, make(self.eval_videos).forward, self.mesh)
            for name, make in self.task.evaluators.items()
        }
        self.kept = Kept(self.config.train.best_metric)
        teacher = None
        if self.config.train.teacher:
            folder = self.config.train.teacher
            teacher, self.constant["teacher"] = load_teacher(folder, parallel.replicated(self.mesh))
            network = teacher.network
            parallel.on_writer(
                lambda: workdir_of.refuse_another_teacher(self.workdir, folder, weights_fingerprint(network))
            )
        step = jit_step(self.config, model, optimizer, state, self.task.objective, self.mesh, teacher)
        self.precise = None
        if self.config.train.batch_norm == "precise":
            self.precise = make_precise(model, self.task.objective, seed=self.config.seed, mesh=self.mesh)
        self.log = MetricsLog(workdir, int(state.step)) if parallel.is_writer() else None
        if self.log:
            stack.callback(self.log.close)
        rank = jax.process_index()
        self.bad_records = BadRecordLog(workdir / (f"bad_records-{rank}.jsonl" if rank else "bad_records.jsonl"))
        stack.callback(self.bad_records.save)
        terminated = stack.enter_context(TermFlag())
        return self._finish(self._steps(state, step, terminated))

    def announce(self) -> None:
        """Print the model, the data and the length of the training."""
        announce(
            self.config, self.spec, self.task, self.layout, (self.videos, self.eval_videos), steps=self.steps,
            mesh=self.mesh, console=self.console,
        )  # fmt: skip

    def _initial_state(self, model: nnx.Module, optimizer: optax.GradientTransformation, resuming: bool) -> TrainState:
        state = init_state(
            model,
            optimizer,
            ema=self.config.train.ema_decay > 0,
            param_dtype=self.config.model.param_dtype,
            sums=self.task.objective.sums,
        )
        parallel.left_whole(state.params, self.mesh)
        state = parallel.place_state(state, self.mesh, offload=self.config.optimizer.offload)
        if resuming:
            state = self.checkpoints.restore(state)
            self._refuse_another_run()
            self.console.print(f"continuing from update {int(state.step)} of {self.steps}")
        return state

    def _steps(self, state: TrainState, step: Any, terminated: TermFlag) -> TrainState:
        config, start = self.config.train, int(state.step)
        if start == self.steps:
            return state
        self.eval_every, self.save_every = (
            max(1, round(epochs * self.steps_per_epoch)) if epochs else self.steps
            for epochs in (config.eval_epochs, config.checkpoint_epochs)
        )
        self.feed = self._feed(start, self.steps - start)
        with progress_bar(self.console) as self.bar:
            self.bar_task = self.bar.add_task("train", total=self.steps, completed=start, info="compiling")
            compiled = self._compile(step, state)
            self.meter.restart()
            self.last_line = time.perf_counter()
            for done in range(start + 1, self.steps + 1):
                state = self._update(compiled, state)
                last = done == self.steps
                if done % config.log_every == 0 or last:
                    state = self._log(state, done)
                self.bar.update(self.bar_task, completed=done)
                evaluating = done % self.eval_every == 0 and not last
                saving = evaluating or (done % self.save_every == 0 and not last)
                stopping = terminated.after(done) and not last
                if saving or stopping:
                    self._check_finite(state)
                    if saving:
                        state = self._settle(state, done)
                    # Also when stopping: a checkpoint that is due an evaluation always gets it.
                    metrics = self._evaluate(state, done) if evaluating else None
                    self.checkpoints.save(state, self.meta, metrics and flat_metrics(metrics))
                    self.bad_records.save()
                if stopping:
                    self.checkpoints.wait()
                    parallel.barrier("stopped")
                    raise Interrupted(
                        f"stopped by signal after update {done}; the same command continues from there",
                        terminated.status,
                    )
        terminated.end()
        return state

    def _feed(self, step: int, count: int) -> Feed:
        """Feed of `count` training batches, from update `step` on."""
        batches = train_batches(
            self.videos,
            self.train_reader,
            self.task.targets,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            balance=self.task.balance,
            start_step=step,
            process=parallel.process_rank(),
            known_bad=failed_before(self.workdir),
        )
        return Feed(batches, parallel.batch_sharding(self.mesh), count, self.constant)

    def _settle(self, state: TrainState, done: int) -> TrainState:
        """Put precise batch statistics, if configured, into the evaluated weights."""
        if self.precise is None:
            return state
        started = time.perf_counter()
        count = max(1, min(self.config.train.precise_batches, int(self.steps_per_epoch)))
        evaluated = state.ema or {"params": state.params, "stats": state.stats}
        stats = self.precise(evaluated["params"], evaluated["stats"], self._feed(done, count), count)
        self.meter.leave_out(time.perf_counter() - started)
        if state.ema:
            return dataclasses.replace(state, ema=state.ema | {"stats": stats})
        return dataclasses.replace(state, stats=stats)

    def _compile(self, step: Any, state: TrainState) -> Any:
        """Compile the update while the first batch is read."""
        self.feed.start()
        started = time.perf_counter()
        shapes = batch_shapes(self.config, self.layout, mesh=self.mesh, constant=self.constant)
        compiled = step.lower(state, shapes).compile()
        parallel.meet("compiled")  # slower machines may take minutes longer
        self.console.print(f"update compiled in {time.perf_counter() - started:.1f} s", highlight=False)
        self.bar.update(self.bar_task, info="")
        return compiled

    def _update(self, compiled: Any, state: TrainState) -> TrainState:
        """Start one update. Nothing here waits for it: it is still running when this returns."""
        batch = self.feed.take()
        self.bad_records.add(batch.bad)
        state, signal_done = compiled(state, batch.arrays)
        del batch  # the devices free it when the update is done
        self.feed.advance(signal_done)
        self.meter.count()
        return state

    def _log(self, state: TrainState, done: int) -> TrainState:
        self._check_finite(state)
        sums = _sums(state)
        self.meter.keep(sums)
        values = {
            "epoch": done / self.steps_per_epoch,
            "learning_rate": float(cast(SupportsFloat, self.schedule(done - 1))),
        }
        skips = self.config.train.skip_bad_steps > 0
        values |= averages(sums, self.task.objective.sums, skips=skips, done=done)
        values |= self.meter.read(self.feed.waited)
        if self.log:
            self.log.write("train", done, values)
        info, now = in_words(values, self.task.objective.sums), time.perf_counter()
        self.bar.update(self.bar_task, info=info)
        if not self.console.is_terminal and now - self.last_line > _SECONDS_BETWEEN_LINES:
            self.console.print(f"update {done}/{self.steps}  {info}", highlight=False, soft_wrap=True)
            self.last_line = now
        self.feed.waited = 0.0
        self.meter.restart()
        return dataclasses.replace(
            state, metrics=parallel.place(next_metrics(state.metrics), parallel.replicated(self.mesh))
        )

    def _check_finite(self, state: TrainState) -> None:
        check_finite(state, self.checkpoints, self.workdir, self.config.train.skip_bad_steps)

    def _evaluate(self, state: TrainState, done: int) -> dict[str, Any]:
        arrays: dict[str, Arrays] = state.ema or {"params": state.params, "stats": state.stats}
        started = time.perf_counter()
        outcome = self._score(arrays, 0 if done == self.steps else done // self.eval_every)
        self.kept.offer(done, outcome)
        summary = outcome.summary
        if self.log:
            self.log.write("eval", done, flat_metrics(summary) | {"coverage": summary["coverage"]})
        self.console.print(
            f"update {done}/{self.steps}  {self._training_figures(state)}{report.headline(summary)}",
            highlight=False,
            soft_wrap=True,
        )
        self.last_line = time.perf_counter()
        self.meter.leave_out(time.perf_counter() - started)  # evaluation does not count as training time
        return summary

    def _score(self, arrays: dict[str, Arrays], number: int = 0) -> Outcome:
        """Run the evaluators that are due at evaluation `number`; all are due at 0."""
        due = [name for name, every in self.every.items() if number % every == 0]
        evaluators = {name: self.task.evaluators[name](self.eval_videos) for name in due}
        weights = arrays["params"], arrays["stats"]
        return evaluate(self.forwards, evaluators, weights, self.eval_videos, self.reader, self.config.eval, self.mesh)

    def _training_figures(self, state: TrainState) -> str:
        """Training figures of the updates since the last evaluation, in words."""
        sums = self.meter.since_evaluation(_sums(state))
        if not sums["updates"]:
            return ""
        shown = self.task.objective.sums
        return f"training {in_short(averages(sums, shown, skips=False, done=int(state.step)), shown)}   "

    def _finish(self, state: TrainState) -> dict[str, Any]:
        done = int(state.step)
        last = None
        if not self.checkpoints.is_evaluated(done):
            state = self._settle(state, done)
            last = self._evaluate(state, done)
            self.checkpoints.save(state, self.meta, flat_metrics(last))
            self.checkpoints.wait()
        step, outcome = self._best(state)
        summary = outcome.summary | self._result_of(step)
        if self.config.train.skip_bad_steps:
            summary["skipped_updates"] = int(state.metrics["skipped"])
        if parallel.is_writer():
            write_result(self.workdir, summary, outcome.evaluators.values())
        if bad := len(self.bad_records):
            replaced = things(bad, "unreadable training video was", "unreadable training videos were")
            self.console.print(
                f"[yellow]{replaced} replaced by others: {self.workdir / 'bad_records.jsonl'}[/]",
                highlight=False,
                soft_wrap=True,
            )
        if self.bad_records.unheard:
            silent = things(len(self.bad_records.unheard), "training video was", "training videos were")
            self.console.print(
                f"[yellow]{silent} used without sound: {self.workdir / 'unheard.jsonl'}[/]",
                highlight=False,
                soft_wrap=True,
            )
        parallel.barrier("finished")  # writing files may take longer than the other processes wait at exit
        if last and step != done:
            self.console.print(
                f"after the last update, {done}: {report.headline(last)}", highlight=False, soft_wrap=True
            )
        report.show(summary, self.console)
        self.console.print(report.closing(summary, self.workdir), highlight=False, soft_wrap=True)
        return summary

    def _best(self, state: TrainState) -> tuple[int, Outcome]:
        """Step and evaluation of the best checkpoint, evaluated again only if its evaluation was before a restart or
        did not run all evaluators."""

        def kept(step: int) -> bool:
            whole = self.kept.outcome.summary.get("evaluators") == list(self.every)
            return step == self.kept.step and whole

        step = self.checkpoints.best_step
        if step is None or not kept(step):
            step, arrays = self.checkpoints.best_model(state)
            if not kept(step):
                self.console.print(f"evaluating the best checkpoint, of update {step}, again", highlight=False)
                self.kept.replace(step, self._score(arrays))
        return step, self.kept.outcome


def _sums(state: TrainState) -> dict[str, float]:
    return {name: float(value) for name, value in jax.device_get(state.metrics).items()}
