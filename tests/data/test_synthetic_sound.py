"""Moving shapes with sound: what is heard, that neither stream tells the class alone, and files that hold both."""

import csv
from unittest import mock

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.data import synthetic_sound
from vidjax.data.moving_shapes import RATE
from vidjax.data.synthetic_sound import (
    LESSONS,
    PERIOD,
    SOUND_RATE,
    TONES,
    clicks,
    sound_clip,
    tones,
    turning_clip,
    write_with_sound,
)
from vidjax.errors import UserError


def pitches(wave):
    """Strongest frequency of each 50 ms, Hz."""
    windows = wave[: len(wave) // 800 * 800].reshape(-1, 800) * np.hanning(800)
    return np.abs(np.fft.rfft(windows, 8000)).argmax(axis=1) * SOUND_RATE / 8000


class Given:
    """A generator whose first uniform number is given."""

    def __init__(self, rng, first):
        self.rng, self.first = rng, first

    def __getattr__(self, name):
        return self.first.pop(name, None) or getattr(self.rng, name)


def onsets(wave):
    """Hundredths of a second in which there is a click."""
    return np.flatnonzero(np.abs(wave).reshape(-1, 160).max(axis=1) > 0.15)


def gap(frames, wave):
    """Tenths of a second from a turn to the next click, of the period of ten."""
    # About a turn the frames are the same forwards and backwards.
    movie = frames.astype(float)
    errors = [np.abs(movie[t - 3 : t] - movie[t + 1 : t + 4][::-1]).mean() for t in range(3, 17)]
    turn = 3 + int(np.argmin(errors))
    return int(round(onsets(wave)[0] / 10 - turn) % 10)


def sign(wave):
    """1 of tones that rise, -1 of tones that fall: of five steps, four go one way and one leads back."""
    steps = np.diff(np.log2(pitches(wave)))
    return np.sign(np.sign(steps[np.abs(steps) > 0.02]).sum())


@pytest.mark.parametrize(("pattern", "expected"), [("rising", 1), ("falling", -1)])
def test_tones_go_where_they_say(pattern, expected):
    assert {sign(tones(pattern, np.random.default_rng(seed), 2.0)) for seed in range(8)} == {expected}


def test_rising_and_falling_tones_are_the_same_tones():
    low_and_high = {
        pattern: np.array([
            np.percentile(np.log(pitches(tones(pattern, np.random.default_rng(seed), 2.0))), (5, 50, 95))
            for seed in range(40)
        ])
        for pattern in TONES
    }  # fmt: skip
    rising, falling = low_and_high["rising"], low_and_high["falling"]
    spread = rising.std(axis=0) / np.sqrt(40)
    assert (np.abs(rising.mean(axis=0) - falling.mean(axis=0)) < 5 * spread).all()


def test_clicks_are_where_they_are_asked_for():
    wave = clicks(np.array([-0.01, 0.5, 1.99]), np.random.default_rng(0), 2.0)
    assert wave.dtype == np.float32 and wave.shape == (32_000,)
    loud = np.abs(wave).reshape(-1, 160).max(axis=1) > 0.1
    assert set(np.flatnonzero(loud)) <= {0, 50, 51, 199} and {50, 199} <= set(np.flatnonzero(loud))


def test_shapes_turn_when_they_are_said_to():
    """About a turn a clip is the same forwards and backwards; half a period later it is not."""
    frames = turning_clip(0.5, np.random.default_rng(0), num_frames=21).astype(int)
    turn, period = round(0.5 * RATE), round(PERIOD * RATE)
    for at in (turn, turn + period):
        assert (frames[at - 4] == frames[at + 4]).all()
    assert (frames[turn + period // 2 - 3] != frames[turn + period // 2 + 3]).any()


@pytest.mark.parametrize("lesson", LESSONS)
def test_classes_of_a_lesson(lesson):
    for label in LESSONS[lesson]:
        frames, sound = sound_clip(lesson, label, np.random.default_rng(0), num_frames=4, size=16)
        assert frames.shape == (4, 16, 16, 3) and frames.dtype == np.uint8
        assert sound.shape == (4 * SOUND_RATE // RATE,) and np.abs(sound).max() <= 1
    with pytest.raises(UserError, match="label = 'else': must be one of"):
        sound_clip(lesson, "else", np.random.default_rng(0))


def test_neither_stream_tells_whether_they_agree():
    """Of equal draws the pictures of both classes are the same, and the tones are not: so with sound in their place."""
    same, different = (sound_clip("agree", label, np.random.default_rng(3), num_frames=2, size=16)
                       for label in ("same", "different"))  # fmt: skip
    assert (same[0] == different[0]).all() and (same[1] != different[1]).any()
    signs = {sign(sound_clip("agree", "same", np.random.default_rng(seed), size=16)[1]) for seed in range(8)}
    assert signs == {-1, 1}


def test_files(tmp_path):
    folder = write_with_sound(tmp_path / "s", lesson="turns", num_train=3, num_eval=1, num_frames=6, size=16)
    rows = list(csv.DictReader((folder / "train.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["apart", "together", "apart"]
    with av.open(str(folder / "train" / "0001.mp4")) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    _, expected = sound_clip("turns", "together", np.random.default_rng((0, 0, 1)), num_frames=6, size=16)
    near = np.abs(wave[: len(expected)]).reshape(-1, 160).max(axis=1)
    loud = np.abs(expected).reshape(-1, 160).max(axis=1)
    assert np.corrcoef(near, loud)[0, 1] > 0.9  # in time, to the 10 ms
    before = (folder / "train" / "0001.mp4").read_bytes()
    (folder / "val.csv").unlink()
    (folder / "train" / "0001.mp4").unlink()
    write_with_sound(folder, lesson="turns", num_train=3, num_eval=1, num_frames=6, size=16)
    assert (folder / "train" / "0001.mp4").read_bytes() == before
    with pytest.raises(UserError, match="made with"):
        write_with_sound(folder, lesson="agree", num_train=3, num_eval=1, num_frames=6, size=16)
    with pytest.raises(UserError, match="lesson = 'all': must be one of joint, agree, turns"):
        write_with_sound(tmp_path, lesson="all")


@settings(max_examples=50, deadline=None)
@given(phase=st.floats(0, 0.999), seed=st.integers(0, 2**32))
def test_neither_stream_tells_whether_clicks_are_at_turns(phase, seed):
    """Pictures are the same in both classes; the clicks of one are those of the other half a period away, and all times
    from which to begin are as probable."""

    def drawn(label, phase):
        """Frames and times of clicks of a video whose first draw, the time of the turns, is given."""
        first = {"uniform": lambda low, high: PERIOD * phase}
        with mock.patch.object(synthetic_sound, "clicks", lambda times, rng, seconds: times):
            frames, times = sound_clip(
                "turns", label, Given(np.random.default_rng(seed), first), num_frames=20, size=16
            )
        return frames, times[(times > -1e-9) & (times < 2 - 1e-9)]

    together, apart, moved = drawn("together", phase), drawn("apart", phase), drawn("apart", (phase + 0.5) % 1)
    np.testing.assert_array_equal(together[0], apart[0])
    np.testing.assert_allclose(together[1], moved[1], atol=1e-9)
    assert len(apart[1]) == 2 and np.abs(together[1][:, None] - apart[1]).min() == pytest.approx(PERIOD / 2)


def test_statistics_of_each_stream_do_not_depend_on_clicks_at_turns():
    """Of 300 videos: motion and loudness over time, per class, differ by no more than chance."""
    told = {label: [] for label in LESSONS["turns"]}
    for index in range(300):
        label = LESSONS["turns"][index % 2]
        frames, sound = sound_clip("turns", label, np.random.default_rng((9, index)), num_frames=20, size=16)
        motion = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
        loudness = np.abs(sound).reshape(20, -1).mean(axis=1)
        told[label].append([*motion, *loudness, sound.std(), motion.mean(), loudness.argmax(), motion.argmin()])
    apart, together = (np.array(told[label]) for label in LESSONS["turns"])
    spread = np.sqrt((apart.var(axis=0) + together.var(axis=0)) / 150)
    assert (np.abs(apart.mean(axis=0) - together.mean(axis=0)) < 4.5 * spread).all()
    # And both together do: in which tenth of a second of the period clicks and turns fall.
    assert {gap(*sound_clip("turns", "together", np.random.default_rng(s), size=32)) for s in range(6)} <= {0, 1, 9}
    assert {gap(*sound_clip("turns", "apart", np.random.default_rng(s), size=32)) for s in range(6)} <= {4, 5, 6}
