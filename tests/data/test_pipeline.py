"""Batches: content, order, substitutes for bad videos, sharding over processes, workers."""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import threading

import chex
import jax
import numpy as np
import pytest

from tests.settings import data_config
from tests.videos import numbered_frames, write_video
from vidjax.config import ClipConfig, DataConfig, Spec
from vidjax.config.spec import resolve_spec
from vidjax.data.pipeline import eval_batches, train_batches
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.tasks.classify.targets import ClassTargets

SPEC = Spec.of_video("toy", num_frames=4, stride=2, size=16, resize=(20,))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    records = [
        Record(str(write_video(folder / f"{i}.mp4", numbered_frames(10 + i, offset=i))), Labels((i % 3,)))
        for i in range(7)
    ]
    return VideoSet(tuple(records), LabelSpace(("a", "b", "c")))


@pytest.fixture(scope="module")
def with_bad(videos, tmp_path_factory):
    bad = tmp_path_factory.mktemp("bad") / "bad.mp4"
    bad.write_bytes(b"this is no video")
    records = list(videos.records)
    records[2] = Record(str(bad), Labels((2,)))
    return dataclasses.replace(videos, records=tuple(records))


def reader(**settings):
    return ExampleReader(SPEC, data_config(**settings))


def take(batches, count):
    return list(itertools.islice(batches, count))


def training(videos, reader, **settings):
    return train_batches(videos, reader, ClassTargets(videos.labels), **settings)


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for key in ("inputs", "targets", "index", "mask"):
            chex.assert_trees_all_equal(a[key], b[key])


def test_training_batch(videos):
    (batch,) = take(training(videos, reader(), batch_size=4, seed=0), 1)
    chex.assert_shape(batch["inputs"]["video"], (4, 1, 4, 16, 16, 3))
    chex.assert_type(
        [batch["inputs"]["video"], batch["targets"]["label"], batch["index"], batch["mask"]],
        [np.uint8, np.int32, np.int64, bool],
    )
    np.testing.assert_array_equal(batch["targets"]["label"], batch["index"][:, None] % 3)
    assert batch["mask"].all() and batch["bad"] == []


def test_frames_are_those_of_the_video_at_the_stride(videos):
    (batch,) = take(training(videos, reader(), batch_size=7, seed=0), 1)
    for clip, index in zip(batch["inputs"]["video"][:, 0], batch["index"], strict=True):
        numbers = (clip.mean(axis=(1, 2, 3)) - index) / 8
        np.testing.assert_allclose(np.diff(numbers), 2, atol=0.3)


def test_every_epoch_has_every_video_once_in_a_new_order(videos):
    batches = take(training(videos, reader(), batch_size=7, seed=0), 3)
    orders = [tuple(b["index"]) for b in batches]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len(set(orders)) == 3


def test_order_and_pixels_depend_on_the_seed_alone(videos):
    few = take(training(videos, reader(num_threads=1, prefetch=1), batch_size=4, seed=5), 4)
    many = take(training(videos, reader(num_threads=6, prefetch=8), batch_size=4, seed=5), 4)
    other = take(training(videos, reader(), batch_size=4, seed=6), 4)
    assert_same(few, many)
    assert not all(np.array_equal(a["inputs"]["video"], b["inputs"]["video"]) for a, b in zip(few, other, strict=True))


def test_starting_at_a_step_continues_the_sequence(videos):
    whole = take(training(videos, reader(), batch_size=4, seed=5), 6)
    assert_same(whole[4:], take(training(videos, reader(), batch_size=4, seed=5, start_step=4), 2))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_each_batch_in_order(videos, count):
    whole = take(training(videos, reader(), batch_size=8, seed=5), 3)
    parts = [take(training(videos, reader(), batch_size=8, seed=5, process=(i, count)), 3) for i in range(count)]
    for step, batch in enumerate(whole):
        for key in ("inputs", "targets", "index"):
            chex.assert_trees_all_equal(
                jax.tree.map(lambda *x: np.concatenate(x), *(p[step][key] for p in parts)), batch[key]
            )


def test_bad_video_is_substituted_counted_and_the_same_each_time(with_bad):
    batches = take(training(with_bad, reader(), batch_size=7, seed=1), 2)
    for batch in batches:
        assert [record.index for record in batch["bad"]].count(2) >= 1
        assert {record.index for record in batch["bad"]} == {2}
        assert "bad.mp4" in batch["bad"][0].path and batch["bad"][0].reason
        assert 2 not in batch["index"] and len(batch["index"]) == 7
        np.testing.assert_array_equal(batch["targets"]["label"], batch["index"][:, None] % 3)
    assert_same(batches, take(training(with_bad, reader(num_threads=1), batch_size=7, seed=1), 2))


def test_a_set_of_bad_videos_is_an_error(with_bad):
    only_bad = dataclasses.replace(with_bad, records=(with_bad.records[2],) * 3)
    with pytest.raises(DataError, match=r"20 training videos in a row could not be read.*bad.mp4"):
        take(training(only_bad, reader(), batch_size=2, seed=0), 1)


@pytest.mark.parametrize(("batch_size", "count"), [(2, 1), (3, 1), (7, 1), (16, 1), (2, 2), (16, 2)])
def test_evaluation_has_every_video_once(videos, batch_size, count):
    seen = []
    for i in range(count):
        for batch in eval_batches(
            videos, reader(), batch_size=batch_size, num_clips=1, num_crops=1, process=(i, count)
        ):
            chex.assert_shape(batch["inputs"]["video"], (batch_size // count, 1, 4, 16, 16, 3))
            seen += batch["index"][batch["mask"]].tolist()
            assert (batch["index"][~batch["mask"]] == -1).all()
    assert sorted(seen) == list(range(7))


def test_evaluation_never_substitutes(with_bad):
    batches = list(eval_batches(with_bad, reader(), batch_size=4, num_clips=1, num_crops=1))
    seen = np.concatenate([b["index"][b["mask"]] for b in batches])
    assert sorted(seen) == [0, 1, 3, 4, 5, 6]
    assert [r.index for b in batches for r in b["bad"]] == [2]


def test_views_cover_the_video_and_its_width(videos):
    (batch,) = list(eval_batches(videos, reader(), batch_size=7, num_clips=3, num_crops=3))
    chex.assert_shape(batch["inputs"]["video"], (7, 9, 4, 16, 16, 3))
    numbers = (batch["inputs"]["video"][6].mean(axis=(2, 3, 4)) - 6) / 8
    np.testing.assert_allclose(numbers[::3, 0], [0, 4.5, 9], atol=0.7)  # 16 frames, clips of 7: starts 0…9
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.1)  # crops of one clip share its frames


def test_crops_are_left_centre_right(tmp_path):
    picture = np.zeros((8, 32, 96, 3), np.uint8)
    picture[:, :, 40:56] = 120
    picture[:, :, 80:] = 240
    video = VideoSet((Record(str(write_video(tmp_path / "v.mp4", picture)), Labels((0,))),), LabelSpace(("a", "b")))
    spec = SPEC.with_video(size=32, resize=(32,))
    (batch,) = list(eval_batches(video, ExampleReader(spec, DataConfig()), batch_size=1, num_clips=1, num_crops=3))
    left, centre, right = batch["inputs"]["video"][0].mean(axis=(1, 2, 4))
    assert left.max() < 20 and centre.argmax() in range(8, 24) and right[-10:].min() > 200


def test_evaluation_and_training_workers_give_the_same_batches(videos):
    threads = take(training(videos, reader(), batch_size=4, seed=5), 3)
    workers = take(training(videos, reader(num_workers=2), batch_size=4, seed=5), 3)
    assert_same(threads, workers)


def test_an_interrupt_never_ends_a_worker_not_even_one_that_has_just_been_started(videos):
    batches, interrupted, done = training(videos, reader(num_workers=2), batch_size=4, seed=5), set(), threading.Event()

    def interrupt_every_worker():
        while not done.is_set():
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGINT)
                    interrupted.add(child.pid)

    thread = threading.Thread(target=interrupt_every_worker)
    thread.start()
    try:
        workers = take(batches, 3)
    finally:
        done.set()
        thread.join()
    assert len(interrupted) == 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert_same(take(training(videos, reader(), batch_size=4, seed=5), 3), workers)


def test_resolved_spec_keeps_what_is_not_overridden():
    spec = Spec.of_video("x", 16, fps=15.0, size=112, resize=(128, 171))
    assert resolve_spec(spec, DataConfig()) == spec
    assert resolve_spec(spec, DataConfig(clip=ClipConfig(stride=4))).video.fps is None
    assert resolve_spec(spec, DataConfig(clip=ClipConfig(size=56))).video.resize == (64, 86)
    changed = resolve_spec(spec, DataConfig(clip=ClipConfig(num_frames=8, size=64, resize=(72,), fps=5.0)))
    video = changed.video
    assert (video.num_frames, video.size, video.resize, video.fps) == (8, 64, (72,), 5.0)
