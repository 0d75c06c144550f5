"""The compiled update in a run: before the first batch, once, without a wait for its outcome; its cache on disk."""

import contextlib
import io
import threading

import chex
import jax
import numpy as np
import pytest
from rich.console import Console

from vidjax.config import ConfigError
from vidjax.training import compiled_step, loop

from .test_loop import QUIET, make_config

# What reads an array on the host, and so waits for it. On CPU, whose memory is the host's, JAX's guard lets it pass.
READS = ("_value", "__array__", "__float__", "__int__", "__bool__", "__index__", "item", "tolist")


@contextlib.contextmanager
def no_transfers():
    """Any implicit transfer between host and devices, in either direction, is an error."""
    kind = type(jax.numpy.zeros(()))

    def refuse(*_):
        raise AssertionError("an array was read on the host")

    with pytest.MonkeyPatch.context() as patch, jax.transfer_guard("disallow"):
        for name in READS:
            patch.setattr(kind, name, property(refuse) if name == "_value" else refuse)
        asarray = np.asarray  # takes the memory of an array on one device without asking the array
        patch.setattr(np, "asarray", lambda x, *a, **k: refuse() if isinstance(x, jax.Array) else asarray(x, *a, **k))
        yield


def test_the_guard_sees_transfers_both_ways():
    array = jax.numpy.ones(3)
    total = array.sum()
    for transfer in (lambda: float(total), lambda: np.asarray(array), lambda: jax.device_get(array), lambda: array + 1):
        with pytest.raises((AssertionError, jax.errors.JaxRuntimeError)), no_transfers():
            transfer()
    assert float(total) == 3


def short_run(halves):
    return make_config(halves, ema_decay=0.9, eval_epochs=0, checkpoint_epochs=0)


@pytest.mark.slow
def test_updates_neither_wait_for_their_outcome_nor_compile_again(halves, tmp_path, monkeypatch):
    make, update = compiled_step.make_train_step, loop._Run._update
    compilations, updates = [], 0

    def traced_once(*args, **kwargs):
        return chex.assert_max_traces(make(*args, **kwargs), n=1)

    def guarded(self, compiled, state):
        nonlocal updates
        updates += 1
        with no_transfers():
            return update(self, compiled, state)

    def listen(event, _, **__):
        if event.endswith("backend_compile_duration") and updates > 2:  # the first log line compiles what it needs
            compilations.append(updates)

    monkeypatch.setattr(compiled_step, "make_train_step", traced_once)
    monkeypatch.setattr(loop._Run, "_update", guarded)
    # The evaluation at the end is another program.
    monkeypatch.setattr(loop._Run, "_finish", lambda self, state: int(state.step))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert loop.train(short_run(halves), tmp_path, QUIET) == updates == 6
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compilations == []


def test_the_update_is_compiled_while_the_first_batch_is_read(halves, tmp_path, monkeypatch):
    """The reader of the first batch waits until the update is compiled; were it read before, neither would go on."""
    compiled, compile_update, batches = threading.Event(), loop._Run._compile, loop.train_batches

    def compile_and_tell(self, *args):
        result = compile_update(self, *args)
        compiled.set()
        return result

    def held_up(*args, **kwargs):
        assert compiled.wait(120)
        yield from batches(*args, **kwargs)

    monkeypatch.setattr(loop._Run, "_compile", compile_and_tell)
    monkeypatch.setattr(loop, "train_batches", held_up)
    monkeypatch.setattr(loop._Run, "_finish", lambda self, state: int(state.step))
    output = io.StringIO()
    assert loop.train(short_run(halves), tmp_path, Console(file=output, width=200)) == 6
    assert output.getvalue().count("update compiled in ") == 1


def test_compiled_programs_are_kept_in_the_folder_named(tmp_path, monkeypatch):
    before, least = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    folder, hits = tmp_path / "new" / "cache", []

    def listen(event, **_):
        hits.append(event.endswith("cache_hits"))

    jax.monitoring.register_event_listener(listen)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        for _ in range(2):
            with compiled_step.compilation_cache(str(folder)):
                jax.jit(lambda x: x * 3.25 + 1.5).lower(np.float32(1)).compile()
            if not any(hits):
                assert any(folder.iterdir())
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
        jax.monitoring.unregister_event_listener(listen)
    assert sum(hits) == 1 and jax.config.jax_compilation_cache_dir == before
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"compilation_cache = .*file/cache'"),
        compiled_step.compilation_cache(str(tmp_path / "file" / "cache")),
    ):
        pass


def test_a_run_uses_the_folder_and_leaves_jax_as_it_was(halves, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(loop._Run, "_build_and_train", lambda *_: seen.append(jax.config.jax_compilation_cache_dir))
    before = jax.config.jax_compilation_cache_dir
    for name in ("cache", ""):
        folder = name and str(tmp_path / name)
        loop.train(make_config(halves, compilation_cache=folder), tmp_path / "run", QUIET)
    assert seen == [str(tmp_path / "cache"), before] and jax.config.jax_compilation_cache_dir == before
