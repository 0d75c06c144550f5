"""Generated scenes: what their sentences say is what they show."""

import csv
import json
from collections import Counter

import cv2
import numpy as np
import pytest

from vidjax.data.listing.sources import open_sources, read_rows
from vidjax.data.records import Caption, Masks
from vidjax.data.synthetic_scenes import ANNOTATED, GRAMMAR, draw_scene, write_scenes
from vidjax.errors import UserError

SCENES = [draw_scene(np.random.default_rng(i)) for i in range(200)]
WORDS = {"a", "and", *GRAMMAR["colour"], *GRAMMAR["form"], *" ".join(GRAMMAR["motion"]).split(), "behind", "in",
         "front", "of"}  # fmt: skip


def test_every_word_is_in_the_grammar():
    assert {word for scene in SCENES for word in scene.sentence.split()} == WORDS
    assert len({scene.sentence for scene in SCENES}) > 190


def test_shapes_move_as_the_sentence_says():
    for scene in SCENES[:40]:
        for number, shape in enumerate(scene.shapes, 1):
            assert f"{shape.name} {shape.motion}" in scene.sentence or (scene.order and shape.name in scene.sentence)
            right, down = GRAMMAR["motion"][shape.motion][:2]
            first, second = (np.array(np.nonzero(scene.mask(t) == number)) for t in (9, 10))
            if scene.order or min(first.min(), second.min()) < 4 or max(first.max(), second.max()) > 59:
                continue  # partly hidden, or across a border
            if len(first[0]) == len(second[0]):
                moved = second.mean(axis=1) - first.mean(axis=1)
                assert np.sign(np.round(moved, 1)).tolist() == [down, right]


def test_one_is_behind_the_other_and_moves_with_it():
    for scene in (scene for scene in SCENES[:60] if scene.order):
        first, second = scene.told
        assert first.motion == second.motion and first.speed == second.speed
        farther = scene.shapes[0]
        assert farther is (first if scene.order == "behind" else second)


@pytest.mark.parametrize("frame", [0, 10, 19])
def test_a_single_frame_does_not_tell_the_motion(frame):
    """Places of shapes that move left are those of shapes that move right, to the accuracy of their number."""
    places = {motion: [] for motion in GRAMMAR["motion"]}
    for scene in SCENES:
        for shape in scene.shapes:
            right, down = GRAMMAR["motion"][shape.motion][:2]
            places[shape.motion].append((np.array(shape.start) + frame * shape.speed * np.array([right, down])) % 64)
    for found in places.values():
        means = np.array(found).mean(axis=0)
        assert np.abs(means - 32).max() < 4 * 64 / np.sqrt(12 * len(found))


def test_questions_have_answers_of_one_word():
    answers = Counter(answer for scene in SCENES for _, answer in scene.questions())
    assert answers.keys() == {*GRAMMAR["colour"], *GRAMMAR["form"], "left", "right", "up", "down", "nowhere", "two",
                              "three"}  # fmt: skip
    for scene in SCENES[:20]:
        asked = dict(scene.questions())
        for shape in scene.shapes:
            assert asked[f"where does the {shape.name} move?"] in (shape.motion.split()[-1], "nowhere")


def test_the_lists_are_read_as_they_are_written(tmp_path):
    folder = write_scenes(tmp_path, num_train=2, num_eval=3, size=32)
    rows = read_rows(open_sources(str(folder / "val.csv"), "", frozenset({"caption"})), frozenset({"caption"}))
    assert len(rows) == 3 and all(isinstance(row.annotation, Caption) for row in rows)
    assert len({row.annotation.texts for row in rows}) == 3
    masks = read_rows(open_sources(str(folder / "val_masks.jsonl"), "", frozenset({"masks"})), frozenset({"masks"}))
    assert all(isinstance(row.annotation, Masks) for row in masks)
    picture = cv2.imread(f"{masks[0].annotation.path}/{ANNOTATED[0]:05d}.png", cv2.IMREAD_UNCHANGED)
    assert picture.shape == (32, 32) and picture.max() in (2, 3)
    boxes = read_rows(open_sources(str(folder / "val_boxes.csv"), "", frozenset({"boxes"})), frozenset({"boxes"}))
    assert len(boxes) == 3 * len(ANNOTATED) and boxes[0].annotation.tracks
    with open(folder / "val_questions.csv", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == {f"val/{i:04d}.mp4" for i in range(3)}
    assert json.loads((folder / "scenes.json").read_text())["num_eval"] == 3
    with pytest.raises(UserError, match="holds moving shapes made with"):
        write_scenes(tmp_path, num_train=2, num_eval=4, size=32)
    with pytest.raises(UserError, match="num_frames = 5: must be 18 or more"):
        write_scenes(tmp_path / "other", num_frames=5)
