"""Publishers' files of captions: which sentences a video has, and what is wrong with a file."""

import json

import pytest

from vidjax.config import DataConfig
from vidjax.config.choices import CAPTIONED
from vidjax.data.listing.class_lists import class_names_of
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.listing.load import load_eval_set, load_sets
from vidjax.data.records import Caption
from vidjax.data.text import DataError
from vidjax.errors import UserError

KINDS = frozenset({Caption.kind})
MSRVTT = {
    "videos": [{"video_id": "video0", "split": "train"}, {"video_id": "video1", "split": "validate"},
               {"video_id": "video2", "split": "test"}],
    "sentences": [{"video_id": f"video{i}", "caption": text}
                  for i, text in ((0, "a cat"), (2, "a  dog runs"), (0, "an animal"), (0, "a cat"), (1, "a bird"))],
}  # fmt: skip
FILES = {
    "msrvtt": {"MSRVTT_data.json": json.dumps(MSRVTT)},
    "msrvtt_1ka": {
        "MSRVTT_data.json": json.dumps(MSRVTT),
        "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo1\n",
        "MSRVTT_JSFUSION_test.csv": 'key,vid_key,video_id,sentence\nret0,msr2,video2,"a dog, running"\n',
    },
    "msvd": {
        "AllVideoDescriptions.txt": "# a comment\n\na_1_2 a cat\na_1_2 an animal\na_1_2 a cat\nb-c_3_4 a dog\n",
        "train_list.txt": "a_1_2\n",
        "test_list.txt": "b-c_3_4\n",
    },
    "vatex": {
        "vatex_training_v1.0.json": json.dumps([{"videoID": "a_000010_000020", "enCap": ["a cat", "an animal"]}]),
        "vatex_validation_v1.0.json": json.dumps([{"videoID": "b_000000_000010", "enCap": ["a dog"]}]),
    },
    "didemo": {
        "train_data.json": json.dumps(
            [{"video": v, "description": d} for v, d in (("a.mov", "a cat"), ("b.mp4", "x"), ("a.mov", "then a dog"))]
        ),
        "test_data.json": json.dumps([{"video": "c.avi", "description": "a bird"}]),
    },
    "activitynet_captions": {
        "train.json": json.dumps({"v_a": {"timestamps": [[0, 4], [4, 9]], "sentences": [" A cat.", "It runs."]}}),
        "val_1.json": json.dumps({"v_b": {"timestamps": [[0, 4]], "sentences": ["A dog."]}}),
    },
}  # fmt: skip
# Texts by the file's name, of training and of evaluation.
FOUND = {
    "msrvtt": ({"video0.mp4": ("a cat", "an animal")}, {"video2.mp4": ("a dog runs",)}),
    "msrvtt_1ka": (
        {"video0.mp4": ("a cat", "an animal"), "video1.mp4": ("a bird",)}, {"video2.mp4": ("a dog, running",)},
    ),
    "msvd": ({"a_1_2.avi": ("a cat", "an animal")}, {"b-c_3_4.avi": ("a dog",)}),
    "vatex": ({"a_000010_000020.mp4": ("a cat", "an animal")}, {"b_000000_000010.mp4": ("a dog",)}),
    "didemo": ({"a.mov": ("a cat then a dog",), "b.mp4": ("x",)}, {"c.avi": ("a bird",)}),
    "activitynet_captions": ({"v_a.mp4": ("A cat. It runs.",)}, {"v_b.mkv": ("A dog.",)}),
}  # fmt: skip


def written(folder, name):
    (folder / "videos").mkdir(parents=True)
    for file, text in FILES[name].items():
        (folder / file).write_text(text)
    for file in FOUND[name][0] | FOUND[name][1]:
        (folder / "videos" / file).touch()
    return DataConfig(dataset=name, train=str(folder), root=str(folder / "videos"))


def texts(videos):
    return {record.path.rpartition("/")[2]: record.annotation.texts for record in videos.records}


@pytest.mark.parametrize("name", CAPTIONED)
def test_sentences_of_a_video_are_found_together(name, tmp_path):
    config = written(tmp_path, name)
    train, evaluation = load_sets(config, kinds=KINDS)
    assert (texts(train), texts(evaluation)) == FOUND[name]
    assert train.labels.names == () == DATASETS[name].class_names
    assert texts(load_eval_set(config, train.labels, kinds=KINDS)) == FOUND[name][1]


WRONG = {
    "msrvtt": (
        "MSRVTT_data.json",
        '{"videos": [], "sentences": [{"video_id": "v"}]}',
        "without 'video_id' or 'caption'",
    ),
    "msrvtt_1ka": ("MSRVTT_train.9k.csv", "video_id\nvideo7\n", r"9k.csv:2: video 'video7' has no sentence"),
    "msvd": ("train_list.txt", "a_1_2\nc_1_2\n", "train_list.txt:2: video 'c_1_2' has no sentence"),
    "vatex": ("vatex_training_v1.0.json", '[{"videoID": "a", "chCap": ["x"]}]', "json:1: a: has no list of sentences"),
    "didemo": ("train_data.json", '[{"video": "a.mov"}]', "json:1: a.mov: has no 'description'"),
    "activitynet_captions": ("train.json", '{"v_a": {"sentences": [""]}}', "json:1: v_a: has no list 'sentences'"),
}


@pytest.mark.parametrize("name", CAPTIONED)
def test_what_is_wrong_is_said_with_its_place(name, tmp_path):
    config = written(tmp_path, name)
    file, text, message = WRONG[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=message):
        load_sets(config, kinds=KINDS)


def test_a_file_of_sentences_that_is_absent_is_named(tmp_path):
    config = written(tmp_path, "msvd")
    (tmp_path / "AllVideoDescriptions.txt").unlink()
    with pytest.raises(DataError, match=r"has no AllVideoDescriptions.txt or video_corpus.txt, with the sentences of"):
        load_sets(config, kinds=KINDS)


def test_they_have_no_classes_to_give_to_others(tmp_path):
    with pytest.raises(UserError, match=r"class_names = 'vatex': give K names, or one of activitynet, audioset, ava, "):
        class_names_of("vatex", (), 3)
    with pytest.raises(DataError, match="label"):
        load_sets(written(tmp_path, "vatex"))
