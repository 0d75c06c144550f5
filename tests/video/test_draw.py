"""Drawing: boxes where they belong, labels that do not hide each other, videos redrawn with their times."""

import numpy as np
import pytest

from vidjax.video import VideoReader
from vidjax.video.draw import draw_boxes, draw_label, redraw, track_colour
from vidjax.video.write import VideoWriter


def test_box_is_drawn_on_its_own_edge():
    frame = np.zeros((100, 200, 3), np.uint8)
    draw_boxes(frame, np.array([[0.1, 0.2, 0.5, 0.6]]), colours=[(255, 0, 0)])
    painted = np.argwhere(frame.any(axis=2))
    assert painted.min(axis=0).tolist() == [20, 20] and painted.max(axis=0).tolist() == [59, 99]
    assert (frame[20, 20:100] == (255, 0, 0)).all() and not frame[22:58, 22:98].any()


def test_boxes_beyond_the_picture_are_cut():
    frame = np.zeros((60, 60, 3), np.uint8)
    draw_boxes(frame, np.array([[-1, -1, 2, 2], [0.5, 0.5, 0.5, 0.5], [0.9, 0.9, 1.5, 1.2]]), ["all", "none", "corner"])
    assert frame[0].any() and frame[-1].any()


@pytest.mark.parametrize("size", [(360, 480), (90, 120)])
def test_labels_do_not_hide_each_other(size):
    """Three people in one place: the plates of the labels are all there, each with its own colour and ink."""
    boxes = np.tile([0.3, 0.3, 0.7, 0.9], (3, 1))
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    frame = np.zeros((*size, 3), np.uint8)
    draw_boxes(frame, boxes, ["run 0.91", "走る\njump", "sit"], colours)
    bare = np.zeros_like(frame)
    draw_boxes(bare, boxes, (), colours)
    new = frame[(frame != bare).any(axis=2)]
    for colour in colours:
        plate = (new == colour).all(axis=1).sum()
        assert plate > 50, colour
    assert (new == 255).all(axis=1).any() or (new.min(axis=1) > 120).any(), "letters"


def test_text_at_the_border_is_cut():
    for left, top in ((-5, -5), (35, 35), (100, 100), (-500, 0)):
        frame = np.zeros((40, 40, 3), np.uint8)
        draw_label(frame, "text", left, top)


def test_colours_of_neighbours_differ():
    colours = np.array([track_colour(i) for i in range(16)])
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 100).all() and len(np.unique(colours, axis=0)) == 16


def test_what_does_not_fit_the_boxes():
    with pytest.raises(ValueError, match="2 boxes and 1 labels"):
        draw_boxes(np.zeros((9, 9, 3), np.uint8), np.zeros((2, 4)), ["a"])


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.mp4"
    with VideoWriter(path, fps=10) as out:
        for t in range(70):
            out.write(np.full((32, 48, 3), 3 * t, np.uint8), t / 10 + (t > 5) * 0.03)
    return path


def test_redrawn_video_keeps_frames_and_times(small, tmp_path):
    seen, done = [], []

    def paint(frame, time):
        seen.append((frame.shape, time))
        draw_boxes(frame, np.array([[0.25, 0.25, 0.75, 0.75]]), ["left"])

    with VideoReader(small) as reader:
        times = reader.timestamps
        redraw(reader, tmp_path / "out.mp4", paint, least=90, advance=done.append)
    assert sum(done) == 70 and len(done) > 1
    assert seen[0][0] == (96, 144, 3)
    np.testing.assert_allclose([time for _, time in seen], times)
    with VideoReader(tmp_path / "out.mp4") as reader:
        np.testing.assert_allclose(reader.timestamps, times, atol=1e-3)
        dark = reader.read([0])[0]
    assert (reader.height, reader.width) == (96, 144) and dark.max() > 120
