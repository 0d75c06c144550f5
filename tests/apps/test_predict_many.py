"""`vidjax predict-many`: a row for every video exactly once, whoever is killed and however many share the work."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

import vidjax
from tests.apps.test_embed import save, scene
from tests.peers import needs
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.apps.predict_many import PredictionTable
from vidjax.data.records import Record
from vidjax.embeddings.index import read_index
from vidjax.parts.folder import PartFolder, from_parquet

needs("pyarrow")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    """A CSV file of 7 videos, of which one is no video and one is missing."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"{number}.mp4", scene(number, 8))
    (folder / "broken.mp4").write_bytes(b"no video")
    names = ["0.mp4", "broken.mp4", "1.mp4", "missing.mp4", "2.mp4", "3.mp4", "4.mp4"]
    (folder / "list.csv").write_text("path\n" + "\n".join(names) + "\n")
    return folder / "list.csv"


def rows_of(folder):
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


@pytest.fixture(scope="module")
def whole(run, listing, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "whole"
    assert main(["predict-many", run, str(listing), str(out), "--shard-size", "3", "--num-clips", "2"]) == 0
    return out


def test_every_video_has_one_row_with_what_predict_says(run, listing, whole):
    rows = {os.path.basename(row["path"]): row for row in rows_of(whole)}
    assert list(rows) == ["0.mp4", "broken.mp4", "1.mp4", "missing.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert len(rows_of(whole)) == 7
    predictor = vidjax.Predictor(run, num_clips=2)
    for name, row in rows.items():
        expected = predictor.predict(str(listing.parent / name))[0]
        assert row["error"] == expected.error and (row["part_start"], row["part_end"]) == (None, None)
        if expected.error:
            assert (row["class"], row["score"]) == (None, None) and np.isnan(row["scores"]).tolist() == [True] * 3
        else:
            np.testing.assert_array_equal(np.float32(row["scores"]), expected.scores.astype(np.float32))
            assert (row["class"], row["score"]) == (expected.classes[0].name, expected.classes[0].score)
    table = pq.read_table(whole)  # the files read as one
    assert len(table) == 7 and json.loads(table.schema.metadata[b"vidjax"])["classes"] == ["a", "b", "c"]
    assert {path.name for path in whole.iterdir()} == {
        "_plan.json", *(f"part-0000{n}-of-00003.parquet" for n in range(3)),
    }  # fmt: skip


def test_only_shards_without_a_file_are_done(run, listing, whole, tmp_path, capsys):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(whole, out)
    gone, kept = out / "part-00001-of-00003.parquet", out / "part-00002-of-00003.parquet"
    gone.unlink()
    (out / f".{gone.name}.host-1.tmp").write_bytes(b"half")
    before = kept.stat().st_mtime_ns
    command = ["predict-many", run, str(listing), str(out), "--shard-size", "3", "--num-clips", "2"]
    assert main(command) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"5 videos predicted, 2 unreadable, 4 of them before: 3 Parquet files in {out}" in told
    assert contents(out) == contents(whole) and kept.stat().st_mtime_ns == before
    assert not list(out.glob(".*.tmp"))


def test_processes_share_the_shards(run, listing, whole, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict-many", run, str(listing), str(out), "--shard-size", "3", "--num-clips", "2"]
    assert main([*command, "--num-processes", "2", "--process-id", "1"]) == 0
    assert list(contents(out)) == ["part-00001-of-00003.parquet"]
    assert "process 1 of 2 is done; 1 of 3 files" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--num-processes", "2", "--process-id", "0"]) == 0
    assert contents(out) == contents(whole)
    assert main([*command, "--process-id", "0"]) == 1 and "give both" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_of_ray_write_the_same_files(run, listing, whole, tmp_path):
    """Predictions, and an index of more videos than a shard has, by one cluster in a process of its own."""
    needs("ray")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(66):
        os.link(listing.parent / f"{number % 5}.mp4", many / f"{number}.mp4")
    (many / "broken.mp4").write_bytes(b"no video")
    predict = ["predict-many", run, str(listing), str(tmp_path / "out"), "--shard-size", "3", "--num-clips", "2"]
    embed = ["embed", run, str(many), str(tmp_path / "index"), "--num-clips", "1"]
    script = f"""if True:
        import ray
        from vidjax.__main__ import main

        ray.init(num_cpus=8, include_dashboard=False, logging_level="error", log_to_driver=False)
        for command in ({predict}, {embed}):
            print("status", main([*command, "--engine", "ray", "--workers", "2"]))
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=300)
    told = " ".join(done.stdout.split())
    assert "5 videos predicted, 2 unreadable: 3 Parquet files" in told and "status 0" in told, done
    assert "66 embedded, 0 unchanged, 1 unreadable" in told and told.endswith("status 1"), done
    files = [path.name for path in sorted((tmp_path / "index").glob("part-*"))]
    assert len(files) == 2 and {name.rpartition("-")[2] for name in files} == {"0.parquet", "1.parquet"}
    main([*embed[:3], str(tmp_path / "alone"), *embed[4:]])
    found, alone = read_index(tmp_path / "index"), read_index(tmp_path / "alone")
    assert {video.key for video in found.videos} == {video.key for video in alone.videos}
    rows = {video.key: found.rows(number) for number, video in enumerate(found.videos)}
    for number, video in enumerate(alone.videos):
        np.testing.assert_allclose(
            found.vectors[rows[video.key]], alone.vectors[alone.rows(number)], rtol=1e-5, atol=1e-6
        )
    assert contents(tmp_path / "out").keys() == contents(whole).keys()
    made, wanted = rows_of(tmp_path / "out"), rows_of(whole)
    # The last bits of scores may differ between programs of two processes; all else is equal.
    both = [[(*row.pop("scores"), row.pop("score") or 0.0) for row in rows] for rows in (made, wanted)]
    assert made == wanted
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_worker_that_fails_says_why(tmp_path):
    """In a process of its own, as Ray leaves threads behind."""
    needs("ray")
    script = """if True:
        from vidjax.parts.ray_engine import on_ray

        def make():
            def fail(shard):
                raise OSError(28, f"no space left for shard {shard}")

            return fail

        try:
            list(on_ray(make, [5], 1))
        except Exception as error:
            print(type(error).__name__, error)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert "UserError a worker of Ray failed" in done.stdout and "no space left for shard 5" in done.stdout, done


@pytest.mark.parametrize("command", ["predict-many", "embed"])
def test_ray_divides_the_work_alone(command, run, listing, tmp_path, capsys, monkeypatch):
    words = [command, run, str(listing), str(tmp_path / "out")]
    assert main([*words, "--workers", "2"]) == 1 and "--workers 2: is for --engine ray" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*words, "--engine", "ray"]) == 1
    assert "pip install -e '.[ray]'" in capsys.readouterr().err
    monkeypatch.setattr("vidjax.parts.ray_engine.ray", lambda: None)
    assert main([*words, "--engine", "ray", "--num-processes", "2", "--process-id", "0"]) == 1
    assert "start one process, with --workers" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_processes_share_an_index(run, listing, tmp_path):
    out = tmp_path / "index"
    command = ["embed", run, str(listing), str(out), "--num-clips", "2"]
    for number in ("1", "0"):
        main([*command, "--num-processes", "2", "--process-id", number])
    index = read_index(out)
    assert len(index.videos) == 5 and len(index.unusable) == 2
    assert main([*command[:3], str(tmp_path / "alone"), *command[4:]]) == 1
    alone = read_index(tmp_path / "alone")
    for video in alone.videos:
        mine, theirs = (each.vectors[each.rows(each.find(video.path))] for each in (index, alone))
        np.testing.assert_array_equal(mine, theirs)


def test_results_may_lie_elsewhere(run, listing, whole):
    for command, names in (("predict-many", "_plan.json"), ("embed", "index.json")):
        place = f"memory://results/{command}"
        options = ["--shard-size", "3"] if command == "predict-many" else []
        main([command, run, str(listing), place, "--num-clips", "2", *options])
        assert names in PartFolder(place).names()
    files = fsspec.filesystem("memory")
    there = {name: files.cat_file(f"/results/predict-many/{name}") for name in contents(whole)}
    assert there == contents(whole)
    assert len(read_index("memory://results/embed").videos) == 5
    assert not [name for name in files.ls("/results/embed", detail=False) if name.endswith(".tmp")]


def test_other_work_in_the_folder_is_refused(run, listing, whole, tmp_path, capsys):
    other = save(tmp_path / "other", seed=1)
    short = tmp_path / "short.csv"
    short.write_text(f"path\n{listing.parent}/0.mp4\n")
    command = ["predict-many", run, str(listing), str(whole), "--shard-size", "3", "--num-clips", "2"]
    for changed, words in (
        ({1: other}, "fingerprint: "),
        ({2: str(short)}, "inputs: 7 there, 1 now"),
        ({5: "4"}, "shard_size: 3 there, 4 now"),
        ({7: "1"}, "sampling: "),
        ({3: str(listing.parent)}, "holds other files"),
    ):
        assert main([changed.get(i, word) for i, word in enumerate(command)]) == 1
        assert words in " ".join(capsys.readouterr().err.split())
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "_plan.json").write_text("{")
    assert main(["predict-many", run, str(short), str(tmp_path / "plan")]) == 1
    assert "_plan.json is damaged" in " ".join(capsys.readouterr().err.split())


def test_rows_of_errors_alone_have_the_same_types():
    table = PredictionTable(["a", "b"])
    bad = table.to_bytes([Record("x.mp4")], [vidjax.predictions.Prediction("x.mp4", error="is empty")])
    good = vidjax.predictions.Prediction("y.mp4", np.array([0.25, 0.75]), (vidjax.predictions.ClassScore("b", 0.75),))
    both = [from_parquet(each) for each in (bad, table.to_bytes([Record("y.mp4")], [good]))]
    assert both[0].schema == both[1].schema


@pytest.mark.slow
def test_killed_at_random_it_ends_with_every_video_once_and_the_same_bytes(run, tmp_path):
    folder, killed, calm = tmp_path / "many", tmp_path / "killed", tmp_path / "calm"
    for number in range(20):
        write_video(folder / f"{number:03d}.mp4", scene(number, 6))
    paths = [f"{folder}/{number % 20:03d}.mp4" for number in range(300)]
    lines = []
    for number, path in enumerate(paths):  # links, so that every input is one of its own
        link = folder / f"link-{number:04d}.mp4"
        link.symlink_to(path if number % 50 else __file__)
        lines.append(str(link))
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(lines) + "\n")
    command = [sys.executable, "-m", "vidjax", "predict-many", run, str(tmp_path / "list.csv")]
    options = ["--num-clips", "1", "--shard-size", "16"]
    draw, kills = random.Random(0), 0
    while kills < 3:
        process = subprocess.Popen(
            [*command, str(killed), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = len(list(killed.glob("part-*.parquet")))
        while process.poll() is None and len(list(killed.glob("part-*.parquet"))) == before:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.1)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert 0 < len(contents(killed)) < 19
    for out in (killed, calm):
        subprocess.run([*command, str(out), *options], check=True, capture_output=True)
    assert contents(killed) == contents(calm)
    rows = rows_of(killed)
    assert [row["path"] for row in rows] == lines and sum(bool(row["error"]) for row in rows) == 6
