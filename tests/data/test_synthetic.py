"""Moving shapes: they move as labelled, only the order of frames tells the class, cut-short folders are completed."""

import csv
import shutil

import av
import chex
import cv2
import numpy as np
import pytest

from vidjax.data.moving_shapes import motion_clip
from vidjax.data.synthetic import MOTION_CLASSES, write_motion

SIZE = 32
SMALL = {"num_train": 12, "num_eval": 6, "num_frames": 3, "size": SIZE}


def clip(label, seed=0, **kwargs):
    return motion_clip(label, np.random.default_rng(seed), **{"num_frames": 6, "size": SIZE, **kwargs})


def decode(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_motion(tmp_path_factory.mktemp("motion") / "data", **SMALL)


def test_clip():
    chex.assert_shape(clip("left", num_frames=5, size=48), (5, 48, 48, 3))
    chex.assert_type(clip("left"), np.uint8)
    np.testing.assert_array_equal(clip("up", 3), clip("up", 3))
    assert not np.array_equal(clip("up", 3), clip("up", 4))
    with pytest.raises(ValueError, match=r"label = 'upwards'.*anticlockwise, clockwise, down"):
        clip("upwards")


def shift(first, second, axis):
    """By how many pixels a picture with joined borders has moved along an axis, and how well that explains it."""
    errors = {k: abs(np.roll(first.astype(int), k, axis) - second).mean() for k in range(-8, 9)}
    best = min(errors, key=errors.get)
    return best, errors[best]


def turn(frames):
    """Sense of rotation, positive for clockwise: least-squares optical flow with a turning part, patch by patch."""
    grey = [cv2.GaussianBlur(np.pad(f, 12, mode="wrap"), (0, 0), 2) for f in frames.astype(np.float32).mean(axis=-1)]
    grey = np.stack(grey)
    middle = (grey[1:] + grey[:-1]) / 2
    down, right, change = np.gradient(middle, axis=1), np.gradient(middle, axis=2), np.diff(grey, axis=0)
    y, x = np.mgrid[-12:13, -12:13]
    total = 0.0
    for top in range(0, grey.shape[1] - 24, 8):
        for left in range(0, grey.shape[2] - 24, 8):
            patch = np.s_[:, top : top + 25, left : left + 25]
            # Clockwise about the middle of the patch is (right, down) = (-y, x), as y points down.
            columns = [right[patch], down[patch], x * down[patch] - y * right[patch]]
            target = -change[patch].ravel()
            solution, residual, *_ = np.linalg.lstsq(np.stack([c.ravel() for c in columns], 1), target, rcond=None)
            if len(residual):
                total += solution[2] * ((target**2).sum() - residual[0])
    return total


@pytest.mark.parametrize(("label", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_translations_go_where_they_say(label, axis, sign):
    for seed in range(4):
        first, last = clip(label, seed)[[0, 4]]
        along, error = shift(first, last, axis)
        assert 3 <= sign * along <= 7  # 4 frames of 3 … 5 % of the picture
        assert error < shift(first, last, 1 - axis)[1]


@pytest.mark.parametrize(("label", "sign"), [("clockwise", 1), ("anticlockwise", -1)])
def test_rotations_turn_as_they_say(label, sign):
    for seed in range(6):
        assert sign * turn(clip(label, seed, size=64)) > 0


def test_first_frame_does_not_depend_on_the_label():
    for seed in range(3):
        for label in MOTION_CLASSES:
            np.testing.assert_array_equal(clip(label, seed)[0], clip("left", seed)[0])


def test_each_class_is_another_one_backwards():
    """A clip reversed, then the same draw of the other class: one motion without a break."""
    for seed in range(4):
        for one, other, axis in (("left", "right", 1), ("up", "down", 0)):
            joined = np.concatenate([clip(one, seed)[::-1], clip(other, seed)[1:]])
            assert 3 <= shift(joined[3], joined[7], axis)[0] <= 7
        joined = np.concatenate([clip("anticlockwise", seed, size=64)[::-1], clip("clockwise", seed, size=64)[1:]])
        assert turn(joined[3:8]) > 0


def test_place_is_uniform_over_time():
    """Coverage of the picture, averaged over clips, is flat in the first and in the last frame of every class."""
    for label in MOTION_CLASSES:
        clips = np.stack([clip(label, (1, seed)) for seed in range(60)]).astype(float)
        for t in (0, -1):
            frames = clips[:, t].mean(axis=-1)
            covered = abs(frames - np.median(frames, axis=(1, 2), keepdims=True)) > 25
            quarters = covered.mean(axis=0).reshape(2, SIZE // 2, 2, SIZE // 2).mean(axis=(1, 3))
            assert quarters.max() < 1.3 * quarters.min(), (label, t, quarters)


def test_files(folder):
    for split, count in (("train", 12), ("val", 6)):
        with open(folder / f"{split}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [list(row) for row in rows] == [["path", "label"]] * count
        labels = [row["label"] for row in rows]
        assert all(labels.count(label) == count // 6 for label in MOTION_CLASSES)
        assert len({row["path"] for row in rows}) == count
        for row in rows:
            chex.assert_shape(decode(folder / row["path"]), (3, SIZE, SIZE, 3))
    assert not list(folder.rglob("*.part"))


def test_files_hold_the_clips(folder):
    wanted = motion_clip(MOTION_CLASSES[1], np.random.default_rng((0, 0, 7)), num_frames=3, size=SIZE)
    # H.264 halves the resolution of colour, so compare grey levels.
    error = decode(folder / "train" / "0007.mp4").mean(axis=-1) - wanted.mean(axis=-1)
    assert abs(error).mean() < 6


def test_training_and_evaluation_share_no_video(folder):
    first = {path.read_bytes() for path in (folder / "train").iterdir()}
    assert len(first) == 12 and first.isdisjoint(path.read_bytes() for path in (folder / "val").iterdir())


def test_same_seed_same_files(folder, tmp_path):
    again = write_motion(tmp_path / "again", **SMALL)
    other = write_motion(tmp_path / "other", **SMALL, seed=1)
    for name in ("train.csv", "val.csv", "train/0003.mp4", "val/0002.mp4"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert (other / "train/0003.mp4").read_bytes() != (folder / "train/0003.mp4").read_bytes()


def test_second_call_changes_nothing(folder):
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_motion(folder, **SMALL) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_a_call_cut_short_is_completed(folder, tmp_path):
    """Stopped while writing: no CSV yet, one file missing, one half-written under its temporary name."""
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    for name in ("val.csv", "train/0004.mp4"):
        (cut / name).unlink()
    (cut / "train/0004.part").write_bytes(b"half")
    kept = (cut / "train/0001.mp4").stat().st_mtime_ns
    write_motion(cut, **SMALL)
    assert (cut / "train/0001.mp4").stat().st_mtime_ns == kept
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert sorted(path.relative_to(cut) for path in cut.rglob("*.*")) == files
    for name in files:
        assert (cut / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("whole", [True, False])
def test_other_parameters_are_refused(folder, tmp_path, whole):
    """Also where the earlier call was cut short: its files are not mixed with others."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if not whole:
        (copy / "val.csv").unlink()
    with pytest.raises(ValueError, match=r"copy holds moving shapes made with .*remove it or name another folder"):
        write_motion(copy, **SMALL, seed=1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 33}, "size = 33: must be even and 16 or more"),
        ({"size": 8}, "size = 8"),
        ({"num_train": 0}, "num_train = 0: must be 1 or more"),
        ({"num_frames": 0}, "num_frames = 0"),
    ],
)
def test_bad_parameters(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        write_motion(tmp_path / "x", **{**SMALL, **kwargs})
    assert not (tmp_path / "x").exists()
