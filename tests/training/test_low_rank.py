"""A run with low-rank pairs, from another network, as it is evaluated, told beforehand and taken by others."""

import io
import shutil

import jax
import numpy as np
import pytest
from rich.console import Console

from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.config import ClipConfig, Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig
from vidjax.data.records import LabelSpace
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.training.init_from import start_from
from vidjax.training.loop import dry_run, train

NAME = "vivit_tiny"
SMALL = {"dim": 32, "depth": 1, "heads": 2, "tubelet": (2, 8, 8)}


def config_of(halves, source, **model):
    return Config(
        model=ModelConfig(name=NAME, init_from=str(source), kwargs=SMALL, lora_rank=2, **model),
        data=DataConfig(train=str(halves), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,))),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.03),
        train=TrainConfig(batch_size=8, steps=6, ema_decay=0.5, eval_epochs=0, checkpoint_epochs=0),
        eval=EvalConfig(batch_size=8),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A network of five classes."""
    model = create_model(NAME, num_classes=5, seed=3, num_frames=2, size=16, **SMALL)
    folder = tmp_path_factory.mktemp("low_rank") / "source"
    clip = ClipConfig(num_frames=2, size=16)
    config = Config(model=ModelConfig(name=NAME, kwargs=SMALL), data=DataConfig(clip=clip))
    return save_model(folder, model, Meta(config, get_spec(NAME), LabelSpace(tuple("abcde")))), model


def arrays(model):
    return jax.device_get(split(model)[1])


def test_a_dry_run_says_what_would_be_trained(halves, source, tmp_path):
    console = Console(file=io.StringIO(), width=300)
    dry_run(config_of(halves, source[0]), tmp_path / "run", console)
    assert "low-rank pairs of rank 2 and the classifier, would be trained" in console.file.getvalue()


@pytest.mark.slow
def test_what_a_run_leaves_is_an_ordinary_network(halves, source, tmp_path, caplog):
    config, folder = config_of(halves, source[0]), tmp_path / "run"
    summary = train(config, folder, Console(quiet=True))
    assert "is random" not in caplog.text
    again = evaluate_checkpoint(folder, config, out=tmp_path / "again", console=Console(quiet=True))
    assert again["video"]["top1"] == summary["video"]["top1"]

    model, meta, _ = load_model(folder)
    assert meta.config.model.lora_rank == 0
    before, after = arrays(source[1]), arrays(model)
    assert before.keys() == after.keys()
    for path in after.keys() - {"head.kernel", "head.bias"}:
        change = after[path] - before[path]
        if path.endswith("kernel") and path.startswith("blocks."):
            sizes = np.linalg.svd(change, compute_uv=False)
            assert sizes[1] > 1e-4 and np.all(sizes[2:] < 1e-5 * sizes[0]), path  # of rank two
        else:
            np.testing.assert_array_equal(change, 0, path)

    other = create_model(NAME, num_classes=2, num_frames=2, size=16, **SMALL)
    start_from(other, str(folder), NAME)
    np.testing.assert_array_equal(arrays(other)["blocks.0.attn.qkv.kernel"], after["blocks.0.attn.qkv.kernel"])


@pytest.mark.slow
def test_a_run_goes_on_from_its_pairs(halves, source, tmp_path):
    """Half of the updates, and the rest by the same command, are all of them."""
    config = config_of(halves, source[0])
    config.train.checkpoint_epochs = config.train.eval_epochs = 0.01
    whole = train(config, tmp_path / "whole", Console(quiet=True))
    folder = tmp_path / "halved"
    train(config, folder, Console(quiet=True))
    for step in (folder / "checkpoints").iterdir():
        if step.name.isdigit() and int(step.name) > 3:
            shutil.rmtree(step)
    (folder / "eval.json").unlink()
    assert train(config, folder, Console(quiet=True))["video"] == whole["video"]
    for path, array in arrays(load_model(tmp_path / "whole", step=6)[0]).items():
        np.testing.assert_array_equal(array, arrays(load_model(folder, step=6)[0])[path], path)


@pytest.mark.slow
def test_a_random_network_beside_them_is_warned_of(halves, tmp_path, caplog):
    config = config_of(halves, "")
    config.train.steps = 1
    train(config, tmp_path / "run", Console(quiet=True))
    assert "the frozen network beside the low-rank pairs is random" in caplog.text
