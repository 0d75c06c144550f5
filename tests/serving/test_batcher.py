"""Views of requests are computed together, in sizes that are compiled, and come back to their own requests."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from vidjax.serving.batcher import Batcher
from vidjax.serving.limits import Limits


class Network:
    """Doubles what it sees, and remembers how many views it was given, in what size."""

    def __init__(self, held=False):
        self.calls, self.go = [], threading.Event()
        if not held:
            self.go.set()

    def __call__(self, views, size):
        assert self.go.wait(10)
        self.calls.append((len(views), size))
        if any(view["x"] < 0 for view in views):
            raise ValueError("no")
        return np.stack([2 * view["x"] for view in views])


def views(*values):
    return [{"x": np.float32(value)} for value in values]


def test_views_that_wait_are_computed_together():
    network, seen = Network(held=True), []
    batcher = Batcher(network, (1, 2, 4), wait=0.2, seen=seen.append)
    answers = [batcher.submit(views(*range(n, n + count))) for n, count in ((1, 1), (10, 3), (20, 2))]
    network.go.set()
    for answer, expected in zip(answers, ([2], [20, 22, 24], [40, 42]), strict=True):
        np.testing.assert_array_equal(answer.result(5), expected)
    assert network.calls == [(4, 4), (2, 2)] and seen == [4, 2]
    batcher.close()


def test_a_batch_is_filled_up_to_a_size_that_is_compiled():
    network = Network()
    batcher = Batcher(network, (1, 4, 8), wait=0.05)
    assert batcher.warm_up(views(1)[0]) and network.calls == [(1, 1), (4, 4), (8, 8)]
    np.testing.assert_array_equal(batcher.submit(views(*range(3))).result(5), [0, 2, 4])
    assert network.calls[3:] == [(3, 4)]
    batcher.close()


def test_requests_that_were_given_up_are_passed_over():
    network = Network(held=True)
    batcher = Batcher(network, (1,), wait=0.0)
    first, second, third = (batcher.submit(views(n)) for n in (1, 2, 3))
    assert second.cancel()
    network.go.set()
    assert first.result(5) == [2] and third.result(5) == [6] and len(network.calls) == 2
    with pytest.raises(CancelledError):
        second.result(0)
    batcher.close()


def test_an_error_reaches_the_requests_of_its_batch_and_no_other():
    batcher = Batcher(Network(), (1,), wait=0.0)
    with pytest.raises(ValueError, match="no"):
        batcher.submit(views(-1)).result(5)
    assert batcher.submit(views(4)).result(5) == [8]
    batcher.close()


def test_closing_answers_what_waits():
    network = Network(held=True)
    batcher = Batcher(network, (1, 2), wait=0.0)
    answers = [batcher.submit(views(n)) for n in range(5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    network.go.set()
    closing.join(5)
    assert [answer.result(0)[0] for answer in answers] == [0, 2, 4, 6, 8]
    assert not batcher.warm_up(views(1)[0]), "nothing is compiled any more"


@pytest.mark.parametrize(("most", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_sizes_are_powers_of_two_up_to_the_largest(most, sizes):
    assert Limits(max_batch=most).buckets == sizes
