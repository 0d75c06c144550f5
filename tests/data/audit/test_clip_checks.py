"""Checks of sampling: each warns of a data set made to trigger it, and of no other."""

import numpy as np
import pytest

from vidjax.config import DataConfig, SamplingConfig, Spec
from vidjax.config.choices import STRIDED_RULES, TIMED_RULES, UNSTRIDED_RULES
from vidjax.data.audit import clip_checks
from vidjax.data.reading.clips import clip_indices
from vidjax.video.sampling import RULES


def sampled(
    rule, num_frames, *, num_clips=1, fps=30.0, target_fps=None, train=False, path="v.mp4", size=(240, 320), gaps=None
):
    """What `inspect` finds of a video of so many frames; clips have 8, every 4th."""
    spec = Spec.of_video("toy", num_frames=8, stride=4, fps=target_fps)
    config = DataConfig(sampling=SamplingConfig(short_video="hold" if rule in ("random", "multi_clip") else "auto"))
    rngs = (None,)
    if train:
        rngs = (clip_checks.ExtremeDraws(False), clip_checks.ExtremeDraws(True), *map(np.random.default_rng, range(4)))
    clips = [clip_indices(rule, num_frames, fps, spec, config, num_clips=num_clips, rng=rng) for rng in rngs]
    times = np.arange(num_frames) / fps if gaps is None else np.concatenate([[0], np.cumsum(gaps)])
    return clip_checks.Sampled(path, times, fps, *size, np.concatenate(clips))


def test_every_rule_is_of_one_kind():
    assert sorted(RULES) == sorted((*STRIDED_RULES, *TIMED_RULES, *UNSTRIDED_RULES))
    assert set(UNSTRIDED_RULES) > clip_checks.JITTERED


def test_extreme_draws_stand_in_for_a_generator():
    low, high = clip_checks.ExtremeDraws(False), clip_checks.ExtremeDraws(True)
    assert low.integers(5, size=2).tolist() == [0, 0] and high.integers(5, size=2).tolist() == [4, 4]
    assert high.integers(np.array([1, 2]), np.array([3, 9]), size=(2, 2)).tolist() == [[2, 8], [2, 8]]
    assert low.random((2,)).tolist() == [0, 0] and (high.random((2,)) < 1).all() and (high.random(2) > 0.999).all()
    assert low.uniform(1, 3, 2).tolist() == [1, 1] and 2.99 < high.uniform(1, 3) < 3


@pytest.mark.parametrize("rule", ["random", "dense", "segments"])
@pytest.mark.parametrize("num_frames", [60, 61, 100])
def test_own_rules_reach_both_ends(rule, num_frames):
    evaluation = [sampled("multi_clip", num_frames, num_clips=3)]
    finding = clip_checks.check_ends([sampled(rule, num_frames, train=True)], evaluation)
    assert finding.ok and "both ends" in finding.text and finding.videos == ()


@pytest.mark.parametrize("num_frames", range(40, 60))
@pytest.mark.parametrize("rule", ["multi_clip", "centre", "uniform", "linspace", "segments", "sliding_window"])
def test_symmetric_evaluation_is_no_missed_end(rule, num_frames):
    assert clip_checks.check_ends([], [sampled(rule, num_frames)]).ok


@pytest.mark.parametrize(
    ("rule", "missed"), [("mmaction2_sample", 3), ("mmaction2_dense", 1 + 7), ("slowfast", 1), ("pytorchvideo", 0)]
)
def test_training_that_never_shows_the_last_frames(rule, missed):
    """mmaction2's last start leaves τ - 1 frames, its dense one never draws the last start; SlowFast's last frame has
    probability 0."""
    finding = clip_checks.check_ends([sampled(rule, 100, train=True, path="a.mp4")], [])
    assert finding.ok == (missed == 0) and finding.values["training"]["frames_missed"] == missed
    if missed:
        assert "training never shows the last" in finding.text and finding.videos == ("a.mp4",)


def test_evaluation_that_never_shows_the_end():
    finding = clip_checks.check_ends([], [sampled("slowfast", 300, num_clips=10)])
    assert not finding.ok and finding.values["evaluation"]["frames_missed"] == 300 - 1 - int(268 * 0.9 + 31)
    assert clip_checks.check_ends([], [sampled("slowfast_offset", 300, num_clips=5)]).ok  # 268 / 4 is whole


def test_short_videos_are_not_judged_by_their_ends():
    # Loops: 0 4 2 0 4 2 0 4; the last frame is 5.
    finding = clip_checks.check_ends([], [sampled("mmaction2_sample", 6)])
    assert finding.ok and finding.values["evaluation"]["num_videos"] == 0


def test_even_spacing():
    train, evaluation = [sampled("random", 100, train=True)], [sampled("multi_clip", 100, fps=25.0)]
    finding = clip_checks.check_spacing(train, evaluation, train_rule="random")
    assert finding.ok and finding.text == "frames are 4 apart"
    assert finding.values["evaluation"]["clip_seconds"] == pytest.approx(28 / 25)
    at_rate = [sampled("multi_clip", 100, fps=25.0, target_fps=10.0)]  # 0 3 5 8 …
    assert clip_checks.check_spacing([], at_rate, train_rule="random").ok


def test_uneven_spacing():
    v = sampled("multi_clip", 100)
    uneven = clip_checks.Sampled("u.mp4", v.timestamps, v.fps, 240, 320, np.array([[0, 4, 8, 14, 18, 22, 26, 30]]))
    finding = clip_checks.check_spacing([], [v, uneven], train_rule="random")
    assert not finding.ok and finding.videos == ("u.mp4",) and finding.values["evaluation"]["uneven"] == 1


def test_segments_drawn_at_random_are_uneven_by_intent():
    train = [sampled("segments", 100, train=True)]
    assert clip_checks.check_spacing(train, [], train_rule="segments").ok
    assert not clip_checks.check_spacing(train, [], train_rule="random").ok
    gap = clip_checks.Sampled("v.mp4", np.arange(100) / 30, 30.0, 240, 320, np.array([[0, 1, 2, 3, 40, 50, 60, 70]]))
    assert not clip_checks.check_spacing([gap], [], train_rule="segments").ok


def test_short_videos_make_uneven_clips_unless_spread():
    short = [sampled("multi_clip", 20)]  # 0 4 8 12 16 19 19 19
    finding = clip_checks.check_spacing([], short, train_rule="random")
    assert not finding.ok and "spread" in finding.text and finding.values["evaluation"]["uneven_because_short"] == 1
    assert clip_checks.check_spacing([], short + [sampled("multi_clip", 100)] * 30, train_rule="random").ok  # 3 %
    assert clip_checks.check_spacing([], [sampled("pytorchvideo", 5)], train_rule="random").ok


def test_padding():
    long, short = sampled("multi_clip", 100), sampled("multi_clip", 20, path="s.mp4")
    assert clip_checks.check_padding([long] * 30, [long] * 30).ok
    finding = clip_checks.check_padding([long], [long, short])
    assert not finding.ok and finding.videos == ("s.mp4",)
    assert finding.values["evaluation"] == {"num_videos": 2, "short_videos": 1, "frames_repeated": 0.125}
    assert "1 of 2 videos short, 12.5 % of the frames repeated" in finding.text
    assert finding.values["training"]["short_videos"] == 0
    assert clip_checks.check_padding([long] * 30, [long] * 29 + [short]).ok  # one in thirty
    around = sampled("mmaction2_sample", 29 - 4)  # 0 4 … 24 3: no frame twice, but not one clip either
    assert around.short and around.repeated.tolist() == [0.125]


def test_aspect():
    wide, usual = sampled("centre", 100, size=(360, 640), path="w.mp4"), sampled("centre", 100)
    finding = clip_checks.check_aspect([usual, wide], resize=(128, 171), size=112, num_crops=1)
    assert not finding.ok and finding.videos == ("w.mp4",) and "config.data.clip.resize=(128,)" in finding.text
    assert finding.values["largest_factor"] == pytest.approx((640 / 360) / (171 / 128))
    assert clip_checks.check_aspect([usual], resize=(128, 171), size=112, num_crops=1).ok
    assert clip_checks.check_aspect([usual, wide], resize=(128,), size=112, num_crops=1).ok
    assert clip_checks.check_aspect([], resize=(128, 171), size=112, num_crops=1).ok


def test_share_of_the_picture_that_crops_see():
    wide = [sampled("centre", 100, size=(100, 200))]
    for num_crops, seen in {1: 0.5, 3: 1.0, 5: 1.0}.items():
        finding = clip_checks.check_aspect(wide, resize=(100,), size=100, num_crops=num_crops)
        assert finding.values["picture_seen"] == seen


SETTINGS = {"num_frames": 8, "stride": 4, "target_fps": None}


def test_rates():
    same = [sampled("centre", 100, fps=fps) for fps in (29.97, 30.0, 30.0)]
    finding = clip_checks.check_fps(same, rules=["random"], **SETTINGS)
    assert finding.ok and finding.values["common"] == {"30": 2, "29.97": 1}
    assert clip_checks.check_fps([], rules=["random"], **SETTINGS).ok


def test_mixed_rates_matter_at_a_fixed_stride_only():
    mixed = [sampled("centre", 100, fps=fps, path=f"{fps:g}") for fps in (15.0, 30.0, 30.0)]
    finding = clip_checks.check_fps(mixed, rules=["random", "multi_clip"], **SETTINGS)
    assert not finding.ok and "0.97…1.93 s" in finding.text and "config.data.clip.fps=7.5" in finding.text
    assert finding.videos == ("15",)
    assert clip_checks.check_fps(mixed, rules=["segments", "uniform"], **SETTINGS).ok
    assert clip_checks.check_fps(mixed, rules=["slowfast"], **SETTINGS).ok
    assert clip_checks.check_fps(mixed, rules=["random"], **SETTINGS | {"target_fps": 15.0}).ok


def test_slow_unusual_and_variable_rates():
    slow = clip_checks.check_fps(
        [sampled("centre", 100, fps=12.0)], rules=["random"], **SETTINGS | {"target_fps": 15.0}
    )
    assert not slow.ok and "1 of 1 are slower than the 15 frames/s" in slow.text
    for fps in (5.0, 120.0):
        odd = clip_checks.check_fps([sampled("centre", 100, fps=fps)], rules=["random"], **SETTINGS)
        assert not odd.ok and odd.values["unusual"] == 1
    gaps = np.full(99, 1 / 30)
    rounded = clip_checks.check_fps([sampled("centre", 100, gaps=np.round(gaps, 3))], rules=["random"], **SETTINGS)
    assert rounded.ok
    gaps[10:20] *= 3
    variable = clip_checks.check_fps([sampled("centre", 100, gaps=gaps)], rules=["uniform"], **SETTINGS)
    assert not variable.ok and variable.values["variable"] == 1


def test_coverage():
    train = [sampled("random", 100, train=True)]
    finding = clip_checks.check_coverage(train, [sampled("multi_clip", 100, num_clips=4)])
    assert finding.ok and finding.values["training"]["unseen"] == 0
    one = [sampled("multi_clip", 100, path="c.mp4")]
    finding = clip_checks.check_coverage(train, one)  # frames 35…63, and two more on either side
    assert not finding.ok and finding.videos == ("c.mp4",)
    assert finding.values["evaluation"]["unseen"] == pytest.approx(1 - 33 / 100)
    assert finding.values["evaluation"]["longest_unseen_seconds"] == pytest.approx(34 / 30)
    assert "config.eval.num_clips=4" in finding.text
    assert clip_checks.check_coverage(train, [sampled("uniform", 100)]).ok
    assert clip_checks.check_coverage(train, [sampled("sliding_window", 100)]).ok


def test_training_that_never_comes_to_most_of_the_video():
    finding = clip_checks.check_coverage([sampled("centre", 100, train=True)], [sampled("uniform", 100)])
    assert not finding.ok and "config.data.sampling.train" in finding.text


def test_reading():
    assert clip_checks.check_reading({}, 3).ok
    finding = clip_checks.check_reading({"a.mp4": "is empty"}, 3)
    assert not finding.ok and finding.text == "1 of 3 videos cannot be read, such as a.mp4: is empty"
    assert finding.videos == ("a.mp4",)
