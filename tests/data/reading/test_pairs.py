"""Pairs of pictures and their true flow: seen alike through every crop, mirror, size and stretch."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.config import AugmentConfig, DataConfig, PairConfig, SamplingConfig
from vidjax.data.flow_shapes import flow_pair
from vidjax.data.reading.flow_field import field_through, read_true_flow
from vidjax.data.reading.pairs import PairReader, centred_affine
from vidjax.data.records import Record, TrueFlow
from vidjax.data.views import crop_affine
from vidjax.inputs import PairInput
from vidjax.video import VideoError
from vidjax.video.flow_files import write_flow

INPUT = PairInput(32, 48)
HEIGHT, WIDTH = 56, 80


def stored(folder, first, second, flow, known=None):
    """A record of files."""
    for name, picture in (("1.png", first), ("2.png", second)):
        cv2.imwrite(str(folder / name), picture[..., ::-1])
    write_flow(folder / "1.flo", flow, known)
    return Record(str(folder / "1.png"), TrueFlow(str(folder / "2.png"), str(folder / "1.flo")))


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """A smooth picture that moves by (3, -2) pixels."""
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), (WIDTH + 20, HEIGHT + 20))
    noise = np.clip(cv2.GaussianBlur(noise, (9, 9), 0), 0, 255).astype(np.uint8)
    first, second = noise[10:-10, 10:-10], noise[12:-8, 7:-13]
    flow = np.tile(np.float32([3, -2]), (HEIGHT, WIDTH, 1))
    return stored(tmp_path_factory.mktemp("smooth"), first, second, flow)


def seen(record, config, seed):
    """A view of a pair, its flow, and where it is known."""
    pictures, views = PairReader(INPUT, config).train(record, np.random.default_rng(seed))
    assert pictures.shape == (config.sampling.views, 2, 32, 48, 3) and pictures.dtype == np.uint8
    return pictures[0], *field_through(*read_true_flow(record.annotation), views.affine[0], 32, 48), views


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_flow_leads_from_a_pixel_to_its_colour_in_every_view(smooth, seed):
    pairs = PairConfig(scale=(0.8, 1.6), stretch=0.3, upside_down=0.5)
    (first, second), flow, known, views = seen(smooth, DataConfig(pairs=pairs), seed)
    assert known.all()
    y, x = np.mgrid[:32, :48].astype(np.float32)
    found = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
    margin = (slice(8, -8), slice(8, -8))
    error = np.abs(found.astype(int) - first)[margin]
    assert error.max() < 12 and error.mean() < 3
    across, down = views.affine[0][0, 0] * 48 / WIDTH, views.affine[0][1, 1] * 32 / HEIGHT
    np.testing.assert_allclose(flow, np.broadcast_to([3 * across, -2 * down], flow.shape), rtol=1e-5)
    assert (across < 0) == views.mirrored[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), upside_down=st.sampled_from([0.0, 1.0]))
def test_crops_and_mirrors_are_exact_to_the_pixel(smooth, seed, upside_down):
    """Of any field, known everywhere or not: what is seen is a part of it, turned, with its vectors turned."""
    rng = np.random.default_rng(seed)
    flow, known = rng.normal(0, 5, (HEIGHT, WIDTH, 2)).astype(np.float32), rng.random((HEIGHT, WIDTH)) < 0.8
    _, views = PairReader(INPUT, DataConfig(pairs=PairConfig(upside_down=upside_down))).train(smooth, rng)
    affine, sign = views.affine[0], np.float32([-1 if views.mirrored[0] else 1, -1 if upside_down else 1])
    for where in (known, np.ones_like(known)):
        field = np.where(where[..., None], flow, 0)
        got, there = field_through(field, where, affine, 32, 48)
        turned, turned_where = (x[:: int(sign[1]), :: int(sign[0])] for x in (field * sign, where))
        matches = [
            (top, left)
            for top in range(HEIGHT - 32 + 1)
            for left in range(WIDTH - 48 + 1)
            if np.array_equal(turned[top : top + 32, left : left + 48], got)
            and np.array_equal(turned_where[top : top + 32, left : left + 48], there)
        ]
        assert len(matches) == 1


def test_views_are_drawn_anew_and_the_same_of_the_same_seed(smooth):
    config = DataConfig(sampling=SamplingConfig(views=2), pairs=PairConfig(scale=(1.0, 1.5)))
    reader = PairReader(INPUT, config)
    (one, views), (same, _) = (reader.train(smooth, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert (one[0] != one[1]).any() and len(views) == 2
    plain, _ = reader.train(smooth, np.random.default_rng(3), mirror=False)
    assert plain.shape == one.shape


def test_colours_of_both_pictures_or_of_each_and_erased_boxes(tmp_path):
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    record = stored(tmp_path, grey, grey, np.zeros((HEIGHT, WIDTH, 2), np.float32))
    alike = DataConfig(augment=AugmentConfig(colour_jitter=0.4))
    for seed in range(5):
        (first, second), *_ = seen(record, alike, seed)
        np.testing.assert_array_equal(first, second)
        assert first[0, 0, 0] != 100
        (first, second), *_ = seen(record, replace(alike, pairs=PairConfig(apart=1.0)), seed)
        assert (first != second).all()
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.uint8)[None, :, None], grey.shape)
    record = stored(tmp_path, ramp, ramp, np.zeros((HEIGHT, WIDTH, 2), np.float32))
    (first, second), *_ = seen(record, DataConfig(pairs=PairConfig(erase=1.0, erase_side=(4, 6))), 0)
    changed = (first != second).any(axis=-1)
    assert 1 <= changed.sum() <= 2 * 36 and len(np.unique(second[changed])) == 1


def test_evaluation_sees_the_middle_and_enlarges_small_pictures(smooth, tmp_path):
    pictures, views = PairReader(INPUT, DataConfig()).evaluate(smooth, 1, 1)
    np.testing.assert_array_equal(pictures[0, 0], cv2.imread(smooth.path)[12:44, 16:64, ::-1])
    np.testing.assert_array_equal(views.affine[0], centred_affine(HEIGHT, WIDTH, INPUT))
    np.testing.assert_array_equal(views.affine[0], crop_affine((12, 16, 32, 48), HEIGHT, WIDTH))
    first, second, flow, known = flow_pair(np.random.default_rng(0), size=24)
    small = stored(tmp_path, first, second, flow, known)
    pictures, views = PairReader(INPUT, DataConfig()).evaluate(small, 1, 1)
    assert pictures.shape == (1, 2, 32, 48, 3)
    field, _ = field_through(flow, np.ones_like(known), views.affine[0], 32, 48)
    assert np.abs(field).max() == pytest.approx(2 * np.abs(flow[4:20]).max(), rel=0.1)


def test_what_cannot_be_read(smooth, tmp_path):
    reader, rng = PairReader(INPUT, DataConfig()), np.random.default_rng(0)
    with pytest.raises(VideoError, match="has no second picture"):
        reader.train(replace(smooth, annotation=None), rng)
    other = tmp_path / "other.png"
    other.write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"other\.png: cannot be decoded"):
        reader.train(replace(smooth, annotation=replace(smooth.annotation, second=str(other))), rng)
    cv2.imwrite(str(other), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(VideoError, match=r"80×56 pixels, and .*other\.png one of 30×20"):
        reader.train(replace(smooth, annotation=replace(smooth.annotation, second=str(other))), rng)
    with pytest.raises(VideoError, match=r"other\.png: a picture of uint8"):
        read_true_flow(TrueFlow("", str(other)))
