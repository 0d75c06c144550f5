"""Settings on the command line: which arguments are settings, their types, old names, the model's own arguments."""

import logging

import pytest

from vidjax import config as cfg
from vidjax.config import Config, ConfigError, overridden, renamed, split_arguments


def given(*arguments):
    return overridden(Config(), split_arguments(arguments)[0])


def test_arguments_of_the_config_are_told_from_others():
    argv = ["--config", "x.py", "--workdir=x", "--config.seed=1", "some.mp4", "-config.train.steps", "3",
            "--config.optimizer.nesterov", "--top", "2", "--config.model.dropout", "-1"]  # fmt: skip
    own, others = split_arguments(argv)
    assert own == ["--config=x.py", "--config.seed=1", "--config.train.steps=3", "--config.optimizer.nesterov=true",
                   "--config.model.dropout=-1"]  # fmt: skip
    assert others == ["--workdir=x", "some.mp4", "--top", "2"]


@pytest.mark.parametrize("argv", [["--config.seed"], ["--config.seed", "--workdir=x"], ["--config"]])
def test_a_setting_without_a_value_is_refused(argv):
    with pytest.raises(ConfigError, match=rf"{argv[0]}: give {argv[0]}=(VALUE|FILE)"):
        split_arguments(argv)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train.batch_size=3", 3),
        ("optimizer.learning_rate=1e-3", 1e-3),
        ("data.clip.fps=12", 12.0),
        ("model.init_from=", ""),
        ("model.init_from='a'", "'a'"),
        ("data.reading.isolate=false", False),
        ("data.reading.isolate=True", True),
        ("data.augment.flip=false", False),
        ("data.augment.flip=None", None),
        ("data.clip.resize=(256,)", (256,)),
        ("data.clip.resize=256", (256,)),
        ("data.clip.resize=128,171", (128, 171)),
        ("data.clip.resize=()", ()),
        ("data.mixture=2,1", (2.0, 1.0)),
        ("task.classify.flip_pairs='turn left<>turn right','a<>b'", ("turn left<>turn right", "a<>b")),
        ("task.classify.flip_pairs=turn left<>turn right, a<>b", ("turn left<>turn right", "a<>b")),
        ("task.classify.flip_pairs=1<>2", ("1<>2",)),
        ("task.classify.flip_pairs=", ()),
        ("model.kwargs={'pool': 'max'}", {"pool": "max"}),
    ],
)
def test_values_have_the_types_of_their_fields(argument, value):
    found = cfg.setting(given(f"--config.{argument}"), argument.partition("=")[0])
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("train.batch_size=3.5", "must be a whole number"),
        ("data.clip.fps=fast", "must be a number"),
        ("data.reading.isolate=maybe", "must be true or false$"),
        ("data.augment.flip=maybe", "must be true or false, or None"),
        ("data.clip.resize=a,b", "must be a Python literal"),
        ("data.clip.resize='a','b'", "must be of type int"),
    ],
)
def test_values_of_other_types_are_refused(argument, message):
    with pytest.raises(ConfigError, match=message):
        given(f"--config.{argument}")


def test_an_old_name_works_with_one_warning_that_says_the_new_one(caplog, monkeypatch):
    monkeypatch.setattr(renamed, "_said", set())
    with caplog.at_level(logging.WARNING, "vidjax"):
        config = given("--config.data.size=32", "--config.train.mixup=0.8", "--config.data.train_sampling=segments")
        assert given("--config.data.size=64").data.clip.size == 64
    assert (config.data.clip.size, config.task.classify.mixup, config.data.sampling.train) == (32, 0.8, "segments")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3 and said[0].startswith("config.data.size is now called config.data.clip.size")


def test_a_models_own_arguments_are_literals_or_strings():
    config = given(
        "--config.model.kwargs.temporal_pooling=pyramid",
        "--config.model.kwargs.tubelet=(2, 4, 4)",
        "-config.model.kwargs.mask_ratio",
        "0.5",
        "--config.model.kwargs.gated=false",
    )
    assert config.model.kwargs == {
        "temporal_pooling": "pyramid", "tubelet": (2, 4, 4), "mask_ratio": 0.5, "gated": False,
    }  # fmt: skip


@pytest.mark.parametrize("flag", ["--config.model.kwargs.=3", "--config.model.kwargs.a.b=3", "--config.model.kwargs.a"])
def test_arguments_without_a_name_or_a_value(flag):
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        given(flag)


def test_the_config_that_is_overridden_stays_as_it_is():
    config = Config(model=cfg.ModelConfig(kwargs={"a": 1}))
    changed = overridden(config, ["--config.data.clip.size=32", "--config.model.kwargs.a=2"])
    assert (changed.data.clip.size, changed.model.kwargs) == (32, {"a": 2})
    assert (config.data.clip.size, config.model.kwargs) == (0, {"a": 1})
