"""Checks of splits: each warns of a data set made to trigger it, and not without."""

import pytest

from vidjax.data.audit.split_checks import check_classes, check_overlap, content_digests
from vidjax.data.records import Boxes, Labels, LabelSpace, Record, VideoSet

NAMES = ("run", "sit")


def videos(labels, start=0, **fields):
    return VideoSet(
        tuple(Record(f"{start + i}.mp4", Labels((label,)), **fields) for i, label in enumerate(labels)),
        LabelSpace(NAMES),
    )


def test_even_classes():
    finding = check_classes(videos([0] * 5 + [1] * 3), videos([0, 1]))
    assert finding.ok and finding.values["counts"] == {"run": 5, "sit": 3}
    assert "always 'run' would be right on 62.5 %" in finding.text


def test_imbalance():
    finding = check_classes(videos([0] * 12 + [1] * 2), videos([0, 1]))
    assert not finding.ok and finding.values["ratio"] == 6.0 and "6.0-fold" in finding.text
    assert 1 < finding.values["effective_classes"] < 2


def test_class_without_evaluation():
    finding = check_classes(videos([0, 1]), videos([0, 0]))
    assert not finding.ok and finding.values["absent_in_evaluation"] == ["sit"]


def test_several_labels_count_each():
    both = VideoSet((Record("a.mp4", Labels((0, 1))), Record("b.mp4", Labels((0,)))), LabelSpace(NAMES, several=True))
    assert check_classes(both, both).values["counts"] == {"run": 2, "sit": 1}


def test_separate_splits():
    finding = check_overlap(videos([0, 1]), videos([0, 1], start=2), {})
    assert finding.ok and finding.values == {"same_path": 0, "same_group": 0, "same_content": 0, "labelled_twice": 0}


def test_same_group():
    finding = check_overlap(videos([0, 1], group="x"), videos([0, 1, 1], start=2, group="x"), {})
    assert not finding.ok and finding.values["same_group"] == 3
    assert "3 of 3 evaluation videos share a group" in finding.text
    assert check_overlap(videos([0], group="x"), videos([0], start=2, group="y"), {}).ok


def test_same_path():
    finding = check_overlap(videos([0, 1]), videos([0, 1], start=1), {})
    assert not finding.ok and finding.values["same_path"] == 1 and finding.videos == ("1.mp4",)
    assert finding.values["labelled_twice"] == 1  # 1.mp4 is "sit" in one and "run" in the other


@pytest.fixture
def copies(tmp_path):
    """a and c have the same bytes, b the same number of them, d is alone with its size."""
    for name, content in {"a": b"1234", "b": b"4321", "c": b"1234", "d": b"12345"}.items():
        (tmp_path / name).write_bytes(content)
    return lambda name, label=0: Record(str(tmp_path / name), Labels((label,)))


def test_same_content(copies):
    train = VideoSet((copies("a"), copies("b")), LabelSpace(NAMES))
    evaluation = VideoSet((copies("c"), copies("d")), LabelSpace(NAMES))
    digests = content_digests(r.path for r in (*train.records, *evaluation.records))
    assert len(digests) == 3 and len(set(digests.values())) == 2  # d needs no reading
    finding = check_overlap(train, evaluation, digests)
    assert not finding.ok and finding.values["same_content"] == 1 and finding.videos == (copies("c").path,)
    assert finding.values["labelled_twice"] == 0


def test_same_content_under_two_labels_within_a_split(copies):
    train = VideoSet((copies("a", 0), copies("c", 1)), LabelSpace(NAMES))
    finding = check_overlap(train, videos([0]), content_digests(r.path for r in train.records))
    assert not finding.ok and finding.values["labelled_twice"] == 1 and finding.values["same_content"] == 0


def test_what_is_no_file_has_no_digest(tmp_path):
    assert content_digests([str(tmp_path), str(tmp_path / "missing"), "set::train:0::a.mp4"]) == {}


def test_classes_of_boxes_are_counted():
    boxes = Boxes(1.0, ((0, 0, 1, 1),) * 3, ((0,), (0, 1), (0,)))
    videos = VideoSet((Record("a.mp4", boxes, at=1.0),), LabelSpace(("run", "jump"), several=True))
    found = check_classes(videos, videos)
    assert found.ok and found.values["counts"] == {"run": 3, "jump": 1}
    assert "2 classes of 1 (jump) to 3 (run) training boxes; always 'run' would be right on 100.0 %" in found.text
