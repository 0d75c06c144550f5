"""Settings from arguments, as train.py takes them."""

import pytest

from vidjax.config import Config, ConfigError
from vidjax.config.files import read_config


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "from vidjax.config import ClipConfig, Config, DataConfig\n"
        "def get_config():\n    return Config(data=DataConfig(train='a.csv', clip=ClipConfig(stride=3)))\n"
    )
    return path


def test_file_and_overrides(experiment):
    config = read_config(
        [f"--config={experiment}", "--config.data.clip.stride=5", "--config.data.augment.scale=(0.5,1.0)"]
    )
    assert (config.data.train, config.data.clip.stride, config.data.augment.scale) == ("a.csv", 5, (0.5, 1.0))
    assert isinstance(config, Config)


def test_defaults_without_a_file():
    assert read_config([]) == Config()
    assert read_config(["--config.seed=3"]).seed == 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.data.strid=3", "config.data.strid is not a setting.*config.data.clip.stride"),
        ("--config.data.clip.stride=three", "config.data.clip.stride=three"),
        ("--config=missing.py", "missing.py"),
        ("--stride=3", "stride"),
        ("stride", "'stride' is neither"),
        ("--config={tmp_path}/empty.py", r"empty.py: must have a get_config\(\)"),
        ("--config={tmp_path}/notes.txt", r"notes.txt: must be a Python file"),
    ],
)
def test_mistakes_name_the_argument(argument, message, tmp_path):
    for name in ("empty.py", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match=message):
        read_config([argument.format(tmp_path=tmp_path)])
