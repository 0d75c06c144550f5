"""python -m vidjax prepare."""

import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import DataConfig
from vidjax.data.listing.load import load_sets
from vidjax.data.reading.open_video import FrameReader, open_video
from vidjax.video import VideoReader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for i in range(6):
        write_video(root / ("left", "right")[i % 2] / f"{i}.mp4", numbered_frames(8, offset=i))
    return root


def run(*args):
    return main(["prepare", *map(str, args), "--workers", "1"])


def test_folder_to_files(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "toy") == 0
    out = capsys.readouterr().out
    assert "4 training and 2 evaluation videos of 2 classes, files as they are" in out
    assert f"6 videos in {tmp_path / 'toy' / '1.0.0'}; train with --config.data.train={tmp_path / 'toy'}" in out
    train, held_out = load_sets(DataConfig(train=str(tmp_path / "toy")))
    files = load_sets(DataConfig(train=str(folder)))
    for stored, original in zip((train, held_out), files, strict=True):
        assert [r.path.rpartition("::")[2] for r in stored.records] == [
            r.path.removeprefix(f"{folder}/") for r in original.records
        ]
    with open_video(train.records[0].path) as video:
        assert isinstance(video, VideoReader)


def test_settings_act(folder, tmp_path, capsys):
    fine = ("--jpeg", "--short-side", 16, "--quality", 100, "--seed", 1, "--eval-share", 0.6)
    assert run(folder, tmp_path / "fine", *fine) == 0
    assert run(folder, tmp_path / "rough", "--jpeg", "--short-side", 0, "--quality", 5, "--shard-mb", 1) == 0
    assert "JPEG frames of full px" in capsys.readouterr().out
    fine, rough = (load_sets(DataConfig(train=str(tmp_path / name)))[1] for name in ("fine", "rough"))
    assert (len(fine), len(rough)) == (4, 2)
    assert fine.records[0].path.rpartition("::")[2] != rough.records[0].path.rpartition("::")[2]
    with open_video(fine.records[0].path) as one, open_video(rough.records[0].path) as other:
        assert isinstance(one, FrameReader) and (one.height, other.height) == (16, 32)
        levels = one.read(range(8)).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(np.diff(levels), 8, atol=1)


def test_csv_pair_with_unreadable_video(folder, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "train.csv").write_text(f"path,label\nleft/0.mp4,l\nright/1.mp4,r\n{tmp_path}/bad.mp4,r\n")
    (tmp_path / "val.csv").write_text("path,label\nleft/2.mp4,l\n")
    settings = ("--eval", tmp_path / "val.csv", "--root", folder)
    assert run(tmp_path / "train.csv", tmp_path / "toy", *settings) == 0
    out = capsys.readouterr().out
    assert "1 video could not be read" in out and "bad.mp4" in out and "3 videos in" in out
    assert run(tmp_path / "train.csv", tmp_path / "toy", *settings) == 0
    assert "had been prepared before" in capsys.readouterr().out


def test_what_is_prepared_already_is_refused(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "toy") == 0
    assert run(tmp_path / "toy", tmp_path / "again") == 1
    assert "is already a prepared data set" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [("--quality", "0"), ("--quality", "101"), ("--shard-mb", "0"), ("--workers", "-1")])
def test_wrong_values(folder, tmp_path, wrong, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", str(folder), str(tmp_path / "toy"), *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_sound_is_kept_in_files_anyway(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "toy", "--sound") != 0
    assert "--sound: files are stored with their sound anyway; leave it out, or add --jpeg" in capsys.readouterr().err
