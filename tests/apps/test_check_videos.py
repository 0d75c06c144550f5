"""`check`: what it finds in files of every kind of trouble, its report, its exit status."""

import csv
import json

import cv2
import numpy as np
import pytest

from tests.sounds import chirp, write_sound
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.apps.check_videos import COLUMNS, Check
from vidjax.data.listing.rows import Row


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """good.mp4 and short.mp4 (20 and 5 frames), bad.mp4 (no video); the report goes here too."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "good.mp4", numbered_frames(20))
    write_video(tmp_path / "short.mp4", numbered_frames(5))
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    return tmp_path


def write_csv(folder, *names):
    path = folder / "list.csv"
    path.write_text("path,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    return str(path)


def report(folder):
    with open(folder / "check.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == COLUMNS for row in rows)
    return rows


def test_csv_with_every_trouble(folder, capsys):
    listed = write_csv(folder, "good.mp4", "gone.mp4", "bad.mp4", "short.mp4")
    assert main(["check", listed, "--num-frames", "6"]) == 1
    rows = report(folder)
    assert [row["status"] for row in rows] == ["ok", "missing", "unreadable", "too short"]
    assert [row["path"] for row in rows] == [str(folder / f"{n}.mp4") for n in ("good", "gone", "bad", "short")]
    assert [row["listed_at"] for row in rows] == [f"{listed}:{line}" for line in (2, 3, 4, 5)]
    good = rows[0]
    assert [good[c] for c in ("frames", "fps", "width", "height", "reason")] == ["20", "10.0", "48", "32", ""]
    assert rows[2]["reason"] and rows[3]["reason"] == "5 frames, a clip spans 6"
    out, err = capsys.readouterr()
    assert out == (
        "4 videos: 1 ok, 1 missing, 1 unreadable, 1 too short; report in check.csv; "
        "--config.data.quarantine=check.csv trains without these\n"
    )
    assert f"missing: {folder / 'gone.mp4'} (no such file)" in err and "good.mp4" not in err


def test_all_in_order(folder, capsys):
    assert main(["check", write_csv(folder, "good.mp4", "short.mp4"), "--workers", "1", "--out", "sub.csv"]) == 0
    assert capsys.readouterr() == ("2 videos: 2 ok; report in sub.csv\n", "")


@pytest.mark.parametrize(
    ("flags", "statuses"),
    [
        (["--num-frames=5"], ["ok", "ok"]),
        (["--num-frames=3", "--stride=2"], ["ok", "ok"]),
        (["--num-frames=3", "--stride=3"], ["ok", "too short"]),
        (["--num-frames=20"], ["ok", "too short"]),
        (["--num-frames=10", "--fps=5"], ["ok", "too short"]),
        (["--num-frames=11", "--fps=5"], ["too short", "too short"]),
        (["--num-frames=3", "--fps=5"], ["ok", "ok"]),
    ],
)
def test_span_of_a_clip(folder, flags, statuses):
    assert main(["check", write_csv(folder, "good.mp4", "short.mp4"), *flags]) == int(statuses != ["ok", "ok"])
    assert [row["status"] for row in report(folder)] == statuses


def test_folder_and_a_second_list(folder):
    for name in ("walk", "run"):
        (folder / "videos" / name).mkdir(parents=True)
        (folder / "videos" / name / "1.mp4").write_bytes((folder / "good.mp4").read_bytes())
    assert main(["check", str(folder / "videos"), "--eval", write_csv(folder, "gone.mp4")]) == 1
    assert [row["status"] for row in report(folder)] == ["ok", "ok", "missing"]


def test_wrong_lines_are_an_error_and_leave_no_report(folder, capsys):
    assert main(["check", write_csv(folder, "good.mp4", "")]) == 1
    assert "list.csv:3: the path is empty" in capsys.readouterr().err
    assert not (folder / "check.csv").exists()


def test_damage_within_is_found_by_decoding_only(folder, shared):
    listed = write_csv(folder, str(shared / "data" / "odd" / "corrupted.mp4"))
    assert main(["check", listed]) == 0
    assert main(["check", listed, "--decode"]) == 1
    (row,) = report(folder)
    assert row["status"] == "unreadable" and "frame 29 of 50" in row["reason"]


def test_real_files_are_in_order_and_sound_is_not(folder, shared):
    clips = sorted(str(p) for p in (shared / "data" / "clips").iterdir() if p.suffix in (".mp4", ".avi"))
    odd = [str(shared / "data" / "odd" / name) for name in ("no_duration.webm", "nasa_13013.mp4", "crunching.mp3")]
    assert clips
    assert main(["check", write_csv(folder, *clips, *odd)]) == 1
    rows = report(folder)
    assert [row["status"] for row in rows] == ["ok"] * (len(rows) - 1) + ["unreadable"]
    assert "has no video stream" in rows[-1]["reason"]


def test_files_truncated_at_random_are_exactly_those_listed(folder):
    rng = np.random.default_rng(0)
    whole = {s: write_video(folder / f"whole{s}", rng.integers(0, 256, (40, 32, 48, 3)).astype(np.uint8)).read_bytes()
             for s in (".mp4", ".mkv", ".avi", ".mov")}  # fmt: skip
    names = [f"{i:02d}{list(whole)[i % 4]}" for i in range(40)]
    torn = {names[i] for i in rng.choice(40, 4, replace=False)}
    for name in names:
        data = whole[name[2:]]
        (folder / name).write_bytes(data[: int(len(data) * rng.uniform(0.05, 0.9))] if name in torn else data)
    assert main(["check", write_csv(folder, *names)]) == 1
    found = {row["path"].rsplit("/", 1)[1]: row["status"] for row in report(folder)}
    assert {name for name, status in found.items() if status != "ok"} == torn
    assert set(found.values()) <= {"ok", "unreadable", "incomplete"}


def test_published_set(folder, capsys):
    root = folder / "videos"
    lines = []
    for name in ("v_Archery_g08_c01", "v_Archery_g08_c02", "v_Archery_g08_c03"):
        lines.append(f"Archery/{name}.avi 3\n")
    (folder / "trainlist02.txt").write_text("".join(lines))
    (folder / "testlist02.txt").write_text("YoYo/v_YoYo_g01_c01.avi\n")
    write_video(root / "Archery" / "v_Archery_g08_c01.avi", numbered_frames(9))
    (root / "Archery" / "v_Archery_g08_c02.avi").write_bytes(b"")
    write_video(root / "YoYo" / "v_YoYo_g01_c01.avi", numbered_frames(3))
    flags = ["--dataset", "ucf101", "--split", "2", "--root", str(root), "--num-frames", "8"]
    assert main(["check", str(folder), *flags]) == 1
    assert [row["status"] for row in report(folder)] == ["ok", "unreadable", "missing", "too short"]
    assert report(folder)[2]["path"] == str(root / "Archery" / "v_Archery_g08_c03.avi")
    assert "4 videos: 1 ok, 1 missing, 1 unreadable, 1 too short" in capsys.readouterr().out


def test_folders_of_frames(folder):
    (folder / "something-something-v1-train.csv").write_text("1;Holding something\n2;Holding something\n")
    (folder / "something-something-v1-validation.csv").write_text("3;Holding something\n4;Holding something\n")
    for name, count in (("1", 20), ("2", 3), ("3", 20)):
        (folder / "frames" / name).mkdir(parents=True)
        for n in range(1, count + 1):
            cv2.imwrite(str(folder / "frames" / name / f"{n:05d}.jpg"), np.zeros((8, 8, 3), np.uint8))
    (folder / "frames" / "3" / "00007.jpg").write_bytes(b"no picture")
    flags = ["--dataset", "something_v1", "--num-frames", "8", "--decode"]
    assert main(["check", str(folder), *flags]) == 1
    rows = report(folder)
    assert [row["status"] for row in rows] == ["ok", "too short", "unreadable", "missing"]
    assert (rows[0]["frames"], rows[0]["fps"]) == ("20", "12.0") and "frame 6 of 20" in rows[2]["reason"]


def test_parts_of_one_file_are_judged_each(folder):
    write_video(folder / "v_abc.mp4", numbered_frames(30))
    parts = [{"segment": s, "label": "Surfing"} for s in ([0.0, 2.0], [2.5, 2.8])]
    database = {"abc": {"subset": "training", "annotations": parts},
                "gone": {"subset": "validation", "annotations": parts[:1]}}  # fmt: skip
    (folder / "activity_net.v1-3.min.json").write_text(json.dumps({"database": database}))
    assert main(["check", str(folder), "--dataset", "activitynet", "--num-frames", "5"]) == 1
    rows = [(row["status"], row["frames"], row["start"], row["end"]) for row in report(folder)]
    assert rows == [("ok", "20", "0.0", "2.0"), ("too short", "3", "2.5", "2.8"), ("missing", "", "0.0", "2.0")]


@pytest.fixture
def experiment(folder):
    """x.py: clips of 4 frames, every 2nd, of videos that have no labels; listed in list.csv: good.mp4, short.mp4."""
    (folder / "list.csv").write_text("path\ngood.mp4\nshort.mp4\n")
    (folder / "x.py").write_text(
        "from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig, SamplingConfig\n"
        "def get_config():\n"
        "    return Config(model=ModelConfig(name='videomae_tiny_pretrain'), data=DataConfig(train='list.csv',\n"
        "        eval='list.csv', clip=ClipConfig(num_frames=4, stride=2),\n"
        "        sampling=SamplingConfig(train='segments')))\n"
    )
    return folder / "x.py"


@pytest.mark.parametrize(
    ("flags", "short"),
    [
        ([], "5 frames, a clip spans 7"),
        (["list.csv"], "5 frames, a clip spans 7"),
        (["--config.data.clip.stride=3"], "5 frames, a clip spans 10"),
        (["--config.data.clip.num_frames=2"], ""),
        (["--num-frames=8"], "5 frames, a clip spans 15"),
        (["--stride=1"], ""),
        (["--config.data.clip.fps=2.5"], "5 frames, a clip spans 13"),
        (["--config.data.clip.fps=2.5", "--stride=1"], ""),
        (["--fps=2.5", "--num-frames=2"], ""),
        (
            ["--config.data.sampling.eval=uniform"],
            "",
        ),  # no rule with a stride is left
        (["--config.data.sampling.eval=uniform", "--num-frames=6"], "5 frames, a clip spans 6"),
    ],
)
def test_a_config_says_how_long_clips_are_and_where_the_videos_are(folder, experiment, flags, short):
    assert main(["check", f"--config={experiment}", *flags]) == bool(short)
    assert [(row["path"].split("/")[-1], row["reason"]) for row in report(folder)] == [
        ("good.mp4", ""),
        ("short.mp4", short),
    ]


def test_data_that_is_given_takes_the_place_of_the_configs(folder, experiment):
    (folder / "other.csv").write_text("path\ngood.mp4\n")
    assert main(["check", "other.csv", f"--config={experiment}"]) == 0
    assert len(report(folder)) == 1
    assert main(["check", "other.csv", f"--config={experiment}", "--eval=list.csv"]) == 1
    assert len(report(folder)) == 3


def test_without_data_and_config_it_asks_for_them(folder, capsys):
    assert main(["check"]) == 1
    assert "give the videos to check" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_named(folder, experiment, capsys):
    assert main(["check", f"--config={experiment}", "--config.data.strid=3"]) == 1
    assert "config.data.clip.stride" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--timeout=0", "--num-frames=0", "--fps=-1", "--dataset=ufc101", "--workers=0"])
def test_wrong_flags(folder, flag, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", "list.csv", flag])
    assert stop.value.code == 2 and flag.split("=")[0] in capsys.readouterr().err


def test_segments_are_checked_against_their_videos_and_classes(tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, numbered_frames(20))
    lines = ["a.mp4,0.5,1.5,run,train", "b.mp4,0,1,run,val", "b.mp4,30,45,run,val"]
    (tmp_path / "s.csv").write_text("\n".join(["path,start,end,label,split", *lines]) + "\n")
    command = ["check", str(tmp_path / "s.csv"), "--out", str(tmp_path / "check.csv")]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "1 ok, 1 wrong annotation" in said.out
    assert "1 segment ends after the video, which lasts 2.00 s, such as 'run' from 30 to 45 s" in said.err + said.out
    (tmp_path / "s.csv").write_text("\n".join(["path,start,end,label,split", lines[0], "b.mp4,0,1,rum,val"]) + "\n")
    assert main(command) == 1
    said = capsys.readouterr()
    assert "1 label that training does not have: rum" in said.err + said.out


def test_files_without_sound(folder, capsys):
    write_sound(folder / "loud.mp4", chirp(), codec="aac", frames=numbered_frames(25))
    listed = write_csv(folder, "good.mp4", "loud.mp4", "bad.mp4")
    assert main(["check", listed, "--sound"]) == 1
    found = report(folder)
    assert [row["status"] for row in found] == ["no sound", "ok", "unreadable"]
    assert found[0]["reason"] == "has no sound (only video)" and found[0]["frames"] == "20"
    assert "1 no sound" in capsys.readouterr().out


def test_files_of_sound(folder):
    write_sound(folder / "a.wav", chirp())
    rows = [Row(str(folder / name), name) for name in ("a.wav", "good.mp4", "gone.wav")]
    findings = [Check(sound=True, pictures=False).look(row.path, [row])[0] for row in rows]
    assert [f.status for f in findings] == ["ok", "no sound", "missing"]
