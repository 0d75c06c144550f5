"""A two-stream network that starts from a run for each stream, from one of them, or from a two-stream run."""

import logging

import numpy as np
import pytest
from rich.console import Console

from vidjax.config import ClipConfig, Config, ConfigError, DataConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models import get_spec
from vidjax.models.build import build_model
from vidjax.models.state import split
from vidjax.training.checkpoints import CheckpointFolderError, Meta, save_model
from vidjax.training.dry_run import say_start
from vidjax.training.init_from import start_from

NAME = "two_stream_tiny"
CLIP = ClipConfig(num_frames=2, size=16)


def built(labels="ab", seed=0, **model):
    config = Config(model=ModelConfig(**model), data=DataConfig(clip=CLIP), seed=seed)
    spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
    return build_model(config, len(labels), dtype=None), Meta(config, spec, LabelSpace(tuple(labels)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a network on colours, of one on flow, and of both together, and their networks."""
    folder = tmp_path_factory.mktemp("streams")
    made = {
        "rgb": built(name="frame_pool_tiny", seed=1),
        "flow": built(name="frame_pool_tiny", input="flow", seed=2),
        "both": built(name=NAME, seed=3),
    }
    for name, (model, meta) in made.items():
        save_model(folder / name, model, meta)
    return folder, {name: model for name, (model, _) in made.items()}


def arrays(model, prefix=""):
    found = {path: np.asarray(array) for part in split(model)[1:] for path, array in part.items()}
    return {path.removeprefix(prefix): array for path, array in found.items() if path.startswith(prefix)}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)


def test_each_stream_from_its_own_run(runs):
    folder, made = runs
    model, meta = built(name=NAME)
    start_from(model, f"rgb={folder}/rgb,flow={folder}/flow", NAME, spec=meta.spec)
    for stream in ("rgb", "flow"):
        own = arrays(model, f"{stream}.") | {f"head.{k}": a for k, a in arrays(model, f"head.{stream}.").items()}
        assert_equal(own, arrays(made[stream]))


def test_one_stream_from_a_run_and_the_other_new(runs):
    folder, made = runs
    model, fresh = built(name=NAME)[0], built(name=NAME)[0]
    start_from(model, f"flow={folder}/flow", NAME)
    assert_equal(arrays(model, "rgb."), arrays(fresh, "rgb."))
    assert_equal(arrays(model, "head.rgb."), arrays(fresh, "head.rgb."))
    np.testing.assert_array_equal(model.flow.stem.conv.kernel[...], made["flow"].stem.conv.kernel[...])


def test_runs_of_other_classes_leave_the_classifiers_new(runs, caplog):
    folder, _ = runs
    model, fresh = built("abc", name=NAME)[0], built("abc", name=NAME)[0]
    with caplog.at_level(logging.WARNING, "vidjax"):
        start_from(model, f"rgb={folder}/rgb,flow={folder}/flow", NAME)
    assert_equal(arrays(model, "head."), arrays(fresh, "head."))
    assert caplog.text.count("has 2 classes, not 3: the head is newly initialised") == 2
    start_from(model, str(folder / "both"), NAME)
    assert "both has 2 classes, not 3: the head is newly initialised" in caplog.text


@pytest.mark.parametrize("fusion", ["concat", "conv"])
def test_one_classifier_of_both_takes_the_streams_without_theirs(runs, fusion):
    folder, made = runs
    model = built(name=NAME, kwargs={"fusion": fusion})[0]
    start_from(model, f"rgb={folder}/rgb,flow={folder}/flow", NAME)
    own = {path: array for path, array in arrays(made["flow"]).items() if not path.startswith("head.")}
    assert_equal(arrays(model, "flow."), own)


def test_a_two_stream_run_as_a_whole(runs):
    folder, made = runs
    model = built(name=NAME)[0]
    start_from(model, str(folder / "both"), NAME)
    assert_equal(arrays(model), arrays(made["both"]))


def test_normalisation_is_compared_stream_by_stream(runs, caplog):
    folder, _ = runs
    model, meta = built(name=NAME)
    spec = meta.spec.with_video(mean=(0.4, 0.4, 0.4, 0.5, 0.5))
    with caplog.at_level(logging.WARNING, "vidjax"):
        start_from(model, f"rgb={folder}/rgb", NAME, spec=spec)
    assert "rgb was trained with another normalisation" in caplog.text and "(0.4, 0.4, 0.4)" in caplog.text


def test_what_does_not_fit_is_refused_with_the_form(runs):
    folder, _ = runs
    model = built(name=NAME)[0]
    with pytest.raises(ConfigError, match=r"holds frame_pool_tiny, not two_stream_tiny.*rgb=PATH,flow=PATH"):
        start_from(model, str(folder / "rgb"), NAME)
    deeper = built(name=NAME, kwargs={"rgb": "r2plus1d_tiny"})[0]
    with pytest.raises(CheckpointFolderError, match=r"\(frame_pool_tiny\) does not fit r2plus1d_tiny"):
        start_from(deeper, f"rgb={folder}/rgb", NAME)


def test_a_dry_run_looks_for_both(runs, tmp_path):
    folder, _ = runs
    console = Console(record=True, width=300)
    both = f"rgb={folder}/rgb,flow={folder}/flow"
    config = Config(model=ModelConfig(name=NAME, init_from=both), data=DataConfig(clip=CLIP))
    say_start(config, tmp_path / "run", 2, console)
    assert f"it would start from {both}" in console.export_text()
    config.model.init_from = f"rgb={folder}/rgb,flow={folder}/none"
    with pytest.raises(ConfigError, match=r"no such file or folder as .*/none"):
        say_start(config, tmp_path / "run", 2, console)
