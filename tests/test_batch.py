"""Layouts: examples stacked and filled up, what does not fit named, shapes, bytes, made-up batches."""

import chex
import numpy as np
import pytest

from vidjax.batch import BatchLayout, layout_of
from vidjax.inputs import FeatureInput, Field, VideoInput

BOXES = Field((3, 4), "float32", ragged=True, fill=-1.0)
LAYOUT = BatchLayout(
    {"video": Field((2, 5), "uint8", below=256)}, {"label": Field((), "int32", below=7), "boxes": BOXES}
)


def example(count, boxes=3, index=0, **extras):
    inputs = {"video": np.full((count, 2, 5), 9, np.uint8)}
    targets = {"label": np.full(count, 4, np.int32), "boxes": np.ones((count, boxes, 4), np.float32)}
    return {"inputs": inputs, "targets": targets, "index": np.int64(index), "mask": np.True_, "bad": [], **extras}


def test_examples_are_stacked():
    batch = LAYOUT.collate([example(2, index=5), example(2, index=6, bad=["x"])])
    chex.assert_shape(batch["inputs"]["video"], (2, 2, 2, 5))
    chex.assert_shape([batch["targets"]["label"], batch["targets"]["boxes"]], [(2, 2), (2, 2, 3, 4)])
    assert batch["index"].tolist() == [5, 6] and batch["mask"].tolist() == [True, True] and batch["bad"] == ["x"]
    assert "views" not in batch
    LAYOUT.check(batch)


def test_missing_views_are_filled_up_with_empty_ones():
    batch = LAYOUT.collate([example(1, views=np.int64(1)), example(3, views=np.int64(3))])
    inputs, targets = batch["inputs"], batch["targets"]
    assert batch["views"].tolist() == [1, 3]
    assert (inputs["video"][0, :1] == 9).all() and (inputs["video"][1] == 9).all()
    assert not inputs["video"][0, 1:].any() and targets["label"].tolist() == [[4, 0, 0], [4, 4, 4]]
    assert (targets["boxes"][0, :1] == 1).all() and (targets["boxes"][0, 1:] == -1).all()
    chex.assert_type([inputs["video"], targets["label"], targets["boxes"]], [np.uint8, np.int32, np.float32])
    LAYOUT.check(batch)


def test_ragged_fields_are_filled_up_to_their_length():
    examples = [example(2, boxes=0), example(2, boxes=2), example(1, boxes=3)]
    batch = LAYOUT.collate(examples)
    boxes = batch["targets"]["boxes"]
    chex.assert_shape(boxes, (3, 2, 3, 4))
    chex.assert_type(boxes, np.float32)
    assert [(boxes[i, 0] == 1).all(axis=-1).sum() for i in range(3)] == [0, 2, 3]
    assert (boxes[0] == -1).all() and (boxes[1, :, 2:] == -1).all() and (boxes[2, 1] == -1).all()
    assert [e["targets"]["boxes"].shape[1] for e in examples] == [0, 2, 3]  # they stay as they were
    LAYOUT.check(batch)


def test_examples_for_evaluation_have_no_targets():
    examples = [{k: v for k, v in example(n).items() if k != "targets"} for n in (1, 2)]
    batch = LAYOUT.collate(examples)
    assert "targets" not in batch and batch["inputs"]["video"].shape == (2, 2, 2, 5)


def without(group, name, like):
    return like | {group: {k: v for k, v in like[group].items() if k != name}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (without("inputs", "video", example(1)), r"inputs: has \[\], not \['video'\]"),
        (without("targets", "label", example(1)), r"targets: has \['boxes'\], not \['boxes', 'label'\]"),
        ({"targets": example(1)["targets"]}, r"inputs: has \[\], not \['video'\]"),
        (example(1) | {"targets": example(1)["targets"] | {"more": np.zeros(1)}}, r"targets: has .*'more'\], not"),
        (
            example(1) | {"inputs": {"video": np.zeros((1, 5, 2), np.uint8)}},
            r"inputs/video: is uint8 \(5, 2\) for a view, not uint8 \(2, 5\)",
        ),
        (example(1) | {"inputs": {"video": np.zeros((1, 2, 5))}}, r"inputs/video: is float64 \(2, 5\) for a view"),
        (example(1, boxes=4), r"targets/boxes: is float32 \(4, 4\) for a view, not float32 \(3, 4\) at most"),
    ],
)
def test_what_is_absent_or_misshaped_is_named(wrong, message):
    with pytest.raises(ValueError, match=f"a batch does not match its layout: .*{message}"):
        LAYOUT.check(wrong, lead=1)
    with pytest.raises(ValueError, match=message):
        LAYOUT.collate([example(1), wrong])


def test_a_batch_is_whole():
    """What is ragged in examples is so no more in batches."""
    batch = {"inputs": LAYOUT.draw(2, 3)["inputs"], "targets": LAYOUT.draw(2, 3)["targets"]}
    LAYOUT.check(batch)
    batch["targets"]["boxes"] = batch["targets"]["boxes"][:, :, :2]
    with pytest.raises(ValueError, match=r"targets/boxes: is float32 \(2, 4\) for a view, not float32 \(3, 4\)$"):
        LAYOUT.check(batch)


def test_every_problem_is_named():
    wrong = example(1, boxes=4) | {"inputs": {}}
    with pytest.raises(ValueError, match=r"inputs: has .*; targets/boxes: is"):
        LAYOUT.check(wrong, lead=1)


def test_shapes_and_bytes():
    assert LAYOUT.shapes(6, 2) == {
        "inputs": {"video": ((6, 2, 2, 5), np.dtype("uint8"))},
        "targets": {"label": ((6, 2), np.dtype("int32")), "boxes": ((6, 2, 3, 4), np.dtype("float32"))},
    }
    assert LAYOUT.bytes(6, 2) == 6 * 2 * 2 * 5  # of the inputs
    assert BatchLayout({"boxes": BOXES, "time": Field((), "int64")}).bytes(1, 1) == 3 * 4 * 4 + 8
    several = layout_of({"video": VideoInput(4, size=8), "sound": FeatureInput(5, 16)})
    assert several.bytes(1, 1) == 4 * 8 * 8 * 3 + 5 * 16 * 4 and several.targets == {}


def test_empty_examples_are_of_the_layout():
    empty = LAYOUT.empty(3)
    chex.assert_shape(empty["inputs"]["video"], (3, 2, 5))
    assert not empty["inputs"]["video"].any()
    LAYOUT.check(empty, lead=1)


def test_made_up_batches_are_of_the_layout_and_within_bounds():
    batch, again, other = LAYOUT.draw(40, 3), LAYOUT.draw(40, 3), LAYOUT.draw(40, 3, seed=1)
    LAYOUT.check(batch)
    chex.assert_trees_all_equal(batch, again)
    assert not np.array_equal(batch["inputs"]["video"], other["inputs"]["video"])
    assert set(np.unique(batch["targets"]["label"])) == set(range(7))
    assert batch["inputs"]["video"].max() > 240 and batch["inputs"]["video"].min() < 15
    sound = BatchLayout({"sound": Field((50,), "int16")}).draw(2, 1)["inputs"]["sound"]
    assert sound.dtype == np.int16 and sound.min() < 0 < sound.max()
