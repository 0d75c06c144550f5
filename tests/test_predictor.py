"""Video files → classes, clips and features, from a folder and from a model in memory."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import vidjax
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import ClipConfig, Config, DataConfig, EvalConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import LabelSpace, Record
from vidjax.errors import UserError
from vidjax.evaluation.calibration import Calibration, write_calibration
from vidjax.evaluation.metrics import sigmoid, softmax
from vidjax.training.checkpoints import Meta, save_model

NAMES = ("up", "down", "still")
DATA = DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(20,)))
CONFIG = Config(
    model=ModelConfig(name="conv3d_tiny", compute_dtype="float32"), data=DATA, eval=EvalConfig(num_clips=2, num_crops=3)
)
SPEC = resolve_spec(vidjax.get_spec("conv3d_tiny"), DATA)


@pytest.fixture(scope="module")
def model():
    return vidjax.create_model("conv3d_tiny", num_classes=3)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "toy", model, Meta(CONFIG, SPEC, LabelSpace(NAMES)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two videos of 30 and 20 frames at 10 per second, and between them one that is none."""
    where = tmp_path_factory.mktemp("videos")
    broken = where / "broken [1].mp4"
    broken.write_bytes(b"no video")
    first = write_video(where / "a.mp4", numbered_frames(30))
    return [first, broken, write_video(where / "b.mp4", numbered_frames(20, offset=90))]


def by_hand(model, file, function):
    """The network on each view, (V, …)."""
    views, _ = ClipReader(SPEC, DATA).evaluate(Record(str(file)), 2, 3)
    with_batch = [vidjax.preprocess(view, SPEC.with_video(resize=(16, 16))) for view in views]
    return np.stack([jax.jit(function)(view[None])[0] for view in with_batch])


def test_a_file_has_scores_classes_and_clips_with_their_times(folder, model, files):
    predictor = vidjax.Predictor(folder, top=2)
    prediction = predictor(files[0])
    views = softmax(by_hand(model, files[0], model))
    np.testing.assert_allclose(prediction.scores, views.mean(axis=0), atol=1e-5)
    best = np.argsort(-prediction.scores)[:2]
    assert [c.name for c in prediction.classes] == [NAMES[i] for i in best]
    assert [c.score for c in prediction.classes] == [prediction.scores[i] for i in best]
    assert prediction.path == str(files[0]) and prediction.error == "" and predictor.class_names == NAMES
    # Two clips of 4 frames, every 2nd, at both ends of 3 seconds; three crops each.
    assert [(c.start, c.end) for c in prediction.clips] == [pytest.approx((0, 0.6)), pytest.approx((2.3, 2.9))]
    for clip, crops in zip(prediction.clips, views.reshape(2, 3, 3), strict=True):
        np.testing.assert_allclose(clip.scores, crops.mean(axis=0), atol=1e-5)
        assert clip.classes[0].name == NAMES[clip.scores.argmax()] and len(clip.classes) == 2


def test_files_are_predicted_in_their_order_and_a_broken_one_says_why(folder, files):
    predictor = vidjax.Predictor(folder)
    first, broken, last = predictor.predict(files * 3)[3:6]
    assert [p.path for p in (first, broken, last)] == [str(f) for f in files]
    assert broken.scores is None and broken.classes == broken.clips == () and broken.error
    np.testing.assert_array_equal(last.scores, predictor(files[2]).scores)
    assert not np.array_equal(first.scores, last.scores)
    with pytest.raises(vidjax.VideoError, match="broken"):
        predictor(files[1])
    assert [p.path for p in predictor.predict(str(files[0]))] == [str(files[0])], "one path is one file"


def test_features_are_the_mean_over_views(folder, model, files, caplog):
    predictor = vidjax.Predictor(folder)
    features = predictor.features(files)
    assert (features.shape, features.dtype) == ((3, 24), np.float32)
    np.testing.assert_allclose(features[2], by_hand(model, files[2], model.features).mean(axis=0), atol=1e-5)
    assert np.isnan(features[1]).all() and np.isfinite(features[[0, 2]]).all()
    assert "broken [1].mp4" in caplog.text and "NaN" in caplog.text
    assert predictor.features([]).shape == (0, 24)
    assert np.isnan(predictor.features(files[1])).all()


def test_a_model_from_memory_needs_its_spec_alone(folder, model, files):
    expected = vidjax.Predictor(folder)(files[0])
    model.train()
    predictor = vidjax.Predictor(model, SPEC, num_clips=2, num_crops=3, class_names=NAMES)
    assert model.norms[0].use_running_average is False, "the model itself stays in training mode"
    model.eval()
    np.testing.assert_allclose(predictor(files[0]).scores, expected.scores, atol=1e-6)
    assert predictor(files[0]).classes[0].name == expected.classes[0].name
    unnamed = vidjax.Predictor(model, SPEC)
    assert unnamed.class_names == ("class_0", "class_1", "class_2") and len(unnamed(files[0]).clips) == 1
    independent = vidjax.Predictor(model, SPEC, several=True, num_clips=2, num_crops=3)
    logits = by_hand(model, files[0], model)
    np.testing.assert_allclose(independent(files[0]).scores, sigmoid(logits).mean(axis=0), atol=1e-5)
    big = vidjax.create_model("conv3d_tiny", num_classes=101)
    assert vidjax.Predictor(big, SPEC, class_names="ucf101").class_names[0] == "ApplyEyeMakeup"


def test_a_pretrained_network_and_one_without_a_classifier_give_features_alone(files):
    network = vidjax.create_model("videomae_tiny_pretrain")
    spec = vidjax.get_spec("videomae_tiny_pretrain")
    predictor = vidjax.Predictor(network, spec)
    assert predictor.features(files[0]).shape == (1, network.norm.num_features)
    with pytest.raises(UserError, match=r"is trained to reconstruct and has no classes.*init_from"):
        predictor.stream(files)
    headless = vidjax.Predictor(vidjax.create_model("conv3d_tiny", num_classes=0), SPEC)
    assert headless.features(files[0]).shape == (1, 24) and headless.class_names == ()
    with pytest.raises(UserError, match=r"Conv3DNet has no classifier: it gives only features\(paths\)"):
        headless(files[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": None}, r"give the model's spec too, Predictor\(model, vidjax.get_spec\(NAME\)\)"),
        ({"step": 3}, "step = 3: only the folder of a run has steps"),
        ({"top": 0}, "top = 0"),
        ({"class_names": ("a", "b")}, "2 class names for a network of 3 classes"),
        ({"class_names": "kinetics"}, "class_names = 'kinetics': give K names, or one of .*kinetics400"),
        ({"spec": SPEC.with_video(enters="both")}, r"takes 3 channels.*gives 6.*spec\.with_video\(enters='both'\)"),
        ({"num_crops": 4}, r"config.eval.num_crops = 4"),
    ],
)
def test_what_does_not_fit_is_named(model, arguments, message):
    with pytest.raises(UserError, match=message):
        vidjax.Predictor(model, **{"spec": SPEC, **arguments})


def test_a_folder_has_its_own_spec_and_a_network_is_no_string(folder):
    with pytest.raises(UserError, match="a folder has its own spec"):
        vidjax.Predictor(folder, SPEC)
    with pytest.raises(UserError, match="model = 3: give the folder of a run, or a model"):
        vidjax.Predictor(3, SPEC)


def test_the_command_prints_what_the_class_says(folder, files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["predict", str(folder), *map(str, files), "--json", "--top", "1"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == [p.to_dict() for p in vidjax.Predictor(folder, top=1).predict(files)]
    assert [len(entry["clips"]) for entry in printed if "top" in entry] == [2, 2] and printed[1]["error"]
    assert set(printed[0]["clips"][0]) == {"start", "end", "top"} and len(printed[0]["top"]) == 1
    assert main(["predict", str(folder), *map(str, files[:2])]) == 1
    table = capsys.readouterr().out
    assert "broken [1].mp4" in table and all(name in table for name in NAMES)


def test_a_calibrated_run_gives_calibrated_scores(tmp_path, model, files, caplog):
    folder = save_model(tmp_path / "run", model, Meta(CONFIG, SPEC, LabelSpace(NAMES)))
    before = vidjax.Predictor(folder)(files[0])
    write_calibration(folder, Calibration(2.0, 0, 40))
    after = vidjax.Predictor(folder)(files[0])
    for clip, cooler in zip(before.clips, after.clips, strict=True):
        flat = np.sqrt(clip.scores) if len(before.clips) == 1 else None
        assert cooler.scores.max() < clip.scores.max() and cooler.scores.argmax() == clip.scores.argmax()
        if flat is not None:
            np.testing.assert_allclose(cooler.scores, flat / flat.sum(), atol=1e-6)
    write_calibration(folder, Calibration(2.0, 1, 40))
    np.testing.assert_array_equal(vidjax.Predictor(folder)(files[0]).scores, before.scores)
    assert "is of update 1 and not used for update 0" in caplog.text


def test_thresholds_of_a_run_tell_which_of_several_classes_are_shown(tmp_path, model, files, capsys):
    """Stored by the evaluation; views are joined by their maximum if the run's evaluation does so."""
    config = dataclasses.replace(CONFIG, eval=EvalConfig(num_clips=2, num_crops=3, ensemble="max"))
    folder = save_model(tmp_path / "several", model, Meta(config, SPEC, LabelSpace(NAMES, several=True)))
    prediction = vidjax.Predictor(folder)(files[0])
    assert prediction.shown is None and "shown" not in prediction.to_dict(), "nothing has been evaluated"
    np.testing.assert_allclose(prediction.scores, sigmoid(by_hand(model, files[0], model)).max(axis=0), atol=1e-5)
    best, middle, worst = (NAMES[i] for i in np.argsort(-prediction.scores))
    values = {best: prediction.scores.max() - 0.01, middle: 0.999, worst: None}
    classes = {name: {"threshold": value, "f1": 0.5} for name, value in values.items()}
    (folder / "thresholds.json").write_text(json.dumps({"classes": classes}))
    predictor = vidjax.Predictor(folder, top=1)
    shown = [c.name for c in predictor(files[0]).shown]
    assert shown == [best] + [worst] * bool(prediction.scores.min() >= 0.5)
    assert predictor(files[0]).to_dict()["shown"][0]["class"] == best
    assert main(["predict", str(folder), str(files[0])]) == 0 and "✓" in capsys.readouterr().out
    (folder / "thresholds.json").write_text(json.dumps({"classes": {}}))
    with pytest.raises(UserError, match=r"thresholds\.json is damaged or of other classes"):
        vidjax.Predictor(folder)
