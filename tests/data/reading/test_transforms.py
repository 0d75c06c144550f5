"""Transforms of clips: shapes, one draw per clip, the same generator the same clip."""

import math

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.config import AugmentConfig
from vidjax.data.reading import transforms

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(2, 60)


def rng(seed=0):
    return np.random.default_rng(seed)


def frames(seed=0, shape=(4, 20, 30, 3)):
    return rng(seed).integers(0, 256, shape).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(seeds, sides, sides, st.integers(1, 24), st.sampled_from(sorted(transforms.TRAIN_CROPS)))
def test_training_boxes_lie_inside_and_are_determined(seed, height, width, size, name):
    config = AugmentConfig(scale=(0.1, 1.0), crop_aspect=(0.3, 3.0))
    box = transforms.TRAIN_CROPS[name](height, width, rng(seed), config, size)
    top, left, h, w = box
    assert 0 <= top < top + h <= height and 0 <= left < left + w <= width
    assert box == transforms.TRAIN_CROPS[name](height, width, rng(seed), config, size)
    chex.assert_shape(transforms.crop(frames(shape=(2, height, width, 3)), box, size), (2, size, size, 3))


def corners(draw, count=200):
    return {draw(rng(seed))[:2] for seed in range(count)}


def test_square_and_fixed_boxes_reach_every_corner():
    everywhere = {(row, column) for row in range(3) for column in range(5)}
    assert corners(lambda r: transforms.square_box(4, 6, r, (0.5, 0.5))) == everywhere
    assert corners(lambda r: transforms.fixed_box(4, 6, r, 2)) == everywhere
    assert transforms.fixed_box(4, 6, rng(), 9)[2:] == (4, 4)


def test_random_resized_boxes_keep_to_area_and_aspect():
    boxes = np.array([transforms.random_resized_box(240, 320, rng(i), (0.05, 0.2), (0.5, 2.0)) for i in range(500)])
    area, aspect = boxes[:, 2] * boxes[:, 3] / (240 * 320), boxes[:, 3] / boxes[:, 2]
    assert 0.049 < area.min() < 0.055 and 0.19 < area.max() < 0.201
    assert 0.49 < aspect.min() < 0.55 and 1.8 < aspect.max() < 2.03
    assert abs(np.log(aspect).mean()) < 0.06 and abs(area.mean() - 0.125) < 0.01


def test_random_resized_box_that_never_fits_is_the_largest_in_the_middle():
    assert transforms.random_resized_box(100, 20, rng(), (0.9, 1.0), (1.0, 1.5)) == (40, 0, 20, 20)
    assert transforms.random_resized_box(20, 100, rng(), (0.9, 1.0), (0.5, 1.5)) == (0, 35, 20, 30)


def test_multi_scale_boxes_are_those_of_the_list():
    scales = (1.0, 0.875, 0.75, 0.66)
    boxes = [transforms.multi_scale_box(40, 60, rng(i), scales, 1, 13) for i in range(3000)]
    pairs = {box[2:] for box in boxes}
    listed = [40, 35, 30, 26]
    assert pairs == {(h, w) for i, h in enumerate(listed) for j, w in enumerate(listed) if abs(i - j) <= 1}
    small = {box[:2] for box in boxes if box[2:] == (26, 26)}
    assert len(small) == 13 and {(0, 0), (0, 32), (12, 0), (12, 32), (6, 16), (3, 8)} <= small
    five = [transforms.multi_scale_box(40, 60, rng(i), scales, 0, 5) for i in range(1000)]
    assert {box[2:] for box in five} == {(s, s) for s in listed}
    assert {box[:2] for box in five if box[2] == 30} == {(0, 0), (0, 28), (8, 0), (8, 28), (4, 14)}
    anywhere = {transforms.multi_scale_box(40, 60, rng(i), (0.5,), 0, 0)[:2] for i in range(300)}
    assert len(anywhere) > 200


def test_short_sides_take_every_value():
    assert {transforms.draw_short_side((6, 9), rng(i)) for i in range(60)} == {6, 7, 8, 9}


def test_crop_without_resizing_is_exact():
    clip = frames()
    np.testing.assert_array_equal(transforms.crop(clip, (3, 5, 8, 8), 8), clip[:, 3:11, 5:13])


@pytest.mark.parametrize(("shape", "target"), [((37, 53), 19), ((53, 37), 21), ((24, 40), (31, 17)), ((24, 40), 60)])
def test_resize_is_pytorchs(shape, target):
    torch = needs("torch")
    clip = frames(shape=(2, *shape, 3))
    ours = transforms.resize(clip, target, "torchvision")
    height, width = ours.shape[1:3]
    theirs = torch.nn.functional.interpolate(
        torch.tensor(clip).permute(0, 3, 1, 2).float(), size=(height, width), mode="bilinear", align_corners=False
    )
    theirs = theirs.round().byte().permute(0, 2, 3, 1).numpy()
    assert (ours != theirs).mean() < 3e-3 and np.abs(ours.astype(int) - theirs).max() <= 1
    fast = transforms.resize(clip, (height, width))
    assert np.abs(ours.astype(int) - fast).max() <= 1


def test_long_side_is_rounded_or_cut():
    clip = frames(shape=(1, 3, 5, 3))
    assert transforms.resize(clip, 7).shape[1:3] == (7, 12)  # 11.67
    assert transforms.resize(clip, 7, "torchvision").shape[1:3] == (7, 11)
    assert transforms.resize(clip, (3, 5)) is clip


# Erasing.

ERASE = {"area": (0.1, 0.3), "aspect": (0.3, 3.3), "mean": (0.5, 0.25, 0.75), "std": (0.1, 0.2, 0.05)}


def test_erasing_takes_the_same_box_of_every_frame():
    clip = np.zeros((3, 40, 40, 3), np.uint8)
    out = transforms.erase(clip, rng(1), mode="const", **ERASE)
    erased = out.any(axis=-1)
    assert 0.08 < erased.mean() < 0.32 and not clip.any()
    rows, columns = np.flatnonzero(erased[0].any(1)), np.flatnonzero(erased[0].any(0))
    assert erased[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert erased.sum() == 3 * len(rows) * len(columns)
    np.testing.assert_array_equal(np.unique(out[erased], axis=0), [[128, 64, 191]])


def test_erasing_with_noise_has_the_datas_statistics():
    clip = np.zeros((2, 200, 200, 3), np.uint8)
    out = transforms.erase(clip, rng(2), mode="pixel", **(ERASE | {"area": (0.5, 0.5), "aspect": (1.0, 1.0)}))
    np.testing.assert_array_equal(out[0], out[1])
    noise = out[0][out[0].any(axis=-1)] / 255
    np.testing.assert_allclose(noise.mean(0), ERASE["mean"], atol=0.02)
    np.testing.assert_allclose(noise.std(0), ERASE["std"], rtol=0.15)


def test_erasing_a_box_that_never_fits_changes_nothing():
    clip = frames()
    assert transforms.erase(clip, rng(), mode="pixel", **(ERASE | {"area": (1.0, 1.0)})) is clip


# Time.


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 20), st.sampled_from([1, 2, 8, 1.5, 2.5, 0.5]), st.integers(0, 30))
def test_jittered_times_stay_in_order_and_in_their_step(seed, T, step, start):
    clip = start + np.floor(np.arange(T) * step + 0.5).astype(np.int64)
    out = transforms.jitter_times(clip, step, int(clip[-1]), rng(seed))
    assert (np.diff(out) >= 0).all() and out.max() <= clip[-1]
    assert (out - clip >= 0).all() and (out - clip < max(step, 1)).all()


def test_jitter_is_uniform():
    out = transforms.jitter_times(np.zeros(4000, np.int64), 4, 100, rng())
    assert (np.abs(np.bincount(out) - 1000) < 120).all() and len(np.bincount(out)) == 4


def test_speed_is_log_uniform():
    drawn = np.log([transforms.draw_speed((0.5, 2.0), rng(i)) for i in range(500)])
    assert -math.log(2) <= drawn.min() < -0.65 and 0.65 < drawn.max() <= math.log(2) and abs(drawn.mean()) < 0.06
