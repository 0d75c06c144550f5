"""Decoding in another process gives the same frames, and whatever happens there ends there."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.servers import wait_until
from tests.video.test_reader import check_exact, plain, write
from vidjax.video import VideoError, VideoReader, isolated


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write(tmp_path_factory.mktemp("isolated") / "a.mp4", range(40))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No process of another test, and none left over."""
    idle = isolated._Idle()
    monkeypatch.setattr(isolated, "_idle", idle)
    yield idle
    gc.collect()
    idle.end()


def pid_of(reader):
    return reader._engine._process._child.pid


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def shared_memory():
    with open("/proc/self/maps") as maps:
        return sum("memfd:vidjax" in line for line in maps)


def handles():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def stuck(tmp_path, monkeypatch):
    """Decoders of new processes never come back: they run in C, without ever looking at a clock or a signal."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import hashlib
            from vidjax.video import decoder

            def spin(*_):
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

            decoder.Decoder.frames = spin
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.slow(after=1)
@pytest.mark.parametrize("name", ["a.mp4", "b.ts", "counted.avi"])
def test_frames_are_the_same(tmp_path, name):
    path = write(tmp_path / name, range(40))
    truth = plain(path)
    with VideoReader(path, isolate=True) as reader, VideoReader(path) as here:
        check_exact(reader, truth)
        assert (len(reader), reader.height, reader.width, reader.fps) == (len(here), here.height, here.width, here.fps)
        assert reader.stated_duration == here.stated_duration
        np.testing.assert_array_equal(reader.timestamps, here.timestamps)
        np.testing.assert_array_equal(reader.read([3, 30], resize=20), here.read([3, 30], resize=20))
        assert reader.read([]).shape == (0, 48, 64, 3)
    with VideoReader("gone.mp4", content=path.read_bytes(), isolate=True) as reader:
        check_exact(reader, truth)


@pytest.mark.slow
def test_frames_stay_what_they_are(video, fresh):
    """Memory is used again only after the array that it held is gone."""
    truth, before = plain(video), shared_memory()
    with VideoReader(video, isolate=True) as reader:
        kept = [reader.read([i, i + 1]) for i in range(10)]
        parts = [reader.read([i])[0, 5:9] for i in range(10)]  # what is left of an array keeps it
        gc.collect()
        again = [reader.read([i]) for i in range(20, 30)]
    for i in range(10):
        np.testing.assert_array_equal(kept[i], np.stack(truth[i : i + 2]))
        np.testing.assert_array_equal(parts[i], truth[i][5:9])
        np.testing.assert_array_equal(again[i][0], truth[20 + i])
    kept[0][:] = 7  # and they can be written to
    del kept, parts, again
    gc.collect()
    assert shared_memory() <= before + isolated._SPARE
    fresh.end()
    assert shared_memory() == before


@pytest.mark.slow
def test_one_process_after_the_other(video):
    with VideoReader(video, isolate=True) as one:
        pid = pid_of(one)
        with VideoReader(video, isolate=True) as two:
            assert pid_of(two) != pid
    with VideoReader(video, isolate=True) as three:
        again = pid_of(three)  # either
    reader = VideoReader(video, isolate=True)
    assert pid_of(reader) == again
    del reader  # never closed
    gc.collect()
    with VideoReader(video, isolate=True) as last:
        assert pid_of(last) == again


@pytest.mark.slow
def test_a_relative_path_starts_from_where_the_reader_is_made(tmp_path, monkeypatch):
    for name, tones in (("one", range(40)), ("two", range(40, 60))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.mp4", tones)
    pids = set()
    for name, length in (("one", 40), ("two", 20)):
        monkeypatch.chdir(tmp_path / name)
        with VideoReader("a.mp4", isolate=True) as reader:
            assert len(reader) == length
            pids.add(pid_of(reader))
    assert len(pids) == 1


@pytest.mark.slow
def test_errors_are_the_same(tmp_path, video):
    (tmp_path / "text.mp4").write_text("to be or not to be\n" * 50)
    for path in (tmp_path / "text.mp4", tmp_path / "missing.mp4"):
        messages = set()
        for isolate in (False, True):
            with pytest.raises(VideoError) as caught:
                VideoReader(path, isolate=isolate)
            messages.add(str(caught.value))
        assert len(messages) == 1
    with VideoReader(video, isolate=True) as reader, pytest.raises(IndexError, match="there is no frame 40"):
        reader.read([40])
    with pytest.raises(ValueError, match="this reader is closed"):
        reader.read([0])


@pytest.mark.slow
def test_a_decoder_that_spins_is_killed(video, stuck):
    mapped = shared_memory()
    reader = VideoReader(video, isolate=True)
    before, pid = handles(), pid_of(reader)
    begin = time.monotonic()
    reader.timeout = 0.3
    with pytest.raises(VideoError, match=r"a\.mp4: reading stalled and was given up after 0\.3 s"):
        reader.read([5])
    assert time.monotonic() - begin < 5
    assert is_gone(pid) and shared_memory() == mapped
    assert handles() < before
    with pytest.raises(ValueError, match="this reader is closed"):
        reader.read([5])
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bytearray(1 << 24)", "'x' * (1 << 24)"])
def test_a_decoder_that_takes_all_memory_is_ended(video, tmp_path, monkeypatch, what):
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            from vidjax.video import decoder

            def grow(*_):
                kept = []
                while True:
                    kept.append({what})

            decoder.Decoder.frames = grow
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = VideoReader(video, isolate=True, max_memory=1 << 27)
    pid = pid_of(reader)
    with pytest.raises(VideoError, match=r"a\.mp4: needs more memory than 128 MiB, the limit, to decode"):
        reader.read([5])
    assert is_gone(pid)
    with pytest.raises(ValueError, match="this reader is closed"):
        reader.read([5])


@pytest.mark.slow
def test_a_decoder_that_takes_long_gives_way(video, stuck):
    """The thread that decodes, and nothing else of its process."""
    with VideoReader(video, isolate=True, patience=0.05, timeout=20) as reader:
        tasks = f"/proc/{pid_of(reader)}/task"

        def niceness():
            lines = [(Path(tasks) / task / "stat").read_text() for task in os.listdir(tasks)]
            return sorted({int(line.rpartition(")")[2].split()[16]) for line in lines})

        usual = niceness()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(reader.read, [5])
            assert wait_until(lambda: niceness() != usual)
            assert niceness() == [*usual, 10]
            os.kill(pid_of(reader), signal.SIGKILL)
            with pytest.raises(VideoError, match="crashed"):
                reading.result()


@pytest.mark.slow
def test_the_limit_is_of_one_video(video, fresh):
    """A process is used again, with another limit, and none while it waits."""
    pids = set()
    for most in (1 << 26, 1 << 30, None):
        with VideoReader(video, isolate=True, max_memory=most) as reader:
            pids.add(pid_of(reader))
            with open(f"/proc/{pid_of(reader)}/limits") as file:
                (line,) = (line for line in file if line.startswith("Max data size"))
            limit = int(line.split()[3])
            assert 0 < limit - (most or isolated.MEMORY) < 1 << 29
            assert reader.read([3]).shape == (1, 48, 64, 3)
    assert len(pids) == 1


@pytest.mark.slow
def test_a_stall_on_opening_is_killed(video, fresh):
    with VideoReader(video, isolate=True) as reader:
        pid = pid_of(reader)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(VideoError, match="stalled"):
        VideoReader(video, isolate=True, timeout=0.2)
    assert is_gone(pid)
    with VideoReader(video, isolate=True) as reader:  # the next one has a process of its own
        np.testing.assert_array_equal(reader.read([7])[0], plain(video)[7])


@pytest.mark.slow
def test_a_crash_is_one_bad_video(video):
    reader = VideoReader(video, isolate=True)
    pid = pid_of(reader)
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(VideoError, match=r"a\.mp4: crashed the process that decoded it \(SIGSEGV\)"):
        reader.read([5])
    assert is_gone(pid)
    with VideoReader(video, isolate=True) as reader:
        assert reader.read([5]).shape == (1, 48, 64, 3)
        pid = pid_of(reader)
    os.kill(pid, signal.SIGKILL)  # an idle one that died is not used
    assert wait_until(lambda: not isolated._idle._processes[0].alive)
    with VideoReader(video, isolate=True) as reader:
        assert reader.read([5]).shape == (1, 48, 64, 3)


@pytest.mark.slow
def test_processes_without_work_end(video, fresh, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "from vidjax.video import decoding_process\ndecoding_process._REST = 0.2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with VideoReader(video, isolate=True) as reader:
        time.sleep(0.5)  # open, though nothing is asked of it
        process = reader._engine._process
        assert process.alive and reader.read([3]).shape == (1, 48, 64, 3)
    assert wait_until(lambda: not process.alive) and process.retired
    monkeypatch.setattr(isolated._Process, "alive", True)  # as if it ended only now
    with VideoReader(video, isolate=True) as reader:
        assert reader._engine._process is not process
        assert reader.read([3]).shape == (1, 48, 64, 3)


@pytest.mark.slow
def test_processes_end_with_their_parent(video, stuck):
    code = f"""
        import threading
        from vidjax.video import VideoReader
        reader = VideoReader({str(video)!r}, isolate=True)
        print(reader._engine._process._child.pid, flush=True)
        reader.read([0])
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, env=environment)
    with parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)  # it spins
        assert not is_gone(pid)
        parent.kill()
    assert wait_until(lambda: is_gone(pid))


@pytest.mark.slow
def test_interrupted_reads_do_not_mix_up(video, monkeypatch):
    reader = VideoReader(video, isolate=True)
    pid = pid_of(reader)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(isolated, "receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reader.read([0])
    monkeypatch.undo()
    assert is_gone(pid)


@pytest.mark.slow
def test_what_only_this_process_has_is_decoded_here(video):
    fsspec.filesystem("memory").pipe("/here/a.mp4", video.read_bytes())
    with VideoReader("memory://here/a.mp4", isolate=True) as reader:
        assert not isinstance(reader._engine, isolated.IsolatedDecoder)
        assert reader.read([3]).shape == (1, 48, 64, 3)
