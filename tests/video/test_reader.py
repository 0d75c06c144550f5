"""Exactness against plain decoding on real and made files, one clear error for each bad one, and nothing that hangs."""

import contextlib
import gc
import os
import pickle
import shutil
import threading
import time
from collections import deque
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.video import VideoError, VideoReader, worker
from vidjax.video import decoder as decoder_module

X264 = {"preset": "veryfast", "bf": "3", "sc_threshold": "0", "threads": "1"}
OPEN_GOP = {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:scenecut=0:threads=1"}
REFRESH = {"preset": "veryfast", "x264-params": "intra-refresh=1:bframes=0:threads=1"}


def write(path: Path, times, *, gop=12, codec="libx264", options=X264, size=(48, 64), bframes=None, pixels="yuv420p"):
    """A noisy scene that drifts, one frame at each of `times` (in 1/30 s)."""
    height, width = size
    rng = np.random.default_rng(0)
    land = np.kron(rng.uniform(0, 255, (24, 40, 3)), np.ones((4, 4, 1)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, pixels, gop
        if bframes is not None:
            stream.max_b_frames = bframes
        for i, t in enumerate(times):
            y, x = i % 40, 2 * i % 90
            image = land[y : y + height, x : x + width] + rng.normal(0, 4, (height, width, 1))
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = int(t), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain(path: Path, stream: int = 0) -> list[np.ndarray]:
    """The yardstick: all frames that plain sequential decoding gives, turned upright."""
    frames = []
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(container.streams.video[stream]):
                frames.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
        except av.FFmpegError:
            pass
    return frames


def check_exact(reader: VideoReader, truth: list[np.ndarray], seed: int = 0, picks: int = 4) -> None:
    n = len(truth)
    rng = np.random.default_rng(seed)
    wanted = [rng.integers(0, n, 8) for _ in range(picks)]  # any order, doubles
    wanted += [np.arange(s, min(s + 16, n)) for s in rng.integers(0, max(1, n - 15), picks)]
    wanted += [[n - 1], [n - 1, 0, 0], *[range(s, min(s + 3, n)) for s in range(0, min(n, 12), 3)]]
    for indices in wanted:
        got = reader.read(indices)
        assert got.dtype == np.uint8 and got.shape == (len(indices), reader.height, reader.width, 3)
        for i, frame in zip(indices, got, strict=True):
            assert np.array_equal(frame, truth[i]), f"frame {i} of {reader!r} differs, asked with {list(indices)}"


# Real files

CLIPS = {  # name: (frames, height, width)
    "R6llTwEh07w.mp4": (303, 256, 340),
    "SOX5yA1l24A.mp4": (332, 256, 340),
    "WUzgd7C1pWA.mp4": (327, 256, 340),
    "arm_wrestling.mp4": (280, 256, 340),
    "part_0.mp4": (32, 256, 340),
    "v_SoccerJuggling_g23_c01.avi": (240, 240, 320),
    "v_SoccerJuggling_g24_c01.avi": (251, 240, 320),
    # Their headers say one more.
    "RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, 240, 560),
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": (74, 240, 320),
}
ODD = {
    "av1_video.mkv": (125, 360, 640),
    "bitmap.mp4": (5, 1, 1),
    "corrupted.mp4": (50, 720, 1280),
    "crunching.mp3": "has no video stream (only audio)",
    "flipping_a_pancake.mkv": (310, 240, 426),
    "h265_video.mp4": (10, 128, 128),
    "nasa_13013.mp4": (325, 180, 320),
    "nasa_13013_rotated.mp4": (17, 480, 270),
    "no_duration.webm": (74, 720, 1280),
    "test_non_zero_start.mp4": (12, 112, 200),
    "testsrc2_mpeg4.mp4": (1, 64, 64),
    "testsrc2_odd_height_and_width_444.mp4": (25, 241, 321),
    "video_0.mov": (3, 320, 568),
    "video_90.mov": (3, 568, 320),
    "video_with_failing_audio.mp4": (280, 360, 640),
}
DECODES = {"corrupted.mp4": 28}  # frames that plain decoding gives, where they are fewer


def test_every_odd_file_has_an_expectation(shared):
    assert {p.name for p in (shared / "data" / "odd").iterdir()} == set(ODD)


@pytest.mark.parametrize("name", [*CLIPS, *ODD])
def test_real_file(shared, name, capfd):
    expected = CLIPS.get(name) or ODD[name]
    path = shared / "data" / ("clips" if name in CLIPS else "odd") / name
    if isinstance(expected, str):
        with pytest.raises(VideoError, match=name) as caught:
            VideoReader(path)
        assert caught.value.reason == expected and caught.value.path == str(path)
        return
    truth = plain(path)
    capfd.readouterr()
    with VideoReader(path) as reader:
        assert (len(reader), reader.height, reader.width) == expected
        assert len(truth) == DECODES.get(name, len(reader))
        assert reader.timestamps.shape == (len(reader),) and reader.timestamps[0] == 0
        assert np.all(np.diff(reader.timestamps) > 0)
        check_exact(reader, truth, picks=1)
    assert capfd.readouterr().err == ""  # FFmpeg keeps quiet


def test_frames_of_another_decoder(shared):
    frames = shared / "data" / "frames"
    with np.load(frames / "nasa_13013_stream0_rgb24.npz") as golden:
        wanted = {int(key.split("_")[-1]): golden[key] for key in golden}
    with VideoReader(shared / "data" / "odd" / "nasa_13013.mp4") as reader:
        np.testing.assert_array_equal(reader.read(list(wanted)), np.stack(list(wanted.values())))
    golden = np.load(frames / "clip_SOX5yA1l24A_frames0-60step4_uint8.npz")["frames"]
    with VideoReader(shared / "data" / "clips" / "SOX5yA1l24A.mp4") as reader:
        np.testing.assert_array_equal(reader.read(range(0, 61, 4)), golden)


def test_streams_are_told_apart(shared):
    path = shared / "data" / "odd" / "nasa_13013.mp4"
    with VideoReader(path, stream=1) as reader:
        assert (len(reader), reader.height, reader.width) == (390, 270, 480)
        assert reader.fps == pytest.approx(30000 / 1001, abs=1e-9)
        assert reader.duration == pytest.approx(390 * 1001 / 30000)
        check_exact(reader, plain(path, 1), picks=1)
    with pytest.raises(VideoError, match="has no video stream 2; give stream = 0…1"):
        VideoReader(path, stream=2)


def test_damage_hits_only_the_frames_behind_it(shared):
    with VideoReader(shared / "data" / "odd" / "corrupted.mp4") as reader:
        assert reader.read(range(28), resize=16).shape == (28, 16, 28, 3)
        with pytest.raises(VideoError, match=r"corrupted.mp4: frame 49 of 50 does not decode \(Invalid data"):
            reader.read([0, 49], resize=16)
        assert reader.read([3], resize=16).shape == (1, 16, 28, 3)  # and the reader goes on


# Made files

MADE = {
    "gop12.mp4": {},
    "gop250.mp4": {"gop": 250},
    "gop1.mp4": {"gop": 1},
    "open.mp4": {"options": OPEN_GOP},
    "open.mkv": {"options": OPEN_GOP},
    "open.ts": {"options": OPEN_GOP},
    "refresh.mp4": {"options": REFRESH},
    "counted.avi": {},  # no presentation times
    "reordered.avi": {"codec": "mpeg4", "options": {}, "bframes": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {}, "bframes": 2},
    "hidden.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}, "gop": 100},
    "deep.mkv": {"pixels": "yuv420p10le"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return lambda name: folder / name if (folder / name).exists() else write(folder / name, range(70), **MADE[name])


@pytest.mark.parametrize("name", MADE)
def test_made_file(made, name):
    truth = plain(made(name))
    assert len(truth) == 70
    with VideoReader(made(name)) as reader:
        assert (len(reader), reader.height, reader.width, reader.fps) == (70, 48, 64, 30)
        assert reader.duration == pytest.approx(70 / 30, abs=2e-3)
        assert reader._engine._decoder._by_count == (name == "counted.avi")
        check_exact(reader, truth)


@pytest.mark.parametrize("name", MADE)
def test_content_in_memory(made, name):
    path = made(name)
    truth = plain(path)
    with VideoReader(f"gone/{name}", content=path.read_bytes()) as reader, VideoReader(path) as file:
        check_exact(reader, truth)
        np.testing.assert_array_equal(reader.timestamps, file.timestamps)
        assert reader.fps == file.fps


def test_content_that_is_no_video():
    with pytest.raises(VideoError, match=r"gone/a\.mp4: does not open as a video"):
        VideoReader("gone/a.mp4", content=b"this is no video")


@pytest.mark.slow
@given(reads=st.lists(st.lists(st.integers(0, 69), min_size=1, max_size=10), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_any_sequence_of_reads_is_exact(made, reads):
    for name in ("gop12.mp4", "open.ts", "counted.avi"):
        truth = plain(made(name))
        with VideoReader(made(name)) as reader:
            for indices in reads:
                np.testing.assert_array_equal(reader.read(indices), np.stack([truth[i] for i in indices]))


@pytest.fixture
def sent(monkeypatch):
    """The packets that decoders are sent while reading, None where they are emptied."""
    packets = []
    send = decoder_module.Decoder._send

    def spy(self, packet, *rest):
        packets.append(packet)
        return send(self, packet, *rest)

    monkeypatch.setattr(decoder_module.Decoder, "_send", spy)
    return packets


def test_reading_on_does_not_decode_twice(made, sent):
    with VideoReader(made("gop250.mp4")) as reader:
        for start in range(0, 70, 5):
            reader.read(range(start, start + 5))
    # The first read empties the decoder and the second finds its keyframe again; from there on there is no way back.
    assert 70 <= len(sent) < 70 + 15


def test_only_what_is_needed_is_sent(made, sent):
    with VideoReader(made("gop12.mp4")) as reader:
        reader.read([60, 60, 24])  # both are keyframes
    assert len([p for p in sent if p]) == 2


def test_one_frame_and_uneven_times(tmp_path):
    with VideoReader(write(tmp_path / "one.mp4", [0])) as reader:
        assert len(reader) == 1 and reader.duration == pytest.approx(1 / 30)
        assert reader.read([0, 0]).shape == (2, 48, 64, 3)
    times = np.cumsum(1 + np.arange(40) % 5)
    path = write(tmp_path / "uneven.mp4", times)
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.timestamps, (times - times[0]) / 30, atol=1e-9)
        assert reader.fps == pytest.approx(39 / (times[-1] - times[0]) * 30)
        check_exact(reader, plain(path))


def test_resize(made):
    with VideoReader(str(made("gop12.mp4"))) as reader:
        full = reader.read([3, 40, 3])
        np.testing.assert_array_equal(reader.read([3, 40, 3], resize=(48, 64)), full)
        for resize, (h, w) in {24: (24, 32), 17: (17, 23), (30, 20): (30, 20)}.items():
            by_hand = np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_LINEAR) for f in full])
            np.testing.assert_array_equal(reader.read([3, 40, 3], resize=resize), by_hand)
        for resize in (0, -3, 2.5, (0, 4), (4,), "big"):
            with pytest.raises(ValueError, match="give the short side"):
                reader.read([0], resize=resize)
        assert reader.read([], resize=8).shape == (0, 8, 11, 3)


@pytest.mark.parametrize("isolate", [False, True])
def test_crop(made, isolate):
    with VideoReader(str(made("gop12.mp4")), isolate=isolate) as reader:
        full = reader.read([3, 40, 3])
        top, left, height, width = box = (5, 7, 30, 20)
        part = full[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(reader.read([3, 40, 3], crop=box), part)
        for resize, (h, w) in {24: (36, 24), (16, 16): (16, 16)}.items():
            by_hand = np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_LINEAR) for f in part])
            np.testing.assert_array_equal(reader.read([3, 40, 3], crop=box, resize=resize), by_hand)
        assert reader.read([], crop=box).shape == (0, 30, 20, 3)
        for wrong in ((0, 0, 49, 64), (0, 1, 48, 64), (-1, 0, 4, 4), (0, 0, 0, 4)):
            with pytest.raises(ValueError, match=r"crop = .*inside frames of 48×64"):
                reader.read([0], crop=wrong)


def test_crop_of_a_rotated_video(shared):
    with VideoReader(shared / "data" / "odd" / "video_90.mov") as reader:
        full, (top, left, height, width) = reader.read([0, 2]), (8, 3, 17, 30)
        box = (top, left, height, width)
        part = full[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(reader.read([0, 2], crop=box), part)
        by_hand = np.stack([cv2.resize(f, (16, 16), interpolation=cv2.INTER_LINEAR) for f in part])
        np.testing.assert_array_equal(reader.read([0, 2], crop=box, resize=(16, 16)), by_hand)


def test_indices_outside_the_range(made):
    with VideoReader(made("gop12.mp4")) as reader:
        for i in (-1, 70, 10**12):
            with pytest.raises(IndexError, match=rf"there is no frame {i}; the range is 0…69"):
                reader.read([0, i])
        for indices in ([0.5], [[1, 2]], 3, ["1"]):
            with pytest.raises(TypeError, match="indices must be whole numbers in one row"):
                reader.read(indices)
        assert reader.read(np.array([69], np.uint8)).shape == (1, 48, 64, 3)


def test_size_that_changes_in_mid_video(tmp_path):
    """Two transport streams end to end: the second half has other dimensions."""
    for name, times, size in (("a.ts", range(10), (48, 64)), ("b.ts", range(100, 110), (32, 80))):
        write(tmp_path / name, times, size=size)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    sizes = [frame.shape for frame in plain(both)]
    assert {(48, 64, 3), (32, 80, 3)} == set(sizes)
    with VideoReader(both) as reader:
        assert len(reader) == len(sizes)
        assert reader.read(range(len(reader))).shape == (len(sizes), 48, 64, 3)


# Bad files


def test_paths_that_are_no_video(tmp_path, made):
    fifo = tmp_path / "fifo.mp4"
    os.mkfifo(fifo)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "zeros.mp4").write_bytes(bytes(5000))
    (tmp_path / "text.mp4").write_text("to be or not to be\n" * 50)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "playlist.m3u8").write_text(playlist)
    (tmp_path / "notes.txt").write_text("to be or not to be\n" * 50)
    # The header, and the first few bytes of a picture.
    whole = made("open.mkv").read_bytes()
    (tmp_path / "no_frames.mkv").write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75") + 30])
    for name, reason in {
        "missing.mp4": "no such file",
        "": "is a folder",
        "fifo.mp4": "is not a regular file",
        "empty.mp4": "is empty",
        "zeros.mp4": "does not open as a video",
        "text.mp4": "does not open as a video",
        "playlist.m3u8": "does not open as a video",
        "notes.txt": "does not open as a video",
        "no_frames.mkv": "has a video stream without a single whole frame",
        "http://127.0.0.1:9/clip.mp4": "cannot be read",
    }.items():
        begin = time.monotonic()
        with pytest.raises(VideoError) as caught:
            VideoReader(tmp_path / name if "://" not in name else name)
        assert reason in caught.value.reason and str(caught.value).startswith(caught.value.path)
        assert time.monotonic() - begin < 10
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # it crosses processes


@given(cut=st.floats(0, 1), name=st.sampled_from(["gop12.mp4", "open.mkv", "open.ts", "reordered.avi", "hidden.webm"]))
@settings(deadline=None, max_examples=40)
def test_truncated_file(made, tmp_path_factory, cut, name):
    data = made(name).read_bytes()
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(data[: int(cut * len(data))])
    whole = plain(made(name))
    try:
        with VideoReader(path) as reader:
            assert 1 <= len(reader) <= 70
            # The picture at the cut may be torn; those well before it are untouched.
            safe = max(1, len(reader) - 10)
            for i in {0, safe // 2, safe - 1} if len(reader) > 1 else ():
                assert np.array_equal(reader.read([i])[0], whole[i])
            assert reader.read([0, len(reader) - 1]).shape == (2, 48, 64, 3)
    except VideoError as error:
        assert str(path) in str(error)
    finally:
        shutil.rmtree(path.parent)


@given(seed=st.integers(0, 10**6), name=st.sampled_from(["gop12.mp4", "open.ts", "reordered.avi", "hidden.webm"]))
@settings(deadline=None, max_examples=60)
def test_flipped_bits_never_hang_or_crash(made, tmp_path_factory, seed, name):
    data = bytearray(made(name).read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), 12):
        data[at] ^= 1 << int(rng.integers(8))
    path = tmp_path_factory.mktemp("bits") / name
    path.write_bytes(data)
    try:
        with VideoReader(path, timeout=20) as reader:
            assert reader.read([0, len(reader) // 2, len(reader) - 1], resize=(4, 4)).shape == (3, 4, 4, 3)
    except VideoError as error:
        assert "stalled" not in str(error)
    finally:
        shutil.rmtree(path.parent)


# Stalls and threads


def test_stall_on_opening_is_given_up(made, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(decoder_module.av, "open", lambda *a, **k: release.wait(30))
    try:
        begin = time.monotonic()
        with pytest.raises(VideoError, match=r"gop12.mp4: reading stalled and was given up after 0.1 s"):
            VideoReader(made("gop12.mp4"), timeout=0.1)
        assert time.monotonic() - begin < 10
    finally:
        release.set()


def test_stall_on_reading_is_given_up_and_stays_so(made, monkeypatch):
    release = threading.Event()
    reader = VideoReader(made("gop12.mp4"), timeout=0.1)
    monkeypatch.setattr(reader._engine._decoder, "frames", lambda wanted: release.wait(30) and iter(()))
    try:
        with pytest.raises(VideoError, match="reading stalled"):
            reader.read([0])
        with pytest.raises(ValueError, match="this reader is closed"):
            reader.read([0])
        reader.close()
    finally:
        release.set()


@pytest.mark.parametrize("name", ["gop250.mp4", "counted.avi"])
def test_slow_decoding_is_given_up_and_the_reader_lives(made, monkeypatch, name):
    with VideoReader(made(name)) as reader:
        demux = decoder_module.Decoder._demux
        monkeypatch.setattr(decoder_module.Decoder, "_demux", lambda self: (time.sleep(0.02) or p for p in demux(self)))
        reader.timeout = 0.2
        with pytest.raises(VideoError, match=r"given up after 0\.2 s"):
            reader.read([69])
        monkeypatch.undo()
        reader.timeout = 60
        np.testing.assert_array_equal(reader.read([69])[0], plain(made(name))[69])


@pytest.mark.slow
def test_threads_end_with_their_reader(made):
    def alive():
        return sum(t.name == "vidjax-decode" for t in threading.enumerate())

    before = alive()
    reader = VideoReader(made("gop12.mp4"))
    reader.read([5])
    assert alive() == before + 1
    reader.close()
    reader.close()
    assert alive() == before
    with pytest.raises(ValueError, match="this reader is closed; open a new one"):
        reader.read([0])
    for path in (made("gop12.mp4"), Path("missing.mp4")):  # never closed, and never opened
        with contextlib.suppress(VideoError):
            VideoReader(path).read([0])
    gc.collect()
    deadline = time.monotonic() + 10
    while alive() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == before


def test_threads_rest_between_readers(made, monkeypatch):
    def named(name):
        return {t for t in threading.enumerate() if t.name == name}

    monkeypatch.setattr(worker, "_REST", 0.2)
    monkeypatch.setattr(worker.Worker, "_resting", deque())
    others = named("vidjax-decode")
    with VideoReader(made("gop12.mp4")) as first, VideoReader(made("gop12.mp4")) as second:
        first.read([5])
        second.read([5])
        serving = named("vidjax-decode") - others
    assert len(serving) == 2
    assert serving <= named("vidjax-rest")
    with VideoReader(made("gop12.mp4")) as again:
        assert named("vidjax-decode") - others < serving
        time.sleep(0.5)  # one that serves does not end, however long it has nothing to do; one that rests does
        assert len(named("vidjax-rest") & serving) == 0
        np.testing.assert_array_equal(again.read([7])[0], plain(made("gop12.mp4"))[7])


def test_one_reader_per_thread(made):
    truth, wrong = plain(made("gop12.mp4")), []

    def work(seed):
        try:
            with VideoReader(made("gop12.mp4")) as reader:
                check_exact(reader, truth, seed=seed, picks=8)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong
