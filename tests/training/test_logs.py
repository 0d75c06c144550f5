"""The list of bad videos: each once, counted, continued, and what a run need not try again; logs on a full disk."""

import json

from vidjax.data.pipeline import BadRecord
from vidjax.training.logs import BadRecordLog, MetricsLog, failed_before


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_video_is_listed_once_and_counted(tmp_path):
    path = tmp_path / "bad_records.jsonl"
    log = BadRecordLog(path)
    log.save()
    assert not path.exists()  # nothing is bad
    log.add([BadRecord(3, "a.mp4", "torn"), BadRecord(1, "b.mp4", "gone")])
    assert [line["path"] for line in lines(path)] == ["a.mp4", "b.mp4"]  # at once
    log.add([BadRecord(3, "a.mp4", "torn")])
    log.save()
    assert lines(path) == [
        {"path": "a.mp4", "reason": "torn", "replaced": 2}, {"path": "b.mp4", "reason": "gone", "replaced": 1},
    ]  # fmt: skip
    assert len(log) == 2 and log.substitutions == 3


def test_a_continued_run_goes_on_counting_and_knows_what_failed(tmp_path):
    log = BadRecordLog(tmp_path / "bad_records.jsonl")
    log.add([BadRecord(3, "a.mp4", "torn"), BadRecord(1, "b.mp4", "gone"), BadRecord(3, "a.mp4", "torn")])
    log.save()
    assert failed_before(tmp_path) == {"a.mp4": "torn"}
    again = BadRecordLog(tmp_path / "bad_records.jsonl")
    again.add([BadRecord(1, "b.mp4", "gone")])
    again.save()
    other = BadRecordLog(tmp_path / "bad_records-1.jsonl")  # of another process
    other.add([BadRecord(5, "c.mp4", "stalled")] * 2)
    other.save()
    assert failed_before(tmp_path) == {"a.mp4": "torn", "b.mp4": "gone", "c.mp4": "stalled"}


def test_a_run_that_was_killed_leaves_a_list_that_can_be_read(tmp_path):
    path = tmp_path / "bad_records.jsonl"
    path.write_text('{"path": "a.mp4", "reason": "torn"}\n{"path": "b.m')
    log = BadRecordLog(path)
    log.add([BadRecord(0, "c.mp4", "gone")])
    log.save()
    assert [line["path"] for line in lines(path)] == ["a.mp4", "c.mp4"]
    assert failed_before(tmp_path) == {} and failed_before(tmp_path / "new") == {}


def test_a_full_disk_does_not_hide_the_error_that_ends_a_run(tmp_path, monkeypatch, caplog):
    log = MetricsLog(tmp_path, 0)
    close = log._writer.close

    def full():
        close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._writer, "close", full)
    log.close()
    assert f"{tmp_path}: the last lines of the log could not be written" in caplog.text


def test_videos_without_sound_are_listed_apart(tmp_path):
    log = BadRecordLog(tmp_path / "bad_records-1.jsonl")
    log.add([BadRecord(3, "a.mp4", "torn"), BadRecord(1, "b.mp4", "has no sound", unheard=True)])
    log.add([BadRecord(1, "b.mp4", "has no sound", unheard=True)])
    log.save()
    assert len(log) == 1 and log.substitutions == 1
    assert lines(tmp_path / "unheard-1.jsonl") == [{"path": "b.mp4", "reason": "has no sound", "clips": 2}]
    assert failed_before(tmp_path) == {}
