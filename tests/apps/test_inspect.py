"""`python -m vidjax inspect`: sheets, table, JSON, settings."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.apps import inspect as inspect_app
from vidjax.apps.contact_sheet import CELL, Row, draw_sheet

SMALL = ["--config.model.name=r2plus1d_tiny", "--config.data.clip.size=16", "--config.data.clip.num_frames=4",
         "--config.data.clip.stride=2"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of five videos each, of 24 frames."""
    folder = tmp_path_factory.mktemp("data") / "set"
    for i in range(10):
        write_video(folder / ("run", "sit")[i % 2] / f"{i}.mp4", numbered_frames(24, offset=i))
    return folder


def inspect(folder, out, *arguments):
    status = main(["inspect", str(folder), "--out", str(out), "--videos", "3", *SMALL, *arguments])
    return status, json.loads((out / "inspect.json").read_text())


def test_a_sound_set(folder, tmp_path, capsys):
    status, found = inspect(folder, tmp_path / "out", "--config.eval.num_clips=3")
    printed = capsys.readouterr().out
    assert status == 0 and found["warnings"] == 0
    assert [name for name, check in found["checks"].items() if not check["ok"]] == []
    assert list(found["checks"]) == [
        "reading", "ends", "spacing", "padding", "coverage", "fps", "aspect", "classes", "overlap",
    ]  # fmt: skip
    assert found["videos"]["training"] == {"num_videos": 8, "num_opened": 8}
    assert printed.splitlines()[-1] == f"results in {tmp_path / 'out'}: train.png, eval.png, inspect.json"
    assert "warn" not in printed.replace("warning", "")


def test_sheets_show_the_clips(folder, tmp_path):
    _, found = inspect(folder, tmp_path, "--draws", "2", "--config.eval.num_clips=2", "--config.eval.num_crops=3")
    assert found["sheets"] == [str(tmp_path / "train.png"), str(tmp_path / "eval.png")]
    train, evaluation = (cv2.imread(path) for path in found["sheets"])
    rows = 3 * 2, 2 * 4  # two draws of three videos; four of six views of the two videos held out
    assert train.shape[1] == evaluation.shape[1]
    assert (evaluation.shape[0] - train.shape[0]) % (rows[1] - rows[0]) == 0
    assert len(np.unique(train)) > 20


def test_a_set_full_of_trouble(folder, tmp_path, capsys):
    """Every check warns, and the listing names the files."""
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    lines = ["path,label,split,group"]
    lines += [f"{'run' if i % 2 == 0 else 'sit'}/{i}.mp4,{'run' if i % 2 == 0 else 'sit'},train," for i in range(8)]
    for i in range(3):
        write_video(data / f"wide{i}.mp4", numbered_frames(5, 32, 96), fps=40)
        lines.append(f"wide{i}.mp4,run,train,g")
    (data / "bad.mp4").write_bytes(b"no video")
    shutil.copy(data / "run/0.mp4", data / "copy.mp4")
    lines += ["bad.mp4,run,train,", "copy.mp4,run,val,", "run/8.mp4,run,val,g"]
    lines += [f"more{i}.mp4,run,train," for i in range(14)]
    for i in range(14):
        write_video(data / f"more{i}.mp4", numbered_frames(24))
    (data / "list.csv").write_text("\n".join(lines) + "\n")
    settings = ["--config.data.clip.resize=(20,30)", "--config.data.sampling.train=mmaction2_sample"]
    status, found = inspect(data / "list.csv", tmp_path / "out", *settings)
    assert status == 0
    warned = {name for name, check in found["checks"].items() if not check["ok"]}
    assert warned == {"reading", "ends", "spacing", "padding", "coverage", "fps", "aspect", "classes", "overlap"}
    checks = found["checks"]
    assert checks["reading"]["videos"] == [str(data / "bad.mp4")]
    assert checks["padding"]["values"]["training"]["short_videos"] == 3
    assert str(data / "wide0.mp4") in checks["aspect"]["videos"] + checks["padding"]["videos"]
    values = checks["overlap"]["values"]
    assert (values["same_content"], values["same_group"], values["same_path"]) == (1, 1, 0)
    assert checks["classes"]["values"]["absent_in_evaluation"] == ["sit"]
    assert "9 warnings" in capsys.readouterr().out


def test_json_is_all_of_standard_output(folder, tmp_path, capsys):
    _, found = inspect(folder, tmp_path, "--json")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == found
    assert captured.err.splitlines()[-1].startswith("results in ")


def test_data_of_a_config_and_in_place_of_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").write_text(
        "from vidjax.config import Config, DataConfig, ModelConfig\n"
        "def get_config():\n"
        "    return Config(model=ModelConfig(name='r2plus1d_tiny'),\n"
        f"                  data=DataConfig(train={str(folder)!r}, eval='no.csv'))\n"
    )
    assert main(["inspect", "--config", "x.py"]) == 1
    assert "no.csv: no such file" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "other")
    # Another data set leaves the evaluation videos of the config behind.
    assert main(["inspect", "other", "--config", "x.py", "--videos", "1", *SMALL[1:]]) == 0
    assert json.loads((tmp_path / "inspect" / "other" / "inspect.json").read_text())["data"] == "other"
    assert main(["inspect", "other", "--config", "x.py", "--config.data.eval=neither.csv"]) == 1
    assert "neither.csv: no such file" in capsys.readouterr().err


def test_some_videos_of_a_large_set(folder, tmp_path):
    _, found = inspect(folder, tmp_path, "--open", "3")
    assert found["videos"]["training"] == {"num_videos": 8, "num_opened": 3}
    _, found = inspect(folder, tmp_path, "--open", "0")
    assert found["videos"]["training"] == {"num_videos": 8, "num_opened": 8}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.data.strid=2", "config.data.strid is not a setting"),
        ("--config.eval.num_crops=4", "must be 1, 3, 5 or 10"),
    ],
)
def test_wrong_settings(folder, argument, message, capsys):
    assert main(["inspect", str(folder), argument]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["inspect", "x", "--nonsense=1"], ["inspect", "x", "--config.seed=1", "y"],
                                     ["predict", "a", "b", "--config.seed=1"]])  # fmt: skip
def test_wrong_arguments(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "unrecognized arguments" in capsys.readouterr().err


def test_sheet_of_long_clips_shows_both_ends(tmp_path):
    video = np.zeros((40, 30, 60, 3), np.uint8)
    video[0], video[39] = (250, 0, 0), (0, 0, 250)
    long = Row("a\nb", video, np.arange(40), np.arange(40) / 10)
    back = Row("c", video[:3], np.array([5, 7, 2]), np.zeros(3))
    draw_sheet(tmp_path / "new" / "s.png", "$title_1 of é$", [long, back])
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / "s.png")), cv2.COLOR_BGR2RGB).astype(int)
    red, blue = ((abs(sheet - colour) < 3).all(axis=-1) for colour in ((250, 0, 0), (0, 0, 250)))
    assert red.sum() == 2 * CELL * CELL // 2 and blue.sum() == CELL * CELL // 2  # the first frame is in both rows
    assert np.argwhere(blue)[:, 1].min() > sheet.shape[1] - CELL - 10
    orange = (abs(sheet - (217, 95, 2)) < 40).all(axis=-1)  # the caption of the frame that goes back
    assert orange.any() and np.argwhere(orange)[:, 0].min() > sheet.shape[0] // 2


def test_two_files_of_one_name_show_their_folders(tmp_path, monkeypatch):
    frames = numbered_frames(24)
    for name in ("a/run/0.mp4", "a/sit/0.mp4", "a/sit/1.mp4"):
        write_video(tmp_path / name, frames)
    drawn = {}
    monkeypatch.setattr(inspect_app, "draw_sheet", lambda path, title, rows: drawn.update({path.name: rows}))
    status, _ = inspect(tmp_path / "a", tmp_path / "out", f"--config.data.eval={tmp_path / 'a'}")
    assert status == 0
    for sheet in ("train.png", "eval.png"):
        labels = {row.label.split("\n")[0]: row.label.split("\n")[1] for row in drawn[sheet]}
        assert labels == {"run/0.mp4": "run", "sit/0.mp4": "sit", "1.mp4": "sit"}


def test_names_are_as_long_as_it_takes_to_tell_them_apart():
    names = inspect_app._names(["/x/a/c/0.mp4", "/x/b/c/0.mp4", "/x/b/d/0.mp4", "/x/b/c/1.mp4", "/x/b/c/1.mp4"])
    assert list(names.values()) == ["a/c/0.mp4", "b/c/0.mp4", "d/0.mp4", "1.mp4"]
    assert inspect_app._names(["0.mp4", "a/0.mp4"]) == {"0.mp4": "0.mp4", "a/0.mp4": "a/0.mp4"}
