"""The loop over views: every video once, whatever the batch; evaluators side by side; what is unreadable."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.settings import data_config
from tests.videos import numbered_frames, write_video
from vidjax import parallel
from vidjax.config import ConfigError, DataConfig, EvalConfig, Spec
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation import engine, report
from vidjax.models.state import split
from vidjax.tasks.classify.evaluator import ClassEvaluator

SPEC = Spec.of_video("toy", num_frames=2, size=8, resize=(8,), mean=(0.0,) * 3, std=(1.0,) * 3)


class Brightness(nnx.Module):
    """Logits that tell which of four levels of grey a clip has."""

    def __init__(self):
        self.levels = nnx.Param(jnp.array([0.0, 0.25, 0.5, 0.75]))

    def __call__(self, inputs, rngs=None):
        grey = inputs["video"].mean(axis=(1, 2, 3, 4))
        return -100 * (grey[:, None] - self.levels[...][None]) ** 2


class Seen:
    """Notes which views it is given, what is in them, and the numbers that draws depend on."""

    def __init__(self, wanted=None):
        self.wanted, self.rows, self.sizes = wanted, {}, []

    def forward(self, network, inputs, number):
        return {"grey": inputs["video"].mean(axis=(1, 2, 3, 4)), "number": number}

    def wants(self, index, view):
        return view == 0 and bool(np.isin(self.wanted, index).any()) if self.wanted is not None else True

    def add(self, rows, outputs):
        self.sizes.append(len(rows.index))
        for index, views, grey, number in zip(rows.index, rows.views, outputs["grey"], outputs["number"], strict=True):
            assert (int(index), rows.view) not in self.rows
            self.rows[int(index), rows.view] = (int(views), round(float(grey)), int(number))

    def merge(self, other):
        self.rows |= other.rows

    def summary(self):
        return {"seen": {"rows": float(len(self.rows))}}

    def details(self):
        return {"looked": True}

    def write(self, folder, title):
        return []


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    records = []
    for i in range(11):
        frames = np.full((4, 16, 16, 3), 64 * (i % 4), np.uint8)
        records.append(Record(str(write_video(folder / f"{i}.mp4", frames)), Labels((i % 4,))))
    return VideoSet(tuple(records), LabelSpace(("a", "b", "c", "d")))


def parts_of(evaluators, devices):
    """(compiled functions, weights, mesh)."""
    mesh, model = parallel.make_mesh(devices), Brightness()
    _, params, stats = split(model)
    forwards = {name: engine.compile_forward(model, each.forward, mesh) for name, each in evaluators.items()}
    return forwards, parallel.place((params, stats), parallel.replicated(mesh)), mesh


def run(videos, devices=1, evaluators=None, config=None, **settings):
    evaluators = evaluators or {"classes": ClassEvaluator(videos, SPEC)}
    forwards, weights, mesh = parts_of(evaluators, devices)
    reader = ExampleReader(SPEC, config or DataConfig())
    return engine.run(forwards, evaluators, weights, videos, reader, EvalConfig(**settings), mesh)


def unreadable(folder):
    path = folder / "bad.mp4"
    path.write_bytes(b"no video")
    return Record(str(path), Labels((0,)))


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_video_counts_once_on_any_batch_size_and_device_count(videos, devices, batch_size):
    outcome = run(videos, devices, batch_size=batch_size, num_clips=2)
    summary = outcome.summary
    assert outcome.evaluators["classes"].scores.index.tolist() == list(range(11))
    assert summary["video"] == {"top1": 1.0} == summary["clip"], "4 classes: the best 5 are all of them"
    assert (summary["num_videos"], summary["num_views"], summary["coverage"]) == (11, 2, 1.0)
    assert {n: c["num_videos"] for n, c in summary["per_class"].items()} == {"a": 3, "b": 3, "c": 3, "d": 2}


def test_what_evaluators_are_given_does_not_depend_on_the_batch(videos):
    expected = {(i, view): (2, 64 * (i % 4), 1000 * i + view) for i in range(11) for view in range(2)}
    for devices, batch_size in ((1, 3), (8, 16)):
        seen = Seen()
        run(videos, devices, {"seen": seen}, batch_size=batch_size, num_clips=2)
        # Of nearly lossless files: a level may be off by one.
        assert seen.rows.keys() == expected.keys()
        for key, (views, grey, number) in seen.rows.items():
            assert (views, number) == expected[key][::2] and abs(grey - expected[key][1]) <= 2


def test_several_evaluators_share_one_pass_over_the_videos(videos, monkeypatch):
    read, original = [], ExampleReader.evaluate

    def evaluate(self, record, *views):
        read.append(record.path)
        return original(self, record, *views)

    monkeypatch.setattr(ExampleReader, "evaluate", evaluate)
    classes, seen, few = ClassEvaluator(videos, SPEC), Seen(), Seen(wanted=[0, 9])
    outcome = run(videos, 1, {"classes": classes, "seen": seen, "few": few}, batch_size=4, num_clips=2)
    assert sorted(read) == sorted(r.path for r in videos.records)
    assert outcome.summary["evaluators"] == ["classes", "seen", "few"] and outcome.evaluators["few"] is few
    assert outcome.summary["video"] == {"top1": 1.0} and outcome.summary["looked"] is True
    assert len(seen.rows) == 22 and seen.sizes == [4, 4, 4, 4, 3, 3]
    # One that wants few views is given their batches, and is not run for others.
    assert few.sizes == [4, 3] and {index for index, _ in few.rows} == {0, 1, 2, 3, 8, 9, 10}
    alone = run(videos, 1, batch_size=4, num_clips=2).summary
    assert {name: outcome.summary[name] for name in ("clip", "video", "per_class")} == {
        name: alone[name] for name in ("clip", "video", "per_class")
    }


def test_merged_evaluators_are_those_of_one_pass(videos):
    def new():
        return {"classes": ClassEvaluator(videos, SPEC), "seen": Seen()}

    whole, one, other = new(), new(), new()
    forwards, weights, mesh = parts_of(whole, 1)
    batches = list(engine.batches_of(videos, ExampleReader(SPEC, DataConfig()), EvalConfig(2, batch_size=3), mesh))
    for evaluators, share in ((whole, batches), (one, batches[1:3]), (other, batches[:1] + batches[3:])):
        engine.collect(forwards, evaluators, weights, share, mesh)
    assert one["classes"].summary() != {} and len(one["seen"].rows) == 12
    for name in whole:
        one[name].merge(other[name])
        assert one[name].summary() == whole[name].summary() and one[name].details() == whole[name].details()
    assert one["seen"].rows == whole["seen"].rows


def test_unreadable_videos_lower_the_coverage_and_are_named(videos, tmp_path):
    bad = unreadable(tmp_path)
    mixed = dataclasses.replace(videos, records=(*videos.records[:2], bad, *videos.records[3:6]))
    evaluators = {"classes": ClassEvaluator(mixed, SPEC), "seen": Seen()}
    summary = run(mixed, 1, evaluators, batch_size=4, num_clips=2).summary
    assert summary["coverage"] == pytest.approx(5 / 6) and summary["num_videos"] == 5
    assert [u["path"] for u in summary["unreadable"]] == [bad.path] and summary["unreadable"][0]["reason"]
    assert summary["video"]["top1"] == 1.0 and 2 not in evaluators["classes"].scores.index
    # Neither it nor what fills up the last batch, of two videos, is handed out.
    assert {index for index, _ in evaluators["seen"].rows} == {0, 1, 3, 4, 5}
    assert evaluators["seen"].sizes == [3, 3, 2, 2]


def test_nothing_readable_is_reported_not_hidden(videos, tmp_path):
    videos = dataclasses.replace(videos, records=(unreadable(tmp_path),))
    outcome = run(videos, batch_size=2)
    assert outcome.summary["coverage"] == 0 and np.isnan(outcome.summary["video"]["top1"])
    report.write(tmp_path / "out", outcome.summary, outcome.evaluators.values())
    assert json.loads((tmp_path / "out" / "eval.json").read_text())["video"]["top1"] is None


def test_videos_of_different_length_have_different_numbers_of_views(tmp_path):
    paths = [write_video(tmp_path / f"{n}.mp4", numbered_frames(n, 16, 16)) for n in (2, 6, 4)]
    videos = VideoSet(tuple(Record(str(path), Labels((0,))) for path in paths), LabelSpace(tuple("abcd")))
    for batch_size in (1, 4):
        evaluators = {"classes": ClassEvaluator(videos, SPEC), "seen": Seen()}
        summary = run(videos, 1, evaluators, data_config(sampling_eval="all"), batch_size=batch_size).summary
        counts = {index: views for (index, _), (views, *_) in evaluators["seen"].rows.items()}
        assert counts == {0: 1, 1: 3, 2: 2} and len(evaluators["seen"].rows) == 6
        assert (summary["num_views"], summary["num_clips_scored"]) == (3, 6)


def test_frames_reach_the_reader_of_views_unchanged(tmp_path):
    record = Record(str(write_video(tmp_path / "v.mp4", numbered_frames(8, 16, 16))), Labels((0,)))
    inputs, views = ExampleReader(SPEC, DataConfig()).evaluate(record, 4, 1)
    levels = inputs["video"].mean(axis=(2, 3, 4)) / 8
    np.testing.assert_allclose(levels, [[0, 1], [2, 3], [4, 5], [6, 7]], atol=0.2)
    assert views.frames.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_mirrored_crops_are_refused_where_labels_tell_left_from_right(videos):
    directional = dataclasses.replace(videos, labels=dataclasses.replace(videos.labels, directional=True))
    with pytest.raises(ConfigError, match=r"config.eval.num_crops = 10: half of the crops are mirrored"):
        run(directional, num_crops=10)


def test_the_network_runs_in_evaluation_mode_with_float32_parameters():
    class Dropping(Brightness):
        def __init__(self):
            super().__init__()
            self.dropout = nnx.Dropout(0.5)

        def __call__(self, inputs, rngs=None):
            return self.dropout(super().__call__(inputs))

    model = Dropping()
    model.train()
    dtypes = []

    def forward(network, inputs, number):
        dtypes.append(network.levels[...].dtype)
        return network({"video": inputs["video"].astype(jnp.float32)})

    compiled = engine.compile_forward(model, forward, parallel.make_mesh(1))
    _, params, stats = split(model)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    compiled(params, stats, {"video": np.zeros((1, 2, 8, 8, 3), np.uint8)}, np.zeros(1, np.int32))
    assert dtypes == [jnp.float32]


def test_how_often_each_evaluator_runs():
    names = ["classes", "pictures", "maps"]
    assert engine.cadences((), names) == {"classes": 1, "pictures": 1, "maps": 1}
    assert engine.cadences(("pictures=5", "maps=2"), names) == {"classes": 1, "pictures": 5, "maps": 2}


@pytest.mark.parametrize("entry", ["classes=2", "picture=2", "pictures", "pictures=0", "pictures=-1", "pictures=x", ""])
def test_what_is_no_cadence_names_the_evaluators(entry):
    told = r"config\.eval\.every: '.*' must be NAME=N with NAME one of: pictures, maps$"
    with pytest.raises(ConfigError, match=told):
        engine.cadences((entry,), ["classes", "pictures", "maps"])
    with pytest.raises(ConfigError, match="none beside the first, which always runs"):
        engine.cadences((entry,), ["classes"])


def test_figures_for_logs_are_those_of_the_levels():
    summary = {"levels": ["clip", "boxes"], "clip": {"top1": 0.5}, "boxes": {"AP": 0.25}, "views": {"num_clips": 2}}
    assert engine.flat_metrics(summary) == {"clip/top1": 0.5, "boxes/AP": 0.25}


def test_levels_of_results_that_do_not_name_them():
    old = {
        "clip": {"top1": 0.5}, "video": {"top1": None}, "coverage": 1.0, "per_class": {"a": {"top1": 1.0}},
        "views": {"num_clips": 1}, "spec": {"size": 8}, "data": {"name": "x"}, "unreadable": [],
    }  # fmt: skip
    assert engine.levels(old) == ["clip", "video"]
    assert engine.levels(old | {"levels": ["video"]}) == ["video"]
    assert engine.levels({"reconstruction": {"loss": 0.1}, "num_videos": 3}) == ["reconstruction"]
