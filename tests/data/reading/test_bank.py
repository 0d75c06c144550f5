"""Feature banks: what is read around a clip, and what is said of files that are no bank's."""

import dataclasses

import numpy as np
import pytest

from tests.settings import data_config
from vidjax.config import ConfigError
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.bank import BankReader, bank_file, check_bank, read_bank, write_bank
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Boxes, Record
from vidjax.data.text import DataError
from vidjax.data.views import whole
from vidjax.inputs import BankInput
from vidjax.models import get_spec


def record(path, at=None):
    annotation = None if at is None else Boxes(at=at, corners=(), classes=())
    return Record(path=str(path), annotation=annotation)


def test_seconds_around_the_clip(tmp_path):
    times = np.array([0.0, 0.5, 1.0, 1.0, 1.0, 2.9, 7.0])
    vectors = np.arange(1, 15, dtype=np.float32).reshape(7, 2)
    file = write_bank(tmp_path / "bank" / "a.npz", times, vectors)
    assert file == bank_file(tmp_path / "bank", "other/a.mkv") and [p.name for p in file.parent.iterdir()] == ["a.npz"]
    reader = BankReader(BankInput(8, 2, seconds=4), str(tmp_path / "bank"))
    views = dataclasses.replace(whole(2, 3), times=np.array([[1, 2, 3], [4, 5, 6]], np.float64))
    found = reader.of(record("a.mp4"), views)
    # From 0 to 4 s, two vectors a second; then from 3 to 7 s, which is excluded.
    expected = [vectors[0], vectors[1], vectors[2], vectors[3], vectors[5], (0, 0), (0, 0), (0, 0)]
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], np.zeros((8, 2)))
    np.testing.assert_array_equal(reader.of(record("a.mp4", at=2.0), views), np.stack([expected, expected]))


def test_files_that_are_no_banks(tmp_path):
    with pytest.raises(DataError, match=r"b\.npz: there is no such file in the feature bank"):
        read_bank(tmp_path / "b.npz", 2)
    (tmp_path / "c.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.npz: cannot be read as a file of a feature bank"):
        read_bank(tmp_path / "c.npz", 2)
    with pytest.raises(DataError, match=r"has vectors \(1, 2\) at \(1,\) times, expected \(N, 3\)"):
        read_bank(write_bank(tmp_path / "d.npz", np.zeros(1), np.zeros((1, 2))), 3)
    with pytest.raises(DataError, match=r"e.npz: times \(2,\) and vectors \(1, 2\)"):
        write_bank(tmp_path / "e.npz", np.zeros(2), np.zeros((1, 2)))


def test_folders_of_videos_of_the_same_name(tmp_path):
    for folder in ("train", "val"):
        write_bank(tmp_path / folder / "0.npz", np.zeros(1), np.zeros((1, 2)), model="m", video=f"data/{folder}/0.mp4")
    assert bank_file(tmp_path, "/data/val/0.mp4") == tmp_path / "val" / "0.npz"
    assert bank_file(tmp_path, "0.mp4") == tmp_path / "0.npz"
    check_bank(tmp_path / "val" / "0.npz", "m", "elsewhere/val/0.mp4")
    with pytest.raises(DataError, match=r"0.npz: is of another network, m, not n; give another folder"):
        check_bank(tmp_path / "val" / "0.npz", "n", "val/0.mp4")
    with pytest.raises(DataError, match=r"0.npz: is of another video, val/0.mp4, not train/0.mp4"):
        check_bank(tmp_path / "val" / "0.npz", "m", "train/0.mp4")
    with pytest.raises(DataError, match=r"none.npz: cannot be read as a file of a feature bank"):
        check_bank(tmp_path / "none.npz", "m", "train/0.mp4")


def test_networks_that_read_one_need_it_and_others_do_not(tmp_path):
    spec = get_spec("slow_lfb_detect_tiny")
    assert tuple(spec.inputs) == ("video", "boxes", "bank")
    with pytest.raises(ConfigError, match=r"data\.clip\.bank is empty"):
        ExampleReader(spec, data_config())
    with pytest.raises(ConfigError, match=r"clip\.bank = 'nowhere': no such folder; make the feature bank"):
        ExampleReader(spec, data_config(bank="nowhere"))
    config = data_config(bank=str(tmp_path))
    assert resolve_spec(spec, config) == spec and ExampleReader(spec, config)
    with pytest.raises(ConfigError, match="slow_detect_tiny reads no feature bank"):
        resolve_spec(get_spec("slow_detect_tiny"), config)
