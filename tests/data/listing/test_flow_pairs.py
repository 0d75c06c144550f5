"""Folders of benchmarks with true flow, as they are unpacked, and what is missing in them."""

from pathlib import Path

import pytest

from tests.flow_folders import LAYOUTS, invent
from vidjax.config import DataConfig
from vidjax.data.listing.flow_pairs import FlowFolder, flow_pairs
from vidjax.data.listing.load import load_sets
from vidjax.data.records import TrueFlow
from vidjax.data.text import DataError
from vidjax.errors import UserError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_in_order(layout, tmp_path):
    invent(tmp_path, layout)
    pairs = flow_pairs(tmp_path, layout)
    found = [(*(path.relative_to(tmp_path).as_posix() for path in (p.first, p.second, p.true)), p.group) for p in pairs]
    wanted = {
        "sintel": [
            (f"training/{group}/alley/frame_000{n}.png", f"training/{group}/alley/frame_000{n + 1}.png",
             f"training/flow/alley/frame_000{n}.flo", group)
            for group in ("clean", "final") for n in (1, 2)
        ],
        "kitti": [
            (f"training/image_2/00000{n}_10.png", f"training/image_2/00000{n}_11.png",
             f"training/flow_occ/00000{n}_10.png", "") for n in (0, 1)
        ],
        "chairs": [
            (f"data/0000{n}_img1.ppm", f"data/0000{n}_img2.ppm", f"data/0000{n}_flow.flo", "") for n in (1, 2)
        ],
    }  # fmt: skip
    assert found == wanted[layout]


def test_chairs_of_the_validation(tmp_path):
    invent(tmp_path, "chairs")
    for name, content, count in (("chairs_split.txt", "1\n2\n", 1), ("chairs_split.txt", "2\n2", 2)):
        (tmp_path / name).write_text(content)
        assert len(flow_pairs(tmp_path, "chairs")) == count
    (tmp_path / "chairs_split.txt").write_text("1 2 2")
    with pytest.raises(UserError, match=r"chairs_split.txt: has 3 entries; expected 1 or 2 for each of 2 pairs"):
        flow_pairs(tmp_path, "chairs")


def test_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="--layout spring: must be one of sintel, kitti, chairs"):
        flow_pairs(tmp_path, "spring")
    with pytest.raises(UserError, match="absent: is no folder"):
        flow_pairs(tmp_path / "absent", "sintel")
    for layout, message in (
        ("sintel", "clean, final and flow"),
        ("kitti", "image_2"),
        ("chairs", "no file of true flow"),
    ):
        with pytest.raises(UserError, match=message):
            flow_pairs(tmp_path, layout)
    invent(tmp_path, "kitti")
    (tmp_path / "training" / "image_2" / "000001_11.png").unlink()
    with pytest.raises(UserError, match=r"000001_11\.png: no such picture, but there is its flow .*000001_10\.png"):
        flow_pairs(tmp_path, "kitti")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_as_sources_of_training(tmp_path, layout):
    """The layout is found by looking; a row is the pair that evaluation lists."""
    invent(tmp_path, layout)
    rows, pairs = FlowFolder("data", str(tmp_path)).rows(), flow_pairs(tmp_path, layout)
    assert [(row.path, row.annotation) for row in rows] == [
        (str(pair.first), TrueFlow(str(pair.second), str(pair.true))) for pair in pairs
    ]
    assert {row.group for row in rows} == ({"alley"} if layout == "sintel" else {""})


def test_splits_of_folders_and_folders_without_flow(tmp_path):
    invent(tmp_path, "chairs")
    (tmp_path / "chairs_split.txt").write_text("2 1")
    assert [row.split for row in FlowFolder("data", str(tmp_path)).rows()] == ["val", "train"]
    config = DataConfig(train=str(tmp_path))
    train, held_out = load_sets(config, kinds=FlowFolder.kinds)
    assert [[Path(record.path).name for record in videos.records] for videos in (train, held_out)] == [
        ["00002_img1.ppm"], ["00001_img1.ppm"],
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no true flow found; expected the folder of a benchmark: Sintel \(training"):
        load_sets(DataConfig(train=str(tmp_path / "empty")), kinds=FlowFolder.kinds)
    (tmp_path / "data" / "00002_img2.ppm").unlink()
    with pytest.raises(DataError, match=r"00002_img2\.ppm: no such picture"):
        load_sets(config, kinds=FlowFolder.kinds)
