"""Sampling rules: properties of all of them, and what settings say of them."""

import chex
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from vidjax import config as cfg
from vidjax.config.choices import ONE_CLIP_RULES, RANDOM_RULES, SAMPLING_RULES
from vidjax.video.sampling import RULES, SHORT_VIDEO, get_rule, key_frame_window, sliding_window

# Rules that know every short-video rule, and how many clips each may be asked for.
OWN = {"random": 5, "dense": 5, "centre": 1, "multi_clip": 5, "sliding_window": 1, "uniform": 5, "linspace": 1,
       "segments": 5}  # fmt: skip
WINDOWS = ("random", "dense", "centre", "multi_clip", "sliding_window")
# Those with rules of their own for short videos, most of them of other projects.
PROTOCOLS = {"key_frame": ("hold",), "mmaction2_sample": ("loop", "hold"), "mmaction2_tsn": ("loop", "hold"),
             "mmaction2_uniform": ("spread",), "mmaction2_dense": ("loop",), "slowfast": ("hold",),
             "slowfast_offset": ("hold",), "pytorchvideo": ("spread",), "opentad_whole": ("spread",)}  # fmt: skip
SINGLE = ("centre", "key_frame", "sliding_window", "all", "linspace", "mmaction2_tsn")

videos = {
    "N": st.integers(1, 400),
    "fps": st.sampled_from([15.0, 23.976, 25.0, 29.97, 30.0, 60.0]),
    "T": st.integers(1, 20),
    "stride": st.integers(1, 9),
    "target_fps": st.sampled_from([None, 3.75, 10.0, 24.0, 30.0]),
    "K": st.integers(1, 5),
    "seed": st.integers(0, 2**32 - 1),
}
settings = hypothesis.settings(deadline=None, max_examples=100)


def clips(name, N=100, T=8, *, fps=30.0, K=1, short=None, **kwargs):
    if short is None and name not in PROTOCOLS:
        short = "hold"
    kwargs |= {"short_video": short} if short else {}
    return RULES[name](N, fps, T, num_clips=K, **kwargs)


def test_every_rule_is_tested():
    assert set(RULES) == {*OWN, *PROTOCOLS, "all"}


def accepts(name, **kwargs):
    try:
        RULES[name](100, 30.0, 8, **{"rng": np.random.default_rng(0), "short_video": "loop"} | kwargs)
    except ValueError:
        return False
    return True


def test_settings_name_all_rules_and_what_they_know():
    """Settings must not import this module, and so repeat what it says."""
    known = {name: tuple(s for s in SHORT_VIDEO if accepts(name, short_video=s)) for name in RULES}
    assert {name: tuple(sorted(shorts)) for name, shorts in known.items()} == {
        name: tuple(sorted(shorts)) for name, shorts in SAMPLING_RULES.items()
    }
    for name in PROTOCOLS:  # the first one is the rule's own
        assert accepts(name, short_video=SAMPLING_RULES[name][0])
        np.testing.assert_array_equal(clips(name, 3), clips(name, 3, short=SAMPLING_RULES[name][0]))
    with_own = {n: {"short_video": s[0]} for n, s in SAMPLING_RULES.items()}
    assert {n for n in RULES if not accepts(n, num_clips=2, **with_own[n])} == set(ONE_CLIP_RULES)
    assert {n for n in RULES if not accepts(n, rng=None, **with_own[n])} == set(RANDOM_RULES)
    fields = cfg.SamplingConfig.__dataclass_fields__
    for field in ("train", "eval"):
        assert set(fields[field].metadata["choices"]) == set(RULES)
    assert fields["short_video"].metadata["choices"] == ("auto", *SHORT_VIDEO)


@settings
@hypothesis.given(name=st.sampled_from([*OWN, *PROTOCOLS]), short=st.sampled_from(SHORT_VIDEO), train=st.booleans(),
                  **videos)  # fmt: skip
def test_shape_range_and_order(name, short, train, N, fps, T, stride, target_fps, K, seed):
    if name in PROTOCOLS:
        short = PROTOCOLS[name][SHORT_VIDEO.index(short) % len(PROTOCOLS[name])]
    K = 1 if name in SINGLE else K
    rng = np.random.default_rng(seed) if train or name in ("random", "dense") else None
    out = clips(name, N, T, fps=fps, K=K, short=short, stride=stride, target_fps=target_fps, rng=rng)
    chex.assert_type(out, np.int64)
    chex.assert_shape(out, (None if name == "sliding_window" else K, T))
    assert out.min() >= 0 and out.max() < N
    if short != "loop" and name != "mmaction2_tsn":  # of each clip of one frame, what lies beyond the end is frame 0
        assert (np.diff(out) >= 0).all()
    if rng is not None:
        again = np.random.default_rng(seed)
        same = clips(name, N, T, fps=fps, K=K, short=short, stride=stride, target_fps=target_fps, rng=again)
        np.testing.assert_array_equal(out, same)


@settings
@hypothesis.given(name=st.sampled_from(WINDOWS), short=st.sampled_from(SHORT_VIDEO), **videos)
def test_windows_keep_the_stride_and_short_videos_their_rule(name, short, N, fps, T, stride, target_fps, K, seed):
    K = 1 if name in SINGLE else K
    rng = np.random.default_rng(seed)
    out = clips(name, N, T, fps=fps, K=K, short=short, stride=stride, target_fps=target_fps, rng=rng)
    ideal = np.arange(T) * (stride if target_fps is None else fps / target_fps)
    if ideal[-1] <= N - 1.5:
        assert (abs(out - out[:, :1] - ideal) <= 0.5 + 1e-9).all()
    elif ideal[-1] >= N:
        assert (out[:, 0] == 0).all()
        if short == "spread":
            assert (abs(out - np.linspace(0, N - 1, T)) <= 0.5).all()
            assert (out[:, -1] == N - 1).all()
        elif short == "hold":
            assert (abs(out - np.minimum(ideal, N - 1)) <= 0.5 + 1e-9).all()
            assert (out[:, -1] == N - 1).all()
        else:
            away = abs(out - ideal % N)
            assert (np.minimum(away, N - away) <= 0.5 + 1e-9).all()


@settings
@hypothesis.given(name=st.sampled_from(["uniform", "segments", "linspace"]), **videos)
def test_frames_from_all_over_the_video_are_evenly_spaced(name, N, fps, T, stride, target_fps, K, seed):
    hypothesis.assume(N >= T)
    (out,) = clips(name, N, T)
    if name == "linspace":
        ideal = np.linspace(0, N - 1, T) if T > 1 else np.array([(N - 1) / 2])
    else:
        ideal = (np.arange(T) + 0.5) * N / T - 0.5
    assert (abs(out - ideal) <= 0.5 + 1e-9).all()
    if name == "segments":
        drawn = clips(name, N, T, K=K, rng=np.random.default_rng(seed))
        bounds = np.arange(T + 1) * N / T
        assert (drawn > bounds[:-1] - 1).all() and (drawn < bounds[1:]).all()


@pytest.mark.parametrize("short", SHORT_VIDEO)
@pytest.mark.parametrize("name", ["uniform", "segments", "linspace"])
def test_videos_of_fewer_frames_than_the_clip(name, short):
    expected = {"loop": [0, 1, 2, 0, 1], "hold": [0, 1, 2, 2, 2], "spread": [0, 1, 1, 2, 2]}
    np.testing.assert_array_equal(clips(name, 3, 5, short=short, rng=np.random.default_rng(0)), [expected[short]])


def test_short_windows():
    def window(**kwargs):
        return clips("multi_clip", 7, 5, stride=3, **kwargs)[0].tolist()

    assert window(short="loop") == [0, 3, 6, 2, 5]
    assert window(short="hold") == [0, 3, 6, 6, 6]
    assert window(short="spread") == [0, 2, 3, 5, 6]


@pytest.mark.parametrize("name", [*OWN, *PROTOCOLS, "all"])
@pytest.mark.parametrize("train", [False, True])
def test_video_of_one_frame(name, train):
    rng = np.random.default_rng(0) if train or name in ("random", "dense") else None
    out = clips(name, 1, 4, stride=3, rng=rng)
    np.testing.assert_array_equal(out, np.zeros((1, 1 if name == "all" else 4)))


@pytest.mark.parametrize(
    ("name", "kwargs"), [("random", {"stride": 3}), ("dense", {"target_fps": 12.0}), ("segments", {})]
)
def test_random_rules_reach_first_and_last_frame_and_all_starts(name, kwargs):
    rng = np.random.default_rng(0)
    out = clips(name, 20, 4, K=400, rng=rng, **kwargs)
    assert out.min() == 0 and out.max() == 19
    assert set(out[:, 0]) == set(
        range(20 - 3 * 3) if kwargs == {"stride": 3} else range(20 - 8) if kwargs else range(5)
    )


def test_windows_at_a_rate():
    np.testing.assert_array_equal(
        clips("multi_clip", 60, 6, fps=30.0, target_fps=12.0, K=2),
        [[0, 3, 5, 8, 10, 13], [46, 49, 51, 54, 56, 59]],
    )
    # More frames per second than the video has: each is shown again.
    np.testing.assert_array_equal(clips("centre", 9, 6, fps=10.0, target_fps=20.0), [[2, 3, 3, 4, 4, 5]])


@settings
@hypothesis.given(**videos)
def test_multi_clip_reaches_both_ends_in_equal_steps(N, fps, T, stride, target_fps, K, seed):
    span = (T - 1) * stride + 1
    hypothesis.assume(span <= N)
    out = clips("multi_clip", N, T, stride=stride, K=K)
    if K == 1:
        assert abs(out[0, 0] + out[0, -1] - (N - 1)) <= 1
    else:
        assert out[0, 0] == 0 and out[-1, -1] == N - 1
        assert (abs(out[:, 0] - np.linspace(0, N - span, K)) <= 0.5).all()


def test_multi_clip_and_centre():
    np.testing.assert_array_equal(clips("multi_clip", 98, 3, stride=14, K=3)[:, 0], [0, 35, 69])
    np.testing.assert_array_equal(clips("centre", 98, 3, stride=14), [[34, 48, 62]])


@settings
@hypothesis.given(hop=st.integers(1, 30), **videos)
def test_sliding_window_misses_nothing(hop, N, fps, T, stride, target_fps, K, seed):
    span = (T - 1) * stride + 1
    hypothesis.assume(span <= N)
    starts = sliding_window(N, fps, T, stride=stride, short_video="hold", hop=hop)[:, 0]
    assert starts[0] == 0 and starts[-1] == N - span
    assert (np.diff(starts)[:-1] == hop).all() and (np.diff(starts)[-1:] <= hop).all()


def test_sliding_window_follows_on_without_overlap_by_default():
    out = clips("sliding_window", 23, 4, stride=2)
    np.testing.assert_array_equal(out, [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 20, 22]])
    with pytest.raises(ValueError, match="hop = 0"):
        sliding_window(23, 30.0, 4, short_video="hold", hop=0)


def test_all_frames():
    np.testing.assert_array_equal(clips("all", 5), [[0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(clips("all", 8, stride=3), [[0, 3, 6]])
    np.testing.assert_array_equal(clips("all", 8, fps=25.0, target_fps=10.0), [[0, 3, 5]])
    np.testing.assert_array_equal(clips("all", 3, fps=10.0, target_fps=20.0), [[0, 1, 1, 2, 2]])


def test_uniform():
    np.testing.assert_array_equal(clips("uniform", 10, 4), [[1, 3, 6, 8]])
    np.testing.assert_array_equal(clips("uniform", 12, 2, K=2), [[2, 8], [4, 10]])
    np.testing.assert_array_equal(clips("segments", 10, 4), [[1, 3, 6, 8]])
    np.testing.assert_array_equal(clips("linspace", 10, 4), [[0, 3, 6, 9]])
    np.testing.assert_array_equal(clips("linspace", 100, 1), [[49]])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"N": 0}, "num_frames = 0"),
        ({"T": 0}, "T = 0"),
        ({"T": 2.5}, "T = 2.5"),
        ({"K": 0}, "num_clips = 0"),
        ({"stride": 0}, "stride = 0"),
        ({"stride": float("nan")}, "stride = nan"),
        ({"target_fps": 0.0}, "target_fps = 0.0"),
        ({"target_fps": 5.0, "fps": 0.0}, "fps = 0.0"),
        ({"short": "wrap"}, "short_video = 'wrap'.*loop, hold, spread"),
        ({"name": "random"}, "rng = None"),
        ({"name": "centre", "K": 2}, "num_clips = 2.*multi_clip"),
        ({"name": "slowfast", "short": "loop"}, "short_video = 'loop'.*hold"),
        ({"name": "slowfast", "fps": float("nan")}, "fps = nan"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        clips(**{"name": "multi_clip", **kwargs})


def test_the_short_video_rule_is_a_choice():
    with pytest.raises(ValueError, match="short_video = None: uniform needs one of loop, hold, spread"):
        RULES["uniform"](100, 30.0, 8)


def test_unknown_rule_names_close_ones():
    assert get_rule("multi_clip") is RULES["multi_clip"]
    with pytest.raises(ValueError, match=r"no sampling rule 'multiclip'.*did you mean multi_clip"):
        get_rule("multiclip")
    with pytest.raises(ValueError, match="choose one of random, dense"):
        get_rule("xyz")


@settings
@hypothesis.given(at=st.integers(0, 400), **videos)
def test_clips_around_a_key_frame(at, N, fps, T, stride, target_fps, K, seed):
    """As SlowFast cuts them: `range(c − Tτ/2, c + Tτ/2, τ)`, clamped to the video."""
    hypothesis.assume(at < N)
    (out,) = key_frame_window(N, fps, T, at=at, stride=stride)
    assert out[T // 2] == at
    if T % 2 == 0:
        expected = np.clip(np.arange(at - T * stride // 2, at + T * stride // 2, stride), 0, N - 1)
        np.testing.assert_array_equal(out, expected)
    (timed,) = key_frame_window(N, fps, T, at=at, target_fps=target_fps or fps)
    assert timed[T // 2] == at and timed.min() >= 0 and timed.max() < N
    (middle,) = key_frame_window(N, fps, T)
    assert middle[T // 2] == (N - 1) // 2
