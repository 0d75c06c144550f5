"""Files of features: formats, what they state, and mistakes in them."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.config import FeaturesConfig
from vidjax.data.reading.feature_file import Grid, read_feature_file, settle, videos_in
from vidjax.data.records import Segments
from vidjax.data.text import DataError
from vidjax.errors import UserError
from vidjax.video import VideoError

VECTORS = np.arange(24, dtype=np.float32).reshape(8, 3)
STATED = {"stride": 4.0, "window": 16.0, "fps": 30.0, "duration": 2.5, "model": "0123"}


def saved(path, **stated):
    np.savez(path, features=VECTORS, **{name: np.array(value) for name, value in stated.items()})
    return str(path)


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "own.npz", "one.npz", "a.pkl", "dict.pkl", "many.pkl#v", "batch.npy"]
)
def test_formats(tmp_path, name):
    np.save(tmp_path / "a.npy", VECTORS)
    np.save(tmp_path / "batch.npy", VECTORS[None])
    np.savez(tmp_path / "a.npz", feats=VECTORS, other=1)
    np.savez(tmp_path / "own.npz", features=VECTORS)
    np.savez(tmp_path / "one.npz", whatever=VECTORS)
    for file, held in (("a", VECTORS), ("dict", {"feats": VECTORS}), ("many", {"u": VECTORS * 0, "v": VECTORS})):
        (tmp_path / f"{file}.pkl").write_bytes(pickle.dumps(held))
    file = read_feature_file(str(tmp_path / name), 3)
    np.testing.assert_array_equal(file.vectors, VECTORS)


def test_hdf5_of_one_video_and_of_many(tmp_path):
    h5py = needs("h5py")
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v_one"], file["two/feats"] = VECTORS, VECTORS + 1
    assert sorted(videos_in(str(tmp_path / "all.h5"))) == ["two", "v_one"]
    np.testing.assert_array_equal(read_feature_file(f"{tmp_path}/all.h5#v_one", 3).vectors, VECTORS)
    np.testing.assert_array_equal(read_feature_file(f"{tmp_path}/all.h5#two", 3).vectors, VECTORS + 1)
    with pytest.raises(VideoError, match="none of which is three"):
        read_feature_file(f"{tmp_path}/all.h5#three")


def test_hdf5_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"HDF5 files need h5py: .*\[hdf5\]"):
        read_feature_file(str(tmp_path / "all.h5"))


def test_transposed_files_are_recognised(tmp_path):
    np.save(tmp_path / "t.npy", VECTORS.T)
    with pytest.raises(
        VideoError, match=r"t.npy: has an array \(3, 8\): .* \(D, N\) where \(N, D\) .*; store it transposed"
    ):
        read_feature_file(str(tmp_path / "t.npy"), 3)
    with pytest.raises(VideoError, match=r"has an array \(8, 3\), not \(N, 5\)"):
        np.save(tmp_path / "w.npy", VECTORS)
        read_feature_file(str(tmp_path / "w.npy"), 5)


def test_pickles_run_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    (tmp_path / "h.pkl").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(VideoError, match=r"is a pickle that names builtins.print"):
        read_feature_file(str(tmp_path / "h.pkl"))


def test_the_grid_is_that_of_the_formula(tmp_path):
    grid = read_feature_file(saved(tmp_path / "a.npz", **STATED)).grid(FeaturesConfig())
    for i in (0, 3, 7.5):
        assert grid.seconds(i) == pytest.approx((i * 4 + 8) / 30)
    assert grid.place(1.0) == pytest.approx((30 - 8) / 4) and grid.reach == 2
    # Resized to 5: stride and window are both the new stride.
    resized = grid.resized(8, 5)
    stride = (7 * 4 + 16) / 5
    assert resized.seconds(2) == pytest.approx((2 * stride + stride / 2) / 30)


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 60), st.floats(1, 99), st.floats(1, 60), st.floats(-5, 500))
def test_places_and_seconds_are_inverse(stride, window, fps, place):
    grid = Grid.of_frames(stride, window, fps)
    assert float(grid.place(grid.seconds(place))) == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize(("name", "value"), [("stride", 8.0), ("window", 32.0), ("fps", 25.0), ("model", "4567")])
def test_files_that_contradict_the_settings_are_refused(tmp_path, name, value):
    file = read_feature_file(saved(tmp_path / "a.npz", **STATED))
    with pytest.raises(DataError, match=rf"a.npz: its .* is .*, but config.data.features.{name} = {value}"):
        file.grid(FeaturesConfig(**{name: value}))
    assert file.grid(FeaturesConfig(**{name: STATED[name]})) == file.grid(FeaturesConfig())


def test_what_nobody_states_is_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    file = read_feature_file(str(tmp_path / "a.npy"))
    with pytest.raises(DataError, match=r"stride and window and frame rate; give config.data.features.stride and"):
        file.grid(FeaturesConfig())
    given = FeaturesConfig(stride=4.0, window=16.0)
    with pytest.raises(DataError, match=r"frame rate; give config.data.features.fps"):
        file.grid(given, Segments(()))
    assert file.grid(given, Segments((), fps=30.0)) == Grid.of_frames(4, 16, 30)


def test_settings_become_those_of_the_first_readable_file(tmp_path):
    good = saved(tmp_path / "a.npz", **STATED)
    settled = settle(FeaturesConfig(window=16.0), [str(tmp_path / "gone.npz"), good], 3)
    assert (settled.stride, settled.window, settled.fps, settled.model) == (4, 16, 30, "0123")
    assert settle(FeaturesConfig(), [], 3) == FeaturesConfig()
    with pytest.raises(DataError, match=r"vectors of 3 numbers, but the network reads 5; give .*width = 3"):
        settle(FeaturesConfig(), [good], 5)
    with pytest.raises(VideoError, match="store it transposed"):
        settle(FeaturesConfig(), [good], 8)
