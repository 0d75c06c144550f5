"""Data sets elsewhere: CSV files, class folders, check, prepare, clips."""

import shutil

import fsspec
import numpy as np
import pytest
from rich.console import Console

from tests.servers import serve
from vidjax.apps.check_videos import Check, check
from vidjax.config import DataConfig, SamplingConfig, Spec
from vidjax.data.listing import paths as places
from vidjax.data.listing.load import load_sets
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.write import prepare
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.open_video import open_video
from vidjax.data.records import Record
from vidjax.data.synthetic import write_motion
from vidjax.data.text import DataError
from vidjax.video import VideoReader

SPEC = Spec.of_video("tiny", num_frames=4, stride=2, size=32, resize=(32,))


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return write_motion(tmp_path_factory.mktemp("places") / "motion", num_train=12, num_eval=6, num_frames=10, size=32)


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def uploaded(memory, motion):
    """The moving shapes, with their CSV files, as memory://motion."""
    for path in motion.rglob("*"):
        if path.is_file():
            memory.pipe(f"/motion/{path.relative_to(motion)}", path.read_bytes())
    return "memory://motion"


def local_rows(motion, **settings):
    return load_sets(DataConfig(train=str(motion / "train.csv"), eval=str(motion / "val.csv"), **settings))


def test_csv_elsewhere(motion, uploaded):
    here = local_rows(motion)
    there = load_sets(DataConfig(train=f"{uploaded}/train.csv", eval=f"{uploaded}/val.csv"))
    for a, b in zip(here, there, strict=True):
        assert a.labels.names == b.labels.names
        assert [(r.path.replace(str(motion), uploaded), r.labels) for r in a.records] == [
            (r.path, r.labels) for r in b.records
        ]


def test_csv_here_and_videos_there(motion, uploaded, tmp_path):
    lines = (motion / "train.csv").read_text().splitlines()
    (tmp_path / "below.csv").write_text("\n".join(lines))
    (tmp_path / "whole.csv").write_text("\n".join([lines[0], *(f"{uploaded}/{line}" for line in lines[1:])]))
    below = load_sets(DataConfig(train=str(tmp_path / "below.csv"), root=uploaded, eval_share=0.5))
    whole = load_sets(DataConfig(train=str(tmp_path / "whole.csv"), eval_share=0.5))
    assert [v.records for v in below] == [v.records for v in whole]
    assert all(r.path.startswith("memory://motion/train/") for v in whole for r in v.records)


def test_missing_rows_are_named_with_one_request_per_folder(motion, uploaded, memory, monkeypatch):
    memory.rm("/motion/train/0003.mp4")
    listed = []
    ls = type(memory).ls
    monkeypatch.setattr(type(memory), "ls", lambda self, path, **k: listed.append(path) or ls(self, path, **k))
    with pytest.raises(DataError, match=r"memory://motion/train.csv:5: no such file: memory://motion/train/0003.mp4"):
        load_sets(DataConfig(train=f"{uploaded}/train.csv", eval=f"{uploaded}/val.csv"))
    assert listed.count("/motion/train") == 1


def test_class_folders_elsewhere(memory, tmp_path, caplog):
    names = ("b/one.mp4", "b/deep/two.mp4", "a/x.avi", "a/.hidden.mp4", ".cache/y.mp4", "a/notes.txt", "readme.txt")
    for name in names:
        memory.pipe(f"/videos/{name}", b"x")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = places.class_folders("memory://videos")
    here = places.class_folders(str(tmp_path))
    assert {k: sorted(v) for k, v in found.items()} == {
        k: sorted(p.replace(str(tmp_path), "memory://videos") for p in v) for k, v in here.items()
    }
    memory.pipe("/videos/a/z.mp4", b"x")
    train, _ = load_sets(DataConfig(train="memory://videos", eval="memory://videos/"))
    assert [r.path for r in train.records] == [
        f"memory://videos/{name}" for name in ("a/x.avi", "a/z.mp4", "b/deep/two.mp4", "b/one.mp4")
    ]
    assert train.labels.names == ("a", "b") and "a/notes.txt" in caplog.text


def test_what_is_not_there(memory):
    with pytest.raises(DataError, match=r"memory://gone/train.csv: no such file"):
        load_sets(DataConfig(train="memory://gone/train.csv"))
    with pytest.raises(DataError, match="memory://gone: no sub-folders"):
        load_sets(DataConfig(train="memory://gone"))
    memory.pipe("/prepared/dataset_info.json", b"{}")
    with pytest.raises(DataError, match="ArrayRecords are read only from local disks; copy the folder"):
        load_sets(DataConfig(train="memory://prepared"))
    with pytest.raises(DataError, match="memory://ucf: files of published data sets are searched only on local disks"):
        load_sets(DataConfig(dataset="ucf101", root="memory://ucf", train="."))


def test_locate(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for root, path, expected in [
        ("gs://b/v", "a/c.mp4", "gs://b/v/a/c.mp4"),
        ("gs://b/v/", "c.mp4", "gs://b/v/c.mp4"),
        ("gs://b/v", "/disk/c.mp4", "/disk/c.mp4"),
        ("gs://b/v", "s3://d/c.mp4", "s3://d/c.mp4"),
        ("/disk", "s3://d/c.mp4", "s3://d/c.mp4"),
        ("~/v", "c.mp4", "/home/me/v/c.mp4"),
        (".", "c.mp4", "c.mp4"),
        ("/disk", "/other/c.mp4", "/other/c.mp4"),
    ]:
        assert places.locate(root, path) == expected


def test_check_prepare_and_clips(motion, uploaded, memory, tmp_path):
    memory.pipe("/motion/train/0002.mp4", b"no video at all" * 20)
    memory.rm("/motion/train/0007.mp4")
    console = Console(quiet=True)
    config = DataConfig(train=f"{uploaded}/train.csv", eval=f"{uploaded}/val.csv")
    assert check(config, Check(), out=tmp_path / "check.csv", workers=2, console=console) == 1
    lines = (tmp_path / "check.csv").read_text().splitlines()[1:]
    status = {line.split(",")[0]: line.split(",")[1] for line in lines}
    bad = {path: s for path, s in status.items() if s != "ok"}
    assert bad == {f"{uploaded}/train/0002.mp4": "unreadable", f"{uploaded}/train/0007.mp4": "missing"}

    _, videos = load_sets(DataConfig(train=f"{uploaded}/val.csv", eval=f"{uploaded}/val.csv"))
    result = prepare({"train": videos}, tmp_path / "prepared", Encoding())
    assert result.stored == 6 and not result.bad
    stored, _ = load_sets(DataConfig(train=f"{result.folder}@train", eval=f"{result.folder}@train"))
    clips = ClipReader(SPEC, DataConfig(sampling=SamplingConfig(eval="uniform")))
    assert [r.path.rpartition("::")[2] for r in stored.records] == [f"{i:04d}.mp4" for i in range(6)]
    for elsewhere, here in zip(videos.records, sorted((motion / "val").iterdir()), strict=True):
        views, _ = clips.evaluate(elsewhere, 1, 1)
        np.testing.assert_array_equal(views, clips.evaluate(Record(str(here)), 1, 1)[0])
        assert clips.train(elsewhere, np.random.default_rng(0))[0].shape == (1, 4, 32, 32, 3)
    with open_video(stored.records[0].path) as one, VideoReader(motion / "val" / "0000.mp4") as other:
        np.testing.assert_array_equal(one.read([3]), other.read([3]))


def test_image_folders_elsewhere(memory):
    import cv2

    for i in range(5):
        _, data = cv2.imencode(".png", np.full((8, 8, 3), 40 * i, np.uint8))
        memory.pipe(f"/frames/clip/img_{i + 1:05d}.png", data.tobytes())
    with open_video("memory://frames/clip", folder_fps=10) as reader:
        assert len(reader) == 5 and reader.fps == 10
        assert reader.read([0, 4])[:, 0, 0, 0].tolist() == [0, 160]


def test_over_http(motion, tmp_path):
    files = {f"/m/{p.relative_to(motion)}": p.read_bytes() for p in motion.rglob("*") if p.is_file()}
    shutil.rmtree(tmp_path)  # nothing is stored here
    with serve(files) as site:
        train, evaluation = load_sets(DataConfig(train=f"{site.url}/m/train.csv", eval=f"{site.url}/m/val.csv"))
        assert (len(train), len(evaluation)) == (12, 6)
        clips = ClipReader(
            SPEC, DataConfig(sampling=SamplingConfig(eval="uniform"))
        )  # in another process, which asks for itself
        views, _ = clips.evaluate(train.records[0], 2, 1)
        here, _ = clips.evaluate(Record(str(motion / "train" / "0000.mp4")), 2, 1)
        np.testing.assert_array_equal(views, here)
