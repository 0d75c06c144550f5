"""`python -m vidjax convert`: another framework's file becomes a folder that everything else takes."""

import numpy as np
import pytest
import torch

from tests.golden import golden, relative_error
from vidjax.__main__ import main
from vidjax.training.checkpoints import load_model


@pytest.mark.slow
def test_converted_file_predicts_as_the_reference_does(tmp_path, capsys):
    reference = golden("torchvision2d_resnet18_224")
    file = tmp_path / "resnet18.pth"
    torch.save({"state_dict": {f"module.{k}": torch.tensor(v) for k, v in reference.state.items()}}, file)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(1000)))
    out = tmp_path / "out"
    assert main(["convert", "frame_pool_r18", str(file), str(out), "--class-names", str(names)]) == 0
    assert "11,689,512 parameters, 1000 classes" in capsys.readouterr().out
    model, meta, _ = load_model(out)
    assert meta.class_names[:2] == ("thing 0", "thing 1") and meta.spec.name == "frame_pool_r18"
    assert relative_error(np.asarray(model(reference.video)), reference.logits) < 1e-4
    assert main(["convert", "frame_pool_r18", str(file), str(out)]) == 1
    assert "holds checkpoints already" in capsys.readouterr().err


@pytest.mark.slow
def test_class_names_must_fit_the_head(tmp_path, capsys):
    state = golden("torchvision2d_resnet18_224").state
    file, names = tmp_path / "resnet18.pth", tmp_path / "names.txt"
    torch.save({k: torch.tensor(v) for k, v in state.items()}, file)
    names.write_text("one\ntwo\n")
    assert main(["convert", "frame_pool_r18", str(file), str(tmp_path / "out"), "--class-names", str(names)]) == 1
    assert "2 class names for a head of 1000 classes" in capsys.readouterr().err


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
