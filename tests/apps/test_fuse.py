"""`python -m vidjax fuse`, on the scores that evaluations leave."""

import json

import numpy as np

from vidjax.__main__ import main
from vidjax.evaluation.fusion import read_scores


def evaluation(folder, paths, scores):
    folder.mkdir()
    arrays = {"paths": np.array(list(paths)), "class_names": np.array(["left", "right"]), "scores": np.array(scores)}
    np.savez(folder / "scores.npz", targets=np.array([0, 1, 0][: len(paths)]), **arrays)
    return str(folder)


def test_two_runs_together(tmp_path, capsys):
    rgb = evaluation(tmp_path / "rgb", "abc", [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
    flow = evaluation(tmp_path / "flow", "ab", [[0.4, 0.6], [0.1, 0.9]])
    assert main(["fuse", rgb, flow, "--json", "--out", str(tmp_path / "both")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [run["top1"] for run in summary["runs"]] == [0.5, 0.5] and summary["fused"]["top1"] == 1.0
    assert (summary["num_videos"], summary["coverage"]) == (2, 2 / 3)
    assert read_scores(tmp_path / "both").paths.tolist() == ["a", "b"]
    assert main(["fuse", rgb, flow, "--weights", "1", "0"]) == 0
    out = capsys.readouterr().out
    assert "together" in out and "50.00 %" in out and "2 of 3 videos" in out


def test_logits_of_two_runs_added(tmp_path):
    rgb = evaluation(tmp_path / "rgb", "ab", [[0.9, 0.1], [0.6, 0.4]])
    flow = evaluation(tmp_path / "flow", "ab", [[0.4, 0.6], [0.1, 0.9]])
    out = tmp_path / "both"
    assert main(["fuse", rgb, flow, "--scores", "logits", "--weights", "1", "1", "--out", str(out)]) == 0
    np.testing.assert_allclose(read_scores(out).scores[:, 0], [0.36 / (0.36 + 0.06), 0.06 / (0.06 + 0.36)], rtol=1e-6)


def test_an_error_names_the_folder(tmp_path, capsys):
    assert main(["fuse", str(tmp_path), str(tmp_path)]) == 1
    assert f"{tmp_path}/scores.npz holds no scores" in capsys.readouterr().err


def test_other_views_are_warned_of(tmp_path, capsys):
    runs = []
    for clips in (1, 10):
        runs.append(evaluation(tmp_path / f"{clips}", "ab", [[0.9, 0.1], [0.6, 0.4]]))
        views = {"num_clips": clips, "num_crops": 1, "sampling": "multi_clip"}
        data = {"name": "val.csv", "num_videos": 2, "fingerprint": "0"}
        told = {"step": 3, "checkpoint": "best", "views": views, "data": data}
        (tmp_path / f"{clips}" / "eval.json").write_text(json.dumps(told))
    assert main(["fuse", *runs]) == 0
    assert f"warning: evaluated with different views: 1 clip × 1 crop ({runs[0]}); 10 cl" in capsys.readouterr().err
    assert main(["fuse", runs[0], f"{runs[0]}/scores.npz"]) == 0
    assert "warning" not in capsys.readouterr().err
