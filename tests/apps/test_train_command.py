"""Training and evaluation as commands, by the names of recipes, from folders other than the repository's."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vidjax.config import ConfigError
from vidjax.config.files import read_config, recipe

ROOT = Path(__file__).parents[2]


def run(folder, *arguments, path=ROOT):
    env = {**os.environ, "PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "vidjax", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_a_recipe_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("k400_videomae_large", "configs/k400_videomae_large.py"):  # which is built on another one
        assert read_config([f"--config={name}"]).model.name == "videomae_large"
    with pytest.raises(ConfigError, match=r"--config=motoin: no such file, and no recipe of this name; .*motion, "):
        recipe("motoin")


def test_a_file_at_hand_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion").write_text("")
    for file in ("motion", "other/motion.py"):
        assert recipe(file) == file


def test_commands_that_are_wrong_say_so(tmp_path):
    done = run(tmp_path, "train", "--config=motoin", "--workdir=x")
    assert done.returncode == 1 and "no recipe of this name" in done.stderr and "Traceback" not in done.stderr
    done = run(tmp_path, "evaluate")
    assert done.returncode == 1 and "give either --workdir or --checkpoint" in done.stderr


@pytest.mark.slow
def test_an_installed_wheel_knows_its_recipes_in_an_empty_folder(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert b"vidjax = vidjax.__main__:main" in b"".join(
            file.read(name) for name in file.namelist() if name.endswith("entry_points.txt")
        )
        file.extractall(tmp_path / "installed")
    here = tmp_path / "empty"
    here.mkdir()
    small = ["--config.data.clip.size=32", "--config.data.clip.resize=(32,)", "--config.train.steps=1"]
    done = run(here, "train", "--config=motion", "--workdir=x", "--dry_run", path=tmp_path / "installed")
    assert done.returncode == 0 and "nothing was written" in done.stdout, done.stderr
    done = run(here, "plan", "--config=k400_videomae_large", "--gpu=h100:8", *small, path=tmp_path / "installed")
    assert done.returncode == 0 and "videomae_large" in done.stdout, done.stderr
