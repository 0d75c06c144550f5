"""Rules of other projects: tables worked out by hand from the formulas that these publish."""

import numpy as np
import pytest

from tests.peers import needs
from vidjax.video.protocols import PROTOCOLS


def clips(name, N=100, T=8, *, fps=30.0, K=1, short=None, **kwargs):
    return PROTOCOLS[name](N, fps, T, num_clips=K, **kwargs | ({"short_video": short} if short else {}))


@pytest.mark.parametrize(
    ("N", "T", "stride", "K", "target_fps", "starts"),
    [
        (100, 8, 4, 3, None, [0, 36, 71]),  # room 100 - 29 = 71
        (98, 8, 4, 3, None, [0, 34, 69]),  # 34.5 is rounded to even
        (100, 8, 4, 1, None, [35]),
        (20, 8, 4, 2, None, [0, 0]),
        (10, 1, 1, 4, None, [1, 3, 6, 8]),  # 1.25, 3.75, 6.25, 8.75
        (28, 1, 1, 10, None, [1, 4, 7, 9, 12, 15, 18, 20, 23, 26]),  # 7 · 2.8 + 1.4 is 20.999… in floats
        (300, 8, 1, 10, 30 / 8, [26 * i for i in range(10)]),  # room 300 - 64 = 236, ⌊236 / 9⌋ = 26
        (300, 8, 1, 1, 30 / 8, [118]),
    ],
)
def test_mmaction2_sample_in_test(N, T, stride, K, target_fps, starts):
    out = clips("mmaction2_sample", N, T, stride=stride, K=K, target_fps=target_fps)
    offsets = np.arange(T) * (stride if target_fps is None else 9)  # at the rate: linspace(0, 63, 8)
    np.testing.assert_array_equal(out, (np.array(starts)[:, None] + offsets) % N)


def test_mmaction2_sample_in_training():
    rng = np.random.default_rng(0)
    draws = np.stack([clips("mmaction2_sample", 20, 4, stride=2, K=3, rng=rng) for _ in range(300)])
    for k in range(3):  # (20 - 8 + 1) // 3 = 4 starts for each clip; the last frame is out of reach
        assert set(draws[:, k, 0]) == set(range(4 * k, 4 * k + 4))
    assert (np.diff(draws) == 2).all() and draws.max() == 17
    draws = np.stack([clips("mmaction2_sample", 9, 4, stride=2, K=3, rng=rng) for _ in range(50)])
    assert (np.diff(draws[..., 0]) >= 0).all() and set(draws[..., 0].flat) == {0, 1}
    out = clips("mmaction2_sample", 8, 4, stride=2, K=3, rng=rng)
    np.testing.assert_array_equal(out, [[0, 2, 4, 6], [0, 2, 4, 6], [1, 3, 5, 7]])  # 0, 1/3, 2/3 rounded
    np.testing.assert_array_equal(clips("mmaction2_sample", 5, 4, stride=2, K=2, rng=rng), [[0, 2, 4, 1]] * 2)


def test_mmaction2_out_of_bounds():
    np.testing.assert_array_equal(clips("mmaction2_sample", 6, 4, stride=2, short="loop"), [[0, 2, 4, 0]])
    np.testing.assert_array_equal(clips("mmaction2_sample", 6, 4, stride=2, short="hold"), [[0, 2, 4, 4]])


def test_mmaction2_tsn():
    np.testing.assert_array_equal(clips("mmaction2_tsn", 100, 8), [[6, 18, 31, 43, 56, 68, 81, 93]])
    draws = np.concatenate([clips("mmaction2_tsn", 11, 3, rng=np.random.default_rng(i)) for i in range(100)])
    assert [set(column) for column in draws.T] == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]  # 11 // 3 = 3 frames each


def test_mmaction2_tsn_beyond_the_end():
    """round(i / 2) of two frames gives 0 0 1 2; with clips of one frame, repeating the last sampled one gives 0."""
    for seed in range(3):
        out = clips("mmaction2_tsn", 2, 4, short="hold", rng=np.random.default_rng(seed))
        np.testing.assert_array_equal(out, [[0, 0, 1, 0]])


def test_mmaction2_uniform():
    np.testing.assert_array_equal(clips("mmaction2_uniform", 41, 4), [[5, 15, 25, 35]])
    np.testing.assert_array_equal(clips("mmaction2_uniform", 41, 4, K=2), [[3, 13, 23, 33], [6, 16, 26, 36]])
    np.testing.assert_array_equal(clips("mmaction2_uniform", 4, 6), [[0, 0, 1, 2, 2, 2]])  # 0, 0.5, 1, 1.5, 2, 2.5
    draws = clips("mmaction2_uniform", 9, 2, K=300, rng=np.random.default_rng(0))
    assert set(draws[:, 0]) == {0, 1, 2, 3, 4} and set(draws[:, 1]) == {4, 5, 6, 7, 8}


def test_mmaction2_dense():
    offsets = np.arange(0, 64, 8)
    np.testing.assert_array_equal(clips("mmaction2_dense", 100, K=3), np.array([[0], [18], [36]]) + offsets)
    np.testing.assert_array_equal(clips("mmaction2_dense", 101, K=3)[:, 0], [0, 18, 37])  # 18.5 is cut
    np.testing.assert_array_equal(clips("mmaction2_dense", 40), [[0, 8, 16, 24, 32, 0, 8, 16]])
    draws = clips("mmaction2_dense", 67, K=100, rng=np.random.default_rng(0))
    assert set(draws[:, 0]) == {0, 1, 2}  # never 3, which fits


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("slowfast", {"N": 300, "K": 10, "stride": 8}, [[int(23.6 * i) + 9 * k for k in range(8)] for i in range(10)]),
        ("slowfast_offset", {"N": 300, "K": 3, "stride": 8}, [[s + 9 * k for k in range(8)] for s in (0, 118, 236)]),
        ("slowfast_offset", {"N": 300, "K": 1, "target_fps": 3.75}, [[118 + 9 * k for k in range(8)]]),
        # 15 frames/s: 32 source frames, 31/7 apart.
        ("slowfast", {"N": 60, "fps": 15.0, "stride": 8}, [[0, 4, 8, 13, 17, 22, 26, 31]]),
        ("slowfast", {"N": 10, "T": 4, "stride": 8, "K": 2}, [[0, 9, 9, 9]] * 2),
        ("pytorchvideo", {"N": 300, "K": 3, "stride": 8}, [[s + 9 * k for k in range(8)] for s in (0, 118, 236)]),
        # 25 frames/s: 6 2/3 source frames; frames 0…6, and 94…99 as frame 93 is shown before 93.33 / 25 s.
        ("pytorchvideo", {"N": 100, "T": 4, "fps": 25.0, "K": 2, "stride": 2}, [[0, 2, 4, 6], [94, 95, 97, 99]]),
        ("pytorchvideo", {"N": 3, "T": 4, "stride": 8}, [[0, 0, 1, 2]]),
    ],
)
def test_slowfast_and_pytorchvideo_in_test(name, kwargs, expected):
    np.testing.assert_array_equal(clips(name, **kwargs), expected)


@pytest.mark.parametrize("N", [1, 5, 8, 100, 2000, 1536, 3072])
def test_opentad_whole(N):
    """By the source's own expression; T = 768 divides the last two, where middles lie between frames."""
    for T in (8, 768):
        step = N / T
        ideal = np.arange(step / 2 - 0.5, N + step / 2 - 0.5, step)[:T]
        expected = np.clip(ideal, 0, N - 1).round().astype(int)
        np.testing.assert_array_equal(clips("opentad_whole", N, T, rng=np.random.default_rng(0)), [expected])
    np.testing.assert_array_equal(clips("opentad_whole", 24, 4), [[2, 8, 14, 20]])  # 2.5, 8.5, 14.5 and 20.5


@pytest.mark.parametrize("name", ["slowfast", "slowfast_offset", "pytorchvideo"])
def test_slowfast_and_pytorchvideo_in_training(name):
    draws = clips(name, 40, 4, stride=8, K=500, rng=np.random.default_rng(0))
    whole_starts = range(1, 9) if name == "pytorchvideo" else range(8)  # 0…8 rounded up, and cut
    assert set(draws[:, 0]) == set(whole_starts)
    assert (abs(np.diff(draws) - 31 / 3) < 1).all()


def test_fractions_are_those_of_torch():
    torch = needs("torch")
    differs = 0
    for N in range(30, 200):
        out = clips("slowfast", N, 8, fps=25.0, stride=4, K=10)
        span = 8 * 4 / 30 * 25.0
        for i, clip in enumerate(out):
            first = (N - span) * i / 10
            reference = torch.linspace(first, first + span - 1, 8).clamp(0, N - 1).long().numpy()
            np.testing.assert_array_equal(clip, reference)
            differs += not np.array_equal(clip, np.linspace(first, first + span - 1, 8).astype(int))
    assert differs > 10  # what float64 gets wrong
