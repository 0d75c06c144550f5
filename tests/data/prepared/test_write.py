"""Preparing: what is stored, the same clips as from files, resuming, workers, Beam, refusals."""

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import chex
import cv2
import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

from tests.peers import needs
from tests.videos import numbered_frames, write_video
from vidjax.config import DataConfig, ReadingConfig, SamplingConfig, Spec, with_settings
from vidjax.data.listing.load import load_sets
from vidjax.data.pipeline import eval_batches, train_batches
from vidjax.data.prepared import shards as module
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.write import prepare
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.open_video import open_video, parse
from vidjax.data.records import Boxes, Caption, Labels, LabelSpace, Masks, Record, Segments, VideoSet
from vidjax.data.text import DataError
from vidjax.tasks.classify.targets import ClassTargets
from vidjax.video import VideoReader

SPEC = Spec.of_video("toy", num_frames=4, stride=2, size=16, resize=(20,))
READER = ExampleReader(SPEC, DataConfig(sampling=SamplingConfig(train="random"), reading=ReadingConfig(num_threads=1)))
JPEG = Encoding(jpeg=True, short_side=24, quality=95)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    lines = ["path,label,split,group"]
    for i in range(8):
        write_video(folder / "clips" / f"{i}.mp4", numbered_frames(10 + i, offset=i), fps=10 + i)
        lines.append(f"clips/{i}.mp4,{('run', 'walk')[i % 2]},{'val' if i > 4 else 'train'},g{i}")
    path = folder / "all.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def sets(csv):
    train, held_out = load_sets(DataConfig(train=str(csv)))
    return {"train": train, "validation": held_out}


@pytest.fixture(scope="module")
def as_files(sets, tmp_path_factory):
    """Prepared from the files as they are, two or so to a shard."""
    out = tmp_path_factory.mktemp("prepared") / "toy"
    size = max(os.path.getsize(r.path) for r in sets["train"].records)
    return prepare(sets, out, Encoding(), shard_bytes=int(2.5 * size))


@pytest.fixture(scope="module")
def as_jpeg(sets, tmp_path_factory):
    return prepare(sets, tmp_path_factory.mktemp("prepared") / "toy_jpeg", JPEG)


def broken(folder):
    path = Path(folder) / "broken.mp4"
    path.write_bytes(b"no video")
    return Record(str(path), Labels((0,)))


def with_record(sets, split, record):
    changed = dataclasses.replace(sets[split], records=(record, *sets[split].records))
    return sets | {split: changed}


def shards(result):
    """The examples of each file. Their bytes may differ: protocol buffers store features in any order."""

    def examples(path):
        records = ArrayRecordDataSource(str(path))
        return [sorted((k, v.SerializeToString()) for k, v in parse(record).items()) for record in records]

    return {path.name: examples(path) for path in Path(result.folder).glob("*array_record*")}


def training(videos, reader=READER, seed=3):
    return train_batches(videos, reader, ClassTargets(videos.labels), batch_size=5, seed=seed)


def assert_same_batches(one, two, batches=3):
    for _, a, b in zip(range(batches), one, two, strict=False):
        chex.assert_trees_all_equal(*({k: x.get(k) for k in ("inputs", "targets", "index", "mask")} for x in (a, b)))


def test_clips_of_stored_files_are_those_of_the_files(sets, as_files):
    train, held_out = load_sets(DataConfig(train=str(Path(as_files.folder).parent)))
    assert as_files.stored == 8 and as_files.bad == ()
    assert len(shards(as_files)) > 3
    assert_same_batches(*(training(v) for v in (sets["train"], train)))
    settings = {"batch_size": 3, "num_clips": 2, "num_crops": 3}
    assert_same_batches(*(eval_batches(v, READER, **settings) for v in (sets["validation"], held_out)))
    assert [r.group for r in held_out.records] == ["g5", "g6", "g7"]


def test_clips_of_jpeg_frames_are_nearly_those_of_the_files(sets, as_jpeg):
    train, held_out = load_sets(DataConfig(train=str(Path(as_jpeg.folder).parent)))
    reader = ExampleReader(SPEC.with_video(fps=5.0), READER.config)  # which takes the stored frame rates
    (one, two) = (next(training(v, reader)) for v in (sets["train"], train))
    np.testing.assert_array_equal(one["targets"]["label"], two["targets"]["label"])
    np.testing.assert_allclose(one["inputs"]["video"].astype(int), two["inputs"]["video"], atol=2)
    (one, two) = (
        next(eval_batches(v, reader, batch_size=3, num_clips=2, num_crops=1)) for v in (sets["validation"], held_out)
    )
    np.testing.assert_allclose(one["inputs"]["video"].astype(int), two["inputs"]["video"], atol=2)


@pytest.mark.slow
def test_workers_of_the_pipeline_read_prepared_data(as_files):
    train, _ = load_sets(DataConfig(train=as_files.folder))
    workers = ExampleReader(SPEC, with_settings(READER.config, {"reading.num_workers": 1}))
    assert_same_batches(*(training(train, r) for r in (READER, workers)), batches=2)


@pytest.mark.filterwarnings("ignore:label.. is deprecated:DeprecationWarning")  # by TFDS, with protobuf 6
def test_tfds_reads_it_back(sets, as_files, as_jpeg):
    import tensorflow_datasets as tfds

    folder = Path(as_files.folder)
    source = tfds.data_source("toy", data_dir=folder.parents[1], split="validation")
    assert len(source) == 3
    for i, record in enumerate(sets["validation"].records):
        example = source[i]
        assert example["video"] == Path(record.path).read_bytes()
        assert (example["label"], example["num_frames"], example["fps"]) == (record.labels[0], 15 + i, 15 + i)
        assert example["source"].decode() == f"{5 + i}.mp4" and example["group"].decode() == f"g{5 + i}"
    frames = tfds.builder_from_directory(as_jpeg.folder).as_data_source("train")[2]["video"]
    with VideoReader(sets["train"].records[2].path) as reader:
        np.testing.assert_allclose(np.stack(frames).astype(int), reader.read(range(12), resize=24), atol=3)
    info = tfds.builder_from_directory(as_files.folder).info
    assert info.features["label"].names == ["run", "walk"]
    assert info.splits["train"].num_examples == 5 and len(info.splits["train"].shard_lengths) > 1


def test_processes_write_the_same(sets, as_jpeg, tmp_path):
    counts = []
    result = prepare(sets, tmp_path / "toy_jpeg", JPEG, num_workers=2, advance=lambda *count: counts.append(count))
    assert shards(result) == shards(as_jpeg)
    assert counts == [(i, 8) for i in range(1, 9)]


class _Deadly(Record):
    """Ends the process that it is sent to, as a crash inside FFmpeg would."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_dies_is_reported(sets):
    items = [module.Item(record, "", 1) for record in (*sets["train"].records[:2], _Deadly("deadly.mp4", Labels((0,))))]
    with pytest.raises(DataError, match=r"an encoding process was killed, .*deadly\.mp4"):
        list(module.encode_ahead(items, JPEG, 60.0, 2))


def test_a_stopped_run_goes_on_where_it_was(sets, as_files, tmp_path, monkeypatch):
    size = max(os.path.getsize(r.path) for r in sets["train"].records)
    encoded = []

    def encode(path, *args, limit, **kwargs):
        if len(encoded) == limit:
            raise KeyboardInterrupt
        encoded.append(path)
        return whole(path, *args, **kwargs)

    whole = module.encode
    out = tmp_path / "toy"
    monkeypatch.setattr(module, "encode", lambda *a, **k: encode(*a, limit=4, **k))
    with pytest.raises(KeyboardInterrupt):
        prepare(sets, out, Encoding(), shard_bytes=int(2.5 * size))
    with pytest.raises(DataError, match="preparation was not finished"):
        load_sets(DataConfig(train=str(out)))
    (out / "incomplete.ABCDEF_1.0.0").mkdir()  # what a kill leaves
    (out / ".parts" / "toy-train.array_record-00001-of-00002.unfinished").write_bytes(b"half")
    monkeypatch.setattr(module, "encode", lambda *a, **k: encode(*a, limit=-1, **k))
    counts = []
    result = prepare(sets, out, Encoding(), shard_bytes=int(2.5 * size), advance=lambda *c: counts.append(c))
    assert len(encoded) < 4 + 8 and counts[-1] == (8, 8)
    assert shards(result) == shards(as_files)
    assert {p.name for p in out.iterdir()} == {"1.0.0", ".lock"}
    assert load_sets(DataConfig(train=str(out)))[0].labels.names == ("run", "walk")


def test_a_stopped_run_with_other_settings_starts_anew(sets, as_jpeg, tmp_path, monkeypatch):
    out = tmp_path / "toy_jpeg"

    def stop(split):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Shard, "reasons", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(sets, out, Encoding())
    assert len(list((out / ".parts").glob("*array_record*"))) == 2
    assert shards(prepare(sets, out, JPEG)) == shards(as_jpeg)


def test_prepared_twice(sets, as_files, monkeypatch):
    size = max(os.path.getsize(r.path) for r in sets["train"].records)
    monkeypatch.setattr(module, "encode", None)
    again = prepare(sets, Path(as_files.folder).parent, Encoding(), shard_bytes=int(2.5 * size))
    assert not again.fresh and again.stored == 8
    with pytest.raises(DataError, match="prepared from other videos or settings"):
        prepare(sets, Path(as_files.folder).parent, JPEG)


def test_unreadable_videos(sets, tmp_path):
    bad = broken(tmp_path)
    both = with_record(with_record(sets, "train", bad), "validation", bad)
    result = prepare(both, tmp_path / "toy", Encoding())
    assert result.stored == 8 and [path for path, _ in result.bad] == [bad.path] * 2
    lines = (Path(result.folder) / "bad_records.jsonl").read_text().splitlines()
    assert "does not open as a video" in json.loads(lines[0])["reason"]
    train, held_out = load_sets(DataConfig(train=str(tmp_path / "toy")))
    assert (len(train), len(held_out)) == (5, 4)
    (batch,) = eval_batches(held_out, READER, batch_size=4, num_clips=1, num_crops=1)
    assert batch["mask"].tolist() == [False, True, True, True]
    assert "could not be read when" in batch["bad"][0].reason


def test_a_shard_of_unreadable_videos_alone(sets, tmp_path):
    result = prepare(with_record(sets, "train", broken(tmp_path)), tmp_path / "toy", JPEG, shard_bytes=1)
    train, _ = load_sets(DataConfig(train=str(tmp_path / "toy")))
    assert result.stored == 8 and len(shards(result)) == 9
    assert_same_batches(*(training(train, seed=1) for _ in range(2)), batches=1)


def test_a_split_without_a_readable_video(sets, tmp_path):
    bad = dataclasses.replace(sets["train"], records=(broken(tmp_path),))
    with pytest.raises(DataError, match=r"none of the 1 train videos can be read, the last one .*broken.mp4"):
        prepare(sets | {"train": bad}, tmp_path / "toy", Encoding())


def test_what_belongs_to_the_data_set_is_kept(sets, tmp_path):
    """Order of the classes, several labels, parts of videos, which classes are mirror images."""
    path = sets["train"].records[0].path
    records = (Record(path, Labels((0, 2)), "", 0.2, 0.55), Record(path, Labels((1,))))
    videos = VideoSet(records, LabelSpace(("right", "left", "jump"), True, True, {0: 1, 1: 0}))
    for encoding in (Encoding(), JPEG):
        out = tmp_path / f"toy_{'jpeg' if encoding.jpeg else 'files'}"
        prepare({"train": videos, "validation": videos}, out, encoding)
        train, _ = load_sets(DataConfig(train=str(out)))
        assert (train.labels.names, train.labels.several) == (videos.labels.names, True)
        assert (train.labels.directional, train.labels.mirrored) == (True, {0: 1, 1: 0})
        assert [r.labels for r in train.records] == [(0, 2), (1,)]
        first = train.records[0]
        clips = ExampleReader(SPEC.with_video(stride=1), DataConfig(sampling=SamplingConfig(eval="multi_clip")))
        inputs, _ = clips.evaluate(first, 1, 1)
        np.testing.assert_allclose(inputs["video"][0].mean(axis=(1, 2, 3)), 8 * np.arange(2, 6), atol=2)


BOX = (0.1, 0.2, 0.5, 0.9)


@pytest.mark.parametrize(
    ("one", "other", "earlier"),
    [
        (
            Boxes(0.4, (BOX, BOX), ((0, 2), ()), (7, 8)),
            Boxes(0.1, (), ()),
            Boxes(0.2, (BOX, BOX), ((0, 2), ()), (7, 8)),
        ),
        (Segments(((0.0, 0.1, 0), (0.1, 0.4, 1))), Segments(()), Segments(((0.0, 0.2, 1),))),
        (Caption(("it gets brighter", "über alles")), Caption(("nothing",)), None),
    ],
    ids=["boxes", "segments", "caption"],
)
def test_annotations_of_other_kinds_than_labels(sets, tmp_path, one, other, earlier):
    """Times of a part that is stored alone, as JPEG frames, count from where it begins."""
    path = sets["train"].records[0].path
    at = getattr(one, "at", None)
    videos = VideoSet((Record(path, one, "g", 0.2, 0.55, at), Record(path, other)), LabelSpace(("b", "c", "a"), True))
    for encoding in (Encoding(), JPEG):
        out = tmp_path / f"toy_{'jpeg' if encoding.jpeg else 'files'}"
        result = prepare({"train": videos, "validation": videos}, out, encoding)
        train, _ = load_sets(DataConfig(train=str(out)), kinds=frozenset({one.kind}))
        first, second = train.records
        times = [first.start, first.end, first.at]
        if encoding.jpeg:
            assert times == [None, None, at and pytest.approx(at - 0.2)]
            for key, value in dataclasses.asdict(earlier or one).items():
                found = dataclasses.asdict(first.annotation)[key]
                assert np.allclose(found, value) if key in ("at", "spans") else found == value
        else:
            assert first.annotation == one and times == [0.2, 0.55, at]
        assert second.annotation == other and first.group == "g" and train.labels == videos.labels
        folder = Path(result.folder)
        (file,) = folder.glob("*train*array_record*")
        stored = [parse(record)["annotation"].bytes_list.value[0] for record in ArrayRecordDataSource(str(file))]
        assert all(one.kind in json.loads(text) for text in stored) and len(stored) == 2
    with pytest.raises(DataError, match=rf"toy_jpeg: its annotations are {one.kind}, but labels are needed"):
        load_sets(DataConfig(train=str(out)))


def test_annotations_that_cannot_be_stored_are_refused(sets, tmp_path):
    labelled = sets["train"].records[0]
    for records, found in (
        ((Record("a.mp4", Masks("masks")),), "masks"),
        ((labelled, Record("a.mp4")), "labels, no annotation"),
        ((labelled, Record("a.mp4", Caption(("x",)))), "caption, labels"),
    ):
        with pytest.raises(DataError, match=f"annotations of one kind, and no masks; the videos have {found}$"):
            prepare({"train": VideoSet(records, sets["train"].labels)}, tmp_path / "toy", Encoding())


def test_earlier_preparations_of_labelled_videos_are_known_again():
    """The fingerprint is that of before records had other annotations than labels."""
    records = (Record("/gone/a.mp4", Labels((0,)), "g"), Record("/gone/b/c.mp4", Labels((0, 2)), "", 1.5, 3.0))
    videos = VideoSet(records, LabelSpace(("run", "left", "right"), True, True, {1: 2, 2: 1}))
    found = module.fingerprint({"train": videos}, {"train": module.plan(videos, Encoding(), 1000)}, Encoding())
    assert found == "c32f38b228f63be6717e9183085325e7ccc32ff145b539abd2e1fde3a23f2cd5"
    other = dataclasses.replace(videos, records=(Record("/gone/a.mp4", Caption(("x",)), "g"), records[1]))
    assert module.fingerprint({"train": other}, {"train": module.plan(other, Encoding(), 1000)}, Encoding()) != found


def test_folders_of_images(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for t, frame in enumerate(numbered_frames(9)):
            cv2.imwrite(str(tmp_path / name / f"img_{t:05d}.jpg"), frame)
    videos = VideoSet(
        (Record(str(tmp_path / "a"), Labels((0,))), Record(str(tmp_path / "b"), Labels((1,)))), LabelSpace(("x", "y"))
    )
    encoding = dataclasses.replace(JPEG, folder_fps=12.0)
    result = prepare({"train": videos, "validation": videos}, tmp_path / "toy", encoding, shard_bytes=1)
    assert len(shards(result)) == 4
    train, _ = load_sets(DataConfig(train=str(tmp_path / "toy")))
    with open_video(train.records[1].path) as video:
        assert (len(video), video.fps, video.height) == (9, 12, 24)
        np.testing.assert_allclose(video.read(range(9)).mean(axis=(1, 2, 3)), 8 * np.arange(9), atol=1)
    with pytest.raises(DataError, match="is not a file that can be stored unchanged"):
        prepare({"train": videos}, tmp_path / "files", Encoding())


@pytest.mark.parametrize("name", ["Toy", "toy-1", "1toy"])
def test_names_that_tfds_does_not_allow(sets, tmp_path, name):
    with pytest.raises(DataError, match=r"give .*/toy"):  # the mend names one that it does
        prepare(sets, tmp_path / name, Encoding())


def test_two_processes_do_not_write_the_same(sets, tmp_path):
    (tmp_path / "toy").mkdir()
    with open(tmp_path / "toy" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is preparing"):
            prepare(sets, tmp_path / "toy", Encoding())


def test_beam_is_asked_for_by_name(sets, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[beam\]'"):
        prepare(sets, tmp_path / "toy", Encoding(), beam_options=["runner=DirectRunner"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Beam's own
def test_beam(sets, tmp_path):
    needs("apache_beam")
    many = dataclasses.replace(sets["train"], records=(broken(tmp_path), *sets["train"].records * 3))
    sets = sets | {"train": many}
    with pytest.raises(DataError, match="runner=DirectRunner"):
        prepare(sets, tmp_path / "toy", JPEG, beam_options=["direct_num_workers=1"])
    result = prepare(sets, tmp_path / "toy", JPEG, shard_bytes=1, beam_options=["runner=DirectRunner"])
    alone = prepare(sets, tmp_path / "alone" / "toy", JPEG, shard_bytes=1)
    assert result.bad == alone.bad and result.stored == alone.stored == 18
    assert shards(result) == shards(alone)
    for name in ("vidjax.json", "dataset_info.json", "features.json", "bad_records.jsonl"):
        assert (Path(result.folder) / name).read_text() == (Path(alone.folder) / name).read_text()
    assert {p.name for p in Path(result.folder).iterdir()} == {p.name for p in Path(alone.folder).iterdir()}


def test_tfds_is_imported_only_where_it_is_used():
    code = (
        "import sys, vidjax, vidjax.__main__, vidjax.data.pipeline, vidjax.data.prepared.read, vidjax.apps.prepare\n"
        "sys.exit(str([m for m in ('tensorflow_datasets', 'apache_beam', 'tensorflow') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_labels_keep_their_times_and_categories(sets, tmp_path):
    """The records have the classes, for other readers; the index has all."""
    space = LabelSpace(("action/run", "scene/beach"), several=True)
    given = [
        Labels((0, 1), ((0.2, 0.5, 0), (0.1, 0.9, 1), (0.4, 0.6, 0))), Labels((0,), categories=("action",)),
        Labels((1,)), Labels((), ()),
    ]  # fmt: skip
    records = [
        dataclasses.replace(record, annotation=annotation)
        for record, annotation in zip(sets["train"].records, given, strict=False)
    ]
    folder = prepare({"train": VideoSet(tuple(records), space)}, tmp_path / "timed", Encoding()).folder
    train = load_sets(DataConfig(train=f"{folder}@train", eval=f"{folder}@train"))[0]
    assert train.labels == space and [record.annotation for record in train.records] == given
    cut = [dataclasses.replace(records[0], start=0.25, end=0.75)]
    folder = prepare({"train": VideoSet(tuple(cut), space)}, tmp_path / "cut", JPEG).folder
    (record,) = load_sets(DataConfig(train=f"{folder}@train", eval=f"{folder}@train"))[0].records
    np.testing.assert_allclose(record.annotation.spans, [(0.0, 0.25, 0), (0.0, 0.65, 1), (0.15, 0.35, 0)], atol=1e-9)
