"""TFDS data sets that others prepared train by name."""

import json
import logging
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vidjax.config import AugmentConfig, DataConfig, ReadingConfig, Spec
from vidjax.data.listing.load import list_videos, load_eval_set, load_sets
from vidjax.data.pipeline import train_batches
from vidjax.data.prepared import read as prepared
from vidjax.data.reading import open_video
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError
from vidjax.tasks.classify.targets import ClassTargets


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A TFDS data_dir with `toy_actions/1.0.0`: nine PNG videos, a tenth without a label."""
    import tensorflow_datasets as tfds

    class ToyActions(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def _info(self):
            frames = tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="png"))
            label = tfds.features.ClassLabel(names=["walk", "run"])
            features = tfds.features.FeaturesDict({"video": frames, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0, 6), "test": self._generate_examples(6, 10)}

        def _generate_examples(self, start, stop):
            for i in range(start, stop):
                frames = [np.full((16, 16, 3), 20 * i + t, np.uint8) for t in range(5 + i)]
                images = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]
                yield i, {"video": images, "label": -1 if i == 9 else i % 2}

    data_dir = tmp_path_factory.mktemp("tfds")
    builder = ToyActions(data_dir=data_dir, file_format="array_record")
    builder._log_download_bytes = builder._log_download_done = lambda: None
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    # So TFDS's Video is described; making one needs TensorFlow.
    path = data_dir / "toy_actions" / "1.0.0" / "features.json"
    features = json.loads(path.read_text())
    video = {"pythonClassName": "tensorflow_datasets.core.features.video_feature.Video", "video": {"shape": {}}}
    features["featuresDict"]["features"]["video"] = video
    path.write_text(json.dumps(features))
    return data_dir


@pytest.fixture
def data_dir(original, tmp_path):
    """A copy: reading the labels leaves an index there."""
    return shutil.copytree(original, tmp_path / "tfds")


def test_tfds_is_imported_before_threads_read(data_dir):
    """Its lazy modules and Python's import locks, taken by two threads in opposite order, hang a training for ever; and
    while it is imported by one thread, what another imports may be replaced by a lazy module that leads nowhere."""
    script = """if True:
        import sys
        from vidjax.config import DataConfig
        from vidjax.data.reading import open_video
        from vidjax.data.listing.load import load_sets
        assert "tensorflow_datasets" not in sys.modules
        load_sets(DataConfig(train="tfds:toy_actions", root=sys.argv[1]))
        assert "tensorflow_datasets" in sys.modules and open_video._example.cache_info().currsize == 1
    """
    for _ in range(2):  # the second time there is an index
        done = subprocess.run([sys.executable, "-c", script, str(data_dir)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (data_dir / "toy_actions" / "1.0.0" / prepared.INDEX).exists()


def test_a_process_that_only_reads_imports_tfds_under_a_lock(data_dir, monkeypatch):
    """A worker's threads begin all at once, and nobody has listed the data set there."""
    train, _ = load_sets(DataConfig(train="tfds:toy_actions", root=str(data_dir)))
    open_video.describe.cache_clear()
    example, alone = open_video._example, []
    monkeypatch.setattr(open_video, "_example", lambda: alone.append(open_video._opening.locked()) or example())
    open_video.open_video(train.records[0].path)
    assert alone[0]


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_trains_by_name(data_dir, caplog):
    with caplog.at_level(logging.WARNING, "vidjax"):
        train, held_out = load_sets(DataConfig(train="tfds:toy_actions", root=str(data_dir)))
    assert "25 frames per second are assumed" in caplog.text
    assert train.labels.names == ("walk", "run")
    assert [r.labels for r in train.records] == [(0,), (1,)] * 3
    assert len(held_out) == 3  # the one without a label is not there
    reader = ExampleReader(
        Spec.of_video("toy", 4, 1, size=16, resize=(16,)),
        DataConfig(augment=AugmentConfig(flip=False), reading=ReadingConfig(num_threads=1)),
    )
    batch = next(train_batches(train, reader, ClassTargets(train.labels), batch_size=6, seed=0))
    levels = batch["inputs"]["video"].mean(axis=(1, 3, 4, 5))
    np.testing.assert_array_equal(levels[:, 0] // 20, batch["index"])
    np.testing.assert_array_equal(np.diff(levels), 1)
    np.testing.assert_array_equal(batch["targets"]["label"][:, 0], batch["index"] % 2)


def test_labels_are_read_once(data_dir, monkeypatch):
    config = DataConfig(train="tfds:toy_actions:1.0.0", root=str(data_dir))
    sets = load_sets(config)
    prepared._read_index.cache_clear()
    monkeypatch.setattr(prepared, "_index_others", None)
    assert load_sets(config) == sets


def test_an_index_of_an_earlier_version_is_read(data_dir):
    """Its lines as they were written when records had labels alone."""
    folder = data_dir / "toy_actions" / "1.0.0"
    (folder / prepared.INDEX).write_text(
        '{"class_names": ["walk", "run", "left"], "multi_label": true, "directional": true, "info": {"by": "hand"}, '
        '"mirrored": [[0, 2], [2, 0]], "entries": [["a.mp4", "train", 0, [1], "g", null, null], '
        '["b.mp4", "train", null, [0, 2], "", 0.5, 1.5], ["c.mp4", "validation", 0, [], "", null, null]]}\n'
    )
    train, held_out = load_sets(DataConfig(train=str(folder)))
    assert train.labels == LabelSpace(("walk", "run", "left"), True, True, {0: 2, 2: 0})
    assert [(r.path, r.labels, r.group, r.start, r.end, r.at) for r in train.records] == [
        (f"{folder}::train:0::a.mp4", (1,), "g", None, None, None),
        (f"{folder}::train:-::b.mp4", (0, 2), "", 0.5, 1.5, None),
    ]
    assert [r.labels for r in held_out.records] == [()]
    assert prepared.read_info(folder) == {"by": "hand"}


def test_one_split_alone(data_dir):
    name, classes = "tfds:toy_actions", LabelSpace(("walk", "run"))
    assert len(load_sets(DataConfig(train=f"{name}@train", eval=f"{name}@test", root=str(data_dir)))[1]) == 3
    train, held_out = load_sets(DataConfig(train=f"{name}@train", root=str(data_dir), eval_share=0.4))
    assert (len(train), len(held_out)) == (4, 2)
    assert len(load_eval_set(DataConfig(eval=f"{name}@train", root=str(data_dir)), classes)) == 6
    by_folder = DataConfig(train=str(data_dir / "toy_actions"), eval=f"{name}@test", root=str(data_dir))
    assert len(load_sets(by_folder)[0]) == 6
    whole = DataConfig(train="tfds:toy_actions", eval="tfds:toy_actions", root=str(data_dir))
    assert list(map(len, load_sets(whole))) == [6, 3]
    assert len(load_eval_set(DataConfig(eval=f"{name}@all", root=str(data_dir)), classes)) == 9
    with pytest.raises(DataError, match="there is no split 'validation', only test, train"):
        load_sets(DataConfig(train=f"{name}@validation", root=str(data_dir)))


def test_stored_videos_are_not_missing(data_dir):
    listed = list_videos(DataConfig(train="tfds:toy_actions", root=str(data_dir)))
    assert len(listed) == 9 and not any(video.missing for video in listed)


def test_the_newest_version_is_taken(data_dir):
    shutil.copytree(data_dir / "toy_actions" / "1.0.0", data_dir / "toy_actions" / "10.0.0")
    train, _ = load_sets(DataConfig(train="tfds:toy_actions", root=str(data_dir)))
    assert "/10.0.0::" in train.records[0].path
    train, _ = load_sets(DataConfig(train="tfds:toy_actions:1.0.0", root=str(data_dir)))
    assert "/1.0.0::" in train.records[0].path


def test_names_that_are_not_there(data_dir):
    with pytest.raises(DataError, match=r"tfds:jumping: no such data set.*config.data.root"):
        load_sets(DataConfig(train="tfds:jumping", root=str(data_dir)))
    with pytest.raises(DataError, match=r"there are toy_actions/1.0.0"):
        load_sets(DataConfig(train="tfds:toy_actions:2.0.0", root=str(data_dir)))


def test_data_sets_that_cannot_be_used(data_dir):
    folder = data_dir / "toy_actions" / "1.0.0"
    features = json.loads((folder / "features.json").read_text())["featuresDict"]["features"]
    edit(folder / "features.json", featuresDict={"features": {"video": features["video"]}})
    with pytest.raises(DataError, match="has no feature `label` or `labels` with classes, only video"):
        load_sets(DataConfig(train=str(folder)))
    other = shutil.copytree(folder, data_dir / "toy_actions" / "1.0.1")
    edit(other / "features.json", featuresDict={"features": {"label": features["label"]}})
    with pytest.raises(DataError, match="has no feature `video` of frames, only label"):
        load_sets(DataConfig(train=str(other)))
    third = shutil.copytree(folder, data_dir / "toy_actions" / "1.0.2")
    edit(third / "dataset_info.json", fileFormat="tfrecord")
    with pytest.raises(DataError, match="is not in ArrayRecord format"):
        load_sets(DataConfig(train=str(third)))
