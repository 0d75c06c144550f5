"""What feeding a training takes of the hosts: sums that fit together, for every way of storing."""

import pytest

from vidjax.plan.storage import NOTE, STORAGES, VIDEO_FRAMES, storage, storage_rows


def test_cores_and_rates_follow_from_the_speed_the_views_and_the_hosts():
    found = storage(900.0, 25.0, views=2, hosts=3)
    assert set(found) == {"mp4", "jpeg"} == set(STORAGES)
    assert found["mp4"]["host_cores"] == 36 and found["mp4"]["clips_per_core"] == 25
    assert found["jpeg"]["host_cores"] == pytest.approx(36 / STORAGES["jpeg"].clips)
    for name, way in STORAGES.items():  # 450 videos/s, 150 for each host
        assert found[name]["bytes_per_s_per_host"] == pytest.approx(150 * VIDEO_FRAMES * way.frame_bytes)


def test_frames_that_decode_faster_take_more_of_the_disk():
    mp4, jpeg = STORAGES["mp4"], STORAGES["jpeg"]
    assert mp4.clips == 1 < jpeg.clips < 4.87  # decoding alone is so much faster, the rest of the pipeline is not
    assert mp4.frame_bytes < jpeg.frame_bytes


def test_rows_give_both_estimates_of_the_speed_and_how_many_hosts_share():
    figures = {"hosts": 2, "storage": storage(1000.0, 25.0, 1, 2)}
    assert storage_rows(figures)[0] == ("host cores: mp4 files", "40, at 25 clips/s per core; 360 MB/s per host of 2")
    figures["corrected"] = {"storage": storage(2000.0, 25.0, 1, 2)}
    rows = dict(storage_rows(figures))
    assert rows["host cores: mp4 files"].startswith("40 (corrected 80), at 25 clips/s per core; 360 (720) MB/s per")
    assert rows["host cores: JPEG ArrayRecord"].startswith("12 (corrected 24), at 82.5 clips/s per core; 2040 (4080)")
    alone = storage_rows({"hosts": 1, "storage": storage(1000.0, 25.0, 1, 1)})
    assert alone[0][1].endswith("; 720 MB/s")


def test_the_note_says_that_it_is_an_estimate_and_of_what():
    assert NOTE.startswith("host cores and MB/s: estimates from figures measured on one machine.")
    assert "300 frames of 2.4 kB (mp4 files) or 13.6 kB (JPEG ArrayRecord)" in NOTE
