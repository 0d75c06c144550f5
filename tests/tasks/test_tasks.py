"""Which task a config means, and settings of one that are refused for another."""

import pytest

from vidjax.config import Config, ConfigError, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.models.registry import get_spec, list_models
from vidjax.tasks import TASKS, kinds_of, make_task, task_of


def test_the_model_says_what_it_learns():
    config = Config(model=ModelConfig(name="videomae_base"))
    assert task_of(config) == "classify"
    config.task.name = "reconstruct"
    with pytest.raises(ConfigError, match=r"'videomae_base' is a model for 'classify'; models for 'reconstruct': vid"):
        task_of(config)
    config.model.name = "videomae_base_pretrain"
    assert task_of(config) == "reconstruct"
    config.task.name = "classify"
    with pytest.raises(ConfigError, match="is a model for 'reconstruct'; models for 'classify': "):
        task_of(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mixup", 0.8), ("cutmix", 1.0), ("label_smoothing", 0.1), ("balance", "class"), ("flip_pairs", ("a<>b",))],
)
def test_settings_of_another_task_are_refused(field, value):
    config = Config(model=ModelConfig(name="videomae_tiny_pretrain"))
    setattr(config.task.classify, field, value)
    message = rf"config\.task\.classify\.{field} = .* task 'classify', but videomae_tiny_pretrain is a model for 'rec"
    with pytest.raises(ConfigError, match=message):
        task_of(config)
    config.model.name = "videomae_tiny"
    assert task_of(config) == "classify"


def test_every_model_is_for_a_task_that_there_is():
    assert {get_spec(name).task for name in list_models()} == set(TASKS)


def test_labels_are_needed_to_classify_alone():
    assert (kinds_of("classify"), kinds_of("reconstruct")) == (frozenset({"labels"}), frozenset())


@pytest.mark.parametrize("name", ["videomae_tiny", "videomae_tiny_pretrain"])
def test_a_task_is_what_its_folder_and_the_network_say(name):
    spec = get_spec(name)
    task = make_task(Config(model=ModelConfig(name=name)), spec, LabelSpace(("a", "b")))
    assert task.name == spec.task and task.targets.kinds == kinds_of(task.name)
    assert all(name.count("/") == 1 for name in task.metrics)
    shown = {how.log for how in task.objective.sums.values()}
    assert len(shown) == len(task.objective.sums) and not shown & {"loss", "grad_norm", "updates", "weight", "epoch"}


@pytest.mark.parametrize(
    ("labels", "metrics", "words"),
    [
        (LabelSpace(("a", "b")), ("video/top1", "clip/top1"), "of 2 classes"),
        (LabelSpace(tuple("abcdef")), ("video/top1", "video/top5", "clip/top1", "clip/top5"), "of 6 classes"),
        (LabelSpace(("a", "b"), several=True), ("video/mAP", "clip/mAP"), "of 2 classes (a video may have several)"),
    ],
)
def test_what_checkpoints_can_be_ranked_by_depends_on_the_labels(labels, metrics, words):
    task = make_task(Config(), get_spec("r2plus1d_18"), labels)
    assert (task.metrics, task.words) == (metrics, words)
