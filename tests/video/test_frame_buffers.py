"""Memory is used again, and never while an array looks at it."""

import gc
import threading

import numpy as np
import pytest

from vidjax.video.frame_buffers import Pool

LARGE = (6, 800, 1000, 3)  # 14 MB


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.slow
def test_freed_memory_serves_the_next_array():
    pool = Pool()
    first = pool.empty(LARGE)
    assert first.shape == LARGE and first.dtype == np.uint8 and first.flags.writeable and first.flags.c_contiguous
    at = place(first)
    del first
    gc.collect()
    assert place(pool.empty((5, 800, 1000, 3))) == at


@pytest.mark.slow
def test_memory_in_use_is_not_given_away():
    pool = Pool()
    first = pool.empty(LARGE)
    view = first[1, :10].T
    first[:] = 7
    del first
    gc.collect()
    others = [pool.empty(LARGE) for _ in range(3)]
    for other in others:
        other[:] = 9
    assert (view == 7).all()
    assert len({place(other) for other in others}) == 3


@pytest.mark.slow
def test_what_is_kept_is_bounded():
    pool = Pool()
    arrays = [pool.empty(LARGE) for _ in range(5)]
    places = [place(a) for a in arrays]
    for _ in range(5):
        del arrays[0]
    gc.collect()
    assert [place(m) for m in pool._spare] == places[-2:]
    small = pool.empty((2, 800, 1000, 3))  # a third of what waits would do, but a tenth would not
    assert place(small) in places
    tiny = pool.empty((1, 10, 10, 3))
    assert place(tiny) not in places and len(pool._spare) == 1


def test_threads_do_not_share_memory():
    pool, errors = Pool(), []

    def work(number):
        for _ in range(20):
            array = pool.empty(LARGE)
            array[::5] = number
            if not (array[::5] == number).all():
                errors.append(number)
            del array

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
