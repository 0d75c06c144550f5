"""Sound of clips: it stays with the pictures, it is drawn as the settings say, and what cannot be heard is marked."""

from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import chirp, write_flash, write_sound
from vidjax.config import AugmentConfig, ConfigError, DataConfig, ReadingConfig, SamplingConfig, SoundConfig, Spec
from vidjax.data.pipeline import eval_batches, train_batches
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.read import load
from vidjax.data.prepared.write import prepare
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.sound import to_int16, windows_of
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.data.views import Views
from vidjax.inputs import UNHEARD, AudioInput, VideoInput
from vidjax.tasks.classify.targets import ClassTargets
from vidjax.video import VideoError
from vidjax.video.sound import SoundReader

FPS, FRAMES, STRIDE = 25, 16, 2
VIDEO = VideoInput(FRAMES, STRIDE, size=32, resize=(32,))
AUDIO = AudioInput("htk", FRAMES * STRIDE / FPS)
HERE = ReadingConfig(isolate=False)
BOTH = Spec("toy", {"video": VIDEO, "audio": AUDIO}, num_classes=2)
ALONE = Spec("toy", {"audio": replace(AUDIO, seconds=0.5)}, num_classes=2)


@pytest.fixture(scope="module")
def flashes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flashes")
    return {
        (at, codec): write_flash(folder / f"{codec}{at}.mov", at, codec=codec) for at in (37, 61) for codec in CODECS
    }


CODECS = ("pcm_s16le", "aac")


def places(inputs, view=0):
    """Place of the flash, in frames, and of the click, in frames as the clip is played; None if it is not there."""
    brightness = inputs["video"][view].mean(axis=(1, 2, 3))
    sound = inputs["audio"][view].astype(np.float64)
    sound[sound == UNHEARD] = 0
    if brightness.max() < 150 or np.abs(sound).max() < 1000:
        return None
    lit = np.flatnonzero(brightness > 150)
    return lit, np.abs(sound).argmax() / len(sound) * FRAMES - 0.5


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(CODECS), st.sampled_from([37, 61]), st.booleans(), st.booleans())
def test_a_click_stays_at_its_flash(flashes, seed, codec, at, jitter, backwards):
    """Through speed, reversal and jitter of the frames: as the clip is played, both are within a frame of it."""
    sampling = SamplingConfig(speed=(0.5, 1.4), temporal_jitter=jitter, reverse=float(backwards), views=2)
    reader = ExampleReader(BOTH, DataConfig(sampling=sampling, reading=HERE, sound=SoundConfig(gain=3.0)))
    inputs, views = reader.train(Record(str(flashes[at, codec])), np.random.default_rng(seed))
    assert (views.times[:, 0] > views.times[:, -1]).all() == backwards
    for view in range(2):
        found = places(inputs, view)
        if found is not None:
            lit, click = found
            assert np.abs(lit - click).min() <= 1.25  # frames have whole numbers, and jitter moves them


# Every rule of cropping, and every change of pictures.
AUGMENTED = [
    AugmentConfig(crop="square", scale=(0.3, 1.0), flip=True, colour_jitter=0.4, hue=0.2, greyscale=0.5),
    AugmentConfig(crop="short_side", short_side=(32, 48), erase=1.0, erase_mode="const"),
    AugmentConfig(crop="random_resized", flip=True, erase=1.0),
    AugmentConfig(crop="multi_scale", randaugment_m=9.0),
    AugmentConfig(augmix_m=3.0, colour_jitter=0.2),
]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(AUGMENTED), st.sampled_from([37, 61]), st.booleans())
def test_a_click_stays_at_its_flash_whatever_is_done_to_the_pictures(flashes, seed, augment, at, backwards):
    """The frame that stands out is that of the flash, and the click is heard with it."""
    sampling = SamplingConfig(speed=(0.5, 1.4), reverse=float(backwards), views=2)
    reader = ExampleReader(BOTH, DataConfig(sampling=sampling, reading=HERE, augment=augment))
    inputs, views = reader.train(Record(str(flashes[at, "pcm_s16le"])), np.random.default_rng(seed))
    for view in range(2):
        sound = np.where(inputs["audio"][view] == UNHEARD, 0, inputs["audio"][view]).astype(np.float64)
        shown = np.flatnonzero(views.frames[view] == at)
        if not len(shown) or len(shown) > 3 or np.abs(sound).max() < 1000:
            continue
        brightness = inputs["video"][view].mean(axis=(1, 2, 3))
        assert np.abs(brightness - np.median(brightness)).argmax() in shown
        click = np.abs(sound).argmax() / len(sound) * FRAMES - 0.5
        assert np.abs(shown - click).min() <= 1.25


@pytest.mark.parametrize("codec", CODECS)
def test_evaluation_hears_what_it_sees(flashes, codec):
    reader = ExampleReader(BOTH, DataConfig(reading=HERE))
    inputs, _ = reader.evaluate(Record(str(flashes[37, codec])), 4, 3)
    assert inputs["audio"].shape == (12, AUDIO.samples) and inputs["audio"].dtype == np.int16
    seen = [places(inputs, view) for view in range(12)]
    assert sum(found is not None for found in seen) >= 3
    for found in filter(None, seen):
        assert np.abs(found[0] - found[1]).min() <= 0.6
    # The three crops of a clip have the same sound.
    np.testing.assert_array_equal(inputs["audio"][0::3], inputs["audio"][2::3])


def test_places_of_windows():
    times = np.array([[1.0, 1.5, 2.0], [2.0, 1.5, 1.0]])
    views = Views(times.astype(int), times, np.zeros(2, bool), np.zeros((2, 2, 3)), np.array([1.0, 2.0]))
    centre, start = (windows_of(views, replace(AUDIO, seconds=0.4, place=p)) for p in ("centre", "start"))
    np.testing.assert_allclose(centre.starts, [1.3, 1.1])
    np.testing.assert_allclose(start.starts, [1.0, 1.2])  # backwards, it ends with the frame shown first
    assert centre.reversed.tolist() == [False, True]


def test_samples_are_rounded_and_marked():
    wave = np.array([0.0, 1.0, -1.0, 2.0, np.nan, 0.5, 3 / 32768], np.float32)
    assert to_int16(wave).tolist() == [0, 32767, -32767, 32767, UNHEARD, 16384, 3]


def test_sixteen_bits_are_kept_as_they_are(tmp_path):
    values = np.array([0, 1, -1, 32767, -32767, 12345], np.int16).repeat(3000)
    path = write_sound(tmp_path / "a.wav", values / np.float32(32768))
    reader = ExampleReader(ALONE, DataConfig(reading=HERE))
    inputs, views = reader.evaluate(Record(str(path)), 1, 1)
    first = round(float(views.times[0, 0]) * 16_000)
    np.testing.assert_array_equal(inputs["audio"][0], values[first : first + 8000])


def test_augmentation_of_sound(tmp_path):
    path = write_sound(tmp_path / "a.wav", 0.25 * np.ones(64_000), codec="pcm_f32le")

    def train(seed=0, **changes):
        config = DataConfig(reading=HERE, sound=SoundConfig(**changes), sampling=SamplingConfig(views=50))
        return ExampleReader(ALONE, config).train(Record(str(path)), np.random.default_rng(seed))[0]["audio"]

    assert (train() == 8192).all()
    loud = train(gain=6.0)[:, 0] / 8192
    assert loud.min() == pytest.approx(10**-0.3, abs=0.05) and loud.max() == pytest.approx(10**0.3, abs=0.1)
    dropped = (train(drop=0.3) == UNHEARD).all(axis=1)
    assert 5 <= dropped.sum() <= 25 and (train(drop=1.0) == UNHEARD).all()
    np.testing.assert_array_equal(train(gain=6.0, drop=0.5), train(gain=6.0, drop=0.5))


def test_sound_is_shifted_against_the_pictures(flashes):
    config = DataConfig(reading=HERE, sound=SoundConfig(shift=0.2), sampling=SamplingConfig(views=8))
    apart = []
    for seed in range(8):
        inputs, _ = ExampleReader(BOTH, config).train(
            Record(str(flashes[37, "pcm_s16le"])), np.random.default_rng(seed)
        )
        found = [places(inputs, view) for view in range(8)]
        apart += [np.abs(lit - click).min() * STRIDE / FPS for lit, click in filter(None, found)]
    assert 0.1 < max(apart) < 0.27


def test_clips_of_sound_alone(tmp_path):
    path, short = (
        write_sound(tmp_path / "a.wav", chirp(seconds=4.0)),
        write_sound(tmp_path / "b.flac", chirp()[:4000], codec="flac"),
    )
    reader = ExampleReader(ALONE, DataConfig(reading=HERE))
    inputs, views = reader.evaluate(Record(str(path)), 3, 2)
    np.testing.assert_allclose(views.times[::2], [[0, 0.5], [1.75, 2.25], [3.5, 4.0]])
    np.testing.assert_array_equal(inputs["audio"][::2], inputs["audio"][1::2])
    _, views = reader.evaluate(Record(str(path), start=1.0, end=2.0), 2, 1)
    np.testing.assert_allclose(views.times, [[1, 1.5], [1.5, 2.0]])
    for seed in range(20):
        _, views = reader.train(Record(str(path), start=1.0, end=2.0), np.random.default_rng(seed))
        assert views.times.min() >= 1 and views.times.max() <= 2
    inputs, _ = reader.evaluate(Record(str(short)), 1, 1)
    assert (inputs["audio"][0, 4000:] == UNHEARD).all() and (inputs["audio"][0, :4000] != UNHEARD).all()
    reader.layout().check({"inputs": inputs}, lead=1)


def test_rules_for_frames_are_refused_where_there_are_none():
    for name, value in (("train", "segments"), ("eval", "uniform"), ("temporal_jitter", True)):
        with pytest.raises(ConfigError, match=rf"data\.sampling\.{name} = .*is for frames"):
            ExampleReader(ALONE, DataConfig(sampling=SamplingConfig(**{name: value})))


def test_every_odd_file_walks_through(shared):
    reader = ExampleReader(BOTH, DataConfig())
    heard = {}
    for path in sorted((shared / "data" / "odd").iterdir()):
        try:
            inputs, views = reader.train(Record(str(path)), np.random.default_rng(0))
        except VideoError:
            continue
        reader.layout().check({"inputs": inputs}, lead=1)
        evaluated, again = reader.evaluate(Record(str(path)), 2, 1)
        reader.layout().check({"inputs": evaluated}, lead=1)
        assert (len(again), bool(again.unheard)) == (2, bool(views.unheard))
        assert bool(views.unheard) == (inputs["audio"] == UNHEARD).all()
        heard[path.name] = not views.unheard
    assert heard["nasa_13013.mp4"] and heard["no_duration.webm"] and heard["video_with_failing_audio.mp4"]
    assert not heard["video_0.mov"] and len(heard) == 13


def videos_of(*paths):
    records = tuple(Record(str(path), Labels((i % 2,))) for i, path in enumerate(paths))
    return VideoSet(records, LabelSpace(("a", "b")))


def test_videos_without_sound_are_used_and_listed(tmp_path, flashes):
    loud = flashes[37, "pcm_s16le"]
    mute = tmp_path / "mute.mov"
    write_flash(tmp_path / "b.mov", 20)
    with av.open(str(tmp_path / "b.mov")) as given, av.open(str(mute), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    videos, reader = videos_of(loud, mute), ExampleReader(BOTH, DataConfig(reading=ReadingConfig(num_threads=1)))
    batch = next(iter(eval_batches(videos, reader, batch_size=2, num_clips=1, num_crops=1)))
    assert batch["mask"].all()
    (listed,) = batch["bad"]
    assert (listed.index, listed.path, listed.unheard) == (1, str(mute), True) and "has no sound" in listed.reason
    assert (batch["inputs"]["audio"][1] == UNHEARD).all() and (batch["inputs"]["audio"][0] != UNHEARD).any()
    batch = next(iter(train_batches(videos, reader, ClassTargets(videos.labels), batch_size=2, seed=0)))
    assert sorted(batch["index"].tolist()) == [0, 1] and [b.path for b in batch["bad"]] == [str(mute)]


@pytest.mark.parametrize(
    "encoding", [Encoding(), Encoding(jpeg=True, short_side=0, sound=True), Encoding(jpeg=True, short_side=0)]
)
def test_prepared_sets(tmp_path, flashes, encoding):
    path = flashes[37, "pcm_s16le"]
    videos = videos_of(path, flashes[61, "aac"])
    folder = prepare({"train": videos, "validation": videos}, tmp_path / "toy", encoding).folder
    record = videos.records[0]
    (row,) = [row for row in load(folder).rows if row.split == "train" and "pcm" in row.path]
    stored, reader = replace(record, path=row.path), ExampleReader(BOTH, DataConfig())
    if encoding.jpeg and not encoding.sound:
        with pytest.raises(DataError, match="was prepared as JPEG frames, without sound; prepare the data set again"):
            reader.evaluate(stored, 2, 1)
        return
    expected, found = reader.evaluate(record, 2, 1)[0]["audio"], reader.evaluate(stored, 2, 1)[0]["audio"]
    np.testing.assert_array_equal(np.where(found == UNHEARD, 0, found), np.where(expected == UNHEARD, 0, expected))


def test_a_minute_is_not_read_for_a_second(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "long.m4a", np.tile(chirp(8000, 1.0), 60), 8000, "aac")
    with SoundReader(path) as reader:
        decoder, counts = reader._engine.decoder, []
        frames = decoder._decoded
        monkeypatch.setattr(decoder, "_decoded", lambda: (counts.append(f.samples) or f for f in frames()))
        reader.read(40.0, 1.0)
        assert sum(counts) < 4 * 8000
