"""Videos elsewhere: the same frames, no more bytes than needed, clear errors, and stalls that end."""

import sys
import threading
import time

import fsspec
import numpy as np
import pytest

from tests.servers import serve, wait_until
from tests.video.test_reader import MADE, check_exact, plain, write
from vidjax.video import VideoError, VideoReader, byte_sources
from vidjax.video.image_folder import ImageFiles

LOSSLESS = {"preset": "ultrafast", "qp": "0", "threads": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sources")
    for name in ("gop12.mp4", "open.mkv", "counted.avi"):
        write(path / name, range(70), **MADE[name])
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """More than 1 MB, so that there are parts to leave out."""
    path = write(tmp_path_factory.mktemp("large") / "large.mp4", range(300), gop=10, options=LOSSLESS, size=(56, 70))
    assert path.stat().st_size > 1e6
    return path


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def decoding_threads():
    return sum(t.name == "vidjax-decode" for t in threading.enumerate())


@pytest.mark.parametrize("name", ["gop12.mp4", "open.mkv", "counted.avi"])
def test_frames_from_elsewhere(folder, memory, name):
    truth = plain(folder / name)
    data = (folder / name).read_bytes()
    memory.pipe(f"/videos/{name}", data)
    with serve({f"/{name}": data}) as site:
        for path in (f"memory://videos/{name}", f"{site.url}/{name}", f"file://{folder}/{name}"):
            with VideoReader(path) as reader:
                check_exact(reader, truth, picks=1)
        with VideoReader(f"{site.url}/{name}", isolate=True) as reader:
            check_exact(reader, truth, picks=1)


def test_only_what_is_needed_is_fetched(large, monkeypatch):
    monkeypatch.setattr(byte_sources, "_BLOCK", 1 << 16)
    monkeypatch.setattr("vidjax.video.decoder.BUFFER", 1 << 14)
    data = large.read_bytes()
    with serve({"/large.mp4": data}) as site:
        with VideoReader(f"{site.url}/large.mp4") as reader:
            assert len(reader) == 300
            assert site.sent < 0.25 * len(data)  # the index, and what FFmpeg looks at
            got = reader.read([200, 203])
            assert site.sent < 0.35 * len(data)
            sent = site.sent
            reader.read([200, 203])
            assert site.sent == sent  # kept
        with VideoReader(large) as here:
            np.testing.assert_array_equal(got, here.read([200, 203]))


def test_servers_without_ranges(folder):
    data = (folder / "gop12.mp4").read_bytes()
    with serve({"/a.mp4": data}, ranges=False) as site, VideoReader(f"{site.url}/a.mp4") as reader:
        check_exact(reader, plain(folder / "gop12.mp4"), picks=1)
        assert site.sent <= 2 * len(data)


@pytest.mark.slow
def test_blocks_are_forgotten_in_turn(large, monkeypatch):
    monkeypatch.setattr(byte_sources, "_BLOCK", 1 << 14)
    monkeypatch.setattr(byte_sources, "_BLOCKS", 3)
    with serve({"/large.mp4": large.read_bytes()}) as site, VideoReader(f"{site.url}/large.mp4") as reader:
        got = reader.read([250, 20])
        assert len(reader._engine._decoder._source._blocks) == 3
    with VideoReader(large) as here:
        np.testing.assert_array_equal(got, here.read([250, 20]))


@pytest.mark.parametrize("isolate", [False, True])
def test_errors_name_the_address(memory, isolate):
    memory.pipe("/videos/empty.mp4", b"")
    memory.pipe("/videos/text.mp4", b"to be or not to be\n" * 50)
    with serve({"/empty.mp4": b""}) as site:
        for path, reason in {
            "memory://videos/empty.mp4": "is empty",
            "memory://videos/text.mp4": "does not open as a video",
            "memory://videos/gone.mp4": "no such file",
            "memory://videos": "is a folder",
            f"{site.url}/gone.mp4": "no such file",
            "nonsense://videos/a.mp4": "is not an address that fsspec can read",
        }.items():
            with pytest.raises(VideoError) as caught:
                VideoReader(path, isolate=isolate)
            assert reason in caught.value.reason and str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("protocol", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")])
def test_missing_packages_are_named(monkeypatch, protocol, package, extra):
    path = f"{protocol}://bucket/a.mp4"
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert str(caught.value) == (
        f"{path}: {protocol}:// addresses are read with {package}, which is not installed; "
        f"pip install -e '.[{extra}]' in vidjax's folder"
    )


def test_a_stalled_connection_ends(folder):
    with serve({"/a.mp4": (folder / "gop12.mp4").read_bytes()}) as site:
        before = decoding_threads()
        site.stall = True
        begin = time.monotonic()
        with pytest.raises(VideoError, match=r"a\.mp4: reading stalled and was given up after 0\.3 s"):
            VideoReader(f"{site.url}/a.mp4", timeout=0.3)
        assert time.monotonic() - begin < 5
        assert wait_until(lambda: decoding_threads() == before)  # nothing goes on in the background …
        assert wait_until(lambda: site.open == 0)  # … and nothing is still connected


def test_a_stall_in_reading_ends_and_the_reader_lives(large, monkeypatch):
    monkeypatch.setattr(byte_sources, "_BLOCK", 1 << 16)
    with serve({"/a.mp4": large.read_bytes()}) as site, VideoReader(f"{site.url}/a.mp4") as reader:
        reader.timeout, site.stall = 0.3, True
        with pytest.raises(VideoError, match="reading stalled"):
            reader.read([200])
        assert wait_until(lambda: site.open == 0)
        reader.timeout, site.stall = 60, False
        with VideoReader(large) as here:
            np.testing.assert_array_equal(reader.read([200]), here.read([200]))


def test_reading_on_and_on_ends(folder, monkeypatch):
    """Time is up between pieces of a file too: a demuxer that finds no packet asks for more and more of it."""
    read = byte_sources._Memory.read
    monkeypatch.setattr(byte_sources._Memory, "read", lambda self, size: (time.sleep(0.1), read(self, size))[1])
    monkeypatch.setattr("vidjax.video.decoder.BUFFER", 1 << 10)
    before = decoding_threads()
    begin = time.monotonic()
    with pytest.raises(VideoError, match="reading stalled"):
        VideoReader("a.avi", content=(folder / "counted.avi").read_bytes(), timeout=0.3)
    assert time.monotonic() - begin < 5
    assert wait_until(lambda: decoding_threads() == before)


def test_images_elsewhere(memory):
    for name in ("img_00001.jpg", "img_00002.jpg", "img_00003.jpg", "notes.txt"):
        memory.pipe(f"/frames/clip/{name}", name.encode())
    memory.pipe("/frames/clip/deeper/img_00009.jpg", b"")
    images = ImageFiles("memory://frames/clip")
    assert [images[i] for i in range(len(images))] == [f"img_0000{i}.jpg".encode() for i in (1, 2, 3)]
    assert byte_sources.is_folder("memory://frames/clip") and not byte_sources.is_folder(
        "memory://frames/clip/img_00001.jpg"
    )
    assert not byte_sources.is_folder("http://127.0.0.1:9/clip.mp4")


def test_what_is_an_address():
    for path in ("gs://b/a.mp4", "HTTP://h/a", "memory://a"):
        assert byte_sources.is_remote(path)
    for path in ("a.mp4", "/a/b.mp4", "file:///a.mp4", "C:\\a.mp4", "a://b".replace("a:", "é:")):
        assert not byte_sources.is_remote(path)
    assert byte_sources.in_this_process("memory://a") and not byte_sources.in_this_process("gs://b/a")
