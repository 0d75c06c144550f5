"""Files that strangers send: what is no video opens nothing else, and what claims to be huge is not decoded."""

from pathlib import Path

import numpy as np
import pytest
from av.error import FFmpegError

from tests.videos import numbered_frames, write_video
from vidjax.video import VideoError, VideoReader
from vidjax.video import decoder as decoder_module

PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile other.mp4\n",
    "concat, absolute": "ffconcat version 1.0\nfile 'file:{folder}/other.mp4'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{folder}/other.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{folder}/other.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "avisynth": 'AviSource("{folder}/other.avi")\n',
    "edl": "# mpv EDL v0\n{folder}/other.mp4,0,1\n",
}  # fmt: skip


@pytest.fixture
def other(tmp_path) -> Path:
    """The folder of videos that a playlist would like to open."""
    for suffix in ("mp4", "ts", "avi"):
        write_video(tmp_path / f"other.{suffix}", numbered_frames(4))
    return tmp_path


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "mpd", "sdp", "avs", "txt"])
def test_a_playlist_opens_no_other_file(other, kind, suffix, monkeypatch):
    monkeypatch.chdir(other)  # relative names would be found
    path = other / f"x.{suffix}"
    path.write_text(PLAYLISTS[kind].format(folder=other))
    for arguments in ({}, {"content": path.read_bytes()}):
        with pytest.raises(VideoError, match="does not open as a video"):
            VideoReader(path, **arguments)


def test_a_playlist_opens_no_other_file_from_another_process(other):
    path = other / "x.mp4"
    path.write_text(PLAYLISTS["concat"])
    with pytest.raises(VideoError, match="playlist"):
        VideoReader(path, isolate=True)


def test_without_the_list_of_formats_the_playlist_would_open(other, monkeypatch):
    path = other / "x.mp4"
    path.write_text(PLAYLISTS["concat"])
    monkeypatch.setattr(decoder_module, "_FORMATS", "concat,mov")
    with VideoReader(path) as reader:
        assert len(reader) == 4


def test_a_pattern_of_pictures_is_no_video(tmp_path):
    import cv2

    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "%d.png").write_bytes((tmp_path / "0.png").read_bytes())
    with pytest.raises(VideoError, match="a picture"):
        VideoReader(tmp_path / "%d.png")


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
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {"max_pixels": "100"}
        with pytest.raises(FFmpegError):
            next(container.decode(video=0))
