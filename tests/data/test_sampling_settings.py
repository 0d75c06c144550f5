"""Every sampling rule and number of crops that settings name, from the file to the scores."""

import dataclasses
import types

import chex
import jax
import numpy as np
import pytest

from tests.settings import data_config
from tests.videos import numbered_frames, write_video
from vidjax import config as cfg
from vidjax import parallel
from vidjax.config import Config, ConfigError, DataConfig, EvalConfig, SamplingConfig, Spec
from vidjax.config.choices import ONE_CLIP_RULES, RANDOM_RULES, WHOLE_VIDEO_RULES
from vidjax.config.validate import validate
from vidjax.data.pipeline import eval_batches
from vidjax.data.reading.clips import ClipReader, clip_indices
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation import engine, report
from vidjax.models import get_spec
from vidjax.tasks.classify.evaluator import ClassEvaluator
from vidjax.video.sampling import RULES

SPEC = Spec.of_video("toy", num_frames=4, stride=2, size=16, resize=(20,))
LENGTHS = (10, 17, 26)
WINDOWS = ExampleReader(SPEC, DataConfig(sampling=SamplingConfig(eval="sliding_window")))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{n}.mp4", numbered_frames(n)) for n in LENGTHS]
    return VideoSet(tuple(Record(str(path), Labels((i % 2,))) for i, path in enumerate(paths)), LabelSpace(("a", "b")))


def config(**settings):
    return Config(data=data_config(train="x", **settings))


def evaluate(videos, forward, batch_size):
    """An evaluation by as many clips as each video takes, of a network that is a function."""
    return engine.run(
        {"classes": forward}, {"classes": ClassEvaluator(videos, SPEC)}, ({}, {}), videos, WINDOWS,
        EvalConfig(batch_size=batch_size), parallel.make_mesh(1),
    )  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_trains_or_is_refused(videos, rule):
    if rule in WHOLE_VIDEO_RULES:
        with pytest.raises(ConfigError, match=r"config.data.sampling.train = '.*for evaluation only"):
            validate(config(sampling_train=rule))
        return
    data = validate(config(sampling_train=rule)).data
    video, views = ClipReader(SPEC, data).train(videos.records[2], np.random.default_rng(0))
    chex.assert_shape([video, views.frames, views.times], [(1, 4, 16, 16, 3), (1, 4), (1, 4)])
    np.testing.assert_allclose(video.mean(axis=(2, 3, 4)) / 8, views.frames, atol=0.5)
    np.testing.assert_allclose(views.times, views.frames / 10)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_evaluates_or_is_refused(videos, rule):
    if rule in RANDOM_RULES:
        with pytest.raises(ConfigError, match=r"config.data.sampling.eval = '.*evaluation takes multi_clip"):
            validate(config(sampling_eval=rule))
        return
    several = Config(data=DataConfig(train="x", sampling=SamplingConfig(eval=rule)), eval=EvalConfig(num_clips=2))
    if rule in ONE_CLIP_RULES:
        with pytest.raises(ConfigError, match=r"config.eval.num_clips = 2: must be 1 with config.data.sampling.eval"):
            validate(several)
        several.eval.num_clips = 1
    validate(several)
    video, views = ClipReader(SPEC, several.data).evaluate(videos.records[1], several.eval.num_clips, 1)
    np.testing.assert_allclose(video.mean(axis=(2, 3, 4)) / 8, views.frames, atol=0.5)
    assert len(video) == len(views) == {"sliding_window": 3, "all": 3}.get(rule, several.eval.num_clips)


def test_short_video_rules_that_a_sampling_rule_lacks_are_refused():
    with pytest.raises(
        ConfigError, match=r"config.data.sampling.short_video = 'loop': the rule slowfast supports only hold"
    ):
        validate(config(sampling_train="slowfast", short_video="loop"))
    assert cfg.short_video_rule(SamplingConfig(), "slowfast") == "hold"
    assert cfg.short_video_rule(SamplingConfig(), "multi_clip") == "loop"
    assert cfg.short_video_rule(SamplingConfig(short_video="spread"), "multi_clip") == "spread"


def test_hop_of_the_sliding_window():
    data = SamplingConfig(eval="sliding_window", hop=5)
    assert clip_indices("sliding_window", 20, 10.0, SPEC, data)[:, 0].tolist() == [0, 5, 10, 13]
    for wrong in (SamplingConfig(hop=5), dataclasses.replace(data, hop=-1)):
        with pytest.raises(ConfigError, match=r"config.data.sampling.hop"):
            validate(Config(data=DataConfig(train="x", sampling=wrong)))


@pytest.mark.parametrize(
    ("num_frames", "short", "expected"),
    [
        (16, "loop", [[0, 2, 4, 6], [8, 10, 12, 14]]),
        (20, "loop", [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 16, 18]]),
        (20, "hold", [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 18, 18]]),
        (20, "spread", [[0, 2, 4, 6], [8, 10, 12, 14], [16, 16, 18, 18]]),
        (1, "loop", [[0, 0, 0, 0]]),
    ],
)
def test_all_frames_are_cut_into_clips(num_frames, short, expected):
    out = clip_indices("all", num_frames, 10.0, SPEC, SamplingConfig(short_video=short))
    np.testing.assert_array_equal(out, expected)


def test_batches_of_videos_with_different_numbers_of_views(videos):
    (batch,) = eval_batches(videos, WINDOWS, batch_size=4, num_clips=1, num_crops=3)
    assert batch["views"][:3].tolist() == [3 * 2, 3 * 3, 3 * 4] and batch["index"].tolist() == [0, 1, 2, -1]
    video = batch["inputs"]["video"]
    chex.assert_shape(video, (4, 12, 4, 16, 16, 3))
    assert video[0, :6].any() and not video[0, 6:].any()


def test_padded_views_do_not_count(videos):
    """A score that is 1 for black views would show any that got into the average."""

    def forward(params, stats, inputs, number):
        grey = np.asarray(inputs["video"], np.float32).mean(axis=(1, 2, 3, 4))
        return np.stack([np.log(grey + 1e-6), np.zeros_like(grey)], axis=-1)

    outcomes = {size: evaluate(videos, forward, size) for size in (1, 2, 3)}
    by_batch = {size: outcome.evaluators["classes"].scores for size, outcome in outcomes.items()}
    scores = by_batch[3]
    assert scores.num_views.tolist() == [2, 3, 4]
    for i, record in enumerate(videos.records):
        grey = WINDOWS.evaluate(record, 1, 1)[0]["video"].astype(np.float32).mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(scores.video_scores[i, 0], (grey / (grey + 1)).mean(), rtol=1e-4)
    for other in (by_batch[1], by_batch[2]):
        np.testing.assert_allclose(other.view_scores, scores.view_scores, rtol=1e-5)
        np.testing.assert_array_equal(other.num_views, scores.num_views)
    summary = outcomes[3].summary
    assert (summary["num_views"], summary["num_clips_scored"]) == (4, 9)
    # Labels are 0, 1, 0: of the clips 2 + 4 have the first one, and every clip brighter than 1 is given it.
    assert summary["clip"]["top1"] == pytest.approx(6 / 9)


def test_another_process_may_have_longer_videos(videos, monkeypatch):
    """All processes call the model equally often: as often as the one with the most views has to."""
    calls = []

    def forward(params, stats, inputs, number):
        calls.append(np.asarray(inputs["video"], np.float32).mean(axis=(1, 2, 3, 4)))
        return np.stack([calls[-1], 0 * calls[-1]], axis=-1)

    def run():
        evaluator = ClassEvaluator(dataclasses.replace(videos, records=(*videos.records, videos.records[0])), SPEC)
        batches = eval_batches(videos, WINDOWS, batch_size=3, num_clips=1, num_crops=1)
        found = engine.collect({"classes": forward}, {"classes": evaluator}, ({}, {}), batches, parallel.make_mesh(1))
        return found, evaluator.scores

    def gather(tree):
        """What this process has, and the row of the other one: video 3, of six views."""
        rows = {"index": 3, "mask": True, "views": 6} if isinstance(tree, dict) else np.zeros(2, np.float32)
        return jax.tree.map(lambda x, row: np.concatenate([np.asarray(x), np.asarray(row, x.dtype)[None]]), tree, rows)

    (_, _, bad), alone = run()
    monkeypatch.setattr(parallel, "gather_lists", lambda items: [*items, 6] if items and items == [4] else items)
    monkeypatch.setattr(parallel, "gather", gather)
    found, together = run()
    assert len(calls) == 4 + 6 and found == (4, 6, bad)
    np.testing.assert_allclose(together.video_scores[:3], alone.video_scores)
    np.testing.assert_array_equal(together.is_view[:3, :4], alone.is_view)
    assert not together.is_view[:3, 4:].any() and together.is_view[3].all()


def test_prediction_refuses_views_that_the_rule_lacks(monkeypatch):
    from vidjax import opened_network, predictor

    config = Config(data=DataConfig(train="x", sampling=SamplingConfig(eval="linspace")))
    meta = types.SimpleNamespace(config=config, labels=LabelSpace(("a", "b")), spec=get_spec("r2plus1d_tiny"))
    monkeypatch.setattr(opened_network, "load_model", lambda *_, **__: (None, meta, 0))
    with pytest.raises(ConfigError, match=r"config.eval.num_clips = 3.*'linspace'"):
        predictor.Predictor("run", num_clips=3)


def test_report_tells_how_many_views_were_scored(videos, tmp_path, capsys):
    from rich.console import Console

    def forward(params, stats, inputs, number):
        return np.tile(np.array([9.0, 0.0], np.float32), (len(inputs["video"]), 1))

    outcome = evaluate(videos, forward, 3)
    report.show(outcome.summary, Console(force_terminal=False))
    assert "3 of 3 videos, up to 4 views each, 9 in all" in capsys.readouterr().out
    report.write(tmp_path, outcome.summary, outcome.evaluators.values())
    assert np.load(tmp_path / "scores.npz")["num_views"].tolist() == [2, 3, 4]


@pytest.mark.parametrize("num_crops", [1, 3, 5, 10])
def test_crops(tmp_path, num_crops):
    picture = np.zeros((8, 32, 48, 3), np.uint8)
    picture[:, :16, :24], picture[:, 16:, 24:] = 100, 200
    path = str(write_video(tmp_path / "v.mp4", picture))
    spec = SPEC.with_video(size=16, resize=(32,))
    validate(Config(data=DataConfig(train="x"), eval=EvalConfig(num_crops=num_crops)))
    video, views = ClipReader(spec, DataConfig()).evaluate(Record(path), 2, num_crops)
    chex.assert_shape(video, (2 * num_crops, 4, 16, 16, 3))
    np.testing.assert_array_equal(views.frames[:num_crops], views.frames[:1].repeat(num_crops, axis=0))
    corners = video[:num_crops].mean(axis=(1, 2, 3, 4))
    if num_crops >= 5:
        np.testing.assert_allclose(corners[:4], [100, 0, 0, 200], atol=4)
    if num_crops == 10:
        np.testing.assert_allclose(corners[5:9], [0, 100, 200, 0], atol=4)
        np.testing.assert_array_equal(video[9], video[4, :, :, ::-1])


def test_other_numbers_of_crops_are_refused():
    with pytest.raises(ConfigError, match=r"config.eval.num_crops = 4: must be 1, 3, 5 or 10"):
        validate(Config(data=DataConfig(train="x"), eval=EvalConfig(num_crops=4)))
