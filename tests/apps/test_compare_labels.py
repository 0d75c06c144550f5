"""What runs are called beside each other."""

from dataclasses import dataclass

import pytest

from vidjax.apps.compare_labels import flat, label
from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    TrainConfig,
    to_dict,
)
from vidjax.errors import UserError


@dataclass
class Group:
    settings: dict
    label: str = ""


def labels(*configs, show=None, **evaluated):
    groups = [Group(dict(flat(to_dict(c))) | {f"evaluation.{k}": v for k, v in evaluated.items()}) for c in configs]
    label(groups, show)
    return [group.label for group in groups]


def test_what_is_empty_or_the_models_own_is_not_said():
    tiny = Config(model=ModelConfig("r2plus1d_tiny"))
    diff = Config(model=ModelConfig("r2plus1d_tiny", input="diff"))
    tuned = Config(
        model=ModelConfig("r2plus1d_18", init_from="weights/k400/"),
        data=DataConfig(clip=ClipConfig(size=56, resize=(60,))),
    )
    probe = Config(model=ModelConfig("videomae_base", init_from="runs/mae.pth", probe="linear", probe_norm=True))
    assert labels(tiny, diff, tuned, probe, num_frames=4, size=56) == [
        "r2plus1d_tiny", "r2plus1d_tiny on diff", "r2plus1d_18 from k400, 4×56²",
        "linear probe of videomae_base from mae, probe_norm",
    ]  # fmt: skip


def test_a_setting_is_called_by_its_last_part_unless_two_share_that():
    slow = Config(optimizer=OptimizerConfig(learning_rate=0.1, weight_decay=0.0), train=TrainConfig(epochs=20))
    fast = Config(optimizer=OptimizerConfig(name="adamw", weight_decay=0.05), train=TrainConfig(epochs=5))
    assert labels(slow, fast) == [
        "r2plus1d_18, sgd, learning_rate=0.1, weight_decay=0, epochs=20",
        "r2plus1d_18, adamw, learning_rate=0.01, weight_decay=0.05, epochs=5",
    ]
    shared = Config(model=ModelConfig(kwargs={"epochs": 3}))
    assert labels(shared, fast, show=["train.epochs", "model.kwargs.epochs"]) == [
        "r2plus1d_18, train.epochs=10, model.kwargs.epochs=3", "r2plus1d_18, train.epochs=5"
    ]  # fmt: skip


def test_frames_alone_and_lists():
    short, other = (
        Config(data=DataConfig(clip=ClipConfig(num_frames=4))),
        Config(data=DataConfig(sampling=SamplingConfig(speed=(0.5, 2.0)))),
    )
    assert labels(short, other) == ["r2plus1d_18, 4 frames, speed=1,1", "r2plus1d_18, speed=0.5,2"]


def test_rgb_is_said_of_no_run_even_if_asked_for():
    assert labels(Config(), show=["model.input"]) == ["r2plus1d_18"]
    with pytest.raises(UserError, match=r"--show model.inputs: not a setting"):
        labels(Config(), show=["model.inputs"])
