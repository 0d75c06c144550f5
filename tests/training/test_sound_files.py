"""A network of sound alone learns a user's folder of sound files, and is evaluated and asked as others are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.models.small import plain_convolutions  # noqa: F401
from tests.sounds import write_sound
from vidjax.config.overrides import overridden
from vidjax.predictor import Predictor
from vidjax.training.loop import train

QUIET = Console(quiet=True)
CONFIGS = Path(__file__).parents[2] / "configs"


def sweep(rising: bool, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(12_000) / 16_000
    low, high = rng.uniform(300, 500), rng.uniform(2500, 3500)
    wave = np.sin(2 * np.pi * (low * t + (high - low) * t**2 / (2 * t[-1])))
    return (0.3 * wave[:: 1 if rising else -1] + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("sounds")
    for index in range(24):
        name = ("falling", "rising")[index % 2]
        write_sound(home / name / f"{index:02}.wav", sweep(bool(index % 2), index))
    return home


def own_config(folder):
    spec = importlib.util.spec_from_file_location("folder_sound", CONFIGS / "folder_sound.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = {
        "model.name": "panns_tiny", "model.kwargs.widths": "(8, 16)", "model.kwargs.pools": "2",
        "data.train": str(folder),
        "data.sound.seconds": "0.5", "data.sound.time_mask": "4", "data.reading.num_workers": "0",
        "optimizer.learning_rate": "1e-2", "train.epochs": "40", "train.eval_epochs": "40", "eval.num_clips": "2",
        "train.checkpoint_epochs": "40", "train.batch_size": "8",
    }  # fmt: skip
    return overridden(module.get_config(), [f"--config.{key}={value}" for key, value in settings.items()])


@pytest.mark.slow
def test_a_folder_of_sound_files_is_learned(folder, tmp_path):
    report = train(own_config(folder), tmp_path / "run", QUIET)
    assert report["coverage"] == 1.0 and report["video"]["top1"] == 1.0
    predictor = Predictor(tmp_path / "run")
    assert predictor.spec.inputs["audio"].seconds == 0.5
    for rising in (False, True):
        path = write_sound(tmp_path / f"{rising}.wav", sweep(rising, 100))
        assert predictor(path).classes[0].name == ("rising" if rising else "falling")
