"""`vidjax evaluate flow` on invented folders: figures as each benchmark has them, and damaged files."""

import json

import cv2
import numpy as np
import pytest

from tests.flow_folders import LAYOUTS, invent
from vidjax.__main__ import main


def evaluated(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "flow", *map(str, arguments)])
    return end.value.code


@pytest.mark.parametrize("layout", LAYOUTS)
def test_figures(layout, tmp_path, capsys):
    invent(tmp_path, layout)
    out = tmp_path / "out"
    assert not evaluated(tmp_path, "--layout", layout, "--method", "farneback", "--json", "--out", out)
    summary = json.loads(capsys.readouterr().out)
    assert json.loads((out / "eval.json").read_text()) == summary
    groups = ("clean", "final") if layout == "sintel" else (layout,)
    assert tuple(summary["figures"]) == groups and set(summary["num_pairs"].values()) == {2}
    for figures in summary["figures"].values():
        assert figures["epe"] < (0.5 if layout == "kitti" else 1.5)  # KITTI's is known inside alone
        assert figures["epe_per_pair"] == pytest.approx(figures["epe"], rel=0.5)
    assert not evaluated(tmp_path, "--layout", layout)
    table = capsys.readouterr().out
    assert ("Fl-all" in table) == (layout == "kitti") and all(group in table for group in groups)


def test_damaged_folders(tmp_path, capsys):
    invent(tmp_path, "kitti")
    picture = tmp_path / "training" / "image_2" / "000001_11.png"
    cv2.imwrite(str(picture), np.zeros((48, 60, 3), np.uint8))
    assert evaluated(tmp_path, "--layout", "kitti") == 1
    assert "000001_10.png: flow of (48, 64) pixels between pictures" in " ".join(capsys.readouterr().err.split())
    picture.write_bytes(b"no picture")
    assert evaluated(tmp_path, "--layout", "kitti") == 1
    assert "000001_11.png: cannot be decoded" in " ".join(capsys.readouterr().err.split())
    assert evaluated(tmp_path, "--layout", "kitti", "--method", "raft_small") == 1
    assert "needs its weights" in capsys.readouterr().err
