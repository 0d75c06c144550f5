"""Evaluation over views: every video once, averages over views, what is unreadable, the report's files."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from tests.videos import numbered_frames, write_video
from vidjax import parallel
from vidjax.config import ConfigError, DataConfig, EvalConfig, Spec
from vidjax.data.pipeline import BadRecord
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation import report
from vidjax.models.state import split
from vidjax.tasks.classify.evaluator import Scores, evaluate, make_forward, summarise

SPEC = Spec.of_video("toy", num_frames=2, size=8, resize=(8,), mean=(0.0,) * 3, std=(1.0,) * 3)


class Brightness(nnx.Module):
    """Logits that tell which of four levels of grey a clip has."""

    def __init__(self):
        self.levels = nnx.Param(jnp.array([0.0, 0.25, 0.5, 0.75]))

    def __call__(self, video, rngs=None):
        grey = video.mean(axis=(1, 2, 3, 4))
        return -100 * (grey[:, None] - self.levels[...][None]) ** 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    records = []
    for i in range(11):
        frames = np.full((4, 16, 16, 3), 64 * (i % 4), np.uint8)
        records.append(Record(str(write_video(folder / f"{i}.mp4", frames)), Labels((i % 4,))))
    return VideoSet(tuple(records), LabelSpace(("a", "b", "c", "d")))


def run(videos, devices=1, **settings):
    mesh = parallel.make_mesh(devices)
    model = Brightness()
    _, params, stats = split(model)
    forward = make_forward(model, SPEC, mesh)
    placed = parallel.place((params, stats), parallel.replicated(mesh))
    return evaluate(forward, *placed, videos, ClipReader(SPEC, DataConfig()), EvalConfig(**settings), mesh)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_video_counts_once_on_any_batch_size_and_device_count(videos, devices, batch_size):
    summary, scores = run(videos, devices, batch_size=batch_size, num_clips=2)
    assert scores.index.tolist() == list(range(11))
    assert summary["video"] == {"top1": 1.0} == summary["clip"], "4 classes: the best 5 are all of them"
    assert (summary["num_videos"], summary["num_views"], summary["coverage"]) == (11, 2, 1.0)
    assert {n: c["num_videos"] for n, c in summary["per_class"].items()} == {"a": 3, "b": 3, "c": 3, "d": 2}


def test_unreadable_videos_lower_the_coverage_and_are_named(videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    records = (*videos.records[:5], Record(str(bad), Labels((0,))))
    summary, scores = run(dataclasses.replace(videos, records=records), batch_size=4)
    assert summary["coverage"] == pytest.approx(5 / 6) and summary["num_videos"] == 5
    assert [u["path"] for u in summary["unreadable"]] == [str(bad)] and summary["unreadable"][0]["reason"]
    assert summary["video"]["top1"] == 1.0 and 5 not in scores.index


def test_nothing_readable_is_reported_not_hidden(videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    videos = dataclasses.replace(videos, records=(Record(str(bad), Labels((0,))),))
    summary, scores = run(videos, batch_size=2)
    assert summary["coverage"] == 0 and np.isnan(summary["video"]["top1"])
    report.write(tmp_path / "out", summary, scores, videos)
    assert json.loads((tmp_path / "out" / "eval.json").read_text())["video"]["top1"] is None


def scores_of(view_scores, count=None):
    view_scores = np.asarray(view_scores, float)
    return Scores(np.arange(count or len(view_scores)), view_scores, ())


def test_video_level_is_the_mean_over_views():
    # Two of three views are wrong, but the third is surer.
    videos = VideoSet((Record("v", Labels((0,))),), LabelSpace(("a", "b")))
    summary = summarise(scores_of([[[0.4, 0.6], [0.4, 0.6], [0.9, 0.1]]]), videos)
    assert summary["clip"]["top1"] == pytest.approx(1 / 3) and summary["video"]["top1"] == 1.0


def test_top_5_is_reported_where_there_are_more_classes():
    names = tuple("abcdef")
    videos = VideoSet((Record("v", Labels((0,))), Record("w", Labels((5,)))), LabelSpace(names))
    summary = summarise(scores_of([[np.arange(6) / 15], [np.arange(6) / 15]]), videos)
    assert summary["video"] == summary["clip"] == {"top1": 0.5, "top5": 0.5}


def test_multi_label_reports_mean_average_precision():
    records = (Record("v", Labels((0, 1))), Record("w", Labels((1,))), Record("x", Labels((0,))))
    videos = VideoSet(records, LabelSpace(("a", "b", "c"), several=True))
    summary = summarise(scores_of([[[0.9, 0.8, 0.1]], [[0.2, 0.9, 0.3]], [[0.8, 0.1, 0.2]]]), videos)
    assert summary["video"] == summary["clip"] == {"mAP": 1.0}
    assert summary["per_class"]["c"] == {"AP": None, "num_videos": 0}


def test_report_files_and_table(videos, tmp_path, capsys):
    summary, scores = run(videos, batch_size=4)
    bad = BadRecord(99, "x.mp4", "is empty")
    report.write(tmp_path, summary, dataclasses.replace(scores, bad=(bad,)), videos)
    lines = (tmp_path / "video_scores.csv").read_text().splitlines()
    assert lines[0] == "path,label,prediction,score,correct" and len(lines) == 12
    assert lines[1].split(",")[1:3] == ["a", "a"] and lines[1].endswith(",1")
    stored = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(stored["scores"].sum(axis=1), 1, rtol=1e-5)
    assert stored["class_names"].tolist() == ["a", "b", "c", "d"] and stored["view_scores"].shape == (11, 1, 4)
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    report.show(summary | {"unreadable": [{"path": "x.mp4", "reason": "is empty"}]}, Console(width=80))
    printed = capsys.readouterr().out
    assert "100.0 %" in printed and "11 of 11 videos" in printed and "x.mp4: is empty" in printed


def test_headline():
    summary = {"clip": {"top1": 0.5, "top5": 1.0}, "video": {"top1": float("nan"), "top5": 0.75}}
    assert report.headline(summary) == "clip top-1 50.0 %  top-5 100.0 %   video top-1 n/a  top-5 75.0 %"


def test_frames_reach_the_model_unchanged(tmp_path):
    video = VideoSet(
        (Record(str(write_video(tmp_path / "v.mp4", numbered_frames(8, 16, 16))), Labels((0,))),),
        LabelSpace(("a", "b")),
    )
    views = ClipReader(SPEC, DataConfig()).read_eval(video.records[0].path, 4, 1)
    levels = views.mean(axis=(2, 3, 4)) / 8
    np.testing.assert_allclose(levels, [[0, 1], [2, 3], [4, 5], [6, 7]], atol=0.2)


def test_mirrored_crops_are_refused_where_labels_tell_left_from_right(videos):
    with pytest.raises(ConfigError, match=r"config.eval.num_crops = 10: half of the crops are mirrored"):
        run(dataclasses.replace(videos, directional=True), num_crops=10)
