"""Clips of long videos: taken ahead in a thread, whose errors and end come through."""

import threading

import pytest

from vidjax.apps.clip_network import ahead
from vidjax.video import VideoError


def test_items_come_in_order_a_few_ahead():
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    for number, item in enumerate(ahead(items(), most=2)):
        assert item == number and len(taken) <= number + 5
    assert taken == list(range(20))


def test_errors_are_raised_where_items_are_used():
    def items():
        yield 1
        raise VideoError("a.mp4", "is damaged")

    found = []
    with pytest.raises(VideoError, match="is damaged"):
        found.extend(ahead(items()))
    assert found == [1]


def test_the_thread_ends_when_nobody_wants_more():
    running = ahead(iter(range(10**9)))
    assert next(running) == 0
    running.close()
    assert not any(thread.name == "vidjax-ahead" for thread in threading.enumerate())
