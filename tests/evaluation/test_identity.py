"""What an evaluation is of: folder names, captions, which settings count."""

import json
from pathlib import Path

import pytest

from vidjax.config import Config, DataConfig, Spec, field_names, with_settings
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation import identity
from vidjax.evaluation.identity import BEST, EARLIER, LAST

OWN = Config(data=DataConfig(train="a/train.csv", eval="a/val.csv"))
VIDEOS = VideoSet((Record("x/1.mp4", Labels((0,))), Record("x/2.mp4", Labels((1,)))), LabelSpace(("a", "b")))


def changed(**settings):
    return with_settings(OWN, {name.replace("__", "."): value for name, value in settings.items()})


@pytest.mark.parametrize(
    ("settings", "step", "name"),
    [
        ({}, None, ""),
        ({"data__reading__num_workers": 3, "data__train": "b.csv", "eval__batch_size": 1,
          "data__augment__flip": False}, None, ""),
        ({"eval__num_clips": 10, "eval__num_crops": 3}, None, "eval_10x3"),
        ({"eval__num_clips": 10, "eval__num_crops": 3}, 24, "eval_step24_10x3"),
        ({"data__eval": "b/my val2.csv"}, None, "eval_my-val2"),
        ({"data__eval": "b/x.csv,tfds:ucf101:2.0"}, None, "eval_x-tfds-ucf101-2.0"),
        ({"data__sampling__eval": "uniform", "data__clip__mean": (0.5, 0.5, 0.5)}, None,
         "eval_mean-0.5x0.5x0.5_eval_sampling-uniform"),
        ({"data__quarantine": "lists/check.csv"}, None, "eval_quarantine-check"),
        ({"model__compute_dtype": "bfloat16"}, None, "eval_compute_dtype-bfloat16"),
    ],
)  # fmt: skip
def test_a_folder_is_called_by_what_differs(settings, step, name):
    assert identity.folder_name(OWN, changed(**settings), step) == name


def test_videos_held_out_of_the_training_ones_depend_on_seed_and_share():
    own, other = (Config(seed=seed, data=DataConfig(train="videos", eval_share=0.2)) for seed in (0, 1))
    assert identity.folder_name(own, other, None) == "eval_seed-1"
    assert identity.folder_name(own, OWN, None) == "eval_val"
    assert identity.folder_name(OWN, own, None).startswith("eval_videos")


def test_settings_that_do_not_count_exist():
    names = field_names(Config)
    assert all(any(name.startswith(unfelt) for name in names) for unfelt in identity._UNFELT)
    assert {*identity._VIEWS, *identity._SOURCES} <= set(names)


def test_other_data_of_the_same_name_goes_beside(tmp_path):
    place = identity.beside(tmp_path, "eval_val", "b/val.csv")
    assert place == tmp_path / "eval_val"
    place.mkdir()
    (place / "eval.json").write_text(json.dumps({"data": {"source": "b/val.csv"}}))
    assert identity.beside(tmp_path, "eval_val", "b/val.csv") == place
    assert identity.beside(tmp_path, "eval_val", "c/val.csv") == tmp_path / "eval_val-2"
    assert identity.beside(tmp_path, "", "c/val.csv") == tmp_path


@pytest.mark.parametrize(
    ("step", "checkpoint", "said"),
    [
        (24, BEST, "update 24, the best by video/top1; 3 clips × 1 crop; val.csv"),
        (24, LAST, "update 24, the last; 3 clips × 1 crop; val.csv"),
        (24, EARLIER, "update 24; 3 clips × 1 crop; val.csv"),
        (0, BEST, "as converted; 3 clips × 1 crop; val.csv"),
    ],
)
def test_caption(step, checkpoint, said):
    config = changed(eval__num_clips=3)
    config.train.best_metric = "video/top1"
    told = identity.identity(config, Spec.of_video("toy", 4), VIDEOS, step=step, checkpoint=checkpoint)
    assert identity.caption(told) == said
    assert identity.caption({"step": 24}) == ""
    whole = changed(data__sampling__eval="all")
    told = identity.identity(whole, Spec.of_video("toy", 4), VIDEOS, step=step, checkpoint=checkpoint)
    assert "as many clips as all takes × 1 crop" in identity.caption(told)


def test_the_same_videos_elsewhere_are_the_same():
    moved = VideoSet((Record("y/1.mp4", Labels((0,))), Record("y/2.mp4", Labels((1,)))), LabelSpace(("a", "b")))
    other = VideoSet((Record("x/1.mp4", Labels((1,))), Record("x/2.mp4", Labels((1,)))), LabelSpace(("a", "b")))
    one, two, three = (
        json.loads(json.dumps(identity.identity(changed(), Spec.of_video("toy", 4), videos, step=3, checkpoint=BEST)))
        for videos in (VIDEOS, moved, other)
    )
    assert identity.differences({"one": one, "two": two}) == []
    assert identity.differences({"one": one, "old": {"step": 3}}) == []
    (line,) = identity.differences({"one": one, "two": two, "three": three})
    assert line == "evaluated with different videos: 2 of val.csv (one, two); 2 of val.csv (three)"
    assert identity.same(one | {"coverage": 1}, two) and not identity.same(one, three)


def test_a_broken_eval_json_is_none(tmp_path):
    assert identity.read(tmp_path) is identity.read(Path(__file__)) is None
    (tmp_path / "eval.json").write_text('{"step": ')
    assert identity.read(tmp_path) is None


def test_the_maximum_over_views_is_part_of_the_identity():
    assert identity.views({"num_clips": 10, "num_crops": 3, "sampling": "multi_clip", "ensemble": "max"}) == (
        "10 clips × 3 crops, max of the views"
    )
    other = changed(eval__ensemble="max")
    assert identity.folder_name(OWN, other, None) == "eval_ensemble-max"


def test_another_rule_of_a_task_is_another_result():
    other = Config()
    other.task.localise.suppression, other.task.localise.iou = "hard", 0.3
    assert identity.folder_name(Config(), other, None) == "eval_suppression-hard_iou-0.3"
    assert identity.folder_name(other, other, None) == ""
