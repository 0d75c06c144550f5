"""Folders of images as videos: order, several patterns of names, and what is refused."""

import cv2
import numpy as np
import pytest

from vidjax.video import VideoError
from vidjax.video.image_folder import ImageFiles


def fill(folder, *names):
    for i, name in enumerate(names):
        (folder / name).write_bytes(cv2.imencode(".jpg", np.full((8, 8, 3), 8 * i, np.uint8))[1].tobytes())
    return folder


@pytest.mark.parametrize("pattern", ["{:05d}.jpg", "img_{:05d}.jpg", "frame{}.JPEG", "{}.png"])
def test_order_is_that_of_the_numbers(tmp_path, pattern):
    order = [10, 2, 1, 9, 3, 4, 8, 5, 7, 6]
    fill(tmp_path, *(pattern.format(n) for n in order))
    (tmp_path / "notes.txt").touch()
    images = ImageFiles(tmp_path)
    assert len(images) == 10
    shown = [round(cv2.imdecode(np.frombuffer(b, np.uint8), 0).mean() / 8) for b in images]
    assert shown == [order.index(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "without numbered images"),
        (("cover.jpg",), "without numbered images"),
        (("img_1.jpg", "depth_1.jpg"), "several kinds.*'depth_…', 'img_…'"),
        (("1.jpg", "2.jpg", "5.jpg"), "lacks the images 3, 4 between 1 and 5"),
    ],
)
def test_what_is_no_video(tmp_path, names, message):
    with pytest.raises(VideoError, match=message):
        ImageFiles(fill(tmp_path, *names))


def test_flow_beside_the_frames_is_not_theirs(tmp_path):
    fill(tmp_path, "img_1.jpg", "img_2.jpg", "flow_x_1.jpg", "flow_y_1.jpg", "x_1.jpg")
    assert len(ImageFiles(tmp_path)) == 2


def test_image_that_is_gone(tmp_path):
    images = ImageFiles(fill(tmp_path, "1.jpg", "2.jpg"))
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(VideoError, match=r"2.jpg: no such file"):
        images[1]
