"""Settings: types, choices, unknown names, JSON."""

import contextlib
import json
from pathlib import Path

import pytest

from configs import motion_videomae
from vidjax import config as cfg
from vidjax.config import Config, ConfigError, overridden, split_arguments
from vidjax.config.choices import ALIASES
from vidjax.config.files import read_config
from vidjax.config.validate import validate


def test_json_round_trip_keeps_every_field():
    config = Config()
    config.data.clip.resize = (128, 171)
    config.model.kwargs = {"pool": "max"}
    config.optimizer.learning_rate = 0.5
    assert cfg.from_dict(json.loads(json.dumps(cfg.to_dict(config)))) == config


def test_spec_round_trip():
    spec = cfg.Spec.of_video("x", 16, fps=15.0, resize=(128, 171), sources=("torchvision",))
    assert cfg.Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--config.optimizer.lerning_rate=1", "config.optimizer.learning_rate"),
        ("--config.learning_rate=1", "config.optimizer.learning_rate"),
        ("--config.train.batchsize", "config.train.batch_size"),
    ],
)
def test_unknown_override_names_the_close_ones(flag, hint):
    with pytest.raises(ConfigError, match=hint):
        overridden(Config(), split_arguments([flag])[0])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("train.learning_rate", "optimizer.learning_rate"),  # another section
        ("optimizer.epochs", "train.epochs"),
        ("train.bs", "train.batch_size or config.eval.batch_size"),
        ("eval.bs", "eval.batch_size or config.train.batch_size"),  # the one of that section first
        ("optimizer.wd", "optimizer.weight_decay"),
        ("train.num_epochs", "train.epochs"),
        ("data.frames", "data.clip.num_frames"),
        ("data.clip-len", "data.clip.num_frames"),
        ("data.sampling_rate", "data.clip.stride"),
        ("model.arch", "model.name"),
        ("model.pretrained", "model.init_from"),
        ("train.GPUS", "mesh.data"),
        ("data.workers", "data.reading.num_workers"),
        ("data.crop_size", "data.clip.size"),
        ("train.seed", "seed"),
        ("eval.views", "eval.num_clips or config.data.sampling.views"),
    ],
)
def test_a_setting_by_its_name_elsewhere_names_the_one_that_is_meant(name, meant):
    with pytest.raises(ConfigError) as raised:
        overridden(Config(), [f"--config.{name}=1"])
    assert f"config.{name} is not a setting. Did you mean config.{meant}?" in str(raised.value)


def test_names_elsewhere_are_of_settings_here_and_of_none_themselves():
    settings = cfg.field_names(Config)
    assert {field for fields in ALIASES.values() for field in fields} <= set(settings)
    # Of evaluation, "views" are clips, of networks, "drop" is dropout; the section decides what comes first.
    assert ALIASES.keys() & {name.rpartition(".")[2] for name in settings} == {"views", "drop"}


def test_from_dict_refuses_unknown_and_mistyped_fields():
    with pytest.raises(ConfigError, match=r"config.data.strid is not a setting.*config.data.clip.stride"):
        cfg.from_dict({"data": {"strid": 2}})
    with pytest.raises(ConfigError, match=r"config.seed = 'a'"):
        cfg.from_dict({"seed": "a"})
    with pytest.raises(ConfigError, match=r"config.data.augment.flip = 1"):
        cfg.from_dict({"data": {"flip": 1}})


def test_default_config_is_valid_and_validate_returns_it():
    assert validate(Config()) == Config()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.batch_size", 0),
        ("train.accumulate", 3),
        ("train.batch_norm", "devices"),
        ("train.precise_batches", 0),
        ("optimizer.state_dtype", "float16"),
        ("task.classify.label_smoothing", 1.0),
        ("train.best_metric", "top1"),
        ("data.augment.scale", (1.2, 1.5)),
        ("data.sampling.train", "randomly"),
        ("data.clip.resize", (1, 2, 3)),
        ("data.reading.timeout", 0.0),
        ("data.mixture", (1.0, 0.0)),
        ("task.classify.balance", "classes"),
        ("task.classify.flip_pairs", ("left", "right")),
        ("optimizer.name", "adam"),
        ("optimizer.learning_rate", -1.0),
        ("optimizer.step_epochs", (4.0,)),
        ("optimizer.step_factor", 0.0),
        ("optimizer.warmup_factor", 2.0),
        ("model.inflation", "middle"),
        ("eval.num_crops", 2),
        ("mesh.data", 0),
        ("mesh.fsdp", -2),
        ("mesh.model", -1),  # mesh.data is -1 too
        ("model.dropout", 1.0),
    ],
)
def test_values_out_of_range_name_their_field(field, value):
    config = Config()
    *parents, leaf = field.split(".")
    owner = config
    for name in parents:
        owner = getattr(owner, name)
    setattr(owner, leaf, value)
    with pytest.raises(ConfigError, match=f"config.{field} = "):
        validate(config)


def test_a_probe_keeps_its_networks_batch_statistics():
    config = Config()
    config.model.probe, config.train.batch_norm = "linear", "precise"
    with pytest.raises(ConfigError, match=r"train.batch_norm = 'precise': must be 'sync' with config.model.probe"):
        validate(config)


def test_all_problems_are_reported_at_once():
    config = Config()
    config.train.batch_size = 0
    config.optimizer.name = "adam"
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert "train.batch_size" in str(error.value) and "'sgd', 'adamw'" in str(error.value)


def test_a_share_of_nothing_is_refused():
    config = Config(
        model=cfg.ModelConfig(name="tsm_tiny"), data=cfg.DataConfig(train="x", augment=cfg.AugmentConfig(jittered=0.5))
    )
    with pytest.raises(ConfigError, match=r"data.augment.jittered.*both are 0"):
        validate(config)


def test_arguments_reach_the_config():
    kwargs = motion_videomae.get_config().model.kwargs
    flags = ["--config=configs/motion_videomae.py", "--config.model.kwargs.mask_ratio=0.5", "--config.model.kwargs.a=b"]
    with contextlib.chdir(Path(__file__).parents[2]):
        assert read_config(flags).model.kwargs == kwargs | {"mask_ratio": 0.5, "a": "b"}
