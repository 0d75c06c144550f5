"""An evaluation for people and programs: its files, the table, one line of figures."""

import json

import pytest
from rich.console import Console

from vidjax.evaluation import report

SUMMARY = {
    "levels": ["clip", "video"], "evaluators": ["classes"], "clip": {"top1": 0.5}, "video": {"top1": 1.0},
    "coverage": 11 / 12, "num_videos": 11, "num_views": 3, "unreadable": [{"path": "x.mp4", "reason": "is empty"}],
}  # fmt: skip


class Writes:
    """An evaluator's part in it."""

    def __init__(self, *names):
        self.names, self.titles = names, []

    def write(self, folder, title):
        assert not (folder / "eval.json").exists(), "it says that the other files are there"
        self.titles.append(title)
        for name in self.names:
            (folder / name).write_text(name)
        return list(self.names)


def test_the_files_of_all_evaluators_are_named_in_what_is_written_last(tmp_path):
    evaluators = [Writes("a.csv"), Writes(), Writes("b.png", "c.npz")]
    report.write(tmp_path / "new", SUMMARY, evaluators, "run, model")
    found = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert (
        found == SUMMARY | {"files": ["a.csv", "b.png", "c.npz"]}
        and [e.titles for e in evaluators] == [["run, model"]] * 3
    )
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.csv", "b.png", "c.npz", "eval.json"]
    assert "files" not in SUMMARY


def test_what_is_no_number_is_null(tmp_path):
    report.write(tmp_path, {"video": {"top1": float("nan")}, "list": [float("inf"), 1.5]}, [])
    assert json.loads((tmp_path / "eval.json").read_text()) == {
        "video": {"top1": None}, "list": [None, 1.5], "files": []
    }  # fmt: skip


def test_a_result_is_whole_with_all_the_files_that_it_names(tmp_path):
    of = {"model": "toy", "step": 3}
    report.write(tmp_path, SUMMARY | of, [Writes("a.csv")])
    assert report.read_whole(tmp_path, of)["video"] == {"top1": 1.0}
    assert report.read_whole(tmp_path, of | {"step": 4}) is None
    (tmp_path / "a.csv").unlink()
    assert report.read_whole(tmp_path, of) is None and report.read_whole(tmp_path / "nowhere", of) is None
    # Older versions did not name them.
    (tmp_path / "eval.json").write_text(json.dumps(SUMMARY | of))
    assert report.read_whole(tmp_path, of) == SUMMARY | of


def test_the_table_says_what_was_scored_and_what_could_not_be_read(capsys):
    report.show(SUMMARY, Console(width=80))
    printed = capsys.readouterr().out
    assert "100.0 %" in printed and "50.0 %" in printed and "11 of 12 videos, 3 views each" in printed
    assert "x.mp4: is empty" in printed
    report.show(SUMMARY | {"num_clips_scored": 20}, Console(width=80))
    assert "up to 3 views each, 20 in all" in capsys.readouterr().out


def test_levels_with_other_figures_have_tables_of_their_own(capsys):
    other = SUMMARY | {"levels": ["clip", "video", "boxes"], "boxes": {"loss": 0.25, "AP": 0.125}}
    report.show(other, Console(width=80))
    printed = capsys.readouterr().out
    assert printed.index("top1") < printed.index("clip") < printed.index("AP") < printed.index("boxes")
    assert "0.2500" in printed and "12.5 %" in printed


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        (
            {"clip": {"top1": 0.5, "top5": 1.0}, "video": {"top1": float("nan"), "top5": 0.75}},
            "clip top-1 50.0 %  top-5 100.0 %   video top-1 n/a  top-5 75.0 %",
        ),
        ({"reconstruction": {"loss": 0.12341, "explained": 0.45}}, "reconstruction loss 0.1234  explained 45.0 %"),
        ({"reconstruction": {"loss": None, "explained": float("nan")}}, "reconstruction loss n/a  explained n/a"),
        ({"video": {"mAP": 0.5}}, "video mAP 50.0 %"),
    ],
)
def test_headline(figures, line):
    assert report.headline(figures) == line
