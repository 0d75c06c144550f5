"""Commands for networks of videos and texts: classes in words, and search by a sentence."""

import json

import pytest

from tests.text_video import save
from vidjax.__main__ import main
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.data.synthetic import write_motion
from vidjax.data.synthetic_scenes import write_scenes
from vidjax.errors import UserError
from vidjax.training.checkpoints import load_meta


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("words") / "run")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), num_train=1, num_eval=3, size=32)


def test_the_checkpoint_carries_its_tokenizer(run):
    assert load_meta(run).spec.inputs["text"].reader().encode("a red square")


def test_predict_with_classes_in_words(run, scenes, capsys):
    video = str(scenes / "val" / "0000.mp4")
    assert main(["predict", str(run), video, "--labels", "jumping,running", "--template", "a {}", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    shares = {row["class"]: row["score"] for row in found["top"]}
    assert shares.keys() == {"jumping", "running"} and sum(shares.values()) == pytest.approx(1)
    assert main(["predict", str(run), video, "--template", "a {}"]) != 0
    assert "--template is for --labels" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_with_classes_in_words(run, tmp_path):
    folder = write_motion(tmp_path / "motion", num_train=6, num_eval=6, num_frames=8, size=32)
    config = load_meta(run).config
    config.data.eval = str(folder / "val.csv")
    names = "up,down,left,right,clockwise,anticlockwise"
    summary = evaluate_checkpoint(run, config, labels=names)
    assert summary["num_videos"] == 6 and 0 <= summary["video"]["top1"] <= 1
    assert list(run.glob("eval*_labels/eval.json"))
    with pytest.raises(UserError, match="'clockwise' is not one of the 2 training classes"):
        evaluate_checkpoint(run, config, labels="up,down")


def test_search_by_a_sentence(run, scenes, tmp_path, capsys):
    index = str(tmp_path / "index")
    assert main(["embed", str(run), str(scenes / "val"), index, "--num-clips", "2"]) == 0
    assert "tokenizer" not in "".join(p.read_text() for p in (tmp_path / "index").glob("*.json"))
    out = tmp_path / "found"
    assert main(["search", index, "a red square moves", "--out", str(out), "--top", "2"]) == 0
    found = json.loads((out / "search.json").read_text())
    assert found["query"] == "a red square moves" and len(found["hits"]) == 2
    assert found["hits"][0]["score"] >= found["hits"][1]["score"] and (out / "search.png").exists()
    capsys.readouterr()
    assert main(["search", index, "a red square " * 9, "--out", str(out)]) != 0
    assert "is no file, and as words:" in capsys.readouterr().err


def test_convert_keeps_the_tokenizer_of_a_file(tmp_path, capsys):
    assert main(["convert", "conv3d_tiny", "x.pt", str(tmp_path / "out"), "--tokenizer", "t.json"]) != 0
    assert "conv3d_tiny reads no text; leave it out" in capsys.readouterr().err
