"""Old names of settings: in stored configs, in config files, on fields that have moved."""

import copy
import logging
import pickle

import pytest

from vidjax import config as cfg
from vidjax.config import Config, ConfigError, DataConfig, from_dict, renamed, to_dict, with_settings


def test_every_old_name_is_of_a_setting_and_of_none_itself():
    settings = set(cfg.field_names(Config))
    assert set(renamed.RENAMED.values()) <= settings
    assert not renamed.RENAMED.keys() & settings
    assert len(set(renamed.RENAMED.values())) == len(renamed.RENAMED)


def test_a_stored_config_is_read_under_its_old_names_without_a_word(caplog):
    old = {
        "data": {"train": "a.csv", "size": 32, "train_sampling": "segments", "num_workers": 2, "balance": "class"},
        "train": {"objective": "classify", "mixup": 0.8, "epochs": 3.0},
        "model": {"remat": True},
    }
    before = copy.deepcopy(old)
    config = from_dict(old)
    new = {"data.train": "a.csv", "data.clip.size": 32, "data.sampling.train": "segments",
           "data.reading.num_workers": 2, "task.classify.balance": "class", "task.name": "classify",
           "task.classify.mixup": 0.8, "train.epochs": 3.0, "model.remat": "full"}  # fmt: skip
    assert config == with_settings(Config(), new) and old == before and not caplog.records


def test_all_settings_of_an_older_version_are_found_again():
    config = Config()
    flat = {"data": {}, "train": {}}
    for old, new in renamed.RENAMED.items():
        section, leaf = old.split(".")
        flat[section][leaf] = cfg.setting(config, new)
    assert from_dict(flat) == config == from_dict(to_dict(config))


def test_config_files_may_set_a_field_by_its_old_name(caplog, monkeypatch):
    monkeypatch.setattr(renamed, "_said", set())
    config = Config()
    with caplog.at_level(logging.WARNING, "vidjax"):
        config.data.size = 32
        config.data.size += 4
    assert config.data.clip.size == 36 and "size" not in vars(config.data)
    assert [record.getMessage() for record in caplog.records] == [
        "config.data.size is now called config.data.clip.size; the old name will be removed"
    ]


def test_what_has_gone_to_another_section_is_refused_with_its_new_name():
    with pytest.raises(ConfigError, match=r"config.train.mixup is now called config.task.classify.mixup"):
        Config().train.mixup = 0.8
    with pytest.raises(ConfigError, match=r"config.data.size is now called config.data.clip.size"):
        DataConfig(size=32)


def test_what_is_no_field_can_be_neither_set_nor_given_nor_read():
    with pytest.raises(
        ConfigError, match=r"optimizer.lr is not a setting. Did you mean config.optimizer.learning_rate\?"
    ):
        Config().optimizer.lr = 0.1
    with pytest.raises(
        ConfigError, match=r"config.data.clip.strid is not a setting. Did you mean config.data.clip.stride"
    ):
        cfg.ClipConfig(strid=3)
    with pytest.raises(ConfigError, match=r"config.modle is not a setting"):
        Config(modle=None)
    with pytest.raises(AttributeError, match="OptimizerConfig has no field 'lr'"):
        _ = Config().optimizer.lr


def test_configs_can_be_copied_and_pickled():
    config = with_settings(Config(), {"data.clip.size": 32, "model.kwargs": {"a": 1}})
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
