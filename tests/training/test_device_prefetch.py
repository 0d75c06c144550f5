"""Batches on their way to the devices: one ahead, never more, and only waits that cost something count."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from vidjax import parallel
from vidjax.training.device_prefetch import DEVICE_BATCHES, Feed

SHAPE = (8, 1, 2, 5, 7, 3)


def batches(events, seconds=0.0):
    for i in range(1000):
        time.sleep(seconds)
        events.append(f"read {i}")
        inputs, targets = {"video": np.full(SHAPE, i, np.uint8)}, {"label": np.full(8, i, np.int32)}
        yield {"inputs": inputs, "targets": targets, "bad": [f"bad {i}"], "index": 0}


class Update:
    """An update's output that tells when it is waited for."""

    def __init__(self, events, number, ready=False):
        self._events, self._number, self._ready = events, number, ready

    def block_until_ready(self):
        self._events.append(f"await {self._number}")

    def is_ready(self):
        return self._ready


def sharding():
    return parallel.batch_sharding(parallel.make_mesh())


def test_the_next_batch_is_placed_while_an_update_runs():
    events = []
    feed = Feed(batches(events), sharding(), 4)
    for i in range(4):
        placed = feed.take()
        assert placed.bad == [f"bad {i}"] and set(placed.arrays) == {"inputs", "targets"}
        video = placed.arrays["inputs"]["video"]
        assert video.dtype == np.uint8 and video.sharding == sharding()
        np.testing.assert_array_equal(placed.arrays["targets"]["label"], np.full(8, i))
        events.append(f"start {i}")
        feed.advance(Update(events, i))
    assert events == [
        "read 0", "start 0", "read 1", "start 1", "await 0", "read 2", "start 2", "await 1", "read 3", "start 3",
        "await 2",
    ]  # fmt: skip


def test_no_more_than_two_batches_are_on_the_devices():
    def live():
        return sum(a.shape == SHAPE and a.dtype == jnp.uint8 for a in jax.live_arrays())

    step = jax.jit(lambda total, video: (total + video.sum(dtype=jnp.int32), jnp.copy(total)), donate_argnums=0)
    before, seen = live(), []

    def watched():
        for batch in batches([]):
            seen.append(live() - before)  # and one more is about to come
            yield batch

    feed, total = Feed(watched(), sharding(), 6), jnp.int32(0)
    for _ in range(6):
        placed = feed.take()
        total, done = step(total, placed.arrays["inputs"]["video"])
        del placed
        feed.advance(done)
        seen.append(live() - before - 1)
    assert int(total) == sum(range(6)) * np.prod(SHAPE)
    assert max(seen) + 1 <= DEVICE_BATCHES


def test_waits_count_only_if_the_devices_had_nothing_to_do():
    for ready, least, most in ((False, 0.0, 0.0), (True, 0.06, 10.0)):
        feed = Feed(batches([], seconds=0.03), sharding(), 3)
        feed.take()
        feed.waited = 0.0
        feed.advance(Update([], 0, ready))
        feed.take()
        feed.advance(Update([], 1, ready))
        assert least <= feed.waited <= most
