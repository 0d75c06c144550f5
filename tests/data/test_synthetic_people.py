"""Shapes that each act for themselves: their boxes hold them, they never meet, and every scene has every action."""

import csv

import numpy as np
import pytest

from vidjax.data.moving_shapes import STEPS
from vidjax.data.synthetic_people import KEY_FRAMES, draw_scene, write_people


@pytest.mark.parametrize("seed", range(4))
def test_a_scene(seed):
    scene = draw_scene(np.random.default_rng(seed), size=96)
    assert sorted(shape.label for shape in scene.shapes) == sorted(STEPS)
    frames = scene.frames()
    assert frames.shape == (20, 96, 96, 3) and frames.dtype == np.uint8
    changed = (frames != scene.scenery).any(axis=-1)
    for t in range(20):
        boxes = scene.boxes(t) * 96
        inside = np.zeros((96, 96), bool)
        for x1, y1, x2, y2 in boxes:
            # The edges are smooth: they reach two pixels further.
            part = np.s_[max(int(y1) - 2, 0) : int(y2) + 4, max(int(x1) - 2, 0) : int(x2) + 4]
            assert changed[t][part].mean() > 0.1 and not inside[part].all()
            inside[part] = True
        assert not changed[t][~inside].any()  # nothing moves outside of the boxes
    reach = [shape.reach(20) for shape in scene.shapes]
    for i, one in enumerate(reach):
        assert one.min() >= 0 and one.max() <= 96
        for other in reach[:i]:
            assert (one[:2] > other[2:]).any() or (one[2:] < other[:2]).any()


def test_actions_move_as_they_are_called():
    scene = draw_scene(np.random.default_rng(0))
    early, late = ((b[:, :2] + b[:, 2:]) / 2 for b in map(scene.boxes, KEY_FRAMES))
    for shape, (right, down) in zip(scene.shapes, late - early, strict=True):
        wanted = STEPS[shape.label]
        if any(wanted[:2]):
            assert np.sign([round(right, 4), round(down, 4)]).tolist() == list(wanted[:2])


def test_files(tmp_path):
    folder = write_people(tmp_path / "people", num_train=2, num_eval=1)
    rows = list(csv.DictReader((folder / "train.csv").read_text().splitlines()))
    assert len(rows) == 2 * 6 * len(KEY_FRAMES) and {row["person"] for row in rows} == set("012345")
    assert {row["time"] for row in rows} == {"0.8", "1.2"} and (folder / rows[0]["path"]).exists()
    before = (folder / "val" / "0000.mp4").read_bytes()
    (folder / "val.csv").unlink()
    assert write_people(folder, num_train=2, num_eval=1) == folder  # completed, not drawn again
    assert (folder / "val" / "0000.mp4").read_bytes() == before and (folder / "val.csv").exists()
    with pytest.raises(ValueError, match="made with"):
        write_people(folder, num_train=3, num_eval=1)
    with pytest.raises(ValueError, match="num_frames = 5"):
        write_people(tmp_path / "short", num_frames=5)
