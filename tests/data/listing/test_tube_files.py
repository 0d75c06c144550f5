"""Files of tubes: read, and wrong tubes named."""

import json

import pytest

from vidjax.data.listing.tube_files import read_tubes
from vidjax.data.text import DataError

TUBE = {"video": "v", "label": "run", "score": 0.5, "frames": [3, 4], "boxes": [[0, 0, 1, 1], [0, 0, 1, 2]]}


def write(tmp_path, tubes):
    (tmp_path / "t.json").write_text(json.dumps(tubes))
    return tmp_path / "t.json"


def test_tubes_are_read(tmp_path):
    truth = {name: value for name, value in TUBE.items() if name != "score"}
    first, second = read_tubes(write(tmp_path, {"tubes": [TUBE, truth]}))
    assert (first.video, first.label, first.frames.tolist(), first.score) == ("v", "run", [3, 4], 0.5)
    assert first.boxes.tolist() == TUBE["boxes"] and second.score != second.score


@pytest.mark.parametrize(
    "change",
    [
        {"frames": [4, 3]}, {"frames": [3, 3]}, {"frames": [3.5, 4]}, {"frames": [3]}, {"frames": [], "boxes": []},
        {"boxes": [[0, 0, 1, 1], [1, 0, 0, 2]]}, {"boxes": [[0, 0, 1], [0, 0, 1]]}, {"boxes": None}, {"video": 3},
        {"label": None}, {"score": "high"},
    ],
)  # fmt: skip
def test_wrong_tubes_are_named_by_their_number(tmp_path, change):
    with pytest.raises(DataError, match=r"t.json: tube 2 needs a video, a label, rising whole numbers"):
        read_tubes(write(tmp_path, {"tubes": [TUBE, TUBE | change, TUBE]}))


def test_predictions_need_scores(tmp_path):
    with pytest.raises(DataError, match="tube 1 needs a finite score"):
        read_tubes(write(tmp_path, {"tubes": [TUBE | {"score": float("nan")}]}), scored=True)
    with pytest.raises(DataError, match="no 'tubes' in it"):
        read_tubes(write(tmp_path, {"results": {}}))
