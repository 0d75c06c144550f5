"""Who gets which example: processes, workers and starts, for any number of them, with clips that cost nothing."""

import dataclasses
import itertools
import threading
import time

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.settings import data_config
from vidjax.batch import BatchLayout, Field, layout_of
from vidjax.config import DataConfig, ReadingConfig, SamplingConfig, Spec
from vidjax.data.pipeline import MAX_FAILURES, eval_batches, footprint, train_batches
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.data.views import whole
from vidjax.tasks.classify.targets import ClassTargets
from vidjax.video import VideoError

# Of one view: the number of the video, and a random one.
LAYOUT = {"pair": Field((2,), "uint8")}
VIEW = whole(1)


@dataclasses.dataclass
class Fake:
    """Reads clips that tell their video and a random number; those in `bad` fail after they have drawn some."""

    config: DataConfig
    bad: frozenset[str] = frozenset()
    seconds: float = 0.0
    tried: list[str] = dataclasses.field(default_factory=list)

    def layout(self, targets=None):
        return BatchLayout(LAYOUT, targets or {})

    def train(self, record, rng, *, mirror):
        path = record.path
        self.tried.append(path)
        time.sleep(self.seconds)
        noise = rng.random(1 + len(self.tried) % 3 if path in self.bad else 1)
        if path in self.bad:
            raise VideoError(path, "torn")
        return {"pair": np.array([[int(path), int(256 * noise[0])]], np.uint8)}, VIEW

    def evaluate(self, record, num_clips, num_crops):
        count = num_clips * num_crops
        return {"pair": np.full((count, 2), int(record.path), np.uint8)}, whole(count)


def video_set(count, num_classes=3, cut=None):
    records = tuple(Record(str(i), Labels((i % num_classes,))) for i in range(count))
    return VideoSet(
        records,
        LabelSpace(tuple("abcdef"[:num_classes])),
        sources=tuple(int(i >= (cut or count)) for i in range(count)),
    )


def fake(bad=frozenset(), **settings):
    return Fake(data_config(**settings), bad)


def training(videos, reader, **settings):
    return train_batches(videos, reader, ClassTargets(videos.labels), **settings)


def take(count, videos, reader, **settings):
    return list(itertools.islice(training(videos, reader, **settings), count))


def label_of(batches):
    return np.concatenate([batch["targets"]["label"][:, 0] for batch in batches])


def joined(parts):
    """The rows of several processes, one below the other."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def rows(batches):
    """`(index, noise)` of every example, and the bad records, in order."""
    pixels = [tuple(v) for b in batches for v in b["inputs"]["pair"][:, 0].tolist()]
    return pixels, [b["index"].tolist() for b in batches], [b["bad"] for b in batches]


orders = st.sampled_from(
    [((), ""), ((), "class"), ((1.0, 3.0), ""), ((2.0, 1.0), "sqrt")]  # mixture, balance
)


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 5), orders, st.integers(0, 1000), st.integers(0, 9))
def test_processes_share_batches_without_gap_or_overlap(count, processes, share, order, seed, start):
    mixture, balance = order
    videos, reader = video_set(count, cut=count // 2), fake(num_threads=1, prefetch=1, mixture=mixture)
    common = {"batch_size": processes * share, "seed": seed, "balance": balance}
    whole = take(start + 2, videos, reader, **common)[start:]
    parts = [take(2, videos, reader, **common, start_step=start, process=(i, processes)) for i in range(processes)]
    for step in range(2):
        for key in ("inputs", "targets", "index"):
            chex.assert_trees_all_equal(joined(p[step][key] for p in parts), whole[step][key])


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
def test_an_epoch_over_processes_is_every_video_once(count, processes, share, seed):
    videos, reader = video_set(count, num_classes=2), Fake(DataConfig(reading=ReadingConfig(num_threads=1, prefetch=1)))
    size = processes * share
    steps = -(-2 * count // size)
    seen = np.concatenate([
        np.stack([b["index"] for b in take(steps, videos, reader, batch_size=size, seed=seed, process=(i, processes))])
        for i in range(processes)
    ], axis=1).ravel()  # fmt: skip
    assert sorted(seen[:count]) == sorted(seen[count : 2 * count]) == list(range(count))


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4))
def test_evaluation_over_processes_is_every_video_once(count, processes, share):
    videos, reader = video_set(count, num_classes=2), Fake(DataConfig(reading=ReadingConfig(num_threads=1, prefetch=1)))
    seen = []
    for i in range(processes):
        batches = eval_batches(
            videos, reader, batch_size=processes * share, num_clips=1, num_crops=1, process=(i, processes)
        )
        seen += [index for b in batches for index in b["index"][b["mask"]].tolist()]
    assert sorted(seen) == list(range(count))


@pytest.mark.slow
def test_workers_and_resuming_with_other_workers_and_processes_change_nothing():
    videos, bad = video_set(12, cut=5), frozenset("27")
    common, order = {"batch_size": 4, "seed": 3, "balance": "class"}, {"mixture": (1.0, 3.0)}
    whole = take(6, videos, fake(bad, num_threads=1, **order), **common)
    workers = take(3, videos, fake(bad, num_workers=2, num_threads=2, **order), **common)
    assert rows(workers) == rows(whole[:3])
    halves = [
        take(3, videos, fake(bad, num_workers=i, num_threads=3, **order), **common, start_step=3,
             process=(i, 2)) for i in range(2)
    ]  # fmt: skip
    for step, batch in enumerate(whole[3:]):
        chex.assert_trees_all_equal(joined(h[step]["inputs"] for h in halves), batch["inputs"])
        assert [r for h in halves for r in h[step]["bad"]] == batch["bad"]
    assert any(batch["bad"] for batch in whole)


def test_classes_and_sources_have_their_shares_in_the_batches():
    videos = video_set(30, cut=24)
    batches = take(15, videos, fake(mixture=(1.0, 1.0)), batch_size=8, seed=0, balance="class")
    index, label = np.concatenate([b["index"] for b in batches]), label_of(batches)
    assert len(index) == 120 and (index >= 24).sum() == 60
    assert np.bincount(label).tolist() == [40, 40, 40]


@pytest.mark.parametrize("balance", ["", "class"])
def test_a_video_that_failed_twice_is_passed_over_and_nothing_else_changes(balance):
    videos, bad = video_set(9), frozenset("48")
    tries = []
    for known in ({}, {"4": "torn", "8": "torn"}):
        reader = fake(bad, num_threads=1, prefetch=1)
        batches = take(30, videos, reader, batch_size=3, seed=1, balance=balance, known_bad=known)
        tries.append((rows(batches), reader.tried))
    (one, tried), (two, passed_over) = tries
    assert one == two  # pixels, order and the list of what was bad
    assert [tried.count(path) for path in "48"] == [MAX_FAILURES] * 2 and not bad & set(passed_over)
    listed = [record for batch in one[2] for record in batch]
    assert len(listed) > 8 and {(r.path, r.reason) for r in listed} == {("4", "torn"), ("8", "torn")}


def test_a_video_that_fails_once_in_a_while_stays():
    @dataclasses.dataclass
    class Shaky(Fake):
        def train(self, record, rng, *, mirror):
            if record.path == "1" and self.tried.count("1") % 2 == 0:
                self.tried.append(record.path)
                raise VideoError(record.path, "busy")
            return super().train(record, rng, mirror=mirror)

    reader = Shaky(DataConfig(reading=ReadingConfig(num_threads=1, prefetch=1)))
    take(40, video_set(3), reader, batch_size=3, seed=0)
    assert reader.tried.count("1") > 30


def test_parts_of_a_bad_file_are_tried_each():
    parts = tuple(Record("1", Labels((i,)), start=float(i), end=i + 1.0) for i in range(2))
    reader = Fake(DataConfig(reading=ReadingConfig(num_threads=1, prefetch=1)))
    take(1, VideoSet(parts, LabelSpace(("a", "b"))), reader, batch_size=2, seed=0, known_bad={"1": "torn"})
    assert reader.tried.count("1") >= 2


def test_substitutes_keep_the_balance_and_come_from_elsewhere_if_a_class_is_bad_as_a_whole():
    labels = [0] * 6 + [1] * 2 + [2] * 2
    records = tuple(Record(str(i), Labels((c,))) for i, c in enumerate(labels))
    videos, common = VideoSet(records, LabelSpace(("a", "b", "c"))), {"batch_size": 3, "seed": 0, "balance": "class"}
    batches = take(10, videos, fake(frozenset("7"), num_threads=1), **common)
    assert np.bincount(label_of(batches)).tolist() == [10, 10, 10]
    batches = take(10, videos, fake(frozenset("67"), num_threads=1), **common)
    counts = np.bincount(label_of(batches))
    assert counts.sum() == 30 and counts[1] == 0 and min(counts[0], counts[2]) >= 10
    with pytest.raises(DataError, match="20 training videos in a row"):
        take(1, videos, fake(frozenset("0123456789"), num_threads=1), **common)


def test_quarantined_videos_are_neither_opened_nor_dropped_by_evaluation():
    videos = dataclasses.replace(video_set(5), quarantined={1: "in quarantine (torn)", 4: "in quarantine (x)"})
    batches = list(eval_batches(videos, Fake(DataConfig()), batch_size=3, num_clips=1, num_crops=1))
    assert [i for b in batches for i in b["index"][b["mask"]]] == [0, 2, 3]
    bad = [(r.index, r.path, r.reason) for b in batches for r in b["bad"]]
    assert bad == [(1, "1", "in quarantine (torn)"), (4, "4", "in quarantine (x)")]


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (3, 1), (2, 5)])
def test_no_more_batches_exist_than_the_footprint_says(threads, prefetch):
    """Every clip is counted from when its reading begins until its batch is taken."""
    config = DataConfig(reading=ReadingConfig(num_threads=threads, prefetch=prefetch))
    lock, counts = threading.Lock(), {"begun": 0, "most": 0, "taken": 0}

    @dataclasses.dataclass
    class Counting(Fake):
        def train(self, *args, **kwargs):
            with lock:
                counts["begun"] += 1
                counts["most"] = max(counts["most"], -(-counts["begun"] // 2) - counts["taken"])
            return super().train(*args, **kwargs)

    batches = training(video_set(6), Counting(config), batch_size=2, seed=0)
    for i in range(12):
        next(batches)
        time.sleep(0.02 * (i % 3))  # time for the threads to run ahead
        counts["taken"] += 1
    bound = footprint(BatchLayout(LAYOUT), config, 2).batches
    assert counts["most"] <= bound == max(threads, prefetch) + 1
    assert counts["most"] >= bound - 1  # it does read ahead


@dataclasses.dataclass
class Noting(Fake):
    """Writes a byte to a file for every clip that it begins."""

    notes: str = ""

    def train(self, *args, **kwargs):
        with open(self.notes, "ab", buffering=0) as file:
            file.write(b".")
        return super().train(*args, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "threads", "prefetch"), [(1, 2, 3), (2, 2, 1)])
def test_workers_keep_to_the_footprint_too(tmp_path, workers, threads, prefetch):
    config = DataConfig(reading=ReadingConfig(num_workers=workers, num_threads=threads, prefetch=prefetch))
    notes = tmp_path / "notes"
    batches = training(video_set(6), Noting(config, notes=str(notes)), batch_size=2, seed=0)
    most = 0
    for taken in range(8):
        next(batches)
        time.sleep(0.7)  # the workers run ahead until they may not
        most = max(most, -(-notes.stat().st_size // 2) - taken)
    bound = footprint(BatchLayout(LAYOUT), config, 2).batches
    assert bound - 1 <= most <= bound == workers * (max(threads, prefetch) + 4) + 1


def test_batches_that_processes_cannot_share_are_refused():
    with pytest.raises(DataError, match="batch of 7 cannot be shared evenly by 2 processes"):
        training(video_set(6), Fake(DataConfig()), batch_size=7, seed=0, process=(0, 2))


def test_footprint_counts_workers_views_and_processes():
    layout = layout_of(Spec.of_video("toy", num_frames=16, size=224).inputs, {"label": Field((), "int32")})
    config = DataConfig(
        sampling=SamplingConfig(views=2), reading=ReadingConfig(num_workers=8, num_threads=2, prefetch=4)
    )
    most = footprint(layout, config, 64, processes=2)
    assert most.batches == 8 * (4 + 4) + 1 == 65
    assert most.batch_bytes == 32 * 2 * 16 * 224 * 224 * 3 and most.bytes == 65 * most.batch_bytes
