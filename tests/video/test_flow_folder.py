"""Folders of flow as three projects write them: pattern and first number found by looking, what is refused."""

import cv2
import numpy as np
import pytest

from vidjax.video import VideoError
from vidjax.video.flow_folder import FlowPictures, StoredFlow, find_folder

PATTERNS = {"denseflow": ("flow_{}_{:05d}.jpg", 0), "tsn": ("flow_{}_{:05d}.jpg", 1), "mmaction2": ("{}_{:05d}.jpg", 1)}


def write_fields(folder, count, name="flow_{}_{:05d}.jpg", first=1, size=(16, 24)):
    """Fields in 8 bits of motion to the right and down that tell their number: 100 + number and 60 + number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        for axis, level in (("x", 100 + number), ("y", 60 + number)):
            picture = np.full(size, level, np.uint8)
            cv2.imwrite(str(folder / name.format(axis, first + number)), picture)
    return folder


@pytest.mark.parametrize("project", PATTERNS)
def test_folders_of_three_projects(tmp_path, project):
    name, first = PATTERNS[project]
    folder = write_fields(tmp_path / "v", 12, name, first)
    cv2.imwrite(str(folder / "img_00001.jpg"), np.zeros((16, 24, 3), np.uint8))  # frames beside them
    (folder / "notes.txt").touch()
    stored = StoredFlow("v", FlowPictures(folder), 20.0)
    assert len(stored) == 12 and stored.size == (16, 24) and stored.method == "folder"
    for number in (0, 7, 11):
        field = stored.field(number)
        assert field.shape == (16, 24, 2)
        expected = (np.array([100, 60]) + number - 127.5) * 20 / 127.5
        np.testing.assert_allclose(field.mean(axis=(0, 1)), expected, atol=1e-4)


def test_truncated_values_stand_for_their_middle(tmp_path):
    stored = StoredFlow("v", FlowPictures(write_fields(tmp_path / "v", 28, size=(8, 8))), 20.0, "truncated")
    assert np.abs(stored.field(27)[..., 0]).max() < 1e-5  # 127: no motion


def test_one_picture_with_both_directions():
    both = np.concatenate([np.full((8, 10), 255, np.uint8), np.full((8, 10), 0, np.uint8)])
    field = StoredFlow("v", [(cv2.imencode(".png", both)[1].tobytes(),)], 8.0).field(0)
    assert field.shape == (8, 10, 2) and (field == np.float32([8, -8])).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("img_1.jpg",), "holds no pictures of flow, such as flow_x_00001.jpg"),
        (("x_1.jpg", "y_1.jpg", "x_2.jpg"), "lacks the flow y of 2"),
        (("x_1.jpg", "y_1.jpg", "x_3.jpg", "y_3.jpg"), "lacks the flow x of 2, y of 2"),
        (("x_1.jpg", "y_1.jpg", "flow_x_1.jpg", "flow_y_1.jpg"), "several kinds of flow"),
        (("flow_x_p2_0.jpg", "flow_y_p2_0.jpg"), "flow over a step of 2 frames; extract it between neighbours"),
        (("flow_x_m1_1.jpg", "flow_y_m1_1.jpg"), "flow over a step of -1 frames"),
    ],
)
def test_what_is_no_flow(tmp_path, names, message):
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    with pytest.raises(VideoError, match=message):
        FlowPictures(tmp_path)


def test_damaged_pictures(tmp_path):
    folder = write_fields(tmp_path / "v", 3)
    stored = StoredFlow("v", FlowPictures(folder), 20.0)
    (folder / "flow_x_00002.jpg").write_bytes(b"nothing")
    cv2.imwrite(str(folder / "flow_y_00003.jpg"), np.zeros((4, 4), np.uint8))
    with pytest.raises(VideoError, match="v: field 1 of 3 does not decode"):
        stored.field(1)
    with pytest.raises(VideoError, match="v: field 2 has pictures of different sizes"):
        stored.field(2)


def test_the_folder_of_a_video(tmp_path):
    for folder in ("flow/a", "flow/run/b", "videos"):
        (tmp_path / folder).mkdir(parents=True)
    root = str(tmp_path / "flow")
    assert find_folder(root, str(tmp_path / "videos" / "a.mp4")) == str(tmp_path / "flow" / "a")
    assert find_folder(root, str(tmp_path / "run" / "b.avi")) == str(tmp_path / "flow" / "run" / "b")
    assert find_folder("", str(tmp_path / "flow" / "a")) == str(tmp_path / "flow" / "a")
    with pytest.raises(VideoError, match=r"c.mp4: has no folder of flow: there is neither .*/flow/c nor"):
        find_folder(root, str(tmp_path / "videos" / "c.mp4"))
    with pytest.raises(VideoError, match=r"a.mp4: is no folder of flow; name the folder of such folders"):
        find_folder("", str(tmp_path / "a.mp4"))
