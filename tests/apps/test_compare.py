"""`python -m vidjax compare`, on what runs leave in their work directories."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from vidjax.__main__ import main
from vidjax.config import Config, ModelConfig, to_dict


def run(folder, name, seed, video, *, clip=0.5, measure="top1", **kwargs):
    folder.mkdir()
    config = Config(seed=seed, model=ModelConfig(name=name, kwargs=kwargs))
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    result = {
        "clip": {measure: clip, "top5": 1.0},
        "video": {measure: video, "top5": 1.0},
        "per_class": {"a": 0, "b": 0},
    }
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
    assert "| `frame_pool_tiny, train.batch_size=16` |" in out and "| `tsm_tiny, train.batch_size=16` |" in out
    assert main(["compare", *runs, "--plot", "", "--show", "train.size"]) == 1
    assert "--show train.size: no setting" in capsys.readouterr().err


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    assert main(["compare", runs[3]]) == 1
    assert "has an eval.json: train or evaluate first" in capsys.readouterr().err
    other = run(tmp_path / "charades", "tsm_tiny", 0, 0.3, measure="mAP")
    assert main(["compare", runs[0], other]) == 1
    assert f"{other} by mAP" in capsys.readouterr().err
    (tmp_path / "tsm0" / "eval.json").write_text('{"reconstruction": {"explained": 0.5}}')
    assert main(["compare", runs[0]]) == 1
    assert f"{runs[0]} is a pre-training, which has no accuracy" in capsys.readouterr().err
