"""Colours and policies: each operation against Pillow, one draw per clip, settings that act."""

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from vidjax.data.reading import augment

FILL = (124, 116, 104)
RAND = {"magnitude": 9.0, "num_ops": 4, "std": 0.5, "increasing": True, "fill": FILL}
MIX = {"magnitude": 3.0, "width": 3, "depth": 0, "alpha": 1.0, "fill": FILL}


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(seed=0, shape=(24, 36)):
    """Smooth, so that shifted pictures can be compared, with a range of 20…230."""
    y, x = np.mgrid[: shape[0], : shape[1]] / 6
    values = np.stack([np.sin(x + seed), np.cos(y - seed), np.sin(x + y)], -1)
    return (125 + 105 * values).astype(np.uint8)


def still(copies=3, **kwargs):
    """The same picture in every frame, so that a transform drawn per frame would show."""
    return np.repeat(picture(**kwargs)[None], copies, axis=0)


def test_colour_jitter_is_one_draw_and_zero_strength_is_none():
    clip = still()
    out = augment.colour_jitter(clip, 0.4, rng())
    chex.assert_equal_shape([out, clip])
    np.testing.assert_array_equal(out[0], out[2])
    assert not np.array_equal(out, clip)
    np.testing.assert_array_equal(augment.colour_jitter(clip, 0.0, rng()), clip)


def test_colour_jitter_keeps_grey_grey():
    clip = np.full((2, 4, 4, 3), 100, np.uint8)
    clip[:, :2] = 180
    out = augment.colour_jitter(clip, 0.5, rng(3), hue=0.5).astype(int)
    assert np.ptp(out, axis=-1).max() <= 1


def test_hue_turns_colours_and_keeps_the_brightest_channel():
    clip = np.zeros((2, 2, 2, 3), np.uint8)
    clip[...] = (200, 40, 40)
    outs = np.array([augment.colour_jitter(clip, 0.0, rng(i), hue=0.5)[0, 0, 0] for i in range(60)]).astype(int)
    assert (outs.max(1) == 200).all() and (outs.min(1) == 40).all()
    assert set(outs.argmax(1)) == {0, 1, 2}
    little = np.array([augment.colour_jitter(clip, 0.0, rng(i), hue=0.05)[0, 0, 0] for i in range(60)])
    assert set(little.argmax(1)) == {0} and len(np.unique(little, axis=0)) > 10


def test_greyscale_is_pillows():
    clip = still()
    out = augment.greyscale(clip)
    expected = np.asarray(Image.fromarray(clip[0]).convert("L")).astype(int)
    assert np.abs(out[0] - expected[..., None]).max() <= 1 and np.ptp(out, axis=-1).max() == 0


def pil_affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, np.ravel(matrix), Image.Resampling.BILINEAR,
                           fillcolor=FILL)  # fmt: skip


PILLOW = [
    (augment.auto_contrast, ImageOps.autocontrast, 0),
    (augment.equalise, ImageOps.equalize, 0),
    (augment.invert, ImageOps.invert, 0),
    (lambda x: augment.posterise(x, 3), lambda im: ImageOps.posterize(im, 3), 0),
    (lambda x: augment.posterise(x, 8), lambda im: ImageOps.posterize(im, 8), 0),
    (lambda x: augment.solarise(x, 100), lambda im: ImageOps.solarize(im, 100), 0),
    (lambda x: augment.saturation(x, 0.3), lambda im: ImageEnhance.Color(im).enhance(0.3), 1),
    (lambda x: augment.saturation(x, 1.7), lambda im: ImageEnhance.Color(im).enhance(1.7), 1),
    (lambda x: augment.contrast(x, 0.3), lambda im: ImageEnhance.Contrast(im).enhance(0.3), 1),
    (lambda x: augment.contrast(x, 1.7), lambda im: ImageEnhance.Contrast(im).enhance(1.7), 1),
    (lambda x: augment.brightness(x, 0.3), lambda im: ImageEnhance.Brightness(im).enhance(0.3), 1),
    (lambda x: augment.brightness(x, 1.7), lambda im: ImageEnhance.Brightness(im).enhance(1.7), 1),
    (lambda x: augment.sharpness(x, 0.3), lambda im: ImageEnhance.Sharpness(im).enhance(0.3), 1),
    (lambda x: augment.sharpness(x, 1.9), lambda im: ImageEnhance.Sharpness(im).enhance(1.9), 2),
]


@pytest.mark.parametrize(("ours", "theirs", "tolerance"), PILLOW)
def test_operations_are_pillows(ours, theirs, tolerance):
    clip = still()
    out = ours(clip)
    chex.assert_equal_shape([out, clip])
    chex.assert_type(out, np.uint8)
    expected = np.asarray(theirs(Image.fromarray(clip[0]))).astype(int)
    assert np.abs(out - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: augment.rotate(x, 25, FILL),
         lambda im: im.rotate(25, Image.Resampling.BILINEAR, fillcolor=FILL)),
        (lambda x: augment.rotate(x, -10, FILL),
         lambda im: im.rotate(-10, Image.Resampling.BILINEAR, fillcolor=FILL)),
        (lambda x: augment.shear_x(x, 0.3, FILL), lambda im: pil_affine(im, [[1, 0.3, 0], [0, 1, 0]])),
        (lambda x: augment.shear_y(x, -0.3, FILL), lambda im: pil_affine(im, [[1, 0, 0], [-0.3, 1, 0]])),
        (lambda x: augment.translate_x(x, 0.25, FILL), lambda im: pil_affine(im, [[1, 0, 9], [0, 1, 0]])),
        (lambda x: augment.translate_y(x, -0.25, FILL), lambda im: pil_affine(im, [[1, 0, 0], [0, 1, -6]])),
    ],
)  # fmt: skip
def test_affine_operations_are_pillows_up_to_the_border(ours, theirs):
    clip = still()
    out, expected = ours(clip)[1].astype(int), np.asarray(theirs(Image.fromarray(clip[0]))).astype(int)
    # OpenCV has 1/32 pixel steps, and fades into the fill where Pillow stops.
    close = np.abs(out - expected).max(-1) <= 3
    assert close.mean() > 0.9
    outside = (expected == FILL).all(-1)
    assert outside.any() and np.abs(out - FILL).max(-1)[outside].mean() < 25


def test_statistics_are_those_of_the_clip():
    clip = np.stack([np.full((4, 4, 3), v, np.uint8) for v in (50, 100, 150)])
    out = augment.auto_contrast(clip)
    np.testing.assert_array_equal(out[:, 0, 0, 0], [0, 127, 255])
    # A constant clip has nothing to stretch.
    np.testing.assert_array_equal(augment.auto_contrast(clip[:1]), clip[:1])
    np.testing.assert_array_equal(augment.equalise(clip[:1]), clip[:1])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 0.5, 200.0]), st.floats(0.1, 10))
def test_rand_augment_is_one_draw_for_all_frames(seed, increasing, std, magnitude):
    clip = still()
    given_clip = clip.copy()
    options = RAND | {"increasing": increasing, "std": std, "magnitude": magnitude}
    out = augment.rand_augment(clip, rng(seed), **options)
    chex.assert_equal_shape([out, clip])
    chex.assert_type(out, np.uint8)
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_array_equal(out, augment.rand_augment(clip, rng(seed), **options))
    np.testing.assert_array_equal(clip, given_clip)


def levels(monkeypatch, **options):
    """The operations and levels that RandAugment carries out in 300 draws."""
    seen = []
    with monkeypatch.context() as patch:
        for name in augment.OPERATIONS:
            patch.setitem(augment.OPERATIONS, name, lambda x, level, *_, name=name: seen.append((name, level)) or x)
        for i in range(300):
            augment.rand_augment(still(), rng(i), **(RAND | options))
    return seen


def test_rand_augment_settings(monkeypatch):
    seen = levels(monkeypatch)
    assert abs(len(seen) - 600) < 60  # n = 4, each with probability 0.5
    assert {name for name, _ in seen} == set(augment.OPERATIONS) and len(augment.OPERATIONS) == 15
    values = 10 * np.array([level for _, level in seen])
    assert abs(values.mean() - 9) < 0.1 and 0.4 < values.std() < 0.6 and values.max() <= 10
    assert abs(len(levels(monkeypatch, num_ops=1)) - 150) < 40
    assert {level for _, level in levels(monkeypatch, std=0.0, magnitude=7.0)} == {0.7}
    spread = np.array([level for _, level in levels(monkeypatch, std=1000.0)])
    assert spread.min() < 0.03 and 0.85 < spread.max() <= 0.9 and abs(spread.mean() - 0.45) < 0.03


def change(name, level, inc):
    clip = rng().integers(60, 200, (1, 24, 36, 3)).astype(np.uint8) if name == "sharpness" else still()
    return np.abs(augment.OPERATIONS[name](clip, level, 1, FILL, inc).astype(int) - clip).mean()


@pytest.mark.parametrize("name", [n for n in augment.OPERATIONS if n not in ("auto_contrast", "equalise", "invert")])
def test_higher_levels_change_more(name):
    if name != "posterise":  # which keeps 4 bits even at level 0, as published
        assert change(name, 0.0, True) < 0.05
    assert change(name, 0.3, True) + 0.05 < change(name, 1.0, True)
    if name in ("posterise", "solarise"):
        assert change(name, 0.3, False) > change(name, 1.0, False)


def test_signs_and_factors():
    factors = [augment._factor(level, sign, inc) for level, sign, inc in
               [(1, 1, True), (1, -1, True), (0.5, -1, True), (0, 1, False), (1, 1, False)]]  # fmt: skip
    np.testing.assert_allclose(factors, [1.9, 0.1, 0.55, 0.1, 1.9])
    left, right = (augment.OPERATIONS["translate_x"](still(), 0.5, sign, FILL, True) for sign in (1, -1))
    assert (left[0, :, -1] == FILL).all() and (right[0, :, 0] == FILL).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 3))
def test_aug_mix_is_one_draw_for_all_frames(seed, width, depth):
    clip = still()
    options = MIX | {"width": width, "depth": depth}
    out = augment.aug_mix(clip, rng(seed), **options)
    chex.assert_equal_shape([out, clip])
    chex.assert_type(out, np.uint8)
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_array_equal(out, augment.aug_mix(clip, rng(seed), **options))


def test_aug_mix_settings(monkeypatch):
    def count(**options):
        calls = []
        with monkeypatch.context() as patch:
            for name in augment.OPERATIONS:
                note = lambda x, level, *_, name=name: calls.append((name, level)) or x  # noqa: E731
                patch.setitem(augment.OPERATIONS, name, note)
            outs = [augment.aug_mix(still(), rng(i), **(MIX | options)) for i in range(40)]
        # Without operations the mixture of a clip with itself is the clip.
        assert all(np.array_equal(out, still()) for out in outs)
        return calls

    assert len(count(depth=2)) == 40 * 3 * 2 and len(count(width=1, depth=1)) == 40
    assert 40 * 3 * 1.7 < len(count()) < 40 * 3 * 2.3
    assert max(level for _, level in count()) <= 0.3 and max(level for _, level in count(magnitude=10.0)) > 0.9
    names = {name for name, _ in count(width=10, depth=5)}
    assert names == set(augment.OPERATIONS) - {"invert", "solarise_add"}


def test_aug_mix_shares_sum_to_one_and_follow_alpha(monkeypatch):
    for name in augment.OPERATIONS:
        monkeypatch.setitem(augment.OPERATIONS, name, lambda x, *_: np.full_like(x, 200))
    clip = np.zeros((1, 8, 8, 3), np.uint8)
    blends = [augment.aug_mix(clip, rng(i), **(MIX | {"alpha": alpha}))[0, 0, 0, 0] / 200
              for alpha in (1.0, 50.0) for i in range(80)]  # fmt: skip
    wide, narrow = blends[:80], blends[80:]
    assert np.std(wide) > 0.2 and np.std(narrow) < 0.1 and min(wide) >= 0 and max(wide) <= 1
