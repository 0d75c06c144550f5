"""`python -m vidjax compare`, on what runs leave in their work directories."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from vidjax.__main__ import main
from vidjax.config import Config, ModelConfig, to_dict
from vidjax.models.cost import model_cost


def run(folder, name, seed, video, *, clip=0.5, measure="top1", of=None, **kwargs):
    folder.mkdir(parents=True)
    config = Config(seed=seed, model=ModelConfig(name=name, kwargs=kwargs))
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    result = {
        "clip": {measure: clip, "top5": 1.0},
        "video": {measure: video, "top5": 1.0},
        "per_class": {"a": 0, "b": 0},
    } | (of or {})
    (folder / "eval.json").write_text(json.dumps(result))
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    return [
        run(tmp_path / "tsm0", "tsm_tiny", 0, 0.5),
        run(tmp_path / "tsm1", "tsm_tiny", 1, 0.7),
        run(tmp_path / "pool", "frame_pool_tiny", 0, 0.9, temporal_pooling="max"),
        str(tmp_path / "not_there"),
    ]


def test_seeds_go_together(runs, tmp_path, capsys):
    plot = tmp_path / "plots" / "x.png"
    assert main(["compare", *runs, "--json", "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    best, other = json.loads(out)["runs"]
    assert (best["label"], best["video"]["deviation"]) == ("frame_pool_tiny, temporal_pooling=max", None)
    assert (other["label"], other["seeds"]) == ("tsm_tiny", [0, 1])
    np.testing.assert_allclose([other["video"]["mean"], other["video"]["deviation"]], [0.6, np.sqrt(0.02)])
    assert "1 without eval.json left out" in err and runs[3] in err and f"plot in {plot}" in err
    picture = imread(plot)[..., :3]
    bars = np.isclose(picture, np.array([0x7A, 0xA6, 0xD8]) / 255, atol=0.01).all(-1)
    lengths = bars.sum(axis=1)[bars.any(axis=1)]
    upper, lower = np.split(lengths[: len(lengths) // 2 * 2], 2)
    np.testing.assert_allclose(np.median(upper) / np.median(lower), 0.9 / 0.6, atol=0.05)


def test_accuracy_against_cost(runs, tmp_path, capsys):
    plot = tmp_path / "costs.png"
    assert main(["compare", *runs, "--gmacs", "--json", "--plot", str(plot)]) == 0
    pool, tsm = json.loads(capsys.readouterr().out)["runs"]
    for row, name in ((pool, "frame_pool_tiny"), (tsm, "tsm_tiny")):
        np.testing.assert_allclose(row["gmacs"], model_cost(name, num_classes=2).gmacs)
    assert imread(plot).shape[1] == 990
    assert main(["compare", *runs, "--gmacs", "--markdown", "--plot", ""]) == 0
    assert f"| 90.0 % | {pool['gmacs']:.3g} | 1 |" in capsys.readouterr().out


def test_tables(runs, capsys):
    assert main(["compare", *runs, "--plot", ""]) == 0
    out, err = capsys.readouterr()
    assert "60.0 ± 14.1 %" in out and "90.0 %" in out and "plot" not in err
    assert main(["compare", *runs, "--plot", "", "--markdown"]) == 0
    assert "| `tsm_tiny` | 50.0 ± 0.0 % | 60.0 ± 14.1 % | 2 |" in capsys.readouterr().out


def test_settings_that_came_later_are_no_difference(runs, capsys):
    path = Path(runs[0], "config.json")
    config = json.loads(path.read_text())
    del config["train"]["batch_norm"], config["mesh"]
    path.write_text(json.dumps(config))
    assert main(["compare", *runs, "--plot", "", "--markdown"]) == 0
    assert "| `tsm_tiny` | 50.0 ± 0.0 % | 60.0 ± 14.1 % | 2 |" in capsys.readouterr().out


def test_settings_to_show(runs, capsys):
    assert main(["compare", *runs, "--plot", "", "--markdown", "--show", "train.batch_size"]) == 0
    out = capsys.readouterr().out
    assert "| `frame_pool_tiny, batch_size=16` |" in out and "| `tsm_tiny, batch_size=16` |" in out
    assert main(["compare", *runs, "--plot", "", "--show", "train.size"]) == 1
    assert "--show train.size: not a setting" in capsys.readouterr().err


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    assert main(["compare", runs[3]]) == 1
    assert "has an eval.json: train or evaluate first" in capsys.readouterr().err
    other = run(tmp_path / "charades", "tsm_tiny", 0, 0.3, measure="mAP")
    assert main(["compare", runs[0], other]) == 1
    assert f"{other} by mAP" in capsys.readouterr().err
    (tmp_path / "tsm0" / "eval.json").write_text('{"reconstruction": {"explained": 0.5}}')
    assert main(["compare", runs[0]]) == 1
    assert f"{runs[0]} reports reconstruction, and no accuracy of videos" in capsys.readouterr().err


def of(clips=1, *, step=24, checkpoint="best", data="val.csv"):
    """What `eval.json` says of itself."""
    return {
        "step": step, "checkpoint": checkpoint, "best_metric": "video/top1", "spec": {"num_frames": 4, "size": 56},
        "views": {"num_clips": clips, "num_crops": 1, "sampling": "multi_clip"},
        "data": {"name": data, "source": data, "num_videos": 43, "fingerprint": data},
    }  # fmt: skip


def test_an_evaluation_with_other_views_is_no_second_seed_and_a_warning_says_so(tmp_path, capsys):
    one = run(tmp_path / "a", "tsm_tiny", 0, 0.5, of=of())
    other = run(tmp_path / "a" / "eval_10x1", "tsm_tiny", 0, 0.6, of=of(10))
    seed = run(tmp_path / "b" / "eval_10x1", "tsm_tiny", 1, 0.8, of=of(10))
    assert main(["compare", one, other, seed, "--json"]) == 0
    out, err = capsys.readouterr()
    assert [(r["label"], r["seeds"], r["video"]["mean"]) for r in json.loads(out)["runs"]] == [
        ("tsm_tiny, 10×1 views", [0, 1], 0.7), ("tsm_tiny, 1×1 views", [0], 0.5)
    ]  # fmt: skip
    assert "warning: evaluated with different views: 1 clip × 1 crop" in err and "10 clips × 1 crop" in err
    assert one in err and seed in err


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (of(step=12, checkpoint="last"), "different checkpoints: the best (.*); the last"),
        (of(step=12, checkpoint="earlier"), "different checkpoints: the best (.*); that of update 12"),
        (of(data="val2.csv"), "different videos: 43 of val.csv (.*); 43 of val2.csv"),
    ],
)
def test_other_checkpoints_and_videos_are_warned_of(tmp_path, capsys, kind, what):
    runs = [run(tmp_path / "a", "tsm_tiny", 0, 0.5, of=of()), run(tmp_path / "b", "slow_tiny", 0, 0.5, of=kind)]
    assert main(["compare", *runs, "--json"]) == 0
    assert re.search(f"warning: evaluated with {what}", capsys.readouterr().err)
    assert main(["compare", runs[0], runs[0], "--json"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_json_draws_nothing_unless_asked(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *runs, "--json"]) == 0
    assert not (tmp_path / "compare.png").exists()
    assert main(["compare", *runs]) == 0
    assert (tmp_path / "compare.png").exists() and capsys.readouterr()


def drawn(monkeypatch, runs, tmp_path):
    """The axes of the plot, and its figure drawn."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    main(["compare", *runs, "--plot", str(tmp_path / "x.png")])
    (figure,) = figures
    figure.draw_without_rendering()
    return figure, figure.axes[0]


def test_labels_of_the_plot_do_not_touch(tmp_path, monkeypatch):
    long = {f"argument_{i}": "a long value" for i in range(4)}
    names = ("tsm_tiny", "slow_tiny", "csn_tiny", "r2plus1d_tiny")
    runs = [run(tmp_path / n, n, 0, 0.5, **{f"{n[:3]}_{k}": v for k, v in long.items()}) for n in names]
    _, axes = drawn(monkeypatch, runs, tmp_path)
    boxes = sorted((t.get_window_extent() for t in axes.get_yticklabels()), key=lambda box: box.y0)
    assert all("\n" in t.get_text() for t in axes.get_yticklabels())
    assert all(lower.y1 < upper.y0 for lower, upper in itertools.pairwise(boxes))


@pytest.mark.slow
def test_the_plot_has_a_title_and_its_clip_marks_stand_out_of_the_bars(runs, tmp_path, monkeypatch):
    figure, axes = drawn(monkeypatch, runs, tmp_path)
    assert figure.get_suptitle() == "top-1 on held-out videos, 3 runs" and axes.get_xlabel() == "top-1, %"
    clips, videos = (next(line for line in axes.lines if line.get_label() == f"{level}s, each run")
                     for level in ("clip", "video"))  # fmt: skip
    assert clips.get_markersize() > 2 * videos.get_markersize() and clips.get_zorder() > axes.patches[0].get_zorder()


def test_runs_that_hear_and_runs_that_see(tmp_path, capsys):
    """Their clips are described by other facts."""
    told = {"step": 1, "checkpoint": "last", "views": {"num_clips": 1, "num_crops": 1, "sampling": "all"}}
    told["data"] = {"name": "val.csv", "num_videos": 2, "fingerprint": "0"}
    hears = run(tmp_path / "a", "panns_tiny", 0, 0.5, of=told | {"spec": {"seconds": 1.28, "preset": "panns"}})
    sees = run(tmp_path / "b", "tsm_tiny", 0, 0.6, of=told | {"spec": {"num_frames": 8, "size": 32}})
    assert main(["compare", hears, sees, "--json"]) == 0
    labels = [found["label"] for found in json.loads(capsys.readouterr().out)["runs"]]
    assert labels[0].startswith("tsm_tiny") and labels[1].startswith("panns_tiny") and "seconds=1.28" in labels[1]
