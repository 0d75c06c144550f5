"""Windows of sound: exact to the sample in every container, silent outside of the track, and safe to open."""

import json
import os

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import YARDSTICKS, chirp, write_sound
from vidjax.video import VideoError, VideoReader
from vidjax.video.sound import SoundReader

SECONDS = 8.0
FORMATS = {
    "pcm.wav": ("pcm_s16le", 44_100), "a.flac": ("flac", 22_050), "a.mp3": ("libmp3lame", 44_100),
    "a.m4a": ("aac", 44_100), "low.mp4": ("aac", 8_000), "a.ogg": ("libopus", 48_000), "a.webm": ("libopus", 48_000),
    "a.mkv": ("aac", 44_100), "a.ts": ("aac", 48_000), "a.avi": ("libmp3lame", 44_100), "a.flv": ("aac", 44_100),
    "a.aac": ("aac", 44_100),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files of all formats, and their whole sound from 1 s before to 2 s after it, at 16 kHz and at its own rate."""
    folder, found = tmp_path_factory.mktemp("sounds"), {}

    def of(name):
        if name not in found:
            codec, rate = FORMATS[name]
            wave = np.sin(np.arange(round(rate * SECONDS)) ** 1.2 / 50) * 0.3
            wave += 0.05 * np.random.default_rng(0).standard_normal(len(wave))
            path = write_sound(folder / name, np.stack([wave, wave]), rate, codec)
            reader = SoundReader(path)
            whole = {r: reader.windows([reader.start - 1], SECONDS + 3, r)[0] for r in (16_000, reader.rate)}
            found[name] = path, whole
        return found[name]

    return of


def is_slice(path, whole, times, seconds=0.2, most=1e-6):
    """Whether windows at `times`, seconds after the first sample, are slices of the whole."""
    with SoundReader(path) as reader:
        for rate, expected in whole.items():
            for time, window in zip(times, reader.windows(reader.start + times, seconds, rate), strict=True):
                first = rate + round(time * rate)
                part = expected[first : first + len(window)]
                np.testing.assert_array_equal(np.isnan(window), np.isnan(part))
                assert np.abs(np.nan_to_num(window - part)).max() <= most


@pytest.mark.parametrize("name", FORMATS)
def test_windows_are_slices_of_the_whole(made, name):
    path, whole = made(name)
    for time in (5.3, 0.1, -0.1, 7.95):  # each with a seek of its own, forwards and backwards
        is_slice(path, whole, np.array([time]), most=1e-6 if FORMATS[name][0] != "libopus" else 1e-4)


@settings(max_examples=200)
@given(st.floats(-1.0, SECONDS + 0.8))
def test_a_window_is_the_slice_of_the_whole_at_any_time(made, time):
    path, whole = made("a.m4a")
    is_slice(path, {16_000: whole[16_000]}, np.array([time]))


def test_many_windows_share_one_pass(made, monkeypatch):
    path, whole = made("a.m4a")
    times = np.random.default_rng(0).uniform(-0.5, SECONDS, 30)
    is_slice(path, whole, times)
    decoded = []
    with SoundReader(path) as reader:
        frames = reader._engine.decoder._decoded
        monkeypatch.setattr(
            reader._engine.decoder, "_decoded", lambda: (decoded.append(f.samples) or f for f in frames())
        )
        reader._engine.decoder._open()
        reader.windows(np.linspace(0, 7, 30), 1.0, 16_000)
    assert sum(decoded) <= 1.1 * SECONDS * 44_100


def test_yardsticks(shared):
    """Windows from one pass without a seek, of real files, by a reader that seeks."""
    folder = shared / "reference" / "golden-motion-sound"
    if not folder.is_dir():
        pytest.skip("needs the reference of sounds")
    entries = json.loads((folder / "index.json").read_text())["goldens"]
    tracks = next(entry for entry in entries if entry["name"] == "audio_windows")["tracks"]
    arrays = np.load(folder / "audio_windows.npz")
    for name, track in tracks.items():
        with SoundReader(shared / "data" / track["file"], stream=track["audio_stream"]) as reader:
            assert (reader.rate, reader.channels) == (track["rate"], track["channels"])
            assert reader.start == pytest.approx(track["first_sample_s"])
            for number, window in reversed(list(enumerate(track["windows"]))):
                found = reader.read(window["start_s"], window["seconds"])
                np.testing.assert_allclose(found, arrays[f"{name}_{number}"], atol=1e-6)


def test_resampling_agrees_with_soxr(tmp_path):
    """Both filters pass what lies below 6.4 kHz; above, theirs differ."""
    for rate in (44_100, 48_000):
        wave = chirp(rate, 0.4)
        path = write_sound(tmp_path / f"{rate}.wav", wave, rate)
        found = SoundReader(path).read(0, 0.4, 16_000)
        expected = np.load(YARDSTICKS)[f"chirp_soxr_{rate}_16000"]
        assert found.shape == expected.shape
        below = slice(100, round(5_500 / (0.4 * rate) * len(found)))  # the part of the sweep up to 5.5 kHz
        error = (found - expected)[below]
        # The noise in the file has all frequencies, and its 16 bits add a little.
        assert 10 * np.log10(np.mean(expected[below] ** 2) / np.mean(error**2)) > 35


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_f32le", "flac"])  # packed, and planar
def test_channels_become_their_mean(tmp_path, codec):
    left, right = chirp(), -0.5 * chirp()
    path = write_sound(tmp_path / f"a.{'flac' if codec == 'flac' else 'wav'}", np.stack([left, right]), codec=codec)
    with SoundReader(path) as reader:
        assert reader.channels == 2
        most = {"pcm_u8": 1 / 128, "pcm_f32le": 1e-7, "pcm_s24le": 1e-6}.get(codec, 2**-14)
        np.testing.assert_allclose(reader.read(0, 1.0), (left + right) / 2, atol=most)


def test_six_channels_become_their_mean(tmp_path):
    waves = np.stack([chirp() * gain for gain in (1.0, 0.5, -0.2, 0.1, 0.3, 0.4)])
    path = write_sound(tmp_path / "a.wav", waves, codec="pcm_f32le", layout="5.1")
    np.testing.assert_allclose(SoundReader(path).read(0, 1.0), waves.mean(axis=0), atol=1e-6)


def test_a_late_track_keeps_its_time(tmp_path):
    frames = np.zeros((25, 32, 32, 3), np.uint8)
    path = write_sound(tmp_path / "late.mkv", 0.5 * np.ones(8_000), codec="pcm_s16le", frames=frames, late=0.25)
    with SoundReader(path) as reader:
        assert reader.start == pytest.approx(0.25)
        window = reader.windows([0.0], 1.0)[0]
        there = ~np.isnan(window)
        assert not there[:4000].any() and there[4000:12_000].all() and not there[12_000:].any()
        np.testing.assert_allclose(window[there], 0.5, atol=1e-4)
        assert (reader.read(0.0, 1.0)[:4000] == 0).all()


def test_times_are_those_of_the_pictures(tmp_path):
    """The first picture may lie anywhere on the file's own clock."""
    frames = np.zeros((25, 32, 32, 3), np.uint8)
    wave = np.zeros(16_000, np.float32)
    wave[8_000:8_010] = 0.9
    path = write_sound(tmp_path / "a.ts", wave, codec="aac", frames=frames)  # this container begins at 1.4 s
    with SoundReader(path) as reader, VideoReader(path) as video:
        assert video.timestamps[0] == 0
        found = int(np.abs(reader.read(0.0, 1.0)).argmax())
        assert abs(found - 8_000) < 400


def test_faster_is_higher_and_stays_in_step(tmp_path):
    wave = np.zeros(32_000, np.float32)
    wave[16_000:16_010] = 0.9  # at 1 s
    path = write_sound(tmp_path / "a.wav", wave, codec="pcm_f32le")
    windows = SoundReader(path).windows([0.75] * 3, 0.5, 16_000, [1.0, 2.0, 1.5])
    for window, place in zip(windows, (4000, 2000, 2667), strict=True):
        assert abs(int(np.abs(np.nan_to_num(window)).argmax()) - place) <= 10


@pytest.mark.parametrize("isolate", [False, True])
def test_memory_and_other_processes_give_the_same(made, isolate):
    path, whole = made("a.mp3")
    with SoundReader("a.mp3", content=path.read_bytes(), isolate=isolate) as reader:
        first = 16_000 + round(3.3 * 16_000)
        window = reader.read(reader.start + 3.3, 0.5, 16_000)
        np.testing.assert_array_equal(window, whole[16_000][first : first + 8_000])
    with pytest.raises(ValueError, match="this reader is closed"):
        reader.read(0, 1)


def test_what_cannot_be_heard(tmp_path, shared):
    silent = shared / "data" / "odd" / "video_0.mov"
    with pytest.raises(VideoError, match=r"has no sound \(only video\); give a file with a sound track"):
        SoundReader(silent)
    with pytest.raises(VideoError, match="has no sound track 3; give stream = 0…1"):
        SoundReader(shared / "data" / "odd" / "nasa_13013.mp4", stream=3)
    (tmp_path / "a.wav").write_bytes(b"RIFF" + os.urandom(200))
    with pytest.raises(VideoError, match=r"a\.wav: its sound does not open"):
        SoundReader(tmp_path / "a.wav")
    (tmp_path / "b.mp3").write_text("ffconcat version 1.0\nfile 'a.wav'\n")
    with pytest.raises(VideoError, match="does not open as a video"):
        SoundReader(tmp_path / "b.mp3")
    with pytest.raises(VideoError, match="no such file"):
        SoundReader(tmp_path / "gone.wav")
    with pytest.raises(ValueError, match="timeout = 0"):
        SoundReader(silent, timeout=0)


def test_damage_is_silent_and_the_rest_stays_in_place(made, tmp_path):
    path, _ = made("a.mp3")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    window = SoundReader("a.mp3", content=bytes(content)).windows([6.0], 1.0, 16_000)[0]
    assert np.isfinite(window).mean() > 0.9


def test_rates_beyond_belief_are_refused(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "a.wav", chirp())
    content = bytearray(path.read_bytes())
    content[24:28] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(VideoError, match="samples per second of sound, 1,000,000 at most"):
        SoundReader("a.wav", content=bytes(content))


def test_slow_files_are_given_up(made, monkeypatch):
    path, _ = made("pcm.wav")
    reader = SoundReader(path, timeout=5.0)
    reader.timeout = 1e-9
    with pytest.raises(VideoError, match="reading stalled and was given up"):
        reader.read(0, 5)


def test_the_length_of_a_file_that_does_not_state_it(shared):
    with SoundReader(shared / "data" / "odd" / "no_duration.webm") as reader:
        assert reader.duration == pytest.approx(4.86, abs=0.03)
        assert reader.windows([0.015], 4.8)[0].shape == (230_400,)


def test_every_odd_file_is_read_or_refused(shared):
    for path in sorted((shared / "data" / "odd").iterdir()):
        with av.open(str(path)) as container:
            tracks = len(container.streams.audio)
        if not tracks:
            with pytest.raises(VideoError, match="has no sound"):
                SoundReader(path, isolate=True)
            continue
        with SoundReader(path, isolate=True) as reader:
            windows = reader.windows([-1.0, 0.5, 1e4], 1.0, 16_000)
            assert np.isnan(windows[2]).all() and np.isfinite(windows[1]).all()
