"""`vidjax embed`, `search`, `recommend`, `duplicates` and `evaluate embeddings` on real files, as a user has them."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import vidjax
from tests.peers import needs
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.apps.evaluate_embeddings import evaluate_embeddings
from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace, Record
from vidjax.embeddings.index import IndexWriter, read_index
from vidjax.embeddings.long_videos import embed_in_parts, parts_of
from vidjax.errors import UserError
from vidjax.models.calls import module_paths
from vidjax.models.layer_vectors import layer_vectors
from vidjax.training.checkpoints import Meta, save_model

needs("pyarrow")

DATA = DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(16,)))
CONFIG = Config(model=ModelConfig(name="conv3d_tiny", compute_dtype="float32"), data=DATA)


def save(folder, seed=0):
    model = vidjax.create_model("conv3d_tiny", num_classes=3, seed=seed)
    meta = Meta(CONFIG, resolve_spec(vidjax.get_spec("conv3d_tiny"), DATA), LabelSpace(("a", "b", "c")))
    return str(save_model(folder, model, meta))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("runs") / "toy")


def scene(seed, frames=40):
    """A pattern that moves and changes its colours."""
    rng = np.random.default_rng(seed)
    picture, colours = rng.random((24, 32, 1)), rng.random((frames // 10 + 2, 3))
    shade = np.stack([np.interp(np.arange(frames) / 10, np.arange(len(colours)), colours[:, c]) for c in range(3)], -1)
    moved = np.stack([np.roll(picture, t, axis=1) for t in range(frames)])
    return (255 * moved * shade[:, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder of 12 scenes in two classes, a cut copy of the third, and a file that is no video."""
    folder = tmp_path_factory.mktemp("library")
    for number in range(12):
        write_video(folder / ("even", "odd")[number % 2] / f"{number}.mp4", scene(number))
    write_video(folder / "even" / "copy.mp4", scene(2)[12:36])
    (folder / "odd" / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def index(run, library, tmp_path_factory):
    out = tmp_path_factory.mktemp("indexes") / "index"
    assert main(["embed", run, str(library), str(out), "--hop", "4"]) == 1, "one file is unreadable"
    return str(out)


def told(capsys):
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_vectors_are_those_of_the_network_clip_by_clip(run, library, index):
    found = read_index(index)
    assert len(found.videos) == 13 and [video.path for video in found.unusable] == [str(library / "odd/broken.mp4")]
    number = found.find(str(library / "odd" / "3.mp4"))
    sampling = vidjax.config.SamplingConfig(eval="sliding_window", hop=4)
    (own,) = vidjax.Predictor(run, sampling=sampling).embed(Record(str(library / "odd/3.mp4")))
    rows = found.rows(number)
    np.testing.assert_allclose(found.vectors[rows], own.vectors, atol=1e-6)
    np.testing.assert_array_equal(found.start[rows], own.start)
    assert np.diff(found.start[rows])[:-1] == pytest.approx(0.4), "every 4th frame of 10 a second begins a clip"


def test_long_videos_are_read_in_parts_with_the_same_windows(run, library, tmp_path):
    clip = resolve_spec(vidjax.get_spec("conv3d_tiny"), DATA).video
    sampling = vidjax.config.SamplingConfig(eval="sliding_window", hop=4)
    predictor = vidjax.Predictor(run, sampling=sampling)
    records = [
        Record(str(library / "odd" / "3.mp4")), Record(str(library / "odd" / "broken.mp4")),
        Record(str(library / "even" / "4.mp4"), start=0.55, end=3.42), Record(str(library / "even" / "copy.mp4")),
    ]  # fmt: skip
    whole = list(predictor.embed(records))
    for most in (1, 3, 64):
        parts = [parts_of(record, clip, 4, most) for record in records]
        assert len(parts[0]) == -(-len(whole[0].vectors) // most) and len(parts[1]) == 1
        found = embed_in_parts(records, lambda record, most=most: parts_of(record, clip, 4, most), predictor.embed)
        for a, b in zip(whole, found, strict=True):
            assert a.path == b.path and a.error == b.error
            if not a.error:
                np.testing.assert_allclose(a.start, b.start, atol=1e-9)
                np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-5)


@pytest.mark.slow
def test_batches_of_several_files_and_other_layers_give_the_same_vectors(run, library):
    files = [str(library / "odd" / f"{n}.mp4") for n in (1, 3)]
    predictor = vidjax.Predictor(run, num_clips=3, num_crops=3)
    one, four = list(predictor.embed(files)), list(predictor.embed(files, batch_size=4))
    for a, b in zip(one, four, strict=True):
        assert a.vectors.shape == (3, predictor.width()) and len(a.start) == 3
        np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-5)
    model, meta, _ = vidjax.load_model(run)
    layer = next(name for name in module_paths(model) if name.count(".") == 1)
    (inner,) = predictor.embed(files[:1], layer=layer, batch_size=2)
    views, _ = predictor._reader.evaluate(Record(files[0]), 3, 3)
    spec = meta.spec.with_video(resize=(16, 16))
    crops = [np.asarray(vidjax.preprocess(views["video"][view], spec))[None] for view in (3, 4, 5)]
    expected = np.mean([layer_vectors(model, {"video": crop}, layer)[0] for crop in crops], axis=0)
    np.testing.assert_allclose(inner.vectors[1], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="has no module 'stagse'"):
        predictor.width("stagse")


def test_only_new_and_changed_files_are_embedded(run, library, tmp_path, capsys):
    out, own = str(tmp_path / "index"), tmp_path / "own"
    files = [write_video(own / f"{n}.mp4", scene(n, 12)) for n in range(3)]
    (own / "list.csv").write_text("path\n" + "\n".join(f.name for f in files[:2]) + "\nmissing.mp4\n")
    command = ["embed", run, str(own / "list.csv"), str(files[1]), out, "--num-clips", "2", "--json"]
    assert main(command) == 1
    first = told(capsys)
    assert [(os.path.basename(v["path"]), v["status"]) for v in first["videos"]] == [
        ("0.mp4", "embedded"), ("1.mp4", "embedded"), ("missing.mp4", "unreadable"),
    ]  # fmt: skip
    assert first["videos"][2]["reason"] and first["vectors"] == 4
    before = read_index(out)
    write_video(files[1], scene(9, 12))
    assert main(["embed", run, *map(str, files), out, "--num-clips", "2", "--json"]) == 0
    second = told(capsys)
    assert [v["status"] for v in second["videos"]] == ["unchanged", "embedded", "embedded"]
    after = read_index(out)
    kept, changed = (after.find(str(files[i])) for i in (0, 1))
    np.testing.assert_array_equal(after.vectors[after.rows(kept)], before.vectors[before.rows(0)])
    assert not np.allclose(after.vectors[after.rows(changed)], before.vectors[before.rows(1)])


def test_an_interrupted_command_goes_on_from_there(run, library, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "index")
    command = ["embed", run, str(library), out, "--num-clips", "2"]
    add, count = IndexWriter.add, []

    def stop(self, *args):
        count.append(1)
        if len(count) == 6:
            raise KeyboardInterrupt
        add(self, *args)

    monkeypatch.setattr(IndexWriter, "add", stop)
    assert main(command) == 130 and "goes on from there" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*command, "--json"]) == 1
    found = told(capsys)
    assert (found["unchanged"], found["embedded"]) == (5, 8)
    assert len(read_index(out).videos) == 13


@pytest.mark.slow
def test_a_killed_process_leaves_whole_files(run, tmp_path):
    """Killed while it embeds; what is there afterwards is read, and the same command completes it."""
    folder, out = tmp_path / "many", tmp_path / "index"
    for number in range(150):
        write_video(folder / f"{number:03d}.mp4", scene(number, 6))
    command = [sys.executable, "-m", "vidjax", "embed", run, str(folder), str(out), "--num-clips", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("part-*.parquet")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(read_index(out).videos)
    assert 0 < there < 150
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["unchanged"] >= there and len(read_index(out).videos) == 150


def test_search_finds_the_copy_and_draws_it(index, library, tmp_path, capsys):
    query = str(library / "even" / "2.mp4")
    assert main(["search", index, query, "--top", "3", "--by", "clip", "--out", str(tmp_path), "--json"]) == 0
    found = told(capsys)
    assert found["hits"][0]["path"] == str(library / "even" / "copy.mp4") and len(found["hits"]) == 3
    assert found["hits"][0]["score"] > found["hits"][1]["score"]
    best = found["hits"][0]
    assert best["query_start"] - best["start"] == pytest.approx(1.2, abs=0.2), "the same moment of both"
    assert json.loads((tmp_path / "search.json").read_text()) == found
    assert cv2.imread(str(tmp_path / "search.png")).shape[0] > 4 * 112
    # A file that is not in the index, given relative to the current folder.
    write_video(tmp_path / "new.mp4", scene(2)[4:30])
    assert main(["search", index, str(tmp_path / "new.mp4"), "--top", "2", "--out", str(tmp_path)]) == 0
    assert "even/2.mp4" in (tmp_path / "search.json").read_text()


def test_duplicates_are_found_with_their_offset(index, library, tmp_path, capsys):
    assert main(["duplicates", index, "--out", str(tmp_path), "--json", "--threshold", "0.9"]) == 0
    found = told(capsys)
    pairs = {(os.path.basename(p["first"]), os.path.basename(p["second"])): p for p in found["pairs"]}
    pair = pairs.get(("2.mp4", "copy.mp4")) or pairs[("copy.mp4", "2.mp4")]
    assert abs(pair["offset"]) == pytest.approx(1.2, abs=0.2) and (tmp_path / "duplicates.png").exists()
    assert found["pairs"][0] == pair, "the most similar ones"
    assert any({pair["first"], pair["second"]} <= set(group) for group in found["groups"])


def test_recommendations_leave_out_what_is_given(index, library, tmp_path, capsys):
    liked, disliked = str(library / "even" / "2.mp4"), str(library / "odd" / "5.mp4")
    command = ["recommend", index, "--liked", liked, "--disliked", disliked, "--top", "4", "--out", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    paths = [hit["path"] for hit in told(capsys)["hits"]]
    assert len(paths) == 4 and str(library / "even" / "copy.mp4") in paths[:2] and not {liked, disliked} & set(paths)
    assert cv2.imread(str(tmp_path / "recommend.png")) is not None


@pytest.mark.slow
def test_another_network_is_refused_with_both_names(run, index, library, tmp_path, capsys):
    other = save(tmp_path / "other", seed=1)
    names = [read_index(index).origin.fingerprint, vidjax.Predictor(other).fingerprint]
    assert names[0] != names[1]
    for command in (
        ["embed", other, str(library), index, "--hop", "4"],
        ["search", index, str(library / "even" / "2.mp4"), "--run", other],
    ):
        assert main(command) == 1
        message = capsys.readouterr().err
        assert all(name in message for name in names) and "different networks" in message
    assert main(["embed", run, str(library), index]) == 1 and "other settings" in capsys.readouterr().err


def test_bad_input_is_one_clear_line(run, index, library, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for command, words in (
        (["embed", run, "empty", "out"], "no videos there"),
        (["embed", run, "nothing.csv", "out"], "no such file or folder"),
        (["embed", run, str(library), "out", "--layer", "nonsense"], "no module 'nonsense'"),
        (["embed", run, str(library), "out", "--num-clips", "2", "--hop", "4"], "either --num-clips or --hop"),
        (["search", "nowhere", "a.mp4"], "no such folder; `vidjax embed"),
        (["search", index, "nowhere.mp4"], "nowhere.mp4: "),
        (["search", index, str(library / "odd" / "broken.mp4")], "broken.mp4: "),
        (["search", index, "a.mp4", "--index", "usearch", "--by", "video"], "among clips"),
        (["duplicates", "empty"], "no index.json in it"),
    ):
        assert main(command) == 1, command
        error = capsys.readouterr().err
        assert words in " ".join(error.split()), error


def test_embeddings_are_evaluated_on_labels(index, library, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    names = sorted(library.rglob("*[0-9].mp4"))
    lines = [f"{path},{path.parent.name},{('train', 'val')[int(path.stem) % 3 == 0]}" for path in names]
    labels.write_text("path,label,split\n" + "\n".join(lines) + "\n")
    out = str(tmp_path)
    assert evaluate_embeddings(index, DataConfig(train=str(labels)), out=out) == 0
    assert "8 of 8 train videos, 4 of 4 test videos" in " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "scores.json").read_text())
    assert [t["task_name"] for t in found["tasks"]] == [
        "retrieval", "neighbours", "linear", "few_shot", "clustering", "pairs",
    ]  # fmt: skip
    assert all(0 <= t["scores"]["test"][0]["main_score"] <= 1 for t in found["tasks"])
    labels.write_text("path,label\n" + "\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    assert evaluate_embeddings(index, DataConfig(train=str(labels)), out=out, as_json=True) == 0
    alone = told(capsys)
    assert [t["task_name"] for t in alone["tasks"]] == ["retrieval", "neighbours", "clustering", "pairs"]
    with pytest.raises(UserError, match="linear: needs training videos"):
        evaluate_embeddings(index, DataConfig(train=str(labels)), tasks=["linear"], out=out)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "embeddings", index, "--data", str(labels), "--tasks", "pairs", "--out", out, "--json"])
    assert ended.value.code == 0 and [t["task_name"] for t in told(capsys)["tasks"]] == ["pairs"]
    labels.write_text("path,label\n" + "".join(f"{tmp_path}/{name}.mp4,{name}\n" for name in ("some", "other")))
    with pytest.raises(UserError, match="none of the 2 test videos"):
        evaluate_embeddings(index, DataConfig(train=str(labels)), out=out)
