"""Two runs → one cascade: the command that chooses the threshold, and predictions that use it."""

import json

import numpy as np
import pytest

import vidjax
from tests.test_predictor import CONFIG, NAMES, SPEC
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.cascade import Cascade, open_predictor
from vidjax.config import to_dict
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.evaluation.calibration import Calibration, write_calibration
from vidjax.evaluation.metrics import join_views
from vidjax.models.cost import model_cost
from vidjax.training.checkpoints import Meta, save_model

GMACS = model_cost("conv3d_tiny", num_classes=3, num_frames=4, size=16).gmacs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("videos")
    made = [write_video(where / f"{i}.mp4", numbered_frames(12, offset=37 * i)) for i in range(6)]
    (where / "broken.mp4").write_bytes(b"no video")
    return [*map(str, made), str(where / "broken.mp4")]


@pytest.fixture
def runs(tmp_path, files):
    """A cheap run that is right where it is sure, and a dear one, with other weights, that always is."""
    folders = []
    for name, seed in (("fast", 0), ("slow", 1)):
        model = vidjax.create_model("conv3d_tiny", num_classes=3, seed=seed)
        folder = save_model(tmp_path / name, model, Meta(CONFIG, SPEC, LabelSpace(NAMES)))
        predictions = [p for p in vidjax.Predictor(folder).predict(files) if not p.error]
        views = np.stack([[c.scores for c in p.clips] for p in predictions])
        folders.append((folder, views))
    targets = folders[1][1].mean(axis=1).argmax(axis=1)
    for folder, views in folders:
        np.savez(
            folder / "scores.npz", scores=join_views(views, "mean"), view_scores=views, targets=targets,
            num_views=np.full(6, 2), paths=np.array(files[:-1]), class_names=np.array(NAMES),
        )  # fmt: skip
        (folder / "config.json").write_text(json.dumps(to_dict(CONFIG)))
        (folder / "eval.json").write_text(json.dumps({"step": 0}))
    return [str(folder) for folder, _ in folders]


def test_the_cascade_gives_the_answers_that_it_was_chosen_for(runs, files, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["cascade", *runs, "--out", str(out), "--drop", "0", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["cascade"]["top1"] == chosen["slow alone"]["top1"] == 1.0
    assert chosen["fast alone"]["gmacs"] == pytest.approx(2 * GMACS)
    assert (out / "cascade.png").stat().st_size > 5_000
    cascade = Cascade(out)
    fast, slow = (vidjax.Predictor(run).predict(files) for run in runs)
    for path, found, cheap, dear in zip(files, cascade.predict(files), fast, slow, strict=True):
        assert found.path == path
        if cheap.error:
            assert found.error == cheap.error
            continue
        unsure = cheap.classes[0].score < chosen["threshold"]
        np.testing.assert_array_equal(found.scores, (dear if unsure else cheap).scores)
    assert cascade.files == 6 and cascade.asked / 6 == pytest.approx(chosen["cascade"]["asked"])
    # Three crops of two clips where the evaluation above had one.
    assert f"{6 * GMACS * (1 + cascade.asked / 6):.3g} GMACs per file" in cascade.told
    assert main(["predict", str(out), *files, "--json"]) == 1
    printed, told = capsys.readouterr()
    assert json.loads(printed)[-1]["error"] and cascade.told in told


def test_confidences_are_the_calibrated_ones_of_predictions(runs, files, tmp_path, capsys):
    write_calibration(tmp_path / "fast", Calibration(3.0, 0, 6))
    out = tmp_path / "both"
    assert main(["cascade", *runs, "--out", str(out), "--drop", "0", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    cascade = Cascade(out)
    cascade.predict(files)
    assert cascade.asked / 6 == pytest.approx(chosen["cascade"]["asked"])


def test_what_does_not_fit_is_named(runs, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["cascade", *runs, "--out", str(out), "--drop", "5"]) == 1
    assert "drop = 5.0: give the accepted loss of accuracy as a fraction" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no cascade"):
        Cascade(tmp_path)
    assert main(["cascade", *runs, "--out", str(out)]) == 0 and "GMACs per video" in capsys.readouterr().out
    with pytest.raises(UserError, match="leave the step out"):
        open_predictor(out, step=3)
    (out / "cascade.json").write_text("{}")
    with pytest.raises(UserError, match=r"cascade\.json is damaged"):
        open_predictor(out)
    (tmp_path / "fast" / "config.json").unlink()
    assert main(["cascade", *runs, "--out", str(out)]) == 1
    assert "has no config.json, from which its cost is counted" in capsys.readouterr().err
