"""Vectors in files: what is written is read, later files replace rows, damage and other networks are refused."""

import dataclasses

import numpy as np
import pytest

from tests.peers import needs
from vidjax.embeddings.index import IndexWriter, Origin, VectorsError, Video, read_index
from vidjax.predictions import ClipVectors

needs("pyarrow")

ORIGIN = Origin(
    "conv3d_tiny", "/runs/toy", None, "0123456789abcdef", "", {"video": {"kind": "video"}}, {"hop": 0}, "clip", 3
)


def clips(path, count, value):
    times = np.arange(count, dtype=float)
    return ClipVectors(
        path, np.full((count, 3), value, np.float32) + times[:, None].astype(np.float32), times, times + 1
    )


def write(folder, *videos, origin=ORIGIN):
    writer = IndexWriter(folder, origin)
    for path, count, value in videos:
        found = clips(path, count, value) if count else ClipVectors(path, error="no video stream")
        writer.add(Video(path, bytes=7, modified=11, error=found.error), found)
    return writer.close()


def test_what_is_written_is_read(tmp_path):
    written = write(tmp_path / "index", ("/a.mp4", 2, 1), ("/broken.mp4", 0, 0), ("/b.mp4", 3, 5))
    read = read_index(tmp_path / "index")
    for index in (written, read):
        assert [video.path for video in index.videos] == ["/a.mp4", "/b.mp4"]
        assert [(video.path, video.error) for video in index.unusable] == [("/broken.mp4", "no video stream")]
        assert index.origin == ORIGIN and index.videos[0].bytes == 7 and index.videos[0].modified == 11
        np.testing.assert_array_equal(index.video, [0, 0, 1, 1, 1])
        np.testing.assert_array_equal(index.vectors[:, 0], [1, 2, 5, 6, 7])
        np.testing.assert_array_equal(index.end, [1, 2, 1, 2, 3])
        np.testing.assert_allclose(index.means, [[1.5] * 3, [6] * 3])
        assert index.rows(1) == slice(2, 5)
    assert read.find("/b.mp4") == 1 and read.find("/c.mp4") is None


def test_later_files_replace_rows_and_many_become_one(tmp_path):
    folder = tmp_path / "index"
    write(folder, ("/a.mp4", 2, 1), ("/b.mp4", 1, 5))
    write(folder, ("/c.mp4", 1, 9))
    assert len(list(folder.glob("*.parquet"))) == 2
    index = write(folder, ("/a.mp4", 3, 20))
    assert len(list(folder.glob("*.parquet"))) == 1, "rows that no longer count go"
    for found in (index, read_index(folder)):
        assert sorted(video.path for video in found.videos) == ["/a.mp4", "/b.mp4", "/c.mp4"]
        assert found.vectors[found.rows(found.find("/a.mp4")), 0].tolist() == [20, 21, 22]
    for number in range(17):
        index = write(folder, (f"/{number}.mp4", 1, number))
    assert len(list(folder.glob("*.parquet"))) < 17 and len(read_index(folder).videos) == 20


def test_a_part_of_a_video_is_a_video_of_its_own(tmp_path):
    writer = IndexWriter(tmp_path / "index", ORIGIN)
    for start in (None, 1.0):
        writer.add(Video("/a.mp4", start, None), clips("/a.mp4", 1, start or 0))
    assert [video.key for video in writer.close().videos] == [("/a.mp4", None, None), ("/a.mp4", 1.0, None)]


def test_another_network_is_an_error_that_names_both(tmp_path):
    folder = tmp_path / "index"
    write(folder, ("/a.mp4", 1, 1))
    other = dataclasses.replace(ORIGIN, fingerprint="fedcba9876543210", folder="/runs/other")
    with pytest.raises(VectorsError, match=r"(?s)0123456789abcdef.*fedcba9876543210"):
        IndexWriter(folder, other)
    with pytest.raises(VectorsError, match=r"sampling: .*hop.*0.*8"):
        IndexWriter(folder, dataclasses.replace(ORIGIN, sampling={"hop": 8}))
    IndexWriter(folder, dataclasses.replace(ORIGIN, folder="/moved"))  # the same weights elsewhere
    # A file that somebody copied from another index.
    write(tmp_path / "other", ("/b.mp4", 1, 1), origin=other)
    (tmp_path / "other" / "part-00000.parquet").rename(folder / "part-00007.parquet")
    with pytest.raises(VectorsError, match="fedcba9876543210"):
        read_index(folder)


def test_damage_is_named_and_mended_by_embedding_again(tmp_path, caplog):
    folder = tmp_path / "index"
    write(folder, ("/a.mp4", 1, 1))
    write(folder, ("/b.mp4", 1, 2))
    part = folder / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(VectorsError, match=r"part-00001.parquet is damaged.*vidjax embed"):
        read_index(folder)
    (folder / "part-00002.tmp").write_bytes(b"half")
    writer = IndexWriter(folder, ORIGIN)
    assert [key[0] for key in writer.known] == ["/a.mp4"] and "part-00001.damaged" in caplog.text
    assert not (folder / "part-00002.tmp").exists()
    writer.add(Video("/b.mp4"), clips("/b.mp4", 1, 2))
    assert len(writer.close().videos) == 2 and len(read_index(folder).videos) == 2


def test_a_missing_or_empty_index_says_what_to_do(tmp_path):
    with pytest.raises(VectorsError, match="no such folder; `vidjax embed RUN VIDEOS"):
        read_index(tmp_path / "nowhere")
    with pytest.raises(VectorsError, match=r"no index\.json in it"):
        read_index(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(VectorsError, match="holds other files"):
        IndexWriter(tmp_path, ORIGIN)
    write(tmp_path / "index", ("/broken.mp4", 0, 0))
    with pytest.raises(VectorsError, match="all 1 videos were unreadable"):
        read_index(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(VectorsError, match=r"index\.json is damaged"):
        read_index(tmp_path / "index")
