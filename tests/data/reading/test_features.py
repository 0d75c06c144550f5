"""Vectors made beforehand: which of a file's are read, and files that hold no such vectors."""

import chex
import numpy as np
import pytest

from tests.settings import data_config
from vidjax.data.reading.features import FeatureReader
from vidjax.data.records import Record
from vidjax.inputs import FeatureInput
from vidjax.video import VideoError


@pytest.fixture
def record(tmp_path):
    """Makes a file of N vectors, each of which holds its own number."""

    def make(count, width=3, dtype=np.float32, name="v.npy"):
        np.save(tmp_path / name, np.repeat(np.arange(count, dtype=dtype)[:, None], width, axis=1))
        return Record(str(tmp_path / name))

    return make


def reader(steps=4, width=3, **settings):
    return FeatureReader(FeatureInput(steps, width), data_config(**settings))


def test_evaluation_takes_the_middle_of_each_share(record):
    vectors, views = reader().evaluate(record(12), 1, 1)
    chex.assert_shape(vectors, (1, 4, 3))
    chex.assert_type(vectors, np.float32)
    assert vectors[0, :, 0].tolist() == [1, 4, 7, 10] and (vectors == vectors[..., :1]).all()
    np.testing.assert_array_equal(views.frames, [[1, 4, 7, 10]])


def test_several_clips_share_out_the_file_and_crops_are_alike(record):
    vectors, views = reader(2).evaluate(record(12), 3, 5)
    chex.assert_shape([vectors, views.frames, views.affine], [(15, 2, 3), (15, 2), (15, 2, 3)])
    assert vectors[::5, :, 0].tolist() == [[1, 3], [5, 7], [9, 11]]
    np.testing.assert_array_equal(vectors, vectors[::5].repeat(5, axis=0))
    assert len(views) == 15 and not views.mirrored.any()


@pytest.mark.parametrize(("count", "expected"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 1, 1, 2])])
def test_a_short_file_repeats_its_vectors(record, count, expected):
    short = record(count)
    assert reader().evaluate(short, 1, 1)[0][0, :, 0].tolist() == expected
    drawn, _ = reader().train(short, np.random.default_rng(0))
    assert (np.diff(drawn[0, :, 0]) >= 0).all() and drawn.max() < count


def test_training_draws_one_of_each_share(record):
    found = record(20)
    drawn = [reader(views=3).train(found, np.random.default_rng(seed)) for seed in range(40)]
    for vectors, views in drawn:
        chex.assert_shape(vectors, (3, 4, 3))
        chex.assert_type(vectors, np.float32)
        np.testing.assert_array_equal(vectors[..., 0] // 5, np.tile(np.arange(4), (3, 1)))
        np.testing.assert_array_equal(vectors[..., 0], views.frames)
    numbers = np.concatenate([views.frames for _, views in drawn])
    assert all(set(numbers[:, step]) == set(range(5 * step, 5 * step + 5)) for step in range(4))
    assert any(len(np.unique(views.frames, axis=0)) == 3 for _, views in drawn)  # each view for itself
    assert not any(views.mirrored.any() for _, views in drawn)


def test_training_follows_the_generator(record):
    found = record(50)
    one, two, other = (reader().train(found, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_other_types_become_single_precision(record):
    vectors, _ = reader().evaluate(record(12, dtype=np.float16), 1, 1)
    chex.assert_type(vectors, np.float32)


def test_files_without_such_vectors_are_named(record, tmp_path):
    for found, reason in (
        (record(12, width=5, name="wide.npy"), r"has an array \(12, 5\), not \(N, 3\)"),
        (record(0, name="none.npy"), r"has an array \(0, 3\), not \(N, 3\)"),
        (Record(str(tmp_path / "gone.npy")), "is not a readable .npy file: .*No such file"),
    ):
        with pytest.raises(VideoError, match=rf"{reason}.*; make it again, or leave it out") as error:
            reader().evaluate(found, 1, 1)
        assert error.value.path == found.path
        with pytest.raises(VideoError, match=reason):
            reader().train(found, np.random.default_rng(0))


@pytest.mark.parametrize("content", [b"", b"no array at all", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(VideoError, match=r"v.npy.* is not a readable .npy file"):
        reader().evaluate(Record(str(tmp_path / "v.npy")), 1, 1)


def test_pickles_and_arrays_of_other_shapes_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], object))
    np.save(tmp_path / "flat.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "text.npy", np.full((4, 3), "x"))
    np.savez(tmp_path / "several.npz", np.zeros((4, 3)), np.zeros((4, 3)))
    with pytest.raises(VideoError, match=r"several.npz: has no array features or feats .*, only arr_0, arr_1"):
        reader().evaluate(Record(str(tmp_path / "several.npz")), 1, 1)
    for name in ("text.npy",):
        with pytest.raises(VideoError, match=f"{name}: holds no array of numbers"):
            reader().evaluate(Record(str(tmp_path / name)), 1, 1)
    with pytest.raises(VideoError, match=r"pickled.npy.* is not a readable .npy file"):
        reader().evaluate(Record(str(tmp_path / "pickled.npy")), 1, 1)
    with pytest.raises(VideoError, match=r"flat.npy.* has an array \(3,\), not \(N, 3\)"):
        reader().evaluate(Record(str(tmp_path / "flat.npy")), 1, 1)
