"""Files that strangers send: what is no video opens nothing else, and what claims to be huge is not decoded."""

import time
from pathlib import Path

import av
import pytest
from av.error import FFmpegError

from tests import hostile
from tests.videos import numbered_frames, write_video
from tests.watching import opened
from vidjax.video import VideoError, VideoReader
from vidjax.video import decoder as decoder_module


@pytest.fixture
def other(tmp_path) -> Path:
    """The folder of videos that a playlist would like to open."""
    return hostile.write_others(tmp_path / "others")


@pytest.mark.parametrize("kind", hostile.PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "mpd", "sdp", "avs", "txt"])
def test_a_playlist_opens_no_other_file(other, kind, suffix, monkeypatch):
    monkeypatch.chdir(other)  # relative names would be found
    path = other / f"x.{suffix}"
    path.write_text(hostile.PLAYLISTS[kind].format(folder=other))
    content = path.read_bytes()
    with opened(other) as names:
        for arguments in ({}, {"content": content}):
            with pytest.raises(VideoError, match="does not open as a video"):
                VideoReader(path, **arguments)
    assert set(names) <= {path.name}


def test_a_playlist_opens_no_other_file_from_another_process(other):
    path = other / "x.mp4"
    path.write_text(hostile.PLAYLISTS["concat"])
    with pytest.raises(VideoError, match="playlist"):
        VideoReader(path, isolate=True)


def test_without_the_list_of_formats_the_playlist_would_open(other, monkeypatch):
    path = other / "x.mp4"
    path.write_text(hostile.PLAYLISTS["concat"])
    monkeypatch.setattr(decoder_module, "_FORMATS", "concat,mov")
    with VideoReader(path) as reader:
        assert len(reader) == 4


@pytest.mark.parametrize("name", ["%d.png", "*.png", "0%s.png"])
def test_a_pattern_of_pictures_is_no_video(other, name):
    (other / name).write_bytes((other / "0.png").read_bytes())
    with opened(other) as names, pytest.raises(VideoError, match="a picture"):
        VideoReader(other / name)
    assert "0.png" not in names


@pytest.mark.parametrize("name", [
    "data:video/mp4;base64,AAAA", "concat:{}/other.mp4|{}/other.ts", "subfile,,start,0,end,0,,:{}/other.mp4",
    "crypto:{}/other.mp4", "file:{}/other.mp4", "async:{}/other.mp4", "pipe:0", "lavfi:testsrc", "fd:0",
])  # fmt: skip
def test_an_address_of_ffmpeg_is_a_name_of_no_file(other, name):
    with opened(other) as names, pytest.raises(VideoError, match="no such file"):
        VideoReader(name.replace("{}", str(other)))
    assert not names


@pytest.mark.parametrize("brand", [b"ftypisom", b"ftypqt  "])
def test_pictures_in_another_file_are_not_read(other, tmp_path, brand):
    """QuickTime files may keep only tables and name the file of the pictures; FFmpeg opens it if it is asked to."""
    target = other / "other.mp4"
    path = tmp_path / "x.mov"
    path.write_bytes(hostile.external_reference(target.read_bytes().replace(b"ftypisom", brand), target))
    with opened(other) as names, pytest.raises(VideoError, match="without a single whole frame"):
        VideoReader(path)
    assert not names
    with opened(other) as names, av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as file:
        assert next(file.decode(video=0)).width == 48
    assert names == ["other.mp4"], "the file is as intended"


def test_attachments_are_neither_video_nor_opened(other, tmp_path):
    content = (other / "other.mp4").read_bytes()
    path = hostile.with_attachment(tmp_path / "a.mkv", str(other / "other.mp4"), content)
    with opened(other) as names, VideoReader(path) as reader:
        assert len(reader) == 4 and reader.read([3]).mean() == pytest.approx(24, abs=3)
        with pytest.raises(VideoError, match="has no video stream 1"):
            VideoReader(path, stream=1)
    assert not names


def test_claims_of_frames_and_pixels_are_refused_in_time_and_memory(other, tmp_path):
    """A few hundred bytes that claim ten million frames, or pictures of 16k × 16k, or really have large ones."""
    video = (other / "other.mp4").read_bytes()
    files = {
        "frames": (hostile.many_frames(video, 10**7), "stalled|decodes|whole frame|claims"),
        "more frames": (hostile.many_frames(video, 2**32 - 1), "stalled|decodes|whole frame|claims"),
        "claimed": (hostile.huge_pictures(16384, 16384, filled=False), "does not decode|by its header"),
        "claimed, fewer": (hostile.huge_pictures(11000, 11000, filled=False), "needs more memory than 64 MiB"),
        "large": (hostile.huge_pictures(6000, 6000, filled=True), "needs more memory than 64 MiB"),
    }
    begin = time.monotonic()
    for name, (content, words) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=words):
            VideoReader(tmp_path / name, isolate=True, timeout=2, max_memory=64 << 20).read([0])
    assert time.monotonic() - begin < 60
    with VideoReader(other / "other.mp4", isolate=True, max_memory=64 << 20) as reader:  # the next one is read
        assert len(reader) == 4


@pytest.mark.parametrize("wrong", [{"max_memory": 0, "isolate": True}, {"max_memory": 1 << 30}, {"patience": 1.0}])
def test_a_limit_of_memory_needs_a_process(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be positive, and needs isolate=True"):
        VideoReader(tmp_path / "a.mp4", **wrong)


def test_reading_more_pixels_than_allowed_is_refused_before_decoding(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(8))
    monkeypatch.setattr(decoder_module.Decoder, "frames", lambda *_: pytest.fail("decoded"))
    with VideoReader(path, max_pixels=3 * 32 * 48) as reader, pytest.raises(VideoError, match="more than 4,608"):
        reader.read([0, 1, 2, 3], resize=(8, 8))


def test_frames_asked_for_twice_count_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(8))
    with VideoReader(path, max_pixels=3 * 32 * 48) as reader:
        assert reader.read([0, 1, 2, 2, 1, 0]).shape == (6, 32, 48, 3)


@pytest.mark.parametrize("bad", [0, -1])
def test_a_limit_of_no_pixels_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="must be positive"):
        VideoReader(tmp_path / "a.mp4", max_pixels=bad)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_frames_larger_than_any_screen_are_not_decoded(tmp_path, suffix, monkeypatch):
    path = write_video(tmp_path / f"a.{suffix}", numbered_frames(4))
    monkeypatch.setattr(decoder_module, "_MOST_PIXELS", 32 * 48 - 1)
    with pytest.raises(VideoError, match="frames of 48×32 by its header"):
        VideoReader(path)


def test_a_stream_that_grows_beyond_the_limit_does_not_decode(tmp_path, monkeypatch):
    """The header is not all: the decoder itself is told the limit."""
    path = write_video(tmp_path / "a.mp4", numbered_frames(4))
    with VideoReader(path) as reader:
        options = reader._engine._decoder._codec.options
    assert int(options["max_pixels"]) == decoder_module._MOST_PIXELS
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {"max_pixels": "100"}
        with pytest.raises(FFmpegError):
            next(container.decode(video=0))
