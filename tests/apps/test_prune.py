"""`vidjax prune`: a narrower run from a run, which predicts and is fine-tuned."""

import dataclasses

import numpy as np
import pytest

import vidjax
from tests.apps.test_embed import CONFIG, DATA, save, scene
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.training.checkpoints import Meta, load_model, save_model


@pytest.mark.slow
def test_a_run_with_half_the_channels(tmp_path, capsys):
    run, out = save(tmp_path / "run"), str(tmp_path / "small")
    assert main(["prune", run, out]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "% of the multiply-adds" in said
    assert said.endswith(f"--config.model.init_from={out} --config.model.kwargs.widths=[6,12]")
    network, meta, _ = load_model(out)
    assert meta.config.model.kwargs == {"widths": [6, 12]} and network.head.kernel.shape == (12, 3)
    video = write_video(tmp_path / "a.mp4", scene(0, 12))
    scores = vidjax.Predictor(out)(video).scores
    assert scores.shape == (3,) and np.isfinite(scores).all()
    assert main(["prune", run, out]) == 1
    assert "already holds checkpoints" in capsys.readouterr().err


@pytest.mark.slow
def test_networks_that_cannot_be_pruned(tmp_path, capsys):
    for name, said in (
        ("videomae_tiny", "its width is no argument"),
        ("slowfast_tiny", "its channels cannot be cut out"),
    ):
        config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, name=name))
        model = vidjax.create_model(name, num_classes=3)
        meta = Meta(config, resolve_spec(vidjax.get_spec(name), DATA), LabelSpace(("a", "b", "c")))
        run = str(save_model(tmp_path / name, model, meta))
        assert main(["prune", run, str(tmp_path / f"{name}-small")]) == 1
        assert said in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["prune", run, str(tmp_path / "out"), "--share", "2"])
