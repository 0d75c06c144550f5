"""Processes that Ctrl-C does not end while they start."""

import signal
import subprocess
import sys

from vidjax import interrupts


def started_and_interrupted():
    child = subprocess.Popen([sys.executable, "-c", "print('ran')"], stdout=subprocess.PIPE, text=True)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    return child.returncode, output


def test_a_process_started_inside_runs_to_its_end():
    with interrupts.left_to_this_process():
        assert started_and_interrupted() == (0, "ran\n")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_outside_the_same_signal_ends_it():
    assert started_and_interrupted() == (-signal.SIGINT, "")


def test_signals_that_were_blocked_before_stay_blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with interrupts.left_to_this_process():
            pass
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_ignoring():
    before = signal.getsignal(signal.SIGINT)
    try:
        interrupts.ignore()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
