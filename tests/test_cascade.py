"""Two runs → one cascade: the command that chooses the threshold, and predictions that use it."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
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
from vidjax.evaluation.metrics import join_views, softmax
from vidjax.models.build import build_model
from vidjax.models.cost import model_cost
from vidjax.models.exits import all_logits
from vidjax.models.state import assign, split
from vidjax.training.checkpoints import Meta, save_model
from vidjax.view_batches import in_batches

GMACS = model_cost("conv3d_tiny", num_classes=3, num_frames=4, size=16).gmacs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("videos")
    made = [write_video(where / f"{i}.mp4", numbered_frames(12, offset=37 * i)) for i in range(6)]
    (where / "broken.mp4").write_bytes(b"no video")
    return [*map(str, made), str(where / "broken.mp4")]


def evaluated(folder, config, views, right):
    """Write what an evaluation leaves, of views `(N, V, K)`; the videos have the classes of the views `right`."""
    np.savez(
        folder / "scores.npz", scores=join_views(views, "mean"), view_scores=views, num_views=np.full(6, 2),
        targets=right.mean(axis=1).argmax(axis=1), paths=np.array([f"{i}.mp4" for i in range(6)]),
        class_names=np.array(NAMES),
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    (folder / "eval.json").write_text(json.dumps({"step": 0}))


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
    for folder, views in folders:
        evaluated(folder, CONFIG, views, folders[1][1])
    return [str(folder) for folder, _ in folders]


def compare(cascade, runs, files, threshold):
    """Compare a cascade's predictions with those of its runs, one after the other; returns how often the second one's
    was due."""
    fast, slow = (vidjax.Predictor(run).predict(files) for run in runs)
    asked = 0
    for path, found, cheap, dear in zip(files, cascade.predict(files), fast, slow, strict=True):
        assert found.path == path
        if cheap.error:
            assert found.error == cheap.error
            continue
        unsure = cheap.classes[0].score < threshold
        asked += unsure
        np.testing.assert_allclose(found.scores, (dear if unsure else cheap).scores, rtol=1e-5)
        assert len(found.clips) == 2
    return asked


@pytest.mark.slow
def test_the_cascade_gives_the_answers_that_it_was_chosen_for(runs, files, tmp_path, capsys):
    out = tmp_path / "both"
    assert main(["cascade", *runs, "--out", str(out), "--drop", "0", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["cascade"]["top1"] == chosen["slow alone"]["top1"] == 1.0
    assert chosen["fast alone"]["gmacs"] == pytest.approx(2 * GMACS)
    assert (out / "cascade.png").stat().st_size > 5_000
    cascade = Cascade(out)
    compare(cascade, runs, files, chosen["thresholds"][0])
    assert cascade.files == 6 and cascade.asked / 6 == pytest.approx(chosen["cascade"]["asked"])
    # Three crops of two clips where the evaluation above had one.
    assert f"{6 * GMACS * (1 + cascade.asked / 6):.3g} GMACs per file" in cascade.told
    assert main(["predict", str(out), *files, "--json"]) == 1
    printed, told = capsys.readouterr()
    assert json.loads(printed)[-1]["error"] and cascade.told.rpartition(", and")[0] in told


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_dear_network_sees_the_clips_of_which_the_cheap_one_is_surest(runs, files, tmp_path, capsys):
    out = tmp_path / "clips"
    assert main(["cascade", *runs, "--out", str(out), "--drop", "0.9", "--salient", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["clips"] == 1 and chosen["slow alone"]["top1"] == 1.0
    assert chosen["surest clips"]["gmacs"] == pytest.approx(3 * GMACS)  # two views of the cheap one, one of the other
    assert chosen["as many in equal distances"]["gmacs"] == pytest.approx(GMACS)
    cascade, slow = open_predictor(out), vidjax.Predictor(runs[1])
    cheap, dear = vidjax.Predictor(runs[0]).predict(files), slow.predict(files)
    for found, fast, whole in zip(cascade.predict(files), cheap, dear, strict=True):
        if found.error:
            continue
        clip = np.argmax([each.scores.max() for each in fast.clips])
        np.testing.assert_allclose(found.scores, whole.clips[clip].scores, rtol=1e-6)
        assert len(found.clips) == 1 and found.clips[0].start == fast.clips[clip].start
    assert "the dear network saw 1 clip of each file" in cascade.told and cascade.files == 6
    assert main(["cascade", *runs, "--out", str(out), "--drop", "0", "--salient"]) == 0
    assert "those of which the fast one is surest" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="has 2 clips, so that there is no"):
        slow.read_clips(files[0], [2])
    arrays = dict(np.load(tmp_path / "fast" / "scores.npz"))
    arrays["view_scores"], arrays["num_views"] = arrays["view_scores"][:, :1], np.full(6, 1)
    np.savez(tmp_path / "fast" / "scores.npz", **arrays)
    assert main(["cascade", *runs, "--out", str(out), "--salient"]) == 1
    assert "the fast run has 1 clip of a video, and the slow one 2" in capsys.readouterr().err


@pytest.fixture
def with_exits(tmp_path, files):
    """An evaluated run with two early exits that are often sure."""
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, exits=("convs.0", "convs.1")))
    model = build_model(config, 3, dtype=None)
    kernels = {path: array for path, array in split(model)[1].items() if path.startswith("exits.") and array.ndim == 2}
    assign(model, {p: 3 * jax.random.normal(jax.random.key(i), a.shape) for i, (p, a) in enumerate(kernels.items())})
    folder = save_model(tmp_path / "run", model, Meta(config, SPEC, LabelSpace(NAMES)))
    predictor = vidjax.Predictor(folder)
    forward = predictor.compiled(lambda network, inputs: jnp.stack(all_logits(network, inputs), axis=1))
    found = [f for f in files if "broken" not in f]
    each = [
        (path, softmax(rows))
        for path, _, rows in in_batches(predictor.examples(found), predictor.applying(1, forward), 1)
    ]
    views = np.stack([rows for _, rows in each])  # (N, V, E + 1, K)
    clips = views.reshape(6, 2, 3, 3, 3).mean(axis=2)
    evaluated(folder, config, clips[:, :, -1], clips[:, :, -1])
    arrays = dict(np.load(folder / "scores.npz"))
    arrays |= {"exits": np.array(["convs.0", "convs.1"]), "exit_view_scores": np.moveaxis(clips[:, :, :2], 2, 0)}
    np.savez(folder / "scores.npz", **arrays)
    return str(folder), views.mean(axis=1)


@pytest.mark.slow
def test_a_network_with_exits_answers_as_the_first_sure_one_of_the_whole(with_exits, files, tmp_path, capsys):
    run, scores = with_exits
    out = tmp_path / "exits"
    assert main(["cascade", run, "--out", str(out), "--drop", "0.2", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["cascade"]["top1"] >= chosen["the end alone"]["top1"] - 0.2 and (out / "cascade.png").exists()
    settings = json.loads((out / "cascade.json").read_text())
    assert settings["layers"] == ["convs.0", "convs.1"] and len(settings["gmacs"]) == 3
    assert GMACS < sum(settings["gmacs"]) < 1.01 * GMACS
    # Thresholds by which some files leave at each stage, whatever was chosen.
    sure = scores.max(axis=2)
    first = float(np.sort(sure[:, 0])[2:4].mean())
    second = float(np.sort(sure[sure[:, 0] < first, 1])[:2].mean())
    (out / "cascade.json").write_text(json.dumps(settings | {"thresholds": [first, second]}))
    leaves = np.where(sure[:, 0] >= first, 0, np.where(sure[:, 1] >= second, 1, 2))
    assert set(leaves) == {0, 1, 2}
    for batch_size in (1, 4, 64):
        cascade = Cascade(out, batch_size=batch_size)
        *found, broken = cascade.predict(files)
        assert broken.error and [f.path for f in found] == files[:-1]
        expected = scores[np.arange(6), leaves]
        np.testing.assert_allclose([f.scores for f in found], expected, rtol=1e-4)
        assert cascade.reached == [6, int((leaves > 0).sum()), int((leaves > 1).sum())]
        # One size for full batches, and single views for what is left: nothing else is ever compiled.
        assert cascade._compiled <= {(number, size) for number in range(3) for size in (1, batch_size)}
    assert "3 left at convs.0" in cascade.told and "left at the end" in cascade.told
    np.testing.assert_allclose([p.scores for p in vidjax.Predictor(run).predict(files[:-1])], scores[:, 2], rtol=1e-4)
    assert main(["cascade", run, "--out", str(out), "--salient"]) == 1
    assert "--salient needs two runs" in capsys.readouterr().err


def test_one_run_needs_exits(runs, tmp_path, capsys):
    assert main(["cascade", runs[0], "--out", str(tmp_path / "out")]) == 1
    assert "has no early exits: train it with --config.model.exits" in capsys.readouterr().err


@pytest.fixture
def exit_and_whole(tmp_path, files):
    """A network, and a linear probe on an inner layer of it, both evaluated."""
    whole = vidjax.create_model("conv3d_tiny", num_classes=3, seed=1)
    early = vidjax.create_model(
        "conv3d_tiny", num_classes=3, seed=2, probe="linear", probe_options={"layer": "convs.0", "norm": True}
    )
    _, params, stats = split(whole)
    taken = {f"backbone.{path}": array for path, array in (params | stats).items() if not path.startswith("head.")}
    assign(early, {**taken, "head.kernel": 3 * jnp.ones_like(early.head.kernel[...]).at[:, 0].set(-2)})
    probing = dataclasses.replace(CONFIG.model, probe="linear", probe_layer="convs.0", probe_norm=True)
    configs = {"early": dataclasses.replace(CONFIG, model=probing), "whole": CONFIG}
    folders = []
    for (name, config), model in zip(configs.items(), (early, whole), strict=True):
        folder = save_model(tmp_path / name, model, Meta(config, SPEC, LabelSpace(NAMES)))
        views = np.stack([[c.scores for c in p.clips] for p in vidjax.Predictor(folder).predict(files) if not p.error])
        folders.append((folder, config, views))
    for folder, config, views in folders:
        evaluated(folder, config, views, folders[1][2])
    return [str(folder) for folder, _, _ in folders]


@pytest.mark.slow
def test_a_network_goes_on_from_its_early_exit(exit_and_whole, files, tmp_path, capsys):
    early, whole = exit_and_whole
    out = tmp_path / "both"
    assert main(["cascade", early, whole, "--out", str(out), "--drop", "0", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    settings = json.loads((out / "cascade.json").read_text())
    assert settings["layers"] == ["convs.0"]
    # Up to the exit, and from there on: the whole, and the exit's own classifier.
    first, rest = settings["gmacs"]
    assert chosen["slow alone"]["gmacs"] == pytest.approx(2 * GMACS)
    assert first < GMACS and rest < GMACS and GMACS < first + rest < 1.01 * GMACS
    cascade = Cascade(out)
    asked = compare(cascade, (early, whole), files, chosen["thresholds"][0])
    assert cascade.asked == asked > 0 and cascade.files == 6
    # A network trained further shares nothing with the exit.
    other = vidjax.create_model("conv3d_tiny", num_classes=3, seed=5)
    shutil.rmtree(tmp_path / "whole" / "checkpoints")
    save_model(tmp_path / "whole", other, Meta(CONFIG, SPEC, LabelSpace(NAMES)))
    assert main(["cascade", early, whole, "--out", str(out), "--drop", "0", "--json"]) == 0
    assert json.loads((out / "cascade.json").read_text())["layers"] == []
